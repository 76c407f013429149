"""What a machine is made of, before it is spelled out as a graph.

In:  facts that `toml_file` has read and checked.
Out: frozen dataclasses: the scale-up domain, the host, the NICs, the fabric, and their arithmetic.
Left out: nodes and edges (`build`), counts of parts (`inventory`), time.

A machine is a row of equal units. A unit is one scale-up domain: a node, a rack, several racks, or
a slice of a torus. Rail r of unit i goes to leaf (pod of i, r); leaves go to spines, spines to
core.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from rackmodel.errors import CannotRun, InvalidInput

FabricKind = Literal["fat-tree", "leaf-spine", "rail-only", "single-switch", "dragonfly", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """One link as it is used in one place; rates count one direction of one link."""

    link: str  # catalog id
    kind: str  # nvlink, ici, pcie, infiniband, ...
    bytes_per_s: float
    latency_s: float
    payload_efficiency: float
    medium: str
    length_m: float
    lanes: int = 1  # electrical pairs or fibres in one direction

    def edge(self, count: int = 1) -> dict[str, object]:
        """Return the facts of an edge: one direction of `count` parallel links."""
        return {
            "bytes_per_s": self.bytes_per_s * count,
            "latency_s": self.latency_s,
            "kind": self.kind,
            "medium": self.medium,
            "count": count,
            "link": self.link,
            "payload_efficiency": self.payload_efficiency,
            "length_m": self.length_m,
            "lanes": self.lanes,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Switched:
    """Accelerators joined by planes of switch chips, in one or two tiers.

    Every accelerator of a group has `links[c]` links to chip c of its group. Groups are joined
    chip to chip of the same plane (`cross_links`), or by `spines` second-tier chips in every plane.
    """

    group_accelerators: int
    groups: int
    links: tuple[int, ...]
    wire: Wire
    switch: str
    switch_latency_s: float
    reduction: bool
    trays: int = 1  # switch trays of a group
    cross_links: int = 0  # between the chips of one plane in two groups
    spines: int = 0  # second-tier chips in a plane
    spine_links: int = 0  # from a first-tier chip to each of them
    upper: Wire | None = None  # the wire between chips

    @property
    def accelerators(self) -> int:
        """Accelerators of the domain."""
        return self.group_accelerators * self.groups

    @property
    def accelerator_bytes_per_s(self) -> float:
        """Rate of one accelerator into the domain, one direction. [bytes/s]"""
        return self.wire.bytes_per_s * sum(self.links)

    @property
    def switches(self) -> int:
        """Switch chips of the domain, both tiers."""
        return len(self.links) * (self.groups + self.spines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """Accelerators that are all joined pairwise by `links` links; no switch."""

    accelerators: int
    links: int
    wire: Wire

    @property
    def accelerator_bytes_per_s(self) -> float:
        """Rate of one accelerator into the domain, one direction. [bytes/s]"""
        return self.wire.bytes_per_s * self.links * (self.accelerators - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Torus:
    """Accelerators on a grid with a link to either neighbour along every dimension.

    `shape` is the whole pod. A job gets a slice of it (`slice_shape`). A dimension wraps around if
    its length is a multiple of `wrap_multiple`; `cube` is the edge of the block that is wired
    electrically.
    """

    shape: tuple[int, ...]
    wires: tuple[Wire, ...]  # one for each dimension, inside a cube
    far: Wire | None  # between cubes and for the wrap-around: through optical circuit switches
    cube: int
    wrap_multiple: int
    fixed: bool = False  # always the whole pod
    ocs: str = ""
    ocs_ports: int = 0

    @property
    def accelerators(self) -> int:
        """Accelerators of the whole pod."""
        return math.prod(self.shape)

    @property
    def accelerator_bytes_per_s(self) -> float:
        """Rate of one accelerator into the domain, one direction, all links. [bytes/s]"""
        return sum(2 * wire.bytes_per_s for wire in self.wires)

    def slice_shape(self, accelerators: int) -> tuple[int, ...]:
        """Return the most compact slice that the pod offers for so many accelerators.

        Up to one cube a dimension doubles at a time (2x2x1, 2x2x2, ... 4x4x4); above it whole
        cubes are joined, as nearly cubic as their number allows. The longest side comes first: it
        is the slowest to count, so that groups of neighbouring ranks fill whole rings or planes.
        """
        if self.fixed or accelerators >= self.accelerators:
            return self.shape
        dimensions = len(self.shape)
        block = min(self.cube, *self.shape) if self.cube else min(self.shape)
        if accelerators <= block**dimensions:
            sides = [1] * dimensions
            while math.prod(sides) < accelerators:
                sides[sides.index(min(sides))] *= 2
            return tuple(sorted(sides, reverse=True))
        wanted = -(-accelerators // block**dimensions)
        limit = [side // block for side in self.shape]
        while True:
            sides = _balanced(wanted, limit)
            if sides:
                return tuple(side * block for side in reversed(sides))
            wanted += 1  # no box of so many cubes fits into the pod

    def wraps(self, shape: tuple[int, ...], dimension: int) -> bool:
        """Say whether a dimension of a slice closes to a ring (of more than two).

        A slice of less than a cube has no way round: the optical switches join whole cubes.
        """
        length = shape[dimension]
        if self.cube and any(side % self.cube for side in shape):
            return False
        return length > 2 and length % self.wrap_multiple == 0


def _balanced(product: int, limit: list[int]) -> list[int]:
    """Factorise `product` into sides within `limit`, the sum of sides as small as can be."""
    best: list[int] = []

    def extend(rest: int, smallest: int, sides: list[int]) -> None:
        nonlocal best
        if len(sides) == len(limit) - 1:
            full = sorted([*sides, rest])
            fits = all(side <= most for side, most in zip(full, sorted(limit), strict=True))
            if rest >= smallest and fits and (not best or sum(full) < sum(best)):
                best = full
            return
        side = smallest
        while side ** (len(limit) - len(sides)) <= rest:
            if rest % side == 0:
                extend(rest // side, side, [*sides, side])
            side += 1

    extend(product, 1, [])
    return best


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One tray or board: the accelerators that share CPUs and NICs."""

    accelerators: int
    cpus: int
    cpu: str
    wire: Wire  # accelerator to CPU


@dataclass(frozen=True, slots=True, kw_only=True)
class Nics:
    """The NICs of one host; several accelerators may share one, or one have several."""

    per_host: int
    part: str
    host_wire: Wire  # accelerator to NIC
    wire: Wire  # NIC to leaf


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
    group_pods: int = 1  # pods below one set of spines
    uplink: Wire | None = None  # leaf to spine, and router to router
    core_link: Wire | None = None
    local_links: int = 1  # dragonfly: between two routers of a group
    global_links: int = 1  # dragonfly: between two groups


@dataclass(frozen=True, slots=True)
class FabricPlan:
    """The sizes of a fabric for a number of units; all counts are links or switches."""

    units: int
    pods: int
    leaf_down: int  # ports of a full leaf towards NICs
    leaf_up: int
    groups: int  # sets of spines: groups of pods, or rails
    spines: int  # in a set
    spine_links: int  # between a leaf and each of its spines
    spine_up: int = 0
    cores: int = 0  # in a plane; there are `spines` planes
    core_links: int = 0  # between a spine and each core of its plane
    core_switches: int = 1  # of which one core is made: more where the groups outnumber its ports


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
    down = fabric.pod_units * nics_per_unit // fabric.rails
    up = 0
    if fabric.kind in ("single-switch", "none"):
        if pods > 1:
            raise CannotRun(
                f"{where}: a single switch joins {fabric.pod_units} units, {units} are wanted;"
                " use kind = 'fat-tree'"
            )
    elif fabric.kind == "dragonfly":
        up = fabric.local_links * (fabric.rails - 1)  # to the other routers of the group
    else:
        up = round(down / fabric.oversubscription)
        if up < 1 or abs(up * fabric.oversubscription - down) > 1e-6 * down:
            raise InvalidInput(
                f"{where}.oversubscription: {down} ports down over {fabric.oversubscription:g}"
                f" is not a whole number of uplinks; try {down / max(1, up):.4g}"
            )
    if down + up > fabric.leaf.ports:
        raise InvalidInput(
            f"{where}.pod_units: a leaf needs {down} + {up} ports, {fabric.leaf.part!r} has"
            f" {fabric.leaf.ports}; fewer pod_units or more rails would do"
        )
    if fabric.spine is None:
        return FabricPlan(units, pods, down, 0, 0, 0, 0)
    if fabric.kind == "rail-only":
        spines = _switches(up, pods, fabric.spine.ports)
        if not spines:
            raise CannotRun(_too_big(where, fabric, fabric.spine.ports, units))
        return FabricPlan(units, pods, down, up, fabric.rails, spines, up // spines)
    if fabric.kind == "leaf-spine" or pods <= fabric.group_pods:
        spines = _switches(up, pods * fabric.rails, fabric.spine.ports)
        if not spines and fabric.kind == "fat-tree":
            raise InvalidInput(_too_many_leaves(where, fabric, pods * fabric.rails))
        if not spines:
            raise CannotRun(_too_big(where, fabric, fabric.spine.ports // fabric.rails, units))
        return FabricPlan(units, pods, down, up, 1, spines, up // spines)
    assert fabric.core is not None  # toml_file gives every fat tree a core
    groups = -(-pods // fabric.group_pods)
    leaves = fabric.group_pods * fabric.rails
    share = 1 + 1 / fabric.core_oversubscription
    spines = _switches(up, leaves, math.floor(fabric.spine.ports / share + 1e-9))
    if not spines:
        raise InvalidInput(_too_many_leaves(where, fabric, leaves))
    spine_down = leaves * up // spines
    spine_up = max(1, round(spine_down / fabric.core_oversubscription))
    cores = _switches(spine_up, groups, fabric.core.ports)
    inner = 1
    if not cores:
        if groups > most_groups(fabric):
            raise CannotRun(_too_big(where, fabric, most_groups(fabric) * fabric.group_pods, units))
        cores = spine_up
        inner = -(-2 * groups // fabric.core.ports) + -(-groups // fabric.core.ports)
    return FabricPlan(
        units,
        pods,
        down,
        up,
        groups,
        spines,
        up // spines,
        spine_up,
        cores,
        spine_up // cores,
        inner,
    )


def most_groups(fabric: Fabric) -> int:
    """Return how many groups of pods a core joins: a core may be two stages of its switches.

    k ports make a non-blocking switch of k^2 / 2 ports out of 3k / 2 switches (Clos, 1953). Such a
    core is still one node of the graph and costs the latency of one switch.
    """
    return fabric.core.ports**2 // 2 if fabric.core else 1


def _too_big(where: str, fabric: Fabric, pods: int, units: int) -> str:
    return (
        f"{where}: a {fabric.kind} of these switches joins {pods * fabric.pod_units:,} units,"
        f" {units:,} are wanted; use switches of more ports, or another kind"
    )


def _too_many_leaves(where: str, fabric: Fabric, leaves: int) -> str:
    assert fabric.spine is not None
    return (
        f"{where}.group_pods: {leaves} leaves of a group need more than the"
        f" {fabric.spine.ports} ports of {fabric.spine.part!r}; try fewer group_pods"
    )


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]


def _switches(links: int, below: int, ports: int) -> int:
    """Return the fewest switches that share the `links` of each of `below` equally; 0: can't be."""
    for count in _divisors(links):
        if below * links // count <= ports:
            return count
    return 0
