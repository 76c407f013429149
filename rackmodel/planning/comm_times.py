"""Seconds of collectives on a machine by themselves, for any plan, without building its groups.

In:  a topology, a job's geometry (which ranks an axis joins), operation and bytes.
Out: seconds, and the share of compute throughput that the collective takes; straight lines of
     data-parallel traffic: seconds at no bytes, seconds per byte.
Left out: other kinds of traffic on the same links (the simulation knows them).

All groups of an axis run at once, so links that they share count. A group is stood for by its
first members: enough of them to fill a scale-up domain and to leave it, and the last domain. The
formulas keep the true number. Pipeline stages that lie unlike in their domains have groups of their
own, of which the slowest counts: all stages wait for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rackmodel.columns import Ints, distinct
from rackmodel.engine.groups import AcceleratorTree, kinds_of_groups, moved_links
from rackmodel.engine.networks import network_of
from rackmodel.engine.rank_map import map_ranks
from rackmodel.kernels.contention import Taken
from rackmodel.network import Network, Pattern, alone_s, pattern
from rackmodel.network.collectives.groups import port_rates
from rackmodel.topology import Topology
from rackmodel.workload import Job, Plan
from rackmodel.workload.copies import expert_shards
from rackmodel.workload.data_parallel import by_tensors, owners
from rackmodel.workload.placement import axis_members, axis_true_size, dp_block, exchange_algorithm

MOST_RANKS = 2304  # of the machine that stands for a larger one
MOST_MEMBERS = 64
ACROSS = "world", "model", "embedding", "pp"  # axes whose groups have ranks of several stages
MOST_KINDS = 3  # groups of an axis that lie unlike in their domains: the slowest counts


class _Site(NamedTuple):
    """The machine as ranks stand on it: so many of each domain."""

    used: int
    network: Network
    tree: AcceleratorTree
    stands: Ints  # accelerator of each rank
    domain: Ints  # scale-up domain of each rank


class _Meeting(NamedTuple):
    """The groups of an axis, and what was timed of them by (op, bytes, true size, algorithm)."""

    groups: list[list[int]]
    everyone: Ints
    seconds: dict[tuple[str, float, int, str | None], tuple[float, float]]


class _Way(NamedTuple):
    """How one collective runs by itself; `fixed_s` of its seconds do not grow with its bytes."""

    seconds: float
    fixed_s: float
    algorithm: str
    protocol: str


class CommTimes:
    """Collectives and transfers of one machine, each timed once."""

    def __init__(
        self,
        machine: Topology,
        gpus: int,
        taken: Taken = lambda algorithm, op, axis, rate: 0.0,
        slower: float = 1.0,  # time of bytes in training over their time alone
    ) -> None:
        self.gpus = gpus
        domain = machine.domain_accelerators
        self.ranks = gpus
        if gpus > max(MOST_RANKS, 2 * domain):  # a smaller machine whose last domain is as full
            self.ranks = max(MOST_RANKS, 2 * domain) // domain * domain + gpus % domain
        self.taken, self.slower = taken, slower
        self.machine = machine
        self._sites: dict[int, _Site] = {}
        self._used: dict[tuple[int, ...], int] = {}  # of each domain, by the axes of plans
        self._groups: dict[tuple[object, ...], list[_Meeting]] = {}
        self._alike: dict[tuple[object, ...], _Meeting] = {}
        self._loads: dict[tuple[object, ...], float] = {}
        self._seconds: dict[tuple[object, ...], tuple[float, float]] = {}
        # What the closed form has asked for already, by the axes of plans.
        self.hops: dict[tuple[object, ...], float] = {}
        self.lines: dict[tuple[object, ...], list[tuple[float, ...]]] = {}

    def site(self, plan: Plan) -> _Site:
        """Where the ranks of a plan stand; plans that leave the same spares share it."""
        axes = plan.tp, plan.cp, plan.ep * plan.etp, plan.gpus
        if axes in self._used:
            return self._sites[self._used[axes]]
        where = map_ranks(plan, self.machine.domain_accelerators, self.machine.max_accelerators)
        self._used[axes] = where.used
        if where.used not in self._sites:
            tiered = self.machine.tiers_of(where.slots(self.gpus))
            network = network_of(tiered, where.slots(self.ranks))
            stands = where.accelerators(self.ranks)
            self._sites[where.used] = _Site(
                where.used, network, AcceleratorTree.of(network), stands, network.domain_of[stands]
            )
        return self._sites[where.used]

    def fastest_port(self) -> float:
        """The most that any accelerator can send, over all its links. [bytes/s]"""
        inner, outer = port_rates(self.site(Plan(dp=self.gpus)).network)
        return float((inner + outer).max())

    def collective(self, plan: Plan, axis: str, op: str, size: float) -> tuple[float, float]:
        """Seconds of a collective of `size` bytes, and the share of compute that it takes."""
        true = axis_true_size(plan, axis)
        if true < 2 or size <= 0:
            return 0.0, 0.0
        site = self.site(plan)
        key = (op, size, true, exchange_algorithm(plan, op, axis))
        meetings = self.members(plan, axis, site)
        found = [self._meeting_s(site, meeting, axis, key) for meeting in meetings]
        return max(seconds for seconds, _ in found), max(share for _, share in found)

    def _meeting_s(
        self, site: _Site, meeting: _Meeting, axis: str, key: tuple[str, float, int, str | None]
    ) -> tuple[float, float]:
        if key not in meeting.seconds:
            op, size, true, algorithm = key
            slowest, share = 0.0, 0.0
            for members in meeting.groups:
                stand = [int(a) for a in site.stands[members]]
                way = self.fastest(site, op, stand, true, size, algorithm)
                slowest = max(slowest, way.seconds)
                rate = size / way.seconds if way.seconds > 0.0 else 0.0
                share = max(share, self.taken(way.algorithm, op, axis, rate))
            if len(meeting.everyone) > 1:
                load_s = self._together(site, meeting.everyone, op, size, true, way)
                slowest = max(slowest, way.fixed_s + size * load_s)
            meeting.seconds[key] = slowest, share
        return meeting.seconds[key]

    def fastest(
        self,
        site: _Site,
        op: str,
        stand: list[int],
        true: int,
        size: float,
        algorithm: str | None = None,
    ) -> _Way:
        """How the library would run it on an idle network for this size."""
        found = pattern(site.network, op, stand, size, algorithm=algorithm, true_size=true)
        fixed_s = sum(found.latency_s)
        seconds = fixed_s + self.slower * (alone_s(site.network, found, size) - fixed_s)
        return _Way(seconds, fixed_s, found.algorithm, found.protocol)

    def _together(
        self, site: _Site, rows: Ints, op: str, size: float, true: int, way: _Way
    ) -> float:
        """Seconds per byte if all these groups run it at once: the fullest link sets the pace.

        Gathering is scattering backwards, over the same links the other way: one stands for both.
        """
        op = "reduce-scatter" if op == "all-gather" else op
        # One line for all sizes that are run alike: a protocol has its own bytes on the wire.
        key = (site.used, op, way.algorithm, way.protocol, true, rows.shape, rows.tobytes())
        if key not in self._loads:
            chosen = way.algorithm if op == "all-to-all" else None
            loads = _loads_of_groups(
                site.tree,
                site.stands[rows],
                # Groups that lie otherwise may run another algorithm: each takes its own best.
                lambda row: pattern(site.network, op, row, size, algorithm=chosen, true_size=true),
            )
            per_byte = (loads / site.network.capacity).max(axis=1, initial=0.0).sum()
            self._loads[key] = float(per_byte) * self.slower
        return self._loads[key]

    def shares_domain(self, plan: Plan, axis: str) -> bool:
        """Whether members of a group of this axis meet inside a scale-up domain."""
        if axis_true_size(plan, axis) < 2:
            return False
        site = self.site(plan)
        return any(
            len({int(site.domain[m]) for m in members}) < len(members)
            for meeting in self.members(plan, axis, site)
            for members in meeting.groups
        )

    def leaves_domain(self, plan: Plan, axis: str) -> bool:
        """Whether a group of this axis lies in several scale-up domains."""
        if axis_true_size(plan, axis) < 2:
            return False
        site = self.site(plan)
        return any(
            len({int(site.domain[m]) for m in members}) > 1
            for meeting in self.members(plan, axis, site)
            for members in meeting.groups
        )

    def send(self, plan: Plan, size: float) -> float:
        """Seconds of a transfer to the next pipeline rank, the slowest of all stages."""
        if plan.pp == 1 or size <= 0:
            return 0.0
        apart = plan.tp * plan.cp
        apart *= plan.replicas if plan.rank_order == "tp-cp-ep-dp-pp" else dp_block(plan)
        site = self.site(plan)
        domain = site.domain
        pairs: dict[bool, tuple[int, int]] = {}
        for stage in range(plan.pp - 1):
            source, target = stage * apart, (stage + 1) * apart
            if target >= self.ranks:  # beyond the stand-in: as far as it goes
                source, target = 0, min(apart, self.ranks - 1)
            pairs.setdefault(bool(domain[source] == domain[target]), (source, target))
        return max(self._send(site, pair, size) for pair in pairs.values())

    def _send(self, site: _Site, pair: tuple[int, int], size: float) -> float:
        key = (site.used, "send", size, pair)
        if key not in self._seconds:
            stand = [int(site.stands[rank]) for rank in pair]
            found = pattern(site.network, "send", stand, size)
            fixed_s = sum(found.latency_s)
            moving_s = alone_s(site.network, found, size) - fixed_s
            self._seconds[key] = fixed_s + self.slower * moving_s, 0.0
        return self._seconds[key][0]

    def members(self, plan: Plan, axis: str, site: _Site) -> list[_Meeting]:
        """Groups that stand for an axis (few members, each kind of place once), and all.

        Of each kind of stage: where stages and domains are no multiples of each other a stage may
        begin inside a domain, and tear apart groups that others keep together.
        """
        key = (
            axis,
            plan.tp,
            plan.cp,
            plan.ep,
            plan.etp,
            plan.pp,
            plan.dp,
            plan.shard_size,
            plan.rank_order,
        )
        if key not in self._groups:
            self._groups[key] = []
            for start in self._starts(plan, axis, site):
                groups, everyone = self._stand_ins(plan, axis, site, start)
                same = (site.used, tuple(map(tuple, groups)), everyone.shape, everyone.tobytes())
                meeting = self._alike.setdefault(same, _Meeting(groups, everyone, {}))
                self._groups[key].append(meeting)
        return self._groups[key]

    def _starts(self, plan: Plan, axis: str, site: _Site) -> list[int]:
        """Places in a domain where stages begin, if groups of the axis lie inside stages."""
        size = plan.tp * plan.cp * plan.replicas
        if axis in ACROSS or plan.rank_order != "tp-cp-ep-dp-pp" or site.used >= self.ranks:
            return [0]
        every = np.unique(np.arange(plan.pp) * size % site.used)
        return [int(start) for start in every if start + size <= max(self.ranks, size)] or [0]

    def _stand_ins(
        self, plan: Plan, axis: str, site: _Site, start: int
    ) -> tuple[list[list[int]], Ints]:
        if axis in ACROSS:
            stride = plan.gpus // plan.pp if axis in ("embedding", "pp") else 1
            true = axis_true_size(plan, axis)
            ranks = np.arange(0, min(self.ranks, true * stride), stride)
            return [[int(r) for r in ranks[self._telling(ranks, site)]]], ranks[None, :0]
        # The ranks of one pipeline stage are enough, where they stand side by side.
        if plan.rank_order == "tp-cp-ep-dp-pp":
            plan = replace(plan, pp=1, vpp=1, schedule="")
        block = dp_block(plan)
        fit = self.ranks // (plan.tp * plan.cp * plan.pp)
        small = max(block, min(plan.replicas, fit) // block * block)
        rows = axis_members(plan, axis, small) + start
        rows = rows[(rows < self.ranks).sum(axis=1) >= min(2, rows.shape[1])]
        if not len(rows):
            return [list(range(min(2, self.ranks)))], rows
        width = int(np.argmax(~(rows < self.ranks).all(axis=0))) or rows.shape[1]
        domains = site.domain[rows[:, :width]]
        kinds = _unlike(domains - domains[:, :1])
        # Groups that spread over most domains are slowest.
        spread = [len(set(domains[row].tolist())) for row in kinds]
        order = sorted(range(len(kinds)), key=lambda i: (-spread[i], int(kinds[i])))
        kinds = kinds[order[:MOST_KINDS]]
        columns = self._telling(rows[kinds[0], :width], site)
        groups = [[int(m) for m in rows[kind, columns]] for kind in kinds]
        whole = rows[:, columns]
        whole = whole[(whole < self.ranks).all(axis=1)]
        lies = site.domain[whole]
        if len(whole) and (lies == lies[:, :1]).all():  # domains don't meet: the ends tell all
            whole = whole[(lies[:, 0] == lies[0, 0]) | (lies[:, 0] == lies[-1, 0])]
        return groups, whole

    def _telling(self, members: Ints, site: _Site) -> Ints:
        """Places in a group that stand for all: whole domains from its start, and its last one.

        At least two domains where the group leaves its own. The last one may be part-filled; then
        its few NICs set the pace of a ring.
        """
        count = len(members)
        if count <= MOST_MEMBERS:
            return np.arange(count)
        domain = site.domain[members]
        inside = int((domain == domain[0]).sum())
        keep = max(2 * inside, MOST_MEMBERS // inside * inside)
        tail = np.flatnonzero(domain == domain[-1])
        few = tail if len(tail) < inside else tail[:0]
        return np.unique(np.concatenate([np.arange(min(keep, count)), few]))

    def moved_by(
        self, job: Job, plan: Plan, axis: str, sharding: str
    ) -> tuple[float, float, float, float]:
        """Return seconds at no bytes and per byte of reducing gradients, then of gathering weights.

        plan : tells which ranks meet. sharding : in place of the plan's.
        """
        if by_tensors(job, sharding):
            if axis.endswith("_replica"):  # gradients were summed over all at once
                return 0.0, 0.0, 0.0, 0.0
            ranks = expert_shards(plan) if axis.startswith("edp") else plan.shards
            units = -(-(job.model.layers + 2) // plan.pp)
            fixed, slope = self.linear(plan, axis, "broadcast")
            whole = "edp" if axis.startswith("edp") else "dp_cp"
            return *self.linear(plan, whole, "all-reduce"), owners(ranks, units) * fixed, slope
        if sharding == "none" or axis.endswith("_replica"):
            return *self.linear(plan, axis, "all-reduce"), 0.0, 0.0
        return *self.linear(plan, axis, "reduce-scatter"), *self.linear(plan, axis, "all-gather")

    def linear(self, plan: Plan, axis: str, op: str) -> tuple[float, float]:
        """Return seconds of a collective at no bytes, and per byte, from two that are timed."""
        low, high = 64e6, 1024e6
        one, two = self.collective(plan, axis, op, low)[0], self.collective(plan, axis, op, high)[0]
        slope = (two - one) / (high - low)
        return max(0.0, one - slope * low), slope


def _loads_of_groups(
    tree: AcceleratorTree, members: Ints, pattern_of: Callable[[list[int]], Pattern]
) -> npt.NDArray[np.float64]:
    """Return what all groups together put on each link per byte, float[rounds, links].

    Groups that stand alike put on their links what the first one puts on its own.
    """
    width = len(tree.network.capacity)
    found: list[npt.NDArray[np.float64]] = []
    left = [members[same] for same in kinds_of_groups(tree, members)]
    while left:
        rows = left.pop()
        rounds = pattern_of(rows[0].tolist()).rounds
        every = [np.zeros(0, np.int64), *(flows.links for flows in rounds)]
        used, place = distinct(np.concatenate(every).astype(np.int64))
        there = moved_links(tree, rows, used) if len(rows) > 1 else used[None, :]
        if there is None:
            left += [row[None, :] for row in rows]
            continue
        ends = np.cumsum([len(flows.links) for flows in rounds])
        for number, (flows, end) in enumerate(zip(rounds, ends.tolist(), strict=True)):
            own = place[end - len(flows.links) : end]
            load = np.bincount(own, flows.amount, minlength=len(used))
            if number == len(found):
                found.append(np.zeros(width))
            found[number] += np.bincount(there.ravel(), np.tile(load, len(rows)), minlength=width)
    return np.array(found).reshape(-1, width)


def _unlike(rows: Ints) -> Ints:
    """Return the place of the first of each kind of row (numpy's sorts them, ten times slower)."""
    if (rows == rows[:1]).all():  # as most are
        return np.zeros(min(1, len(rows)), dtype=np.int64)
    raw, size = rows.tobytes(), rows.itemsize * rows.shape[1]
    found: dict[bytes, int] = {}
    for place in range(len(rows)):
        found.setdefault(raw[place * size : (place + 1) * size], place)
    return np.array(list(found.values()), dtype=np.int64)
