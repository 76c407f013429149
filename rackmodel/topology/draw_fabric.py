"""The picture of a fabric: its tiers from the accelerators upwards, and what joins them.

In:  a `Topology` and how many accelerators are used.
Out: matplotlib axes with one row a tier; counts, link rates and oversubscription in words.
Left out: every single cable; a row shows up to `SHOWN` of its boxes.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import Any, NamedTuple

from rackmodel import units
from rackmodel.annotations import Axes, DiGraph
from rackmodel.topology.canvas import COLOURS, axes, rectangle
from rackmodel.topology.check import kinds_of
from rackmodel.topology.fabric import units_without_cores
from rackmodel.topology.kinds import Kind, Tier, tier_of
from rackmodel.topology.shapes import Mesh, Torus
from rackmodel.topology.topology import Topology

SHOWN = 6
LEFT, RIGHT = 3.4, 12.0  # where boxes stand
LABELS = {
    Kind.NIC: ("NIC", "NICs"),
    Kind.LEAF: ("leaf", "leaves"),
    Kind.SPINE: ("spine", "spines"),
    Kind.CORE: ("core", "cores"),
}
INSIDE = (Kind.ACCELERATOR, Kind.SCALE_UP_SWITCH, Kind.CPU)  # a domain
RANK = {"domain": 0, **{str(kind): kind.level for kind in LABELS}}


class _Tier(NamedTuple):
    kind: str
    number: int
    title: str
    note: str


class _Joint(NamedTuple):
    """All links between two tiers."""

    links: float
    bytes_per_s: float  # one direction, all links
    media: str


def fabric_picture(
    topology: Topology, ax: Axes | None = None, accelerators: int | None = None
) -> Axes:
    """Draw the tiers of a machine of `accelerators`, or of a size that shows them all."""
    ax = ax or axes(9, 7)
    size = accelerators or _telling_size(topology)
    graph = topology.graph(size, bundled=True)
    tiers = _tiers(topology, graph)
    joints = _joints(graph)
    step = 3.0
    for row, tier in enumerate(tiers):
        y = row * step
        _boxes(ax, tier, y, topology)
        if row + 1 < len(tiers):
            upper = tiers[row + 1]
            joint = joints.get((tier.kind, upper.kind))
            _lines(ax, y, step, min(SHOWN, tier.number), min(SHOWN, upper.number), tier.kind)
            below = joints.get((tiers[row - 1].kind, tier.kind)) if row else None
            if joint is not None:
                _joint_words(ax, y + step / 2, joint, below, tier.kind)
    for row, tier in enumerate(tiers):
        across = joints.get((tier.kind, tier.kind))
        if across is not None and tier.kind != "domain":
            rate = units.show(across.bytes_per_s, "bytes_per_s", digits=3)
            words = f"among them: {across.links:,.0f} links over {across.media}, {rate} one way"
            ax.text(LEFT, row * step + 1.25, words, fontsize=8, va="bottom")
    ax.set_xlim(-0.2, RIGHT + 0.4)
    ax.set_ylim(-1.2, max(1, len(tiers) - 1) * step + 1.9)
    ax.axis("off")
    kind: str = (
        topology.fabric.kind if topology.fabric else "own graph" if not topology.scale_up else ""
    )
    if isinstance(topology.scale_up, Torus):
        kind = f"tori on a {kind}"
    title = f"{topology.name}: {kind or 'no fabric'}"
    ax.set_title(f"{title}, {size:,} accelerators")
    return ax


def _telling_size(topology: Topology) -> int:
    """Return a size at which every tier is there, if that is not too many to build at once."""
    if topology.own_graph is not None:
        return topology.max_accelerators
    size, fabric = topology.domain_accelerators, topology.fabric
    if fabric is not None:
        wanted = 2 * size * fabric.pod_units
        if fabric.kind == "fat-tree":
            wanted = size * (units_without_cores(fabric, topology.nics_per_unit) + 1)
        size = wanted if wanted <= 10_000 else max(size, min(2 * size, 20_000))
    return min(size, topology.max_accelerators)


def _tiers(topology: Topology, graph: DiGraph[Any]) -> list[_Tier]:
    counts: Counter[str] = Counter()
    parts: dict[str, set[str]] = {}
    for _, data in graph.nodes(data=True):
        counts[data["kind"]] += int(data.get("count", 1))
        parts.setdefault(data["kind"], set()).add(str(data.get("part", "")))
    domains = len({domain for _, domain in graph.nodes(data="domain") if domain is not None})
    rate = _scale_up_rate(graph, counts[Kind.ACCELERATOR])
    note = f"each {graph.graph['domain']:,} x {topology.accelerator or 'accelerators'}"
    note += f", {rate} each way" if rate else ""
    name = _domain_name(topology, graph, domains)
    tiers = [_Tier("domain", domains, f"{domains:,} {name}", note)]
    for kind, (label, plural) in LABELS.items():
        count = counts[kind]
        if not count:
            continue
        names = ", ".join(sorted(parts[kind] - {""}))
        if kind == Kind.NIC and count % domains == 0:
            names = f"{names}, {count // domains:,} in each domain".lstrip(", ")
        elif kind == Kind.LEAF and topology.fabric is not None and topology.fabric.rails > 1:
            names = f"{names}, {topology.fabric.rails} rails to a pod".lstrip(", ")
        tiers.append(_Tier(kind, count, f"{count:,} {plural if count > 1 else label}", names))
    return tiers


def _domain_name(topology: Topology, graph: DiGraph[Any], count: int) -> str:
    shape = graph.graph.get("shape")
    if shape:
        return f"{'torus' if count == 1 else 'tori'} {' x '.join(map(str, shape))}"
    if isinstance(topology.scale_up, Mesh):
        return "full mesh" if count == 1 else "full meshes"
    return "scale-up domain" if count == 1 else "scale-up domains"


def _scale_up_rate(graph: DiGraph[Any], accelerators: int) -> str:
    """Say what an accelerator can send to others of its domain."""
    kinds = kinds_of(graph)
    rates = [
        float(data["bytes_per_s"])
        for a, b, data in graph.edges(data=True)
        if kinds[a] == Kind.ACCELERATOR and tier_of(kinds[a], kinds[b]) == Tier.SCALE_UP
    ]
    return units.show(sum(rates) / accelerators, "bytes_per_s", digits=3) if rates else ""


def _joints(graph: DiGraph[Any]) -> dict[tuple[str, str], _Joint]:
    found: dict[tuple[str, str], _Joint] = {}
    kinds = kinds_of(graph)
    for a, b, data in graph.edges(data=True):
        low, high = ("domain" if kinds[n] in INSIDE else kinds[n] for n in (a, b))
        if RANK.get(low, 9) > RANK.get(high, 9) or (low == high == "domain"):
            continue
        old = found.get((low, high), _Joint(0, 0.0, ""))
        half = 0.5 if low == high else 1.0  # both directions stand between equals
        media = {m for m in (*old.media.split(", "), str(data.get("medium", ""))) if m}
        found[low, high] = _Joint(
            old.links + half * int(data.get("count", 1)),
            old.bytes_per_s + half * float(data["bytes_per_s"]),
            ", ".join(sorted(media)),
        )
    return found


def _places(count: int) -> list[float]:
    shown = min(SHOWN, count)
    width = (RIGHT - LEFT) / shown
    return [LEFT + width * (i + 0.5) for i in range(shown)]


def _boxes(ax: Axes, tier: _Tier, y: float, topology: Topology) -> None:
    ax.text(-0.1, y + 0.2, tier.title, fontsize=10, fontweight="bold", va="center")
    for i, line in enumerate(textwrap.wrap(tier.note, 26)[:4]):
        ax.text(-0.1, y - 0.2 - 0.32 * i, line, fontsize=8, va="center", color="#444")
    places = _places(tier.number)
    tall, wide = (0.75, 0.58) if tier.kind == "domain" else (0.45, 0.5)
    style = {"facecolor": COLOURS[tier.kind], "edgecolor": "#555", "lw": 0.8, "zorder": 3}
    for i, x in enumerate(places):
        if tier.number > SHOWN and i == SHOWN - 2:
            ax.text(x, y, "· · ·", fontsize=16, ha="center", va="center", color="#555")
            continue
        rectangle(ax, (x - wide, y - tall, 2 * wide, 2 * tall), rounded=True, **style)
        if tier.kind == "domain":
            _inside(ax, x, y, topology)
        else:
            number = tier.number - 1 if i == len(places) - 1 else i
            ax.text(x, y, f"{number:,}", fontsize=8, ha="center", va="center", zorder=4)


def _inside(ax: Axes, x: float, y: float, topology: Topology) -> None:
    """Sketch what joins the accelerators of a domain: a switch, all pairs, or a grid."""
    dot: dict[str, Any] = {"marker": "s", "ms": 4, "color": COLOURS["accelerator"], "zorder": 5}
    thin: dict[str, Any] = {"color": "#666", "lw": 0.6, "zorder": 4}
    if isinstance(topology.scale_up, Torus):
        for i in range(3):
            ax.plot([x - 0.4, x + 0.4], [y + 0.4 * (i - 1)] * 2, **thin)
            ax.plot([x + 0.35 * (i - 1)] * 2, [y - 0.5, y + 0.5], **thin)
            for j in range(3):
                ax.plot(x + 0.35 * (i - 1), y + 0.4 * (j - 1), **dot)
        return
    if isinstance(topology.scale_up, Mesh):
        points = [(x + i, y + j) for j in (-0.45, 0.45) for i in (-0.35, 0.35)]
        for i, (a, b) in enumerate(points):
            ax.plot(a, b, **dot)
            for c, e in points[i + 1 :]:
                ax.plot([a, c], [b, e], **thin)
        return
    graph = topology.own_graph
    chips = graph is None or Kind.SCALE_UP_SWITCH in kinds_of(graph).values()
    for i in range(4):
        a = x + 0.27 * (i - 1.5)
        if chips:
            ax.plot([a, x], [y - 0.4, y + 0.35], **thin)
        ax.plot(a, y - 0.4, **dot)
    if chips:
        ax.plot(x, y + 0.35, marker="s", ms=9, color=COLOURS["switch"], zorder=5)


def _lines(ax: Axes, y: float, step: float, lower: int, upper: int, kind: str) -> None:
    """Join the boxes of two rows: each to its own for NICs, every one to every one above."""
    low, high = _places(lower), _places(upper)
    start, end = y + (0.8 if kind == "domain" else 0.5), y + step - 0.5
    one_to_one = kind == "domain" and lower == upper
    single = kind == "nic" and upper > 1  # a NIC has one cable, to the leaf of its rail
    for i, a in enumerate(low):
        for j, b in enumerate(high):
            if (i % upper == j) if single else (not one_to_one or i == j):
                ax.plot([a, b], [start, end], color="#999", lw=0.5, zorder=1)


def _joint_words(ax: Axes, y: float, joint: _Joint, below: _Joint | None, lower: str) -> None:
    each = units.show(joint.bytes_per_s / joint.links, "bytes_per_s", digits=3)
    total = units.show(joint.bytes_per_s, "bytes_per_s", digits=3)
    words = f"{joint.links:,.0f} links x {each} one way = {total}"
    if joint.media:
        words += f"\n{joint.media}"
    if below is not None and lower in ("leaf", "spine"):
        ratio = below.bytes_per_s / joint.bytes_per_s
        words += f"; {lower} {ratio:.2g}:1 " + (
            "oversubscribed" if ratio > 1.01 else "non-blocking"
        )
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}
    ax.text(
        (LEFT + RIGHT) / 2, y, words, fontsize=8.5, ha="center", va="center", bbox=box, zorder=6
    )
