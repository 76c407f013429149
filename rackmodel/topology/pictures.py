"""Pictures of a machine: the rack with its trays, and the fabric with its tiers.

In:  a `Topology`; matplotlib axes.
Out: the axes drawn on.
Left out: results of a simulation (`report`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from rackmodel import units
from rackmodel.annotations import Axes
from rackmodel.hardware import load_catalog
from rackmodel.hardware.build import read_trays
from rackmodel.topology.canvas import COLOURS, Box, axes, rectangle
from rackmodel.topology.check import kinds_of
from rackmodel.topology.draw_fabric import fabric_picture
from rackmodel.topology.inventory import copper_pairs_of, inventory_rows
from rackmodel.topology.kinds import Kind
from rackmodel.topology.shapes import Switched
from rackmodel.topology.topology import Topology

__all__ = ["fabric_picture", "rack_picture"]

WIDTH = 6.0  # of the rack, in the units of the picture
WHOLE = 42.0  # height of the picture; a rack is scaled to it
TALLEST = 12.0  # of one tray
NAMES = {
    "compute": "compute tray",
    "switch": "switch tray",
    "shelf": "power shelf",
    "node": "node",
    "tray": "accelerator tray",
    "host": "host",
    "network": "network switch",
    "domain": "domain",
}
HOLDERS = ("compute", "node", "tray", "domain")  # kinds of tray that hold accelerators


class _Run(NamedTuple):
    """Equal trays above one another."""

    kind: str
    number: int
    height: float


def rack_picture(topology: Topology, ax: Axes | None = None) -> Axes:
    """Draw one rack from the front: every tray with its accelerators, CPUs and switch chips."""
    ax = ax or axes(7, 8)
    runs = _runs(topology)
    tall = sum(run.number * run.height for run in runs)
    scale = min(WHOLE / tall, TALLEST / max(run.height for run in runs))
    bottom = WHOLE - scale * tall
    in_rack = min(topology.rack_accelerators, topology.max_accelerators)
    chips = _chips_in_rack(topology)
    inside = _contents(topology, runs, in_rack, chips)
    frame = (-0.25, bottom - 0.25, WIDTH + 0.5, WHOLE - bottom + 0.5)
    rectangle(ax, frame, fill=False, lw=2, ec="#333")
    y = WHOLE
    for run in runs:
        top, parts = y, inside.get(run.kind, {})
        for _ in range(run.number):
            y -= run.height * scale
            _tray(ax, (0.0, y, WIDTH, run.height * scale), run.kind, parts)
        _note(ax, top, y, _words(topology, run, parts, chips / max(1, _number(runs, "switch"))))
    _legend(ax, topology, chips, bottom)
    ax.set_xlim(-0.5, 11.5)
    ax.set_ylim(-7.0, WHOLE + 0.6)
    ax.axis("off")
    ax.set_title(f"{topology.name}: one rack, {in_rack} x {topology.accelerator or 'accelerator'}")
    return ax


def _number(runs: list[_Run], *kinds: str) -> int:
    return sum(run.number for run in runs if run.kind in kinds)


def _contents(
    topology: Topology, runs: list[_Run], in_rack: int, chips: int
) -> dict[str, dict[str, int]]:
    """Return what a tray of each kind holds: {kind of tray: {part: count}}."""
    holders, hosts, switches = (_number(runs, *k) for k in (HOLDERS, ("host",), ("switch",)))
    per_tray = max(1, round(in_rack / max(1, holders)))
    tray = {
        "cpu": 0 if hosts else _cpus(topology, per_tray),  # else they stand in hosts of their own
        "accelerator": per_tray,
        "switch": 0 if switches else chips // max(1, holders),
    }
    inside = dict.fromkeys(HOLDERS, tray)
    inside["host"] = {"cpu": round(_cpus(topology, in_rack) / max(1, hosts))}
    inside["switch"] = {"switch": round(chips / max(1, switches))}
    return inside


def _runs(topology: Topology) -> list[_Run]:
    """Read the trays of a rack from top to bottom out of the hardware catalog."""
    chassis = load_catalog().chassis.get(topology.chassis)
    if chassis is None or "trays" not in chassis:
        size = topology.domain_accelerators
        tray = topology.host.accelerators if topology.host else size
        if topology.host and tray < topology.rack_accelerators:
            return [_Run("compute", topology.rack_accelerators // tray, 1.0)]
        return [_Run("domain", max(1, min(16, topology.rack_accelerators // size)), 1.0)]
    runs = []
    wanted = topology.rack_accelerators // max(1, topology.chassis_accelerators)
    trays = read_trays(chassis["trays"].text, f"chassis.{topology.chassis}.trays")
    runs += [_Run(run.kind, run.count, float(run.units)) for run in trays]
    if _number(runs, "node") not in (0, wanted):  # the file packs more or fewer nodes
        runs = [run._replace(number=wanted) if run.kind == "node" else run for run in runs]
    return runs


def _chips_in_rack(topology: Topology) -> int:
    chips, accelerators = 0, topology.domain_accelerators
    if isinstance(topology.scale_up, Switched):
        chips = topology.scale_up.switches
    elif topology.own_graph is not None:
        kinds = list(kinds_of(topology.own_graph).values())
        chips, accelerators = (kinds.count(k) for k in (Kind.SCALE_UP_SWITCH, Kind.ACCELERATOR))
    return round(chips * (topology.rack_accelerators / max(1, accelerators)))


def _cpus(topology: Topology, accelerators: int) -> int:
    host = topology.host
    return 0 if host is None else round(host.cpus * accelerators / host.accelerators)


def _tray(ax: Axes, box: Box, kind: str, parts: dict[str, int]) -> None:
    """Draw a tray and what it holds: in one row if it is flat, else accelerators above the rest."""
    x, y, width, height = box
    face = COLOURS["tray" if kind in HOLDERS else "network" if kind == "switch" else kind]
    gap = min(0.08, 0.1 * height)
    inner = (x, y + gap, width, height - 2 * gap)
    rectangle(ax, inner, facecolor=face, edgecolor="#777", lw=0.6)
    if height < 2.4 or kind not in HOLDERS:
        _row(ax, box, parts)
        return
    accelerators, others = parts["accelerator"], {**parts, "accelerator": 0}
    lines = -(-accelerators // 8)
    below = 0.35 * height if any(others.values()) else 0.0
    for line in range(lines):
        part = (height - below) / lines
        top = (x, y + height - part * (line + 1), width, part)
        _row(ax, top, {"accelerator": min(8, accelerators - 8 * line)})
    _row(ax, (x, y, width, below), others)


def _row(ax: Axes, box: Box, parts: dict[str, int]) -> None:
    x, y, width, height = box
    parts = {kind: count for kind, count in parts.items() if count}
    total = sum(parts.values()) + 0.6 * (len(parts) - 1)
    if not parts:
        return
    step = min(width * 0.94 / total, 1.1)
    left = x + (width - step * total) / 2
    margin = min(0.28 * height, 0.3)
    for kind, count in parts.items():
        for _ in range(count):
            chip = (left + 0.1 * step, y + margin, 0.8 * step, height - 2 * margin)
            rectangle(ax, chip, facecolor=COLOURS[kind], edgecolor="none")
            left += step
        left += 0.6 * step


def _words(topology: Topology, run: _Run, parts: dict[str, int], chips: float) -> str:
    name = NAMES.get(run.kind, run.kind)
    plural = name.replace("shelf", "shelve") + "s"
    words = f"{run.number} {name if run.number == 1 else plural}"
    if run.kind == "switch":
        return f"{words}\n{chips:.3g} switch chips each"
    if run.kind not in HOLDERS:
        return words
    words += f"\n{parts['accelerator']} x {topology.accelerator or 'accelerator'}"
    if parts["cpu"] and topology.host:
        words += f", {parts['cpu']} x {topology.host.cpu}"
    return f"{words} each" if run.number > 1 else words


def _note(ax: Axes, top: float, bottom: float, words: str) -> None:
    """Bracket a run of trays and say what they are."""
    x = WIDTH + 0.45
    gap = min(0.15, 0.1 * (top - bottom))
    ax.plot(
        [x, x + 0.2, x + 0.2, x],
        [top - gap, top - gap, bottom + gap, bottom + gap],
        color="#555",
        lw=1,
    )
    ax.text(x + 0.4, (top + bottom) / 2, words, va="center", ha="left", fontsize=8.5)


def _legend(ax: Axes, topology: Topology, chips: int, bottom: float) -> None:
    """Name the colours below the rack, and the totals of the domain."""
    names = [("accelerator", "accelerator")]
    if topology.host and topology.host.cpus:
        names.append(("cpu", "CPU"))
    if chips:
        names.append(("switch", "switch chip"))
    for i, (kind, name) in enumerate(names):
        rectangle(ax, (3.8 * i, bottom - 2.2, 0.5, 1.0), facecolor=COLOURS[kind])
        ax.text(3.8 * i + 0.7, bottom - 1.7, name, va="center", fontsize=8.5)
    for i, line in enumerate(_totals(topology)):
        ax.text(0, bottom - 3.4 - 1.35 * i, line, va="center", fontsize=8.5)


def _totals(topology: Topology) -> list[str]:
    scale_up: Any = topology.scale_up
    if scale_up is None:
        return [topology.title]
    size = topology.domain_accelerators
    table = inventory_rows(topology, size)
    cables = [r for r in table if (r["part_kind"], r["tier"]) == ("cable", "scale_up")]
    links = sum(row["count"] for row in cables)
    rate = units.show(scale_up.accelerator_bytes_per_s, "bytes_per_s")
    total = units.show(2 * scale_up.accelerator_bytes_per_s * size, "bytes_per_s", digits=3)
    lines = [f"domain of {size:,}: {links:,} links, {rate} each way per accelerator"]
    pairs = copper_pairs_of(table) if max(r["lanes"] for r in cables) > 1 else 0.0  # lanes known
    media = ", ".join(sorted({row["medium"] for row in cables}))
    copper = f"; {pairs:,.0f} copper pairs" if pairs else ""
    lines.append(f"{total} both ways in all, over {media}{copper}")
    circuits = sum(row["count"] for row in table if row["tier"] == "ocs")
    if circuits:
        lines.append(f"racks joined by {circuits} optical circuit switches")
    return lines
