"""A layer as a list of steps, and the operations that it gives forward, backward, in recompute.

In:  `Step`s: kernels with the collectives around them, and what is kept for the backward pass.
Out: `Operation`s on the compute stream and beside it.
Left out: what a layer consists of (`layers`, `experts`, `ends`), pipeline and data parallelism.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from rackmodel.workload.kernels import Kernels, Work, elementwise
from rackmodel.workload.operations import (
    Collective,
    CollectiveOp,
    Compute,
    Kernel,
    Operation,
    Phase,
    Role,
    Wait,
)


class Comm(NamedTuple):
    """A collective of the forward pass and its mirror in the backward pass (None: nothing to
    do).
    """

    name: str
    axis: str
    forward: CollectiveOp | None
    backward: CollectiveOp | None
    bytes: float
    role: Role = Role.FORWARD
    bytes_back: float | None = None  # of the mirror, where it moves another number format
    separate: bool = False  # around products of PyTorch's: see `Software.separate_products`

    @classmethod
    def mirrored(
        cls, name: str, axis: str, op: CollectiveOp, size: float, role: Role = Role.FORWARD
    ) -> Comm:
        """One whose mirror moves the gradients of what it moved, back."""
        return cls(name=name, axis=axis, forward=op, backward=_MIRROR[op], bytes=size, role=role)

    @property
    def back(self) -> Comm:
        """The same with the bytes of its mirror."""
        return self if self.bytes_back is None else self._replace(bytes=self.bytes_back)

    @property
    def copies(self) -> Kernels:
        """What puts sequences together that were gathered in shares, or apart to be reduced."""
        if not self.separate:
            return ()
        return (elementwise(f"{self.name}_copy", self.bytes, self.bytes, role=Role.COPY),)


_MIRROR: dict[str, CollectiveOp] = {
    "all-gather": "reduce-scatter",
    "reduce-scatter": "all-gather",
    "all-to-all": "all-to-all",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Kernels between two points where a rank meets others.

    kind : "plain" (kernels; or only `comm`), "column" (`comm` brings the input of a linear layer),
    "row" (`comm` takes its output away), "ring" (`comm` exchanges keys and values while the core
    runs).
    """

    name: str
    kind: str = "plain"
    module: str = ""  # selective recompute: the module that this belongs to
    work: Work = field(default_factory=Work)
    comm: Comm | None = None
    saved_bytes: float = 0.0  # output kept for backward
    gradient_bytes: float | None = None  # beside it while backward runs; None: as many
    parameters: float = 0.0
    expert: bool = False  # these are weights of experts, split over ep and etp
    frozen: bool = False  # they do not learn
    adapters: float = 0.0  # parameters of adapters beside them, which do

    @property
    def learning(self) -> float:
        """Parameters that learn."""
        return self.adapters + (0.0 if self.frozen else self.parameters)


@dataclass(slots=True)
class Emitter:
    """Collects operations, merging neighbouring kernels into one `Compute`.

    known : blocks of kernels met before, by what they are; equal layers share them.
    """

    phase: Phase
    overlap_tp: int = 1  # pieces that a GEMM is cut into to pipeline it with its collective; 1: not
    label: str = ""
    operations: list[Operation] = field(default_factory=list)
    pending: list[Kernel] = field(default_factory=list)
    beside: list[Kernel] = field(default_factory=list)  # copies that run with the next kernels
    tokens: int = 0
    known: dict[tuple[str, Phase, tuple[Kernel, ...]], Compute] = field(default_factory=dict)

    def run(self, kernels: Iterable[Kernel], phase: Phase | None = None) -> None:
        """Queue kernels on the compute stream."""
        if phase is not None and phase != self.phase:
            self.flush()
            self.phase = phase
        self.pending.extend((*kernels, *self.beside))
        self.beside.clear()

    def flush(self) -> None:
        """Close the running `Compute`."""
        if self.pending:
            name, kernels = self.pending[0].name, tuple(self.pending)
            key = name, self.phase, kernels
            if key not in self.known:
                self.known[key] = Compute(name=name, phase=self.phase, kernels=kernels)
            self.operations.append(self.known[key])
            self.pending.clear()

    def put(self, operations: Iterable[Operation]) -> None:
        """Add operations as they are."""
        self.flush()
        self.operations.extend(operations)

    def collect(self, comm: Comm, op: CollectiveOp | None, *, beside: bool = False) -> str:
        """Start a collective; with `beside` it gets a stream and a token, which is returned."""
        if op is None:
            return ""
        self.flush()
        token = ""
        if beside:
            self.tokens += 1
            token = f"{self.label}{comm.axis} {self.tokens}"
        self.operations.append(
            Collective(
                name=comm.name,
                op=op,
                axis=comm.axis,
                bytes=comm.bytes,
                stream=comm.axis if beside else "compute",
                token=token or None,
                phase=self.phase,
                role=comm.role,
            )
        )
        return token

    def wait(self, token: str) -> None:
        """Hold the compute stream until `token` has ended."""
        if token:
            self.put([Wait(token=token)])

    def around(self, kernels: Iterable[Kernel], comm: Comm, op: CollectiveOp | None) -> None:
        """Run kernels beside a collective, and wait for both."""
        token = self.collect(comm, op, beside=True)
        self.run(kernels)
        self.wait(token)


def forward(steps: Sequence[Step], emit: Emitter, phase: Phase = "forward") -> None:
    """Emit the forward pass of the steps."""
    emit.run((), phase)
    for step in steps:
        comm, kernels = step.comm, step.work.forward
        if comm is None:
            emit.run(kernels)
        elif step.kind == "row" and emit.overlap_tp > 1 and comm.forward == "reduce-scatter":
            first, rest = _split(kernels, emit.overlap_tp)
            emit.run(first)
            emit.around(rest, comm, comm.forward)
        elif step.kind == "row":
            emit.run((*kernels, *comm.copies))
            emit.collect(comm, comm.forward)
        elif step.kind == "ring":
            emit.around(kernels[1:], comm, comm.forward)
            emit.run(kernels[:1])
        elif step.kind == "column" and emit.overlap_tp > 1:
            emit.around(_pieces(kernels, emit.overlap_tp), comm, comm.forward)
        else:
            emit.collect(comm, comm.forward)
            emit.run((*comm.copies, *kernels))
    emit.flush()


def _pieces(kernels: Kernels, pieces: int) -> Kernels:
    """GEMMs cut by rows, to run while the rows arrive or leave one by one."""
    return tuple(_piece(k, pieces, pieces) if k.family == "gemm" else k for k in kernels)


def _split(kernels: Kernels, pieces: int) -> tuple[Kernels, Kernels]:
    """The first piece of a row-cut GEMM (with what precedes it), and the others."""
    head = [k for k in kernels if k.family != "gemm"]
    gemms = [k for k in kernels if k.family == "gemm"]
    first = tuple(head + [_piece(k, pieces, 1) for k in gemms])
    return first, tuple(_piece(k, pieces, pieces - 1) for k in gemms)


def _piece(kernel: Kernel, pieces: int, count: int) -> Kernel:
    m, n, k, batch = kernel.shape
    rows = max(1, m // pieces)
    weights = kernel.read_bytes * n / (m + n)  # the weight's share is read again by every piece
    return kernel._replace(
        flops=kernel.flops / pieces,
        read_bytes=(kernel.read_bytes - weights) / pieces + weights,
        write_bytes=kernel.write_bytes / pieces,
        shape=(rows, n, k, batch),
        count=kernel.count * count,
    )


def backward(
    steps: Sequence[Step],
    emit: Emitter,
    *,
    recompute: frozenset[str] = frozenset(),
    later: Emitter | None = None,
) -> None:
    """Emit the backward pass; weight gradients go to `later` where one is given (zero bubble).

    Steps whose module is in `recompute` run forward again right before their own backward pass; a
    run of neighbouring ones (an MLP) runs again as a whole, with its collectives.
    """
    emit.run((), "backward")
    index = len(steps)
    while index:
        start = index - 1
        if steps[start].module in recompute:
            while start and steps[start - 1].module in recompute:
                start -= 1
            # The last linear layer's output is not needed again, only what leads to it.
            again = [s for s in steps[start:index] if s.kind != "row" or s.module == "core_attn"]
            forward(again, emit, "recompute")
            emit.run((), "backward")
        for step in reversed(steps[start:index]):
            if "alternate" in recompute and step.work.weight and step.module not in recompute:
                # Every second matrix product runs again.
                half = (k._replace(count=0.5 * k.count) for k in step.work.forward)
                emit.run(half, "recompute")
                emit.run((), "backward")
            _backward_step(step, emit, emit if later is None else later)
        index = start
    emit.flush()
    if later is not None:
        later.flush()


def _backward_step(step: Step, emit: Emitter, weights: Emitter) -> None:
    comm, back, gradients = step.comm, step.work.backward, step.work.weight
    if comm is None:
        emit.run(back)
    elif step.kind == "column" and comm.separate:
        # Autograd has kept the gathered input; the sum of all its gradients leaves after them.
        emit.run(back)
        weights.run(gradients, "backward")
        emit.run(comm.back.copies)
        emit.collect(comm.back, comm.backward)
        return
    elif step.kind == "column":
        # Megatron: the input is gathered again beside dgrad, its gradient leaves beside wgrad.
        again = emit.collect(comm, comm.forward, beside=True)
        emit.run(back)
        if weights is emit:
            emit.wait(again)
            emit.around(gradients, comm.back, comm.backward)
            return
        gone = emit.collect(comm.back, comm.backward, beside=True)
        emit.wait(again)
        emit.wait(gone)
    elif step.kind == "row" and emit.overlap_tp > 1 and comm.backward == "all-gather":
        emit.around(_pieces(back, emit.overlap_tp), comm.back, comm.backward)
    elif step.kind == "row":
        emit.collect(comm.back, comm.backward)
        emit.run((*comm.back.copies, *back))
    elif step.kind == "ring":
        # Keys and values go round once more, and their gradients with them.
        token = emit.collect(comm, comm.forward, beside=True)
        other = emit.collect(comm, comm.backward, beside=True)
        emit.run(back[1:])
        emit.wait(token)
        emit.run(back[:1])
        emit.wait(other)
    else:
        emit.run(back)
    weights.run(gradients, "backward")
    if comm is not None and step.kind == "plain":
        emit.collect(comm.back, comm.backward)
