"""How a group of accelerators lies on the machine.

In:  a network and the accelerators of a group, in the order of their ranks.
Out: the group split by scale-up domain, and the rates of a member's own ports.
Left out: algorithms; see `registry`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rackmodel.columns import Bools, Floats, Ints, each_once
from rackmodel.errors import InvalidInput
from rackmodel.network.arrays import remembered
from rackmodel.network.graph import Network
from rackmodel.topology.kinds import Kind


class Group(NamedTuple):
    """Members by scale-up domain; `true_size` may exceed them when they stand in for more."""

    members: Ints  # int[n], accelerator indices in rank order
    nodes: Ints  # int[n], their node numbers
    parts: tuple[Ints, ...]  # node numbers by domain, domains in order of first member
    true_size: int
    switched: bool  # the first member, and so any, has links to scale-up switches
    known_domains: int | None = (
        None  # domains of the whole group, where the caller has counted them
    )
    period: int | None = None  # members after which the machine repeats, in a stand-in
    weight: Floats | None = None  # float[n], members of the whole group that each stands for

    def stands_for(self, first: Ints, second: Ints) -> Floats:
        """Return how many pairs of the whole group each pair of members (by place) stands for.

        Where the members fill whole periods, pairs within one are as they are, and pairs of
        different periods stand for all such; elsewhere the same by scale-up domain.
        """
        size, here = self.true_size, len(self.nodes)
        if size == here:
            return np.ones(len(first))
        if self.period is not None and here % self.period == 0:
            return stood_for(first, second, here, size, self.period)
        block = np.zeros(here, dtype=np.int64)
        for i, part in enumerate(self.parts):
            block[np.isin(self.nodes, part)] = i
        own = np.bincount(block)[block[first]]
        far_pairs = (size - own) / np.maximum(1, here - own)
        return np.where(block[first] == block[second], 1.0, far_pairs)

    @property
    def true_domains(self) -> int:
        """Domains of the whole group."""
        if self.known_domains is not None:
            return self.known_domains
        if len(self.parts) == 1 and self.true_size == len(self.members):
            return 1
        return max(1, round(len(self.parts) * self.true_size / len(self.members)))


def stood_for(first: Ints, second: Ints, here: int, size: int, period: int) -> Floats:
    """Return how many pairs of `size` members each pair of the first `here` stands for.

    Pairs within a period, and those that a remainder receives, are as they are; pairs of different
    periods, and those that a remainder sends, stand for all such.
    """
    shown, whole = here // period, size // period
    from_period, to_period = first // period, second // period
    far = np.where(from_period < shown, (whole - 1) / max(1, shown - 1), whole / max(1, shown))
    return np.where((from_period != to_period) & (to_period < shown), far, 1.0)


def make_group(
    network: Network,
    members: Sequence[int],
    true_size: int | Floats | None = None,
    true_domains: int | None = None,
    period: int | None = None,
) -> Group:
    """Check the members and sort them by domain.

    true_size : members of the whole group, or float[n], how many each member stands for.

    Raises
    ------
    InvalidInput
        If a member does not exist or stands twice, or the true size is below the members' number.
    """
    found = np.asarray(list(members), dtype=np.int64)
    have = len(network.accelerator_nodes)
    if not len(found):
        raise InvalidInput("a collective needs at least one member")
    if found.min() < 0 or found.max() >= have:
        wrong = int(found[(found < 0) | (found >= have)][0])
        raise InvalidInput(
            f"accelerator {wrong} of the group is not in the machine, which has {have}; give others"
        )
    if len(each_once(found)) < len(found):
        raise InvalidInput("an accelerator stands twice in the group; give each once")
    weight = true_size if isinstance(true_size, np.ndarray) else None
    if weight is not None:
        true_size = round(float(weight.sum()))
    size = len(found) if true_size is None else int(true_size)
    if size < len(found):
        raise InvalidInput(f"true_size {size} has to be at least the {len(found)} members given")
    nodes = network.accelerator_nodes[found]
    domains = network.domain_of[found]
    by_domain = np.argsort(domains, kind="stable")
    starts = np.flatnonzero(np.diff(domains[by_domain], prepend=-1))
    edges, sorted_nodes = [*starts.tolist(), len(nodes)], nodes[by_domain]
    order = np.argsort(by_domain[starts])  # domains by their first member
    parts = tuple(sorted_nodes[edges[d] : edges[d + 1]] for d in order.tolist())
    switched = bool(_switched(network)[nodes[0]])
    return Group(found, nodes, parts, size, switched, true_domains, period, weight)


@remembered
def _switched(network: Network) -> Bools:
    """Return whether each node has a link to a scale-up switch, bool[N]."""
    found = np.zeros(len(network.nodes), dtype=bool)
    found[network.tail[network.of_kind(Kind.SCALE_UP_SWITCH)[network.head]]] = True
    return found


@remembered
def port_rates(network: Network) -> tuple[Floats, Floats]:
    """Return float[N] nominal scale-up and other bytes/s that each node can send."""
    size, inner = len(network.nodes), network.scale_up
    near = np.bincount(network.tail[inner], network.nominal[inner], minlength=size)
    far = np.bincount(network.tail[~inner], network.nominal[~inner], minlength=size)
    return near.astype(np.float64), far.astype(np.float64)
