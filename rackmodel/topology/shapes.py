"""What one unit of a machine is made of, before it is spelled out as a graph.

In:  facts that `builders` and `toml_file` have read and checked.
Out: frozen dataclasses: a link, the scale-up domain, the host, the NICs, and their arithmetic.
Left out: what joins the units (`fabric`), nodes and links (`elements`), time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rackmodel.hardware import Transport


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

    def edge(self, count: int = 1, delay_s: float = 0.0) -> dict[str, object]:
        """Return the facts of an edge: one direction of `count` parallel links.

        delay_s : latency of the switch that is left, on top of the link's own.
        """
        return {
            "bytes_per_s": self.bytes_per_s * count,
            "latency_s": self.latency_s + delay_s,
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

    def circuit_switches(self, shape: tuple[int, ...]) -> int:
        """Count the optical circuit switches that a slice's cubes are wired to.

        The two faces of a cube in one dimension have cube^(D-1) fibres each at equal positions; one
        switch serves one position of all cubes. Source: Jouppi et al., "TPU v4", ISCA 2023, sec. 2.
        """
        if not self.ocs or not self.cube:
            return 0
        face = math.prod([self.cube] * (len(shape) - 1))
        cubes = math.prod(shape) // (face * self.cube)
        return len(shape) * face * math.ceil(2 * cubes / self.ocs_ports)


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


ScaleUp = Switched | Mesh | Torus


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One tray or board: the accelerators that share CPUs and NICs."""

    accelerators: int
    cpus: int
    cpu: str
    memory_bytes: float  # of all CPUs
    wire: Wire  # accelerator to CPU


@dataclass(frozen=True, slots=True, kw_only=True)
class Nics:
    """The NICs of one host; several accelerators may share one, or one have several."""

    per_host: int
    part: str
    host_wire: Wire  # accelerator to NIC
    wire: Wire  # NIC to leaf
    transport: Transport
