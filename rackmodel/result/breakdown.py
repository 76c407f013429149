"""Where the seconds of a step go: by what ranks did, and by what limited their kernels.

In:  the events as columns, the programs of all pipeline ranks, the times of their kernels.
Out: seconds by part; shares of compute time by limit; the share in which kernels run.
Left out: how events are laid out (`timeline`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rackmodel.columns import Floats, Table, Words, floats, ints
from rackmodel.engine.step import Step
from rackmodel.kernels.kernel_time import KernelTimes
from rackmodel.workload.operations import Compute, Kernel, Program, counted

ALWAYS = ("compute", "bubble", "tp", "cp", "ep", "pp", "dp", "optimizer")
ROUNDING = 1e-12  # of a step: what a sum over stretches leaves of no waits at all
DATA_PARALLEL = ("dp", "dp_cp", "edp", "dp_shard", "dp_replica", "edp_shard", "edp_replica")


def breakdown(events: Table, counts: Floats, step_s: float) -> dict[str, float]:
    """Return the seconds of a step by what the compute stream did, as the mean over all ranks.

    counts : ranks of the whole machine in each class. The parts add up to `step_s`: compute,
    optimizer, recompute, one part per axis for bytes that nothing hid (all data-parallel axes
    together as dp), pp for pipeline bytes, and bubble for waiting.
    """
    seconds = floats(events, "end_s") - floats(events, "start_s")
    seconds = seconds * counts[ints(events, "rank_class")] / counts.sum()
    main = Words.of(events["stream"]).among("compute")
    kind, phase = Words.of(events["kind"]), Words.of(events["phase"])
    axis, busy = Words.of(events["axis"]), main & kind.among("compute")
    moving = main & kind.among("collective", "send")
    parts_of = {name: moving & axis.among(name) for name in axis.names}
    parts_of |= {name: busy & phase.among(name) for name in ("optimizer", "recompute")}
    parts_of["compute"] = busy & ~phase.among("optimizer", "recompute")
    parts_of["bubble"] = main & ~busy & ~moving
    by_part = {name: float(seconds[at].sum()) for name, at in sorted(parts_of.items()) if at.any()}
    waits = by_part.get("bubble", 0.0) + step_s - sum(by_part.values())
    by_part["bubble"] = waits if abs(waits) > ROUNDING * step_s else 0.0
    parts = dict.fromkeys(ALWAYS, 0.0)
    for name, value in by_part.items():
        name = "dp" if name in DATA_PARALLEL else name
        parts[name] = parts.get(name, 0.0) + value
    return parts


class Runs(NamedTuple):
    """A program, on how many ranks of the whole machine, how often they come by each item."""

    program: Program
    ranks: float
    visits: npt.NDArray[np.int64]


def runs_of(step: Step) -> list[Runs]:
    """Return what pipeline ranks run in a whole step, with micro-batches that were skipped."""
    ranks, visits = step.stage_ranks.tolist(), step.stage_visits()
    return [Runs(p, ranks[stage], visits[stage]) for stage, p in enumerate(step.programs)]


def compute_limits(
    runs: Sequence[Runs], kernels: KernelTimes, hbm_bytes_per_s: float
) -> dict[str, float]:
    """Return what limits kernels: shares of compute time bound by matrix units, HBM, host.

    A kernel counts for HBM if moving its bytes at full bandwidth takes longer than its FLOPs at
    the sustained rate; a block of kernels counts for the host as far as launching it is the longer
    part. runs : of the pipeline ranks.
    """

    moved_bytes = kernels.traffic.moved_bytes

    def is_arithmetic(kernel: Kernel) -> bool:
        if not kernel.flops:
            return False
        rate = kernels.sustained_flops_per_s(kernel.precision)
        return kernel.flops / rate >= moved_bytes(kernel) / hbm_bytes_per_s

    def limits_of(compute: Compute) -> Floats:
        device, host = kernels.device_s(compute), kernels.host_s(compute)
        if host > device:
            return np.array([0.0, 0.0, kernels.compute_s(compute)])
        moved = sum(moved_bytes(k) * k.count for k in compute.kernels if not is_arithmetic(k))
        hbm = min(device, moved / hbm_bytes_per_s)
        return np.array([device - hbm, hbm, 0.0])

    sums = over_ranks(runs, limits_of)
    shares = sums / (sums.sum() or 1.0)
    return dict(zip(("matrix units", "HBM bandwidth", "host launch"), shares.tolist(), strict=True))


def device_busy(runs: Sequence[Runs], kernels: KernelTimes) -> float:
    """Return the share of compute time in which kernels run, mean over all ranks.

    For the rest the accelerator waits for its host to launch them, as with many small experts.
    """

    def times_of(compute: Compute) -> Floats:
        whole, device = kernels.times_s(compute)
        return np.array([min(whole, device), whole])

    device_s, whole_s = over_ranks(runs, times_of).tolist()
    return float(device_s / whole_s) if device_s > 0 else 1.0


def over_ranks(runs: Sequence[Runs], of: Callable[[Compute], Floats]) -> Floats:
    """Sum what `of` says of every `Compute` over all ranks; each is asked once."""
    weight: dict[int, float] = {}
    computes: dict[int, Compute] = {}
    for program, ranks, visits in runs:
        for operation, times in counted(program, visits.tolist()):
            if isinstance(operation, Compute):
                computes[operation.id] = operation
                weight[operation.id] = weight.get(operation.id, 0.0) + ranks * times
    parts = [weight[name] * of(compute) for name, compute in computes.items()]
    total: Floats = np.stack(parts).sum(axis=0)
    return total
