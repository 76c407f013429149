"""What serving a job comes to: the figures that people ask for.

In:  the steady state, the simulated steps behind it, an assessment of the site.
Out: `ServingResult`, with everything that `rackmodel serve --json` prints.
Left out: how things look.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, cast

from rackmodel.annotations import Axes, DataFrame
from rackmodel.engine.step import Step
from rackmodel.hardware import Accelerator, Catalog
from rackmodel.hardware.identity import made_with
from rackmodel.kernels.serving_time import ServingTimes
from rackmodel.result.facts import placement_of
from rackmodel.result.link_usage import link_rows
from rackmodel.result.notebook import Framed, drawn
from rackmodel.result.serving_records import ServingRecord
from rackmodel.serving.steady import Steady
from rackmodel.workload.operations import Compute, Kernel, operations_of
from rackmodel.workload.serving.job import ServingJob
from rackmodel.workload.serving.memory import host_bytes

PARTS = {"gemm": "products", "grouped_gemm": "experts", "attention": "attention"}


@dataclass(frozen=True, kw_only=True, repr=False)
class ServingResult(Framed):
    """A job that is served.

    decode, prompt : simulated steps of a decode batch and of prompts. hbm : bytes of a rank by what
    they are for. users_most : that the KV cache holds, over all workers. assess : power, heat and
    cost, worked out when first asked for.
    """

    job: ServingJob
    topology: str
    accelerator: Accelerator
    steady: Steady
    decode: Step
    prompt: Step
    kernels: ServingTimes
    hbm: Mapping[str, float]
    users_most: int
    host_s: float
    copied_s: float  # of a decode step, to copy in what is in host memory
    prompt_copied_s: float  # the same of a step that runs prompts
    band: tuple[float, float]  # of the time per token, as factors
    assess: Callable[[ServingResult], Mapping[str, Any]]
    catalog: Catalog

    @property
    def tpot_s(self) -> float:
        """Mean time from one token of an answer to the next."""
        return self.steady.tpot_s

    @property
    def output_tokens_per_s(self) -> float:
        """Tokens of answers per second, all users together."""
        return self.steady.requests_per_s * self.job.osl

    @cached_property
    def assessment(self) -> Mapping[str, Any]:
        """Power, heat and cost."""
        return self.assess(self)

    @property
    def rack_kw(self) -> float:
        """Heat of the hottest rack. [kW]"""
        return max(float(rack["heat_w"]) for rack in self.assessment["racks"]) / 1e3

    @property
    def usd_per_mtoken(self) -> float:
        """Dollars of a million tokens of answers: what is bought, written off, and power."""
        return float(self.assessment["cost"]["usd_per_mtoken"])

    @property
    def tokens_per_s_per_mw(self) -> float:
        """Tokens of answers per second over the megawatts provisioned in the hall."""
        return float(self.assessment["tokens_per_s_per_mw"])

    @cached_property
    def breakdown_s(self) -> dict[str, float]:
        """Seconds of the time per token by what the accelerators do."""
        parts = dict.fromkeys((*PARTS.values(), "small kernels"), 0.0)
        for kernel, times in kernels_of(self.decode).items():
            name = PARTS.get(kernel.family, "small kernels")
            parts[name] += times * self.kernels.kernel_s(kernel)
        state, each = self.steady, self.job.tokens_a_step
        parts["links"] = max(0.0, state.decode_s - self.host_s - sum(parts.values()))
        shown = {name: value / each for name, value in parts.items()}
        shown["prompts"] = max(0.0, state.beside * (state.mixed_s - state.decode_s) / each)
        shown["host"] = self.host_s / each
        return shown

    @cached_property
    def bound_by(self) -> str:
        """Name what a shorter time per token would need most."""
        if self.copied_s and self.steady.decode_s <= self.copied_s + self.host_s:
            return "host link"
        floor = hbm = matrix = 0.0
        for kernel, times in kernels_of(self.decode).items():
            limits = self.kernels.limits_s(kernel)
            floor += times * limits[0]
            if limits[1] >= limits[2]:
                hbm += times * limits[1]
            else:
                matrix += times * limits[2]
        found = {
            "HBM bandwidth": hbm,
            "matrix units": matrix,
            "kernel latency": floor,
            "links": self.breakdown_s["links"] * self.job.tokens_a_step,
            "prompts": self.breakdown_s["prompts"] * self.job.tokens_a_step,
            "host": self.host_s,
        }
        return max(found, key=found.__getitem__)

    @property
    def hbm_bandwidth_utilisation(self) -> float:
        """HBM bytes that a decode step moves over what could be moved in its time."""
        moved = sum(
            times * self.kernels.traffic.moved_bytes(kernel)
            for kernel, times in kernels_of(self.decode).items()
        )
        moved += host_bytes(self.job, self.job.worker)
        return moved / self.steady.decode_s / self.accelerator.hbm_bytes_per_s

    def to_dict(self) -> ServingRecord:
        """Return everything that `rackmodel serve --json` prints; SI units."""
        job, state = self.job, self.steady
        low, high = self.band
        facts = self.assessment
        found = {
            "topology": self.topology,
            "accelerator": self.accelerator.name,
            "gpus": job.gpus,
            "model": job.model.name,
            "isl": job.isl,
            "osl": job.osl,
            "weights": job.weights,
            "kv": job.kv,
            "stack": job.stack,
            "users": job.users,
            "users_most": self.users_most,
            "users_running": state.sequences * job.workers,
            "queued": state.queued,
            "tpot_s": state.tpot_s,
            "tpot_s_low": state.tpot_s * low,
            "tpot_s_high": state.tpot_s * high,
            "ttft_s": state.ttft_s,
            "tokens_per_s": self.output_tokens_per_s,
            "tokens_per_s_per_gpu": self.output_tokens_per_s / job.gpus,
            "input_tokens_per_s_per_gpu": state.requests_per_s * job.isl / job.gpus,
            "tokens_per_s_per_user": 1.0 / state.tpot_s,
            "plan": plan_words(job),
            "breakdown_s": self.breakdown_s,
            "bound_by": self.bound_by,
            "hbm": {
                "capacity_bytes": self.accelerator.hbm_bytes,
                "used_bytes": dict(self.hbm),
                "bandwidth_utilisation": self.hbm_bandwidth_utilisation,
            },
            "links": link_rows(self.decode),
            "placement": placement_of(self.decode.rank_map, job.decode_gpus, job.prefill_gpus),
            **facts,
            "simulation": {"events": self.decode.events, "wall_s": self.decode.wall_s},
            **made_with(self.catalog),
        }
        return cast(ServingRecord, found)

    @property
    def frame(self) -> DataFrame:
        """The main figures, one row."""
        import pandas as pd

        told, facts = self.to_dict(), self.assessment
        row = {k: v for k, v in told.items() if isinstance(v, str | int | float)}
        money = {"usd_per_mtoken": facts["cost"]["usd_per_mtoken"]}
        return pd.DataFrame([row | money])

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw what `rackmodel serve --plot` draws: where the time per token goes."""
        return cast("Axes", drawn("serving.breakdown_figure", [self.to_dict()], ax))

    def __repr__(self) -> str:
        """Say in one line what ran where and how fast."""
        job = self.job
        return (
            f"<ServingResult: {job.model.name} on {job.gpus:,} x {self.accelerator.name}"
            f" ({self.topology}): {self.tpot_s * 1e3:.4g} ms a token,"
            f" {self.output_tokens_per_s / job.gpus:,.0f} tokens/s per accelerator>"
        )


def plan_words(job: ServingJob) -> dict[str, Any]:
    """Return how a job is spread, as plain values."""
    found: dict[str, Any] = {
        **asdict(job.worker),
        "workers": job.workers,
        "decode_gpus": job.decode_gpus,
        "prefill_gpus": job.prefill_gpus,
        "chunk": job.chunk,
        "mtp": job.mtp,
    }
    if job.prefill is not None:
        found["prefill"] = asdict(job.prefill)
    return found


def kernels_of(step: Step) -> dict[Kernel, float]:
    """Return how often the ranks of the first stage run each kernel in a step."""
    found: dict[Kernel, float] = {}
    for item in step.programs[0].items:
        for operation in operations_of(item):
            if isinstance(operation, Compute):
                for kernel in operation.kernels:
                    found[kernel] = found.get(kernel, 0.0) + kernel.count
    return found
