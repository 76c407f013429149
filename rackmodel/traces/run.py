"""A recorded step on another machine: every operation timed anew, then played.

In:  traces, the machine that they were recorded on, another one.
Out: `read_recorded`; `replayed`: step times and what became of each kind of operation.
Left out: other plans or groups: ranks stand on the first accelerators in order.

An operation takes as much longer as the models of the two machines say: kernels by their roofline
(matrix products by the rate of large ones where their size is not known, others by HBM), exchanges
by their collective on the network, by itself. What the recorded machine did better or worse than
its model stays; so does time in which nothing is known to run. The same machine gives the recorded
step.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rackmodel import hardware
from rackmodel.columns import Floats
from rackmodel.engine.networks import network_of
from rackmodel.errors import InvalidInput
from rackmodel.hardware import Accelerator, Catalog
from rackmodel.kernels.kernel_time import KernelTimes
from rackmodel.network import Network, alone_s, pattern
from rackmodel.topology import Topology
from rackmodel.traces.chakra import is_chakra, read_chakra
from rackmodel.traces.kineto import read_kineto
from rackmodel.traces.recorded import Doing, Exchange, Recorded, Recorder, Work
from rackmodel.workload.operations import Kernel

LARGE = 256e6  # bytes of a kernel, and of an exchange that does not say its own
SIDE = 8192  # of a large matrix product


def read_recorded(paths: Sequence[Path]) -> Recorded:
    """Return the step that one or more files recorded, one for each rank or all in one.

    Raises
    ------
    InvalidInput
        For a file that can't be read, is truncated or no trace.
    """
    recorder = Recorder()
    chakra = sum(map(is_chakra, paths))  # a file a rank, and metadata need not say how many
    for number, path in enumerate(paths):
        if is_chakra(path):
            recorder.accelerators = max(recorder.accelerators, chakra)
            read_chakra(path, recorder, number)
        else:
            read_kineto(path, f"TRACE {path.name}", recorder)
    return recorder.recorded(f"TRACE {paths[0].name}")


class _Model:
    """What one machine makes of an operation."""

    def __init__(self, machine: Topology, accelerators: int, catalog: Catalog) -> None:
        self.part: Accelerator = hardware.accelerator(machine.accelerator, catalog)
        machine.units(accelerators)
        self.network: Network = network_of(machine, accelerators)
        self.kernels = KernelTimes(self.part)
        self.rates: dict[str, float] = {}
        moved = Kernel(family="elementwise", name="", read_bytes=LARGE, write_bytes=LARGE)
        self.bytes_per_s = 2 * LARGE / self.kernels.kernel_s(moved)

    def flops_per_s(self, precision: str) -> float:
        """Return the FLOP/s of a large matrix product."""
        known = precision if precision in self.part.flops_per_s else "bf16"
        if known not in self.rates:
            flops, moved = 2.0 * SIDE**3, 2.0 * SIDE**2
            product = Kernel(
                family="gemm",
                name="",
                flops=flops,
                read_bytes=2 * moved,
                write_bytes=moved,
                shape=(SIDE, SIDE, SIDE, 1),
                precision=known,
            )
            self.rates[known] = flops / self.kernels.kernel_s(product)
        return self.rates[known]

    def seconds(self, doing: Doing) -> float:
        """Return the seconds that the model gives an operation, to be compared only."""
        if doing is None:
            return 1.0
        if isinstance(doing, Work):
            peak = self.flops_per_s(doing.precision)
            if doing.flops or doing.hbm_bytes:
                return max(doing.flops / peak, doing.hbm_bytes / self.bytes_per_s)
            return 1e12 / peak if doing.matrix else 1e9 / self.bytes_per_s
        if doing.size < 2:
            return 1.0
        size = doing.bytes or LARGE
        found = pattern(self.network, doing.op, doing.ranks, size, true_size=doing.size)
        return alone_s(self.network, found, size)


def replayed(
    step: Recorded, source: Topology, target: Topology, catalog: Catalog | None = None
) -> dict[str, Any]:
    """Return a recorded step on another machine.

    Returns
    -------
    step_s, recorded_s (of the file), as_read_s (of its operations as they were understood), rows
    {what, operations, recorded_s, seconds, times}, notes.

    Raises
    ------
    InvalidInput
        If a machine has fewer accelerators than ranks were recorded.
    """
    parts = catalog or hardware.load_catalog()
    for machine in (source, target):
        if machine.max_accelerators is not None and step.accelerators > machine.max_accelerators:
            raise InvalidInput(
                f"{machine.name} has at most {machine.max_accelerators:,} accelerators; the trace"
                f" has {step.accelerators:,} ranks; give a larger machine"
            )
    before, after = (_Model(one, step.accelerators, parts) for one in (source, target))
    mine, other = (
        np.array([model.seconds(one) for one in step.works]) for model in (before, after)
    )
    # Files of plans, not of runs, leave exchanges to whoever plays them: these are the model's.
    sized = np.array([isinstance(one, Exchange) and one.bytes > 0 for one in step.works])
    untimed = sized[step.doing] & (step.seconds == 0.0)
    read = np.where(untimed, mine[step.doing], step.seconds)
    seconds = read * (other / mine)[step.doing]
    as_read = step.play(read)
    return {
        "topology": target.name,
        "recorded_on": source.name,
        "accelerators": step.accelerators,
        "operations": len(step.seconds),
        "steps": step.steps,
        "recorded_s": step.step_s or as_read,
        "as_read_s": as_read,
        "step_s": step.play(seconds),
        "rows": _rows(step, read, seconds),
        "notes": list(step.notes),
    }


def _rows(step: Recorded, read: Floats, seconds: Floats) -> list[dict[str, Any]]:
    """Return what became of each kind of operation, the longest first."""
    kinds: dict[str, list[int]] = {}
    for number, doing in enumerate(step.works):
        if isinstance(doing, Exchange):
            what = f"{doing.op} over {doing.size:,}"
        elif doing is None:
            what = "outside the operations"
        else:
            what = "matrix kernels" if doing.matrix else "other kernels"
        kinds.setdefault(what, []).append(number)
    count = len(step.works)
    times = np.bincount(step.doing, minlength=count)
    old, new = (np.bincount(step.doing, w, minlength=count) for w in (read, seconds))
    rows = [
        {
            "what": what,
            "operations": int(times[numbers].sum()),
            "recorded_s": float(old[numbers].sum()) / step.steps,
            "seconds": float(new[numbers].sum()) / step.steps,
            "times": float(new[numbers].sum() / max(old[numbers].sum(), 1e-30)),
        }
        for what, numbers in kinds.items()
        if old[numbers].sum() + new[numbers].sum() > 0.0
    ]
    return sorted(rows, key=lambda row: -row["seconds"])
