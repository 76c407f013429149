"""What crossed the links in a step: by link, by tier, by rank.

In:  a simulated step.
Out: bytes and utilisation of each tier of links, bytes that each rank class sent.
Left out: watts of links.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from rackmodel.columns import Columns, Floats, Ints
from rackmodel.engine.exchanges import key_of
from rackmodel.engine.placed_flows import flow_of_incidence
from rackmodel.engine.step import Step
from rackmodel.engine.system import ExchangeKind
from rackmodel.kernels.contention import Contention
from rackmodel.network import Network
from rackmodel.result.records import ContentionRecord, LinkRecord
from rackmodel.topology.kinds import Tier, tier_of, tier_word
from rackmodel.workload.operations import counted


def tier_of_links(network: Network) -> list[str]:
    """Return the tier of every link: scale-up, host (to NIC or CPU), leaf, spine, core."""
    return [word for _, word in _tiers(network)]


def _tiers(network: Network) -> Iterator[tuple[Tier, str]]:
    """Yield the tier of every link, and the word that results have for it."""
    kinds = network.node_kinds
    known: dict[tuple[str, str], tuple[Tier, str]] = {}
    for tail, head in zip(network.tail.tolist(), network.head.tolist(), strict=True):
        pair = kinds[tail], kinds[head]
        if pair not in known:
            known[pair] = tier_of(*pair), tier_word(*pair)
        yield known[pair]


def exchange_counts(step: Step) -> dict[tuple[int, int], int]:
    """Return how often every kind of meeting took place, by (channel, kind)."""
    counts: dict[tuple[int, int], int] = {}
    machine = step.machine
    quotient, system = machine.quotient, machine.system
    for number, stage in enumerate(step.rank_stage.tolist()):
        for operation, times in counted(step.programs[stage], step.visits(number).tolist()):
            key = key_of(operation, stage)
            channel = None if key is None else system.index.get(key)
            if key is None or channel is None or number not in quotient.joined[channel]:
                continue
            index = quotient.joined[channel][number]
            if quotient.meetings[channel][index].members[0] == number or key.stages:
                counts[channel, index] = counts.get((channel, index), 0) + times
    return counts


def link_bytes(step: Step) -> tuple[Floats, Floats]:
    """Return the bytes over every link of the simulated machine, and those that they stand for.

    Links of one orbit carry the same of groups that were built for others, too: of these what was
    built stands for all. A group that stands for itself was built whole.

    The second counts every flow as often as the rank that sends (or receives) it stands for others.
    """
    machine = step.machine
    network = machine.network
    weight_at = np.ones(len(network.accelerator_nodes))
    weight_at[step.rank_map.accelerators(len(step.rank_weight))] = step.rank_weight
    own, every = np.zeros((2, len(network.capacity)))  # of each link, of groups built whole
    shared = np.zeros((2, len(network.capacity)))  # of the first link of each orbit, of the others
    counts, orbits = exchange_counts(step), machine.system.orbits
    for number, channel in enumerate(machine.system.channels):
        paths, kinds = channel.paths, len(machine.quotient.meetings[number])
        times = np.array([counts.get((number, index), 0) for index in range(kinds)], dtype=float)
        per_group = times[machine.partition.group[number]]
        carried = paths.share * channel.key.bytes * per_group[paths.owner]
        end = np.where(paths.source >= 0, paths.source, np.maximum(paths.target, 0))
        flow = flow_of_incidence(paths)  # millions of them: arrays as long as this are few here
        rest = np.flatnonzero((channel.copies > 1)[paths.owner[flow]])  # stand for others, too
        links, copies = paths.links[rest], channel.copies[paths.owner[flow[rest]]]
        share, first = orbits.share(links, copies), orbits.link[links]
        told = carried, carried * weight_at[end]
        for total, part, sent in zip((own, every), shared, told, strict=True):
            amount = paths.fractions * sent[flow]
            part += np.bincount(first, amount[rest] * share, len(own))
            amount[rest] = 0.0
            total += np.bincount(paths.links, amount, len(own))
    return own + shared[0][orbits.link], every + shared[1][orbits.link]


def sent_bytes(step: Step) -> dict[tuple[str, float], float]:
    """Return the bytes that one rank sends in one exchange, by (axis, bytes of the collective)."""
    return {(kind.key.axis, kind.key.bytes): kind.sent_bytes for kind in step.exchanges}


def contention_rows(step: Step, contention: Contention) -> list[ContentionRecord]:
    """Return what each kind of collective takes from kernels beside it, of its largest size."""
    largest: dict[tuple[str, str], ExchangeKind] = {}
    for kind in step.exchanges:
        name = (kind.key.op, kind.key.axis)
        if kind.key.stages is not None:
            continue  # sends between stages are copies of a few percent of what links carry
        if name not in largest or largest[name].key.bytes < kind.key.bytes:
            largest[name] = kind
    rows: list[ContentionRecord] = []
    part = contention.accelerator
    for (op, axis), kind in largest.items():
        pace, units = kind.pace_bytes_per_s, contention.units(kind.algorithm, op, axis)
        hbm_bytes_per_s = contention.hbm_bytes_per_s(op, pace)
        rows.append(
            {
                "op": op,
                "axis": axis,
                "bytes": kind.key.bytes,
                "algorithm": kind.algorithm,
                "compute_units": units,
                "compute_share": units / part.compute_units,
                "hbm_bytes_per_s": hbm_bytes_per_s,
                "hbm_share": hbm_bytes_per_s / part.hbm_bytes_per_s,
                "kernels_slower": contention.share(kind.algorithm, op, axis, pace),
            }
        )
    return rows


def link_rows(step: Step) -> list[LinkRecord]:
    """Return one row per tier and kind of link.

    All is of the whole machine: its links, the bytes that cross them, utilisation_mean over them,
    utilisation_peak of the busiest; both are of payload capacity over the step.
    """
    network = step.machine.network
    own, every = link_bytes(step)
    known: dict[tuple[Tier, str, str], int] = {}
    told = zip(_tiers(network), network.link_kinds, strict=True)
    which = np.array([known.setdefault((*tier, kind), len(known)) for tier, kind in told])
    total = partial(np.bincount, which, minlength=len(known))
    peak = np.zeros(len(known))
    np.maximum.at(peak, which, own / (network.capacity * step.step_s))
    count, capacity, moved = total(network.count), total(network.capacity), total(every)
    found: dict[tuple[str, str], list[float]] = {}
    for (tier, word, kind), place in known.items():
        links = 2 * step.cables[tier, kind] if step.cables else count[place]  # in both directions
        row = found.setdefault((word, kind), [0, 0.0, 0.0, 0.0])
        row[0] += round(links)
        row[1] += moved[place]
        row[2] += capacity[place] / count[place] * links
        row[3] = max(row[3], peak[place])
    return [
        {
            "tier": tier,
            "kind": kind,
            "links": int(links),
            "bytes": float(bytes_moved),
            "utilisation_mean": float(bytes_moved / (bytes_per_s * step.step_s)),
            "utilisation_peak": float(busiest),
        }
        for (tier, kind), (links, bytes_moved, bytes_per_s, busiest) in found.items()
    ]


def rack_columns(step: Step, rack_accelerators: int) -> Columns:
    """Return which rank classes stand in each class of racks.

    Columns: rack_class, count (racks of the whole machine), rank_class, ranks (of that class in one
    such rack). A rack of the simulated machine stands for as many as its ranks do on average.
    """
    classes = step.rank_class
    rack = step.rank_map.accelerators(len(classes)) // rack_accelerators
    return rack_classes(rack, classes, step.rank_weight)


def rack_classes(rack: Ints, classes: Ints, weight: Floats) -> Columns:
    """Return the columns of `rack_columns` for ranks in such racks, of such classes.

    weight : ranks that each stands for; a rack stands for as many racks as its ranks do on average.
    """
    _, rack = np.unique(rack, return_inverse=True)
    content = np.zeros((int(rack.max()) + 1, int(classes.max()) + 1), dtype=np.int64)
    np.add.at(content, (rack, classes), 1)
    alike = np.bincount(rack, weights=weight) / np.bincount(rack)
    distinct, which = np.unique(content, axis=0, return_inverse=True)
    count = np.bincount(which.reshape(-1), weights=alike)
    row, rank_class = np.nonzero(distinct)
    return {
        "rack_class": row,
        "count": count[row],
        "rank_class": rank_class,
        "ranks": distinct[row, rank_class],
    }
