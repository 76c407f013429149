"""What one rank does in a training step: the operations that the simulator gives a duration to.

In:  nothing; these are the words that `workload` writes and `simulate` reads.
Out: kernels inside `Compute`, bytes inside `Collective` and `Send`; a `Program` strings them
     together.
Left out: seconds, links, accelerators. An operation knows FLOPs, bytes and shapes only.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count, repeat
from typing import Literal, NamedTuple, TypeAlias

Family: TypeAlias = Literal[
    "gemm",  # shape (m, n, k, batch)
    "grouped_gemm",  # shape (m, n, k, groups): m rows in all, spread over the groups (experts)
    "attention",  # shape (batch, heads, kv_heads, q_len, kv_len, qk_dim, v_dim, causal 0/1, window)
    "elementwise",  # norms, activations, rotary, residual, router, softmax, casts: bytes only
    "permute",  # gather and scatter of tokens to experts: bytes only
    "scan",  # state-space (Mamba) scans: FLOPs and bytes
    "optimizer",  # the update of weights: bytes only
    "copy",  # accelerator <-> host memory: bytes over the host link
]
Phase: TypeAlias = Literal["forward", "backward", "recompute", "optimizer", "other"]
CollectiveOp: TypeAlias = Literal[
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "dispatch",
    "combine",
    "broadcast",
    "send",
]


class Role(StrEnum):
    """What a kernel or a collective is there for; times and programs read this, never names."""

    FORWARD = "forward"  # of what has no role below
    BACKWARD = "backward"
    WGRAD = "wgrad"  # the gradient of weights
    SCORES = "scores"  # attention whose scores lie in HBM: its products, softmax and dropout
    COPY = "copy"  # moves bytes from one place of HBM to another as they are
    CAST = "cast"  # quantises an operand of a matrix product
    CAST_WEIGHTS = "cast_weights"  # the same of weights, once a step
    GRAD_NORM = "grad_norm"
    UPDATE = "update"  # the optimizer itself
    ZERO_GRADIENTS = "zero_gradients"
    HOST_WEIGHTS = "host_weights"  # there and back where host memory holds what is updated
    DISPATCH = "dispatch"  # tokens to the ranks of their experts
    COMBINE = "combine"  # and back
    DECODE = "decode"  # attention of new tokens over a cache of keys and values


PRODUCTS = ("gemm", "grouped_gemm")  # families that multiply matrices
CASTS = frozenset({Role.CAST, Role.CAST_WEIGHTS})
TOKEN_EXCHANGES = frozenset({Role.DISPATCH, Role.COMBINE})


class Kernel(NamedTuple):
    """One kind of kernel, launched `count` times in a row with the same shape.

    All figures are those of one launch of one rank. `name` is for display only. A tuple, for what
    kernels take is looked up by all that they are, thousands of times a search.
    """

    family: Family
    name: str
    role: Role = Role.FORWARD
    flops: float = 0.0
    read_bytes: float = 0.0  # from HBM, each operand once
    write_bytes: float = 0.0  # to HBM
    shape: tuple[int, ...] = ()
    precision: str = "bf16"  # number format of the arithmetic
    count: float = 1.0  # type: ignore[assignment]  # a tuple's own is not asked for
    launches: float = 1.0  # calls of the host for one of these (casts, splits, ...)
    turns: float = 0.0  # of a loop over local experts inside the library that is called


next_id = count().__next__  # of an operation; never twice in a process


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Numbered:
    """Whatever stands in a program: `id` tells it from all others of its set of programs.

    Two operations that do the same are equal, whatever their ids. Ids count up within a process:
    tables by id are kept for one set of programs, never across sets.
    """

    id: int = field(default_factory=next_id, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute(Numbered):
    """Kernels that follow one another on the compute stream without waiting for anyone."""

    name: str
    phase: Phase
    kernels: tuple[Kernel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Collective(Numbered):
    """A collective over the rank's group along `axis`, as every member of that group runs it.

    `bytes` is the size that nccl-tests prints: the buffer of an all-reduce or broadcast, the whole
    gathered output of an all-gather, the whole input of a reduce-scatter, one rank's whole send
    buffer of an all-to-all. With `token` None the compute stream waits for the end; otherwise the
    collective is queued on `stream` (in order) and a `Wait` with that token waits for it.
    """

    name: str
    op: CollectiveOp
    axis: str  # of `placement.AXES`
    bytes: float
    stream: str = "compute"
    token: str | None = None
    phase: Phase = "other"
    role: Role = Role.FORWARD


@dataclass(frozen=True, slots=True, kw_only=True, init=False, repr=False, eq=False)
class Transfer(Numbered):
    """Either end of bytes that go from one pipeline rank to another."""

    name: str  # unique between the two ranks, for example "forward chunk 0 micro-batch 3"
    peer: int  # pipeline rank
    bytes: float
    token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Send(Transfer):
    """Bytes to the rank with the same coordinates on pipeline rank `peer`.

    The flow starts when the sender has reached its `Send` and the receiver its `Recv` of the same
    `name` (a rendezvous). With `token` None the rank waits for the end; otherwise `Wait` does.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Recv(Transfer):
    """The other end of a `Send`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait(Numbered):
    """Hold the compute stream until the asynchronous operation `token` has ended."""

    token: str


Operation: TypeAlias = Compute | Collective | Send | Recv | Wait
_BATCH = re.compile(r"(?<=batch )\d+$")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segment(Numbered):
    """Operations that recur as a block, for example the forward pass of one chunk.

    The same object stands in the program once per micro-batch, so that what is known of it
    (durations, FLOPs) is worked out once. Tokens started inside it may be awaited inside it.
    """

    name: str
    phase: Phase
    operations: tuple[Operation, ...]


Item: TypeAlias = Operation | Segment


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Program:
    """Everything that the ranks of one pipeline rank do in one step, in order.

    `micro_batches[i]` is the micro-batch that `items[i]` works for, or -1.
    """

    pipeline_rank: int
    items: tuple[Item, ...]
    micro_batches: tuple[int, ...]


def operations_of(item: Item) -> tuple[Operation, ...]:
    """Return the operations of an item of a program, in order."""
    return item.operations if isinstance(item, Segment) else (item,)


def counted(program: Program, visits: Iterable[int] = repeat(1)) -> Iterator[tuple[Operation, int]]:
    """Yield the operations of a program, each once, with how often it runs.

    visits : how often each item is run, where some stand for many.
    """
    items, times = {item.id: item for item in program.items}, Counter[int]()
    for item, often in zip(program.items, visits, strict=False):
        times[item.id] += often
    for item in items.values():
        for operation in operations_of(item):
            yield operation, times[item.id]


def without_batch(name: str) -> str:
    """Return the name of a transfer without the number of its micro-batch.

    >>> without_batch("forward stage 1 micro-batch 12")
    'forward stage 1 micro-batch '
    """
    return _BATCH.sub("", name)


def content_of(item: Item) -> object:
    """Return what an item of a program does, equal for what does the same for other batches."""
    match item:
        case Transfer():
            return type(item).__name__, item.peer, item.bytes, without_batch(item.name)
        case Wait():
            return "wait", without_batch(item.token)
        case _:
            return item.id
