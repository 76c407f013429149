"""A step in milliseconds: the simulator's own programs and kernel times on a coarse machine.

In:  a job, an accelerator, the widths of its domain and of its NICs.
Out: seconds of a step by class of time (kernel family, host, collective by axis, waiting).
Left out: contention, routing, fair sharing: the simulator has those. This stands in for it while
    constants
are fitted, because it says which part of a step each constant moves.

A time is a vector over classes whose sum is the seconds; where two times meet, the later one goes
on. The result is the composition of the critical path, so that d(step)/d(factor of a class) is that
class's share.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from rackmodel.kernels.kernel_time import KernelTimes
from rackmodel.workload import programs
from rackmodel.workload.operations import (
    CASTS,
    Collective,
    Compute,
    Kernel,
    Recv,
    Role,
    Segment,
    Send,
    Wait,
)
from rackmodel.workload.placement import axis_members

CLASSES = (
    "gemm_bf16",
    "gemm_fp8",
    "gemm_nvfp4",
    "gemm_int8",
    "grouped_bf16",
    "grouped_fp8",
    "grouped_nvfp4",
    "grouped_int8",
    "attention",
    "attention_backward",
    "unfused",
    "unfused_gemm",
    "elementwise",
    "cast",
    "permute",
    "optimizer",
    "scan",
    "copy",
    "host_launch",
    "host_expert",
    "tp",
    "cp",
    "ep",
    "dp",
    "pp",
    "other",
)
INDEX = {name: i for i, name in enumerate(CLASSES)}
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Machine:
    """Widths of a machine, one direction, per accelerator. [bytes/s]"""

    domain: int
    scale_up: float
    scale_out: float
    alpha_s: float = 6e-6  # per step inside a domain
    beta_s: float = 10e-6  # per step outside

    @classmethod
    def of(cls, topology, part, job) -> Machine:
        """Return the widths of a topology, as a job uses it: groups stay whole in their domains."""
        plan, domain = job.plan, topology.domain_accelerators
        if job.gpus > domain:
            blocks = [plan.tp, plan.tp * plan.cp, plan.ep * plan.etp]
            block = max([b for b in blocks if b <= domain], default=1)
            domain = domain // block * block
        out = topology.nic_bytes_per_s or part.scale_up_bytes_per_s
        return cls(domain, part.scale_up_bytes_per_s, out)


def class_of(kernel: Kernel) -> str:
    """Return the class that a kernel's device time counts to."""
    if kernel.family in ("gemm", "grouped_gemm"):
        if kernel.role == Role.SCORES:
            return "unfused_gemm"
        form = "bf16" if kernel.precision in ("bf16", "fp16") else kernel.precision
        return f"{'grouped' if kernel.family == 'grouped_gemm' else 'gemm'}_{form}"
    if kernel.family == "attention":
        return "attention_backward" if kernel.role == Role.BACKWARD else "attention"
    if kernel.family == "elementwise":
        if kernel.role in CASTS:
            return "cast"
        if kernel.role == Role.SCORES:
            return "unfused"
    return kernel.family


def compute_vector(compute: Compute, times: KernelTimes) -> Vector:
    """Return a `Compute`'s seconds by class.

    Device and host share the smooth maximum by Euler's rule.
    """
    device = np.zeros(len(CLASSES))
    for kernel in compute.kernels:
        device[INDEX[class_of(kernel)]] += kernel.count * times.kernel_s(kernel)
    host_s = times.host_s(compute)
    device_s = float(device.sum())
    total = times.compute_s(compute)
    if total <= 0:
        return device
    experts = any(k.family in ("grouped_gemm", "permute") for k in compute.kernels)
    host = times.constants["host"]
    power = host["smooth_moe"] if experts else host["smooth"]
    wd, wh = (device_s / total) ** (power - 1), (host_s / total) ** (power - 1)
    out = device * wd
    # Launches that a graph replays are no work of the framework: no constant of its moves them.
    launched = "host_expert" if experts else "host_launch"
    out[INDEX["other" if times.cuda_graphs else launched]] += host_s * wh
    return out * (total / max(float(out.sum()), 1e-30))


@dataclass(slots=True)
class _State:
    now: Vector
    streams: dict[str, Vector] = field(default_factory=dict)
    tokens: dict[str, Vector] = field(default_factory=dict)


def later(a: Vector, b: Vector) -> Vector:
    """Return the later of two times."""
    return a if a.sum() >= b.sum() else b


class Surrogate:
    """One job on one machine."""

    def __init__(self, job, machine: Machine, times: KernelTimes) -> None:
        self.job, self.machine, self.times = job, machine, times
        self._compute: dict[int, tuple[Compute, Vector]] = {}
        self._axes: dict[str, tuple[int, int]] = {}

    def step(self) -> Vector:
        """Return the seconds of a step by class."""
        plan = self.job.plan
        m = self.job.micro_batches
        unit = plan.pp if plan.pp > 1 else 1
        few = 2 * unit if plan.pp > 1 else 2
        if m <= few + 2 * unit:
            return self._run(self.job)
        # Beyond the fill a step is linear in its micro-batches.
        extra = unit
        low = few + (m - few) % extra
        per = plan.replicas * plan.micro_batch
        a = self._run(replace(self.job, global_batch=low * per))
        b = self._run(replace(self.job, global_batch=(low + extra) * per))
        return a + (b - a) * ((m - low) / extra)

    def _run(self, job) -> Vector:
        progs = programs(job)
        states = [_State(np.zeros(len(CLASSES))) for _ in progs]
        flat = [_flatten(p.items) for p in progs]
        position = [0] * len(progs)
        posted: dict[tuple[str, int, int], Vector] = {}
        moving = True
        while moving:
            moving = False
            for rank, ops in enumerate(flat):
                while position[rank] < len(ops):
                    if not self._do(rank, ops[position[rank]], states[rank], posted):
                        break
                    position[rank] += 1
                    moving = True
        if any(p < len(ops) for p, ops in zip(position, flat, strict=True)):
            raise RuntimeError("a rank waits for ever")
        end = states[0].now
        for state in states:
            end = later(end, state.now)
            for other in state.streams.values():
                end = later(end, other)
        return end

    def _do(self, rank: int, op, state: _State, posted) -> bool:
        if isinstance(op, Compute):
            known = self._compute.get(op.id)
            if known is None or known[0] is not op:
                known = self._compute[op.id] = (op, compute_vector(op, self.times))
            state.now = state.now + known[1]
        elif isinstance(op, Collective):
            add = np.zeros(len(CLASSES))
            add[INDEX[axis_class(op.axis)]] = self.collective_s(op)
            if op.token is None:
                begin = later(state.now, state.streams.get(op.stream, state.now))
                state.now = begin + add
            else:
                begin = later(state.now, state.streams.get(op.stream, state.now))
                state.streams[op.stream] = state.tokens[op.token] = begin + add
        elif isinstance(op, Send):
            key = (op.name, rank, op.peer)
            add = np.zeros(len(CLASSES))
            add[INDEX["pp"]] = self.send_s(op.bytes)
            posted[key] = state.now + add
            if op.token is not None:
                state.tokens[op.token] = posted[key]
            else:
                state.now = posted[key]
        elif isinstance(op, Recv):
            key = (op.name, op.peer, rank)
            if op.token is not None:
                state.tokens[op.token] = None  # resolved when awaited
                state.tokens[f"recv {op.token}"] = key
                return True
            if key not in posted:
                return False
            state.now = later(state.now, posted[key])
        elif isinstance(op, Wait):
            arrived = state.tokens.get(op.token)
            if arrived is None:
                key = state.tokens.get(f"recv {op.token}")
                if key is None:
                    return True
                if key not in posted:
                    return False
                arrived = posted[key]
            state.now = later(state.now, arrived)
        return True

    def _axis(self, axis: str) -> tuple[int, int]:
        """Return (ranks of a group, ranks of it in one domain)."""
        known = self._axes.get(axis)
        if known is None:
            plan = self.job.plan
            members = np.asarray(axis_members(plan, axis, plan.replicas))[0]
            inside = int(
                (members // self.machine.domain == members[0] // self.machine.domain).sum()
            )
            known = self._axes[axis] = (len(members), inside)
        return known

    def collective_s(self, op: Collective) -> float:
        """Return a coarse time of a collective alone on the network."""
        n, inside = self._axis(op.axis)
        if n <= 1:
            return 0.0
        m = self.machine
        factor = {"all-reduce": 2.0}.get(op.op, 1.0)
        up, out = m.scale_up * 0.8, m.scale_out * 0.9
        wire = factor * op.bytes * (n - 1) / n
        if op.op in ("all-gather", "reduce-scatter", "all-reduce", "broadcast"):
            if inside == n:
                return wire / up + 2 * m.alpha_s
            nodes = n // max(inside, 1)
            between = factor * op.bytes / inside * (nodes - 1) / nodes / out
            within = factor * op.bytes * (inside - 1) / inside / up
            return max(between, within) + m.beta_s * math.log2(max(2, nodes)) * 2
        outside = op.bytes * (n - inside) / n
        return (
            max(op.bytes * (inside - 1) / n / up, outside / out)
            + m.alpha_s
            + (m.beta_s if outside else 0.0)
        )

    def send_s(self, size: float) -> float:
        """Return the time of a pipeline transfer."""
        plan, m = self.job.plan, self.machine
        stride = plan.tp * plan.cp * plan.replicas
        if stride < m.domain:
            return size / (m.scale_up * 0.8) + m.alpha_s
        return size / (m.scale_out * 0.9) + m.beta_s


def axis_class(axis: str) -> str:
    """Return the class of a collective's axis."""
    for name in ("tp", "cp", "ep"):
        if axis == name or (name == "tp" and axis == "etp"):
            return name
    return "dp" if "dp" in axis else "other"


def _flatten(items) -> list:
    out = []
    for item in items:
        if isinstance(item, Segment):
            out.extend(item.operations)
        else:
            out.append(item)
    return out


def shares(vector: Vector) -> dict[str, float]:
    """Return the classes that matter, largest first."""
    total = float(vector.sum())
    found = defaultdict(float, {c: float(vector[i]) / total for i, c in enumerate(CLASSES)})
    return dict(sorted(((c, s) for c, s in found.items() if s > 0.002), key=lambda x: -x[1]))
