"""What joins the units of a machine: leaves, spines and cores, and how many of each.

In:  the fabric that a file describes, a number of units.
Out: `FabricPlan`: the sizes of every tier, as few switches as the ports allow.
Left out: nodes and links (`elements`), time.

Rail r of unit i goes to leaf (pod of i, r); leaves go to spines, spines to core.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from rackmodel.errors import CannotRun, InvalidInput
from rackmodel.topology.shapes import Wire

FabricKind = Literal["fat-tree", "leaf-spine", "rail-only", "single-switch", "dragonfly", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchUse:
    """A switch as a tier of the fabric uses it; `ports` at the rate of that tier's links."""

    part: str
    ports: int
    latency_s: float
    reduction: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Fabric:
    """What joins the units: `pod_units` units to a set of `rails` leaves, and so on upwards."""

    kind: FabricKind
    rails: int = 1
    pod_units: int = 1
    leaf: SwitchUse
    spine: SwitchUse | None = None
    core: SwitchUse | None = None
    oversubscription: float = 1.0  # leaf: down over up
    core_oversubscription: float = 1.0  # spine: down over up
    group_pods: int = 1  # pods below one set of spines where cores join these
    uplink: Wire | None = None  # leaf to spine, and router to router
    core_link: Wire | None = None
    local_links: int = 1  # dragonfly: between two routers of a group
    global_links: int = 1  # dragonfly: between two groups
    cored: bool = False  # has cores, as the larger machine that it stands for


class FabricPlan(NamedTuple):
    """The sizes of a fabric for a number of units; all counts are links or switches."""

    pods: int
    leaf_down: int  # ports of a full leaf towards NICs
    leaf_up: int = 0
    groups: int = 0  # sets of spines: groups of pods, or rails
    spines: int = 0  # in a set; each leaf has leaf_up / spines links to each of them
    spine_up: int = 0
    planes: int = 1  # sets of cores: spine i of every group leads to all cores of plane i % planes
    cores: int = 0  # in a plane
    core_switches: int = 1  # of which one core is made: more where the links outnumber its ports


def plan_fabric(
    fabric: Fabric, units: int, nics_per_unit: int, where: str = "fabric"
) -> FabricPlan:
    """Size every tier of `fabric` for `units` units, as few switches as the ports allow.

    Raises
    ------
    InvalidInput
        If ports do not divide or a switch has too few of them.
    CannotRun
        If the fabric cannot join that many units.
    """
    if nics_per_unit % fabric.rails:
        raise InvalidInput(
            f"{where}.rails: {fabric.rails} rails do not divide the {nics_per_unit} NICs of a unit;"
            f" try one of {_divisors(nics_per_unit)}"
        )
    pods = -(-units // fabric.pod_units)
    if fabric.kind == "single-switch" and pods > 1:
        raise CannotRun(
            f"{where}: a single switch joins {fabric.pod_units} units, {units} are wanted;"
            " use kind = 'fat-tree'"
        )
    down = fabric.pod_units * nics_per_unit // fabric.rails
    up = _leaf_up(fabric, down, where)
    if down + up > fabric.leaf.ports:
        raise InvalidInput(
            f"{where}.pod_units: a leaf needs {down} + {up} ports, {fabric.leaf.part!r} has"
            f" {fabric.leaf.ports}; fewer pod_units or more rails would do"
        )
    if fabric.spine is None:
        return FabricPlan(pods=pods, leaf_down=down)
    by_rail = fabric.kind == "rail-only"
    leaves = FabricPlan(pods=pods, leaf_down=down, leaf_up=up)
    if fabric.kind == "fat-tree" and (pods > fabric.group_pods or fabric.cored):
        return _fewest(fabric, leaves, units, where)
    spines = _switches(up, pods if by_rail else pods * fabric.rails, fabric.spine.ports)
    if not spines and fabric.kind == "fat-tree":
        raise _too_many_leaves(where, fabric, pods * fabric.rails)
    if not spines:
        most = fabric.spine.ports if by_rail else fabric.spine.ports // fabric.rails
        raise _too_big(where, fabric, most, units)
    sets = fabric.rails if by_rail else 1
    return leaves._replace(groups=sets, spines=spines)


def check_ports(fabric: Fabric, nics_per_unit: int, where: str) -> None:
    """Plan every number of tiers of `fabric` once, the smallest of each.

    Raises
    ------
    InvalidInput
        If ports do not divide or a switch has too few of them.
    """
    leaves = plan_fabric(fabric, 1, nics_per_unit, where)
    if fabric.kind == "fat-tree":
        group = fabric.pod_units * fabric.group_pods
        plan_fabric(fabric, group, nics_per_unit, where)
        _three_tiers(fabric, leaves._replace(pods=fabric.group_pods + 1), group + 1, where)


def _leaf_up(fabric: Fabric, down: int, where: str) -> int:
    """Return the ports of a leaf that do not lead to NICs."""
    if fabric.kind == "single-switch":
        return 0
    if fabric.kind == "dragonfly":
        return fabric.local_links * (fabric.rails - 1)  # to the other routers of the group
    up = round(min(down / fabric.oversubscription, 1e9))
    if up < 1 or abs(up * fabric.oversubscription - down) > 1e-6 * down:
        raise InvalidInput(
            f"{where}.oversubscription: {down} ports down over {fabric.oversubscription:g}"
            f" is not a whole number of uplinks; try {max(1.0, down / max(1, up)):.4g}"
        )
    return up


def _fewest(fabric: Fabric, plan: FabricPlan, units: int, where: str) -> FabricPlan:
    """Join more pods than a group has, with spines alone or with cores: the fewer switches.

    Spines that lead nowhere else face leaves with all of their ports. They carry what leaves send
    up, so they stand only where cores would too: a taper that is asked for needs cores.
    """
    assert fabric.spine is not None
    if fabric.core_oversubscription > 1 or fabric.cored:
        return _three_tiers(fabric, plan, units, where)
    spines = _switches(plan.leaf_up, plan.pods * fabric.rails, fabric.spine.ports)
    if not spines:
        return _three_tiers(fabric, plan, units, where)
    flat = plan._replace(groups=1, spines=spines)
    if plan.pods > fabric.group_pods * most_groups(fabric):
        return flat
    tall = _three_tiers(fabric, plan, units, where)
    return min(flat, tall, key=switches_above_leaves)


def switches_above_leaves(plan: FabricPlan) -> int:
    """Count spines and cores, those inside a core of two stages too."""
    return plan.groups * plan.spines + plan.planes * plan.cores * plan.core_switches


def _three_tiers(fabric: Fabric, plan: FabricPlan, units: int, where: str) -> FabricPlan:
    """Add spines and cores to a plan of leaves in more than one group of pods."""
    assert fabric.spine is not None
    assert fabric.core is not None  # toml_file gives every fat tree a core
    groups = -(-plan.pods // fabric.group_pods)
    leaves = fabric.group_pods * fabric.rails
    share = 1 + 1 / fabric.core_oversubscription
    spines = _switches(plan.leaf_up, leaves, math.floor(fabric.spine.ports / share + 1e-9))
    if not spines:
        raise _too_many_leaves(where, fabric, leaves)
    if groups > most_groups(fabric):
        raise _too_big(where, fabric, most_groups(fabric) * fabric.group_pods, units)
    spine_up = max(1, round(leaves * plan.leaf_up // spines / fabric.core_oversubscription))
    tall = plan._replace(groups=groups, spines=spines, spine_up=spine_up)
    return min(_core_tiers(tall, fabric.core.ports), key=switches_above_leaves)


def _core_tiers(plan: FabricPlan, ports: int) -> list[FabricPlan]:
    """Return every even way to join the spines, in single switches if these suffice.

    Planes may share a switch where its ports allow: a spine of every group, times the planes that
    share, leads to each core. Plans with the most planes come first.
    """
    single, staged = [], []
    for shared in _divisors(plan.spines):
        for cores in _divisors(plan.spine_up):
            used = shared * plan.groups * plan.spine_up // cores
            found = plan._replace(planes=plan.spines // shared, cores=cores)
            if used <= ports:
                single.append(found)
            elif used <= ports**2 // 2:
                inner = -(-2 * used // ports) + -(-used // ports)
                staged.append(found._replace(core_switches=inner))
    return single or staged


def most_units(fabric: Fabric, nics_per_unit: int) -> int:
    """Return how many units a fabric of this kind joins at most."""
    pods = 1  # a single switch
    if fabric.kind == "dragonfly":
        down = fabric.pod_units * nics_per_unit // fabric.rails
        spare = fabric.leaf.ports - down - fabric.local_links * (fabric.rails - 1)
        pods = max(1, spare * fabric.rails // fabric.global_links + 1)
    elif fabric.kind == "fat-tree":
        pods = fabric.group_pods * most_groups(fabric)
        if fabric.spine is not None and fabric.core_oversubscription <= 1:
            pods = max(pods, fabric.spine.ports // fabric.rails)
    elif fabric.spine is not None:
        rails = 1 if fabric.kind == "rail-only" else fabric.rails
        pods = max(1, fabric.spine.ports // rails)
    return fabric.pod_units * pods


def units_without_cores(fabric: Fabric, nics_per_unit: int) -> int:
    """Return how many units a fat tree joins before it needs cores."""
    pods = fabric.group_pods
    most = most_units(fabric, nics_per_unit) // fabric.pod_units
    while (
        pods < most and not plan_fabric(fabric, (pods + 1) * fabric.pod_units, nics_per_unit).cores
    ):
        pods += 1
    return pods * fabric.pod_units


def most_groups(fabric: Fabric) -> int:
    """Return how many groups of pods a core joins: a core may be two stages of its switches.

    k ports make a non-blocking switch of k^2 / 2 ports out of 3k / 2 switches (Clos, 1953). Such a
    core is still one node of the graph and costs the latency of one switch.
    """
    return fabric.core.ports**2 // 2 if fabric.core else 1


def _too_big(where: str, fabric: Fabric, pods: int, units: int) -> CannotRun:
    return CannotRun(
        f"{where}: a {fabric.kind} of these switches joins {pods * fabric.pod_units:,} units,"
        f" {units:,} are wanted; use switches of more ports, or another kind"
    )


def _too_many_leaves(where: str, fabric: Fabric, leaves: int) -> InvalidInput:
    assert fabric.spine is not None
    return InvalidInput(
        f"{where}.group_pods: {leaves} leaves of a group need more than the"
        f" {fabric.spine.ports} ports of {fabric.spine.part!r}; try fewer group_pods"
    )


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]


def _switches(links: int, below: int, ports: int) -> int:
    """Return the fewest switches that share the `links` of each of `below` equally; 0: can't be."""
    fitting = (count for count in _divisors(links) if below * links // count <= ports)
    return next(fitting, 0)
