"""The picture of a fabric: its tiers from the accelerators upwards, and what joins them.

In:  a `Topology` and how many accelerators are used.
Out: matplotlib axes with one row a tier; counts, link rates and oversubscription in words.
Left out: every single cable; a row shows up to `SHOWN` of its boxes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from rackmodel import units
from rackmodel.topology.shapes import Mesh, Torus
from rackmodel.topology.topology import Topology

if TYPE_CHECKING:
    import networkx as nx
    from matplotlib.axes import Axes

COLOURS = {
    "accelerator": "#3a8f4d",
    "cpu": "#3b6fb6",
    "switch": "#c9772b",
    "tray": "#e8efe6",
    "shelf": "#d9d4e3",
    "host": "#dbe5f2",
    "network": "#f3e3d3",
    "domain": "#e8efe6",
    "nic": "#9aa5b1",
    "leaf": "#e0a458",
    "spine": "#c9772b",
    "core": "#9c4f2f",
    "ocs": "#7a6aa8",
}
SHOWN = 6
LEFT, RIGHT = 3.4, 12.0  # where boxes stand
RANK = {"domain": 0, "nic": 1, "leaf": 2, "spine": 3, "core": 4}


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
    if ax is None:
        from matplotlib.figure import Figure

        ax = Figure(figsize=(9, 7), layout="constrained").subplots()
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
                _joint_words(ax, y + step / 2, joint, below, tier.kind, upper.kind)
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
    most = topology.max_accelerators
    if topology.own_graph is not None and most is not None:
        return most
    size = topology.domain_accelerators
    fabric = topology.fabric
    if fabric is not None:
        wanted = size * fabric.pod_units * fabric.group_pods * 2
        size = wanted if wanted <= 10_000 else max(size, min(2 * size, 10_000))
    return size if most is None else min(size, most)


def _tiers(topology: Topology, graph: nx.DiGraph[Any]) -> list[_Tier]:
    counts: dict[str, int] = {}
    parts: dict[str, set[str]] = {}
    domains = set()
    for _, data in graph.nodes(data=True):
        kind = str(data["kind"])
        counts[kind] = counts.get(kind, 0) + int(data.get("count", 1))
        parts.setdefault(kind, set()).add(str(data.get("part", "")))
        if kind == "accelerator":
            domains.add(data["domain"])
    size = graph.graph["domain"]
    rate = _scale_up_rate(graph, counts["accelerator"])
    what = topology.accelerator or "accelerators"
    note = f"each {size} x {what}, {rate} each way" if rate else f"each {size} x {what}"
    name = _domain_name(topology, graph, len(domains))
    tiers = [_Tier("domain", len(domains), f"{len(domains):,} {name}", note)]
    for kind in ("nic", "leaf", "spine", "core"):
        if kind in counts:
            names = ", ".join(sorted(parts[kind] - {""}))
            label = {"nic": "NIC", "leaf": "leaf", "spine": "spine", "core": "core"}[kind]
            plural = "leaves" if kind == "leaf" else f"{label}s"
            count = counts[kind]
            if kind == "nic" and count % len(domains) == 0:
                names = f"{names}, {count // len(domains):,} in each domain".lstrip(", ")
            elif kind == "leaf" and topology.fabric is not None and topology.fabric.rails > 1:
                names = f"{names}, {topology.fabric.rails} rails to a pod".lstrip(", ")
            tiers.append(_Tier(kind, count, f"{count:,} {plural if count > 1 else label}", names))
    return tiers


def _domain_name(topology: Topology, graph: nx.DiGraph[Any], count: int) -> str:
    shape = graph.graph.get("shape")
    if shape:
        return f"{'torus' if count == 1 else 'tori'} {' x '.join(map(str, shape))}"
    if isinstance(topology.scale_up, Mesh):
        return "full mesh" if count == 1 else "full meshes"
    return "scale-up domain" if count == 1 else "scale-up domains"


def _scale_up_rate(graph: nx.DiGraph[Any], accelerators: int) -> str:
    total = 0.0
    for a, b, data in graph.edges(data=True):
        kinds = (graph.nodes[a]["kind"], graph.nodes[b]["kind"])
        if kinds in (("accelerator", "scale_up_switch"), ("accelerator", "accelerator")):
            total += data["bytes_per_s"]
    return units.show(total / accelerators, "bytes_per_s", digits=3) if total else ""


def _joints(graph: nx.DiGraph[Any]) -> dict[tuple[str, str], _Joint]:
    found: dict[tuple[str, str], _Joint] = {}
    name = {"accelerator": "domain", "scale_up_switch": "domain", "cpu": "domain"}
    for a, b, data in graph.edges(data=True):
        ends = [str(graph.nodes[n]["kind"]) for n in (a, b)]
        low, high = (name.get(kind, kind) for kind in ends)
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
    from matplotlib.patches import FancyBboxPatch

    ax.text(-0.1, y + 0.2, tier.title, fontsize=10, fontweight="bold", va="center")
    for i, line in enumerate(_wrapped(tier.note, 26)):
        ax.text(-0.1, y - 0.2 - 0.32 * i, line, fontsize=8, va="center", color="#444")
    places = _places(tier.number)
    for i, x in enumerate(places):
        hidden = tier.number > SHOWN and i == SHOWN - 2
        if hidden:
            ax.text(x, y, "· · ·", fontsize=16, ha="center", va="center", color="#555")
            continue
        tall = 0.45 if tier.kind != "domain" else 0.75
        wide = 0.5 if tier.kind != "domain" else 0.58
        ax.add_patch(
            FancyBboxPatch(
                (x - wide, y - tall),
                2 * wide,
                2 * tall,
                boxstyle="round,pad=0.02",
                facecolor=COLOURS[tier.kind],
                edgecolor="#555",
                lw=0.8,
                zorder=3,
            )
        )
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
        points = [
            (x - 0.35, y - 0.45),
            (x + 0.35, y - 0.45),
            (x - 0.35, y + 0.45),
            (x + 0.35, y + 0.45),
        ]
        for i, (a, b) in enumerate(points):
            ax.plot(a, b, **dot)
            for c, e in points[i + 1 :]:
                ax.plot([a, c], [b, e], **thin)
        return
    graph = topology.own_graph
    chips = graph is None or any(
        data["kind"] == "scale_up_switch" for _, data in graph.nodes(data=True)
    )
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


def _joint_words(
    ax: Axes, y: float, joint: _Joint, below: _Joint | None, lower: str, upper: str
) -> None:
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


def _wrapped(words: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(words, width)[:4]
