"""The algorithms of collectives by name, each registered by the file that tells it.

In:  a function that turns a group and an operation into rounds of flows.
Out: `ALGORITHMS`, the names for each operation; `ALGORITHM`, what is known of each.
Left out: which of them a library would take; see `tuner`.

A file of one's own registers an algorithm in the same way:

    @algorithm("two-rings", ("all-reduce",))
    def two_rings(network, group, op):
        return (flows_between(network, sources, targets, shares),)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, TypeVar

from rackmodel.errors import InvalidInput
from rackmodel.hardware import Transport
from rackmodel.network.collectives.constants import Generation
from rackmodel.network.collectives.flows import Flows
from rackmodel.network.collectives.groups import Group
from rackmodel.network.graph import Network

OPS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "dispatch",
    "combine",
    "broadcast",
    "send",
)
EXCHANGES = ("all-to-all", "dispatch", "combine")  # each member has a part for each other one
REDUCING = ("all-reduce", "all-gather", "reduce-scatter")
PASSES = {"all-reduce": 2.0, "all-gather": 1.0, "reduce-scatter": 1.0}  # over the buffer
SIMPLE = 2  # the protocol of large messages; 0 and 1 are LL and LL128
Rounds: TypeAlias = tuple[Flows, ...]
Build: TypeAlias = Callable[[Network, Group, str], Rounds]


class Steps(NamedTuple):
    """What a collective's steps take, as NCCL's tuner counts them, and how many there may be."""

    base_s: float  # of a launch
    inside_s: float  # of a step between members of a domain
    outside_s: float  # of a step between domains, posting included
    post_s: float
    peer_s: float  # of each further partner
    kernel_s: float  # of a kernel that reduces over all members by itself, replayed from a graph
    sync_s: float  # the same, where its blocks wait for those of all members in between
    exchange_s: float  # the same of one that sends small messages to four members
    message_s: float  # of the transport, for what such kernels send between domains
    near_s: float  # of the wires of a step inside a domain, beyond those that the steps hold
    far_s: float  # the same between domains
    op: str
    members: int  # of the whole group
    domains: int

    @property
    def passes(self) -> int:
        """Passes over the buffer."""
        return 2 if self.op == "all-reduce" else 1

    @property
    def inner(self) -> float:
        """Members of a domain, on the mean."""
        return self.members / self.domains


def ring_steps_s(steps: Steps) -> float:
    """Return launch and steps around a ring, as many as members, on each pass. [s]"""
    hops = (steps.members - 1) * steps.passes
    crossing = steps.domains * steps.passes if steps.domains > 1 else 0
    return steps.base_s + max(0, hops - crossing) * steps.inside_s + crossing * steps.outside_s


class Reach(NamedTuple):
    """What the kernels of a member send: shares of its ports' rates inside and outside its domain.

    most : of all that it sends inside. [bytes/s] by_nic : what goes to members of its own domain
    leaves by its network ports too, and shares them with all else.
    """

    inside: float
    outside: float
    most: float = math.inf
    by_nic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """What is known of an algorithm beside its flows.

    steps_s : launch and steps. [s] table : of the tuner's times of steps, "ring" or "tree".
    protocols : 0 LL, 1 LL128, 2 Simple. passes_on : data flows through members, chunk by chunk, so
    a pipeline has to fill. copies : by send and receive kernels, not reducing ones. few_ports :
    uses a few network ports of a domain only. reach : what its kernels send for an operation,
    where they are not the library's. most_whole : where it does not repeat along a
    machine, members up to which the whole of it is simulated.
    """

    name: str
    ops: tuple[str, ...]
    build: Build
    steps_s: Callable[[Steps], float] = ring_steps_s
    table: str = "ring"
    protocols: tuple[int, ...] = (SIMPLE,)
    passes_on: bool = True
    copies: bool = False
    few_ports: bool = False
    reach: Callable[[Generation, Transport, str], Reach] | None = None
    most_whole: int | None = None


ALGORITHM: dict[str, Algorithm] = {}
ALGORITHMS: dict[str, tuple[str, ...]] = dict.fromkeys(OPS, ())
B = TypeVar("B", bound=Build)


def algorithm(name: str, ops: tuple[str, ...], **facts: Any) -> Callable[[B], B]:
    """Register the function below as the algorithm `name` of some operations.

    Parameters
    ----------
    ops : of `OPS`. facts : fields of `Algorithm`.

    Raises
    ------
    InvalidInput
        If the name is taken, or an operation or a fact is unknown.
    """
    known = set(Algorithm.__dataclass_fields__) - {"name", "ops", "build"}
    if name in ALGORITHM:
        raise InvalidInput(
            f"a collective algorithm {name!r} is registered already; give another name"
        )
    if wrong := [*(set(ops) - set(OPS)), *(set(facts) - known)]:
        raise InvalidInput(f"algorithm {name!r}: unknown word {wrong[0]!r}; leave it out")

    def register(build: B) -> B:
        ALGORITHM[name] = Algorithm(name=name, ops=ops, build=build, **facts)
        for op in ops:
            ALGORITHMS[op] = (*ALGORITHMS[op], name)
        return build

    return register
