"""What a simulation tells: the figures that people ask for, and frames for everything else.

In:  a simulated step, the machine's accelerator, the memory of each pipeline rank, an assessment.
Out: `Result`: fields, frames, and the dictionary behind `simulate --json`.
Left out: how things look on a terminal or a page.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np

from rackmodel.annotations import Axes, DataFrame, Figure
from rackmodel.columns import Columns, floats, frame_of, ints
from rackmodel.engine.certainty import Band, Banded, band
from rackmodel.engine.doubled import doubled_paces
from rackmodel.engine.step import Step
from rackmodel.errors import InvalidInput
from rackmodel.hardware import Accelerator, Catalog
from rackmodel.hardware.identity import made_with
from rackmodel.kernels.contention import Contention
from rackmodel.kernels.kernel_time import KernelTimes
from rackmodel.result.breakdown import Runs, breakdown, compute_limits, device_busy, runs_of
from rackmodel.result.facts import figures, placement_of, plan_dict, simulation_facts
from rackmodel.result.hbm import hbm_moved, hbm_peaks, hbm_rates, hbm_record, hbm_timeline
from rackmodel.result.link_usage import contention_rows, link_rows, rack_columns
from rackmodel.result.margins import binding, margins_s
from rackmodel.result.notebook import notebook_table
from rackmodel.result.records import (
    AssessmentRecord,
    HbmRecord,
    LinkRecord,
    PlacementRecord,
    RackRecord,
    ResultRecord,
    WaterfallRecord,
)
from rackmodel.result.timeline import stretches
from rackmodel.result.waterfall import waterfall
from rackmodel.topology import Topology

BAND = ("step_s_low", "step_s_high", "band_reason")


@dataclass(frozen=True, kw_only=True, repr=False)
class Result(Banded):
    """One simulated training step.

    step : the simulation itself. machine : what it ran on. accelerator : the part that ran it,
    of this catalog.
    hbm_used : per pipeline rank, bytes by kind. overhead_s : seconds that a step loses outside of
    the simulated operations.
    unsaid, assess : work out what nobody said (`assess.unsaid`), and power, heat and cost;
    functions of a module, or a `partial` of one: a result can be pickled. filled : fields that
    were filled in.
    """

    step: Step
    machine: Topology
    rack_accelerators: int
    accelerator: Accelerator
    hbm_used: tuple[Mapping[str, float], ...]
    overhead_s: float
    peak_flops_per_s: float
    kernels: KernelTimes
    contention_of: Contention
    catalog: Catalog
    assess: Callable[[Result], AssessmentRecord]
    unsaid: Callable[[Result], Mapping[str, tuple[float, float]]]
    filled: tuple[str, ...] = ()

    @property
    def topology(self) -> str:
        """Name of the machine."""
        return self.machine.name

    @cached_property
    def assessment(self) -> AssessmentRecord:
        """Power, heat, cost and failures; worked out when first asked for."""
        return self.assess(self)

    @property
    def step_s(self) -> float:
        """Seconds of one step."""
        return self.step.step_s + self.overhead_s

    @cached_property
    def band(self) -> Band:
        """Seconds between which about 80% of real runs fall, and what the width is made of."""
        job, family, more = self.step.job, self.accelerator.family, self.unsaid(self)
        return band(self.step_s, job, family, filled=self.filled, unsaid=more)

    @property
    def tokens_per_s(self) -> float:
        """Tokens per second of the whole machine."""
        return self.step.job.tokens / self.step_s

    @property
    def tokens_per_s_per_gpu(self) -> float:
        """Tokens per second of one accelerator."""
        return self.tokens_per_s / self.step.job.gpus

    @property
    def model_tflops_per_gpu(self) -> float:
        """Model FLOP/s of one accelerator, recompute not counted. [TFLOP/s]"""
        return self.step.job.model_flops / self.step_s / self.step.job.gpus / 1e12

    @property
    def mfu(self) -> float:
        """Model FLOP/s over the dense peak of the precision that the job runs in."""
        return self.model_tflops_per_gpu * 1e12 / self.peak_flops_per_s

    @property
    def hfu(self) -> float:
        """FLOP/s of everything that ran, recompute included, over the same peak."""
        return self._per_rank("flops") / self.step_s / self.peak_flops_per_s

    @property
    def rack_kw(self) -> float:
        """Heat of the hottest rack, its mean over the step. [kW]"""
        return self._hottest["heat_w"] / 1e3

    @property
    def rack_kw_band(self) -> tuple[float, float]:
        """Low and high of `rack_kw`: about 80% of measured machines lie between. [kW]"""
        return self._hottest["heat_w_low"] / 1e3, self._hottest["heat_w_high"] / 1e3

    @property
    def _hottest(self) -> RackRecord:
        return max(self.assessment["racks"], key=lambda rack: rack["heat_w"])

    @property
    def usd_per_mtoken(self) -> float:
        """Dollars of a million tokens: what is bought, written off, and power."""
        return self.assessment["cost"]["usd_per_mtoken"]

    @property
    def energy_j_per_token(self) -> float:
        """Joules of racks and fabric per token."""
        return self.assessment["energy_j_per_token"]

    @property
    def tokens_per_s_per_mw(self) -> float:
        """Tokens per second of the machine over the megawatts provisioned for it in its hall."""
        return float(self.assessment["power"]["tokens_per_s_per_mw"])

    @cached_property
    def events(self) -> DataFrame:
        """One row per stretch of a rank class's time; see `timeline.COLUMNS`."""
        return frame_of(self.stretches)

    @cached_property
    def stretches(self) -> Columns:
        """The same as `events`, as arrays by column: what figures are worked out from."""
        lost = (self.step.step_s, self.step_s) if self.overhead_s > 0 else None
        return stretches(self.step, self.kernels.traffic, outside=lost)

    @cached_property
    def operations(self) -> DataFrame:
        """One row per operation of every rank class."""
        return frame_of(stretches(self.step, self.kernels.traffic, fine=True))

    @cached_property
    def links(self) -> DataFrame:
        """Bytes and utilisation by tier and kind of link; see `records.LinkRecord`."""
        import pandas as pd

        return pd.DataFrame(self.link_rows)

    @cached_property
    def link_rows(self) -> list[LinkRecord]:
        """The rows of `links`."""
        return link_rows(self.step)

    @cached_property
    def racks(self) -> DataFrame:
        """Which rank classes stand in each class of racks."""
        return frame_of(self.rack_columns)

    @cached_property
    def rack_columns(self) -> Columns:
        """The same as `racks`, as arrays by column."""
        return rack_columns(self.step, self.rack_accelerators)

    @cached_property
    def rank_classes(self) -> DataFrame:
        """Columns rank_class, stage, count (ranks of the whole machine)."""
        count, stage = self.step.rank_count, self.step.rank_stage
        return frame_of({"rank_class": np.arange(len(count)), "stage": stage, "count": count})

    @cached_property
    def contention(self) -> DataFrame:
        """What each kind of collective takes while kernels run beside it.

        Columns op, axis, bytes, algorithm, compute_units and compute_share (SMs, CUs),
        hbm_bytes_per_s and hbm_share, kernels_slower (share of their throughput that is gone).
        """
        import pandas as pd

        return pd.DataFrame(contention_rows(self.step, self.contention_of))

    @cached_property
    def memory(self) -> DataFrame:
        """HBM at its peak: columns rank_class, stage, kind, bytes, peak_s (when that is)."""
        return hbm_peaks(self.memory_timeline)

    @cached_property
    def memory_timeline(self) -> DataFrame:
        """HBM over the step: columns rank_class, stage, time_s, one for each kind, total."""
        return hbm_timeline(self.step)

    @cached_property
    def hbm_bandwidth(self) -> DataFrame:
        """HBM bandwidth over the step, from the kernels and the traffic that run; rows overlap.

        Columns rank_class, start_s, end_s, count (ranks of the class), bytes_per_s, utilisation (of
        the part's bandwidth, 1 at most: what fits into caches moves faster).
        """
        peak = self.accelerator.hbm_bytes_per_s
        return hbm_rates(self.operations, self.step.rank_count, peak)

    @cached_property
    def breakdown_s(self) -> dict[str, float]:
        """Seconds of the step by what ranks did, as their mean; adds up to `step_s`."""
        parts = breakdown(self.stretches, self.step.rank_count.astype(float), self.step.step_s)
        return {**parts, "overhead": self.overhead_s} if self.overhead_s else parts

    @cached_property
    def waterfall(self) -> list[WaterfallRecord]:
        """Shares of the peak that each part of the step loses; adds up to 1 with the MFU."""
        step, peak = self.step, self.peak_flops_per_s
        model_s = step.job.model_flops / step.job.gpus / peak
        return waterfall(self.breakdown_s, model_s, self._runs, self.kernels, peak)

    @property
    def exposed_s(self) -> float:
        """Seconds of the step in which bytes move and nothing else happens, as their mean."""
        own = ("compute", "recompute", "optimizer", "bubble", "overhead")
        return sum(value for name, value in self.breakdown_s.items() if name not in own)

    @property
    def bound_by(self) -> str:
        """Name the limit of which half would make the step quickest: its margin decides."""
        return binding(self.margins_s)

    @cached_property
    def margins_s(self) -> dict[str, float]:
        """Seconds of the step that would go if a limit were half: rates doubled, bubbles halved."""
        own = self.breakdown_s, self._runs, self.kernels, self.contention_of
        return margins_s(self.step.exchanges, self.doubled, *own)

    @cached_property
    def doubled(self) -> list[float]:
        """Bytes per second of every exchange of the step if all links had twice the rate."""
        return doubled_paces(self.step.machine, self.kernels.transfers_slower)

    @cached_property
    def compute_shares(self) -> dict[str, float]:
        """What limits kernels: shares of compute time bound by matrix units, HBM, host."""
        return compute_limits(self._runs, self.kernels, self.accelerator.hbm_bytes_per_s)

    @cached_property
    def device_busy(self) -> float:
        """Share of compute time in which kernels run; else the accelerator waits for its host."""
        return device_busy(self._runs, self.kernels)

    @property
    def hbm_bandwidth_utilisation(self) -> float:
        """HBM bytes moved over what could be moved in a step, mean over all ranks."""
        moved = hbm_moved(self._per_rank("hbm_bytes"), self._per_rank("wire_bytes"))
        return moved / self.step_s / self.accelerator.hbm_bytes_per_s

    @property
    def placement(self) -> PlacementRecord:
        """How many accelerators of each scale-up domain are used, and how many stand idle."""
        return placement_of(self.step.rank_map, self.step.job.gpus)

    @cached_property
    def _runs(self) -> list[Runs]:
        return runs_of(self.step)

    def _per_rank(self, column: str) -> float:
        counts = self.step.rank_count
        table = self.stretches
        every = floats(table, column) * counts[ints(table, "rank_class")]
        return float(every.sum() / counts.sum())

    def to_dict(self, fields: Iterable[str] | None = None) -> ResultRecord:
        """Return everything that `rackmodel simulate --json` prints; SI units.

        Parameters
        ----------
        fields : keys of `ResultRecord` to work out, told in the order of the whole; what is not
            asked for costs nothing. All if left out; keys that a result may lack (`run`, `trays`)
            are left out where it does.

        Raises
        ------
        InvalidInput
            For a key that no result has.
        """
        ways = self._ways()
        if fields is None:
            found = {name: way() for name, way in ways.items()} | {**self.assessment}
            return cast(ResultRecord, found)
        wanted = dict.fromkeys(fields)
        known = ResultRecord.__annotations__
        if unknown := [name for name in wanted if name not in known]:
            raise InvalidInput(f"to_dict: no field {unknown[0]!r} (known: {', '.join(known)})")
        some = {name: way() for name, way in ways.items() if name in wanted}
        if len(some) < len(wanted):
            some |= {name: value for name, value in self.assessment.items() if name in wanted}
        return cast(ResultRecord, some)

    def _ways(self) -> dict[str, Callable[[], Any]]:
        """Return how each key outside the assessment is worked out."""
        job, step = self.step.job, self.step
        plain = ("topology", *BAND, "peak_flops_per_s", "bound_by")
        speeds = ("step_s", "tokens_per_s", "tokens_per_s_per_gpu", "model_tflops_per_gpu")
        shares = ("mfu", "hfu", "breakdown_s", "waterfall", "exposed_s", "placement")
        of_job = ("gpus", "seq_len", "global_batch", "precision", "stack")
        return {
            **{name: partial(getattr, self, name) for name in (*plain, *speeds, *shares)},
            **{name: partial(getattr, job, name) for name in of_job},
            "accelerator": lambda: self.accelerator.name,
            "model": lambda: job.model.name,
            "plan": lambda: plan_dict(job.plan),
            "hbm": self._hbm,
            "links": lambda: self.link_rows,
            "contention": lambda: contention_rows(step, self.contention_of),
            "simulation": partial(simulation_facts, step),
            "version": lambda: made_with(self.catalog)["version"],
            "catalog": lambda: made_with(self.catalog)["catalog"],
        }

    def _hbm(self) -> HbmRecord:
        job, busy = self.step.job, self.hbm_bandwidth_utilisation
        return hbm_record(self.hbm_used, job, self.accelerator.hbm_bytes, busy)

    def filled_in(self, filled: Iterable[str]) -> Result:
        """Return the result with the band of a job of which these fields were filled in."""
        return replace(self, filled=tuple(filled))

    @property
    def frame(self) -> DataFrame:
        """The main figures, one row: that of `Comparison.frame`."""
        return frame_of({key: [value] for key, value in figures(self.to_dict()).items()})

    def plot(self, ax: Axes | None = None) -> Axes | Figure:
        """Draw where the step goes, stages, power, HBM, heat per rack; on `ax`, the first alone."""
        made = import_module("rackmodel.verbs.machines").step_picture(self, ax)
        return cast("Axes | Figure", made)

    def write_trace(self, path: str | Path) -> list[Path]:
        """Write the timeline; return the files.

        path : .json or .json.gz for Perfetto and HolisticTraceAnalysis, a directory for one such
        file a rank class, .et for Chakra execution traces, one a stage.
        """
        files: list[Path] = import_module("rackmodel.verbs.plans").write_traces(self, Path(path))
        return files

    def __getstate__(self) -> dict[str, Any]:
        """Return what travels: figures that need the machine itself are worked out, it stays."""
        kept = {one.name: getattr(self, one.name) for one in fields(self)}
        asked = {name: getattr(self, name) for name in ("link_rows", "doubled")}
        return {**kept, "step": replace(self.step, folding=None), **asked}

    def to_json(self) -> str:
        """Return `to_dict` as JSON."""
        return json.dumps(self.to_dict(), allow_nan=False)

    def __repr__(self) -> str:
        """Say in one line what ran where and how fast."""
        job = self.step.job
        return (
            f"<Result: {job.model.name} on {job.gpus:,} x {self.accelerator.name}"
            f" ({self.topology}): {self.step_s:.4g} s a step"
            f" ({self.step_s_low:.4g} - {self.step_s_high:.4g}), MFU {self.mfu:.1%}>"
        )

    def _repr_html_(self) -> str:
        """Show the main figures as a small table in a notebook."""
        return notebook_table(self)
