"""A machine as groups of equal nodes and equal links: the one source of graphs, arrays and counts.

In:  a `Description` and how many accelerators are used.
Out: `Elements`: groups that know how many nodes and cables they hold (`nodes_and_links`).
Left out: what becomes of them (`graph`, `inventory`, and the arrays of `network`), routes.

Nodes are called "accelerator-17", "switch-0-3-1" (domain, group, chip), "switch-0-top-1-2" (domain,
chip, number), "nic-17", "cpu-4", "leaf-2-7" (pod, rail), "spine-0-5" (group, number), "core-3-1"
(plane, number). Bundled, parallel switch planes are one switch, the spines below one another one
spine, and CPUs, which forward nothing, are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from rackmodel.columns import Ints
from rackmodel.topology.description import Description
from rackmodel.topology.kinds import Kind, Tier
from rackmodel.topology.nodes_and_links import Asked, Elements, Links, Nodes
from rackmodel.topology.scale_out import scale_out_groups
from rackmodel.topology.scale_up import domain_groups
from rackmodel.topology.shapes import Switched, Torus


def elements(machine: Description, accelerators: int, *, bundled: bool = False) -> Elements:
    """Return the parts of the units that `accelerators` accelerators of a machine stand on.

    Raises
    ------
    CannotRun, InvalidInput
        If the machine has fewer accelerators, or the number makes no sense.
    """
    units = machine.units(accelerators)
    shape = machine.slice_shape(accelerators)
    size = math.prod(shape) if shape and units == 1 else machine.domain_accelerators
    asked = Asked(machine, units, size, shape, machine.plan(accelerators), bundled)
    found = Elements(_facts(asked, accelerators), [], [])
    for part in (_accelerators, domain_groups, _hosts, scale_out_groups):
        for group in part(asked, len(found)):
            if isinstance(group, Nodes):
                found.nodes.append(group)
            else:
                found.links.append(group)
    return found


def _facts(asked: Asked, accelerators: int) -> dict[str, Any]:
    machine, scale_up = asked.machine, asked.machine.scale_up
    facts: dict[str, Any] = {
        "name": machine.name,
        "accelerator": machine.accelerator,
        "accelerators": accelerators,
        "domain": asked.size,
        "rack_accelerators": machine.rack_accelerators,
        "reduction": isinstance(scale_up, Switched) and scale_up.reduction,
        "fabric_reduction": machine.fabric is not None and machine.fabric.leaf.reduction,
        "bundled": asked.bundled,
    }
    if machine.nics is not None:
        facts |= machine.nics.transport.facts()
    if isinstance(scale_up, Torus) and asked.shape is not None:
        circuits = scale_up.circuit_switches(asked.shape)
        facts |= {"shape": asked.shape, "ocs_part": scale_up.ocs, "ocs": asked.units * circuits}
    return facts


def _accelerators(asked: Asked, first: int) -> Iterator[Nodes]:
    machine = asked.machine
    tray = machine.host.accelerators if machine.host else asked.size

    def number(index: Ints) -> Ints:
        return first + index

    def facts(index: Ints) -> dict[str, Ints | int]:
        places = {"rack": asked.rack(index), "tray": index // tray, "domain": index // asked.size}
        return {"index": index, **places}

    part, sizes = machine.accelerator, (asked.present,)
    yield Nodes(Kind.ACCELERATOR, part, "", sizes, "accelerator-{}", number, facts)


def _hosts(asked: Asked, first: int) -> Iterator[Nodes | Links]:
    host = asked.machine.host
    if host is None or not host.cpus or asked.bundled:
        return
    trays = asked.present // host.accelerators or 1

    def number(cpu: Ints) -> Ints:
        return first + cpu

    def facts(cpu: Ints) -> dict[str, Ints | int]:
        tray = cpu // host.cpus
        return {"rack": asked.rack(tray * host.accelerators), "tray": tray}

    def ends(index: Ints) -> tuple[Ints, Ints]:
        tray, place = index // host.accelerators, index % host.accelerators
        return index, number(tray * host.cpus + place * host.cpus // host.accelerators)

    yield Nodes(Kind.CPU, host.cpu, Tier.HOST, (trays * host.cpus,), "cpu-{}", number, facts)
    yield Links(Tier.HOST, host.wire, (min(asked.present, trays * host.accelerators),), ends)
