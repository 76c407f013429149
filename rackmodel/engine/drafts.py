"""The groups of a job and their flows, of what is alike one, before it is known what binds.

In:  a compiled network, the programs of the pipeline ranks, the plan's groups, their orbits.
Out: one `Draft` per kind of exchange.
Left out: which links bind (`binding`), classes (`network.symmetry`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from rackmodel.columns import Floats, Ints, kinds_of
from rackmodel.engine.alike import Alike, alike_parts
from rackmodel.engine.exchanges import Key, exchanges
from rackmodel.engine.groups import AcceleratorTree, flows_of_groups
from rackmodel.engine.orbits import Orbits
from rackmodel.engine.placed_flows import PlacedFlows
from rackmodel.engine.streams import Streams, streams_of_nothing, streams_together
from rackmodel.network import Network, Pattern, pattern, quickest
from rackmodel.workload.operations import Program

BRIEF_S = 1e-6  # bytes that pass more quickly are lost in the latency of any message

AlgorithmOf: TypeAlias = Callable[[str, str], str | Sequence[str] | None]


class Asked(NamedTuple):
    """What a group asks of the library; sizes : of `pattern`, whom its members stand for."""

    op: str
    row: tuple[int, ...]  # accelerators
    bytes: float
    algorithm: str | Sequence[str] | None
    sizes: dict[str, Any]

    def on(self, network: Network) -> Pattern:
        """Return what the library runs on a network."""
        words = network, self.op, self.row, self.bytes
        if self.algorithm is None or isinstance(self.algorithm, str):
            return pattern(*words, algorithm=self.algorithm, **self.sizes)
        return quickest(*words, self.algorithm, **self.sizes)


class Draft(NamedTuple):
    """A channel before it is known what binds.

    members : int[G, n], ranks. copies : int[G], groups that each stands for. parts : the flows by
    which groups are alike, () where their bytes pass in no time. streams : the flows put together,
    on all links. asked : by the first group.
    """

    key: Key
    members: Ints
    copies: Ints
    flows: PlacedFlows
    parts: tuple[Alike, ...]
    streams: Streams
    asked: Asked

    @property
    def lasts(self) -> bool:
        """Whether its bytes take long enough to load links."""
        return bool((self.key.bytes / self.streams.alone).max(initial=0.0) > BRIEF_S)


class Axes(NamedTuple):
    """The groups of a job.

    pipeline : int[R / pp, pp], the ranks of each pipeline in stage order. members : the groups of
    an axis, int[groups, size]. true_size : members in the whole machine. algorithm : of an
    operation along an axis, or several, of which the quickest runs; None for what the library would
    choose.
    """

    pipeline: Ints
    members: Callable[[str], Ints]
    true_size: Callable[[str], int]
    algorithm: AlgorithmOf

    def groups(self, programs: tuple[Program, ...]) -> list[tuple[Key, Ints, int]]:
        """Return every kind of exchange, its groups, and how many members each truly has."""
        stage, found = stages_of(self.pipeline), []
        for key, used in exchanges(programs).items():
            if key.stages is not None:
                members, true = self.pipeline[:, list(key.stages)], 2
            else:
                members, true = self.members(key.axis), self.true_size(key.axis)
                members = members[used[stage[members]].all(axis=1)]
            if members.shape[1] > 1 and len(members) and key.bytes > 0:
                found.append((key, members, true))
        return found

    def named(self, key: Key) -> str | tuple[str, ...] | None:
        """Return the algorithm of a kind of exchange, as `algorithm` does."""
        name = self.algorithm("send" if key.stages is not None else key.op, key.axis)
        return name if name is None or isinstance(name, str) else tuple(name)


def stages_of(pipeline: Ints) -> Ints:
    """Return the pipeline rank of each rank."""
    stage = np.empty(pipeline.size, dtype=np.int64)
    stage[pipeline] = np.arange(pipeline.shape[1])
    return stage


def drafts_of(
    network: Network,
    groups: Sequence[tuple[Key, Ints, int]],
    algorithm_of: AlgorithmOf,
    accelerator_of: Ints,
    weight: Floats,
    orbits: Orbits,
) -> list[Draft]:
    """Work out the flows of one job; groups, algorithm_of : of its `Axes`."""
    tree = AcceleratorTree.of(network)
    weight_at = np.ones(len(network.accelerator_nodes))
    weight_at[accelerator_of] = weight

    @cache
    def asked_by(key: Key, true: int, row: tuple[int, ...]) -> Asked:
        op = "send" if key.stages is not None else key.op
        # a group that is whole lies where it lies, however many others it stands for
        whole = true == len(row)
        stand_for = np.ones(len(row)) if whole else weight_at[list(row)]
        domains = _true_domains(network.domain_of[list(row)], stand_for)
        size = stand_for if not whole and round(stand_for.sum()) == true else true
        sizes: dict[str, Any] = {"true_size": size, "true_domains": domains}
        named = algorithm_of(op, key.axis)
        if named is not None and not isinstance(named, str):
            named = tuple(named)
        return Asked(op, row, key.bytes, named, sizes)

    def pattern_of(key: Key, true: int, row: list[int]) -> Pattern:
        return asked_by(key, true, tuple(row)).on(network)

    chosen = [orbits.groups(members) for _, members, _ in groups]
    where = [
        accelerator_of[own[some]] for (_, own, _), (some, _) in zip(groups, chosen, strict=True)
    ]
    placed: dict[int, PlacedFlows] = {}
    for numbers in _asking_the_same(groups):
        key, _, true = groups[numbers[0]]
        sets = [where[number] for number in numbers]
        named = algorithm_of("send", key.axis) if key.stages is not None else ""
        ask, plain = partial(pattern_of, key, true), named in (None, "send")
        found = flows_of_groups(tree, sets, ask, plain_sends=plain)
        placed.update(zip(numbers, found, strict=True))
    drafts: list[Draft] = []
    for number, (key, members, true) in enumerate(groups):
        some, copies = chosen[number]
        flows = placed[number]
        # flows that are alike carry bytes of several sizes
        like = next((one for one in drafts if one.flows.indptr is flows.indptr and one.parts), None)
        nothing = None if like else streams_of_nothing(flows, key.bytes, network.capacity)
        parts = like.parts if like else () if nothing else alike_parts(network, flows)
        streams = like.streams if like else nothing or streams_together(parts, network.capacity)
        asked = asked_by(key, true, tuple(where[number][0].tolist()))
        drafts.append(Draft(key, members[some], copies, flows, parts, streams, asked))
    tree.trim()
    return drafts


def _asking_the_same(groups: Sequence[tuple[Key, Ints, int]]) -> list[list[int]]:
    """Return the numbers of groups by what they ask of the library: sends of one size the same."""
    sets: dict[tuple[Key, int], list[int]] = {}
    for number, (key, _, true) in enumerate(groups):
        sets.setdefault((key._replace(stages=None), true), []).append(number)
    return list(sets.values())


def _true_domains(domain: Ints, weight: Floats) -> int:
    """Count the domains that the members of a group lie in, in the whole machine.

    A domain stands for as many as its members do; where the stretch of replicas that stands for
    others begins or ends inside a domain, the two parts make one.
    """
    which = kinds_of(domain)[1]
    return max(1, round(float((weight / np.bincount(which)[which]).sum())))
