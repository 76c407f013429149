"""A machine in lines: what is known of it, counted in it, and printed by its maker.

In:  a `Description`.
Out: lines of (what, value, source or note), for `rackmodel show` and notebooks.
Left out: pictures (`draw`).
"""

from __future__ import annotations

from rackmodel import units
from rackmodel.hardware import load_catalog
from rackmodel.topology.description import Description
from rackmodel.topology.fabric import units_without_cores
from rackmodel.topology.published import published_facts
from rackmodel.topology.shapes import Mesh, Switched, Torus

MOST_COUNTED = 1152
"""Accelerators of the largest domain whose graph `describe` counts."""


def describe(machine: Description) -> list[tuple[str, str, str]]:
    """Return (what, value, source or note) lines on a machine, for `rackmodel show`."""
    rate = "bytes_per_s"
    lines = [("name", machine.name, ""), ("what", machine.title, "")]
    if machine.year:
        lines.append(("year", str(machine.year), ""))
    lines.append(("accelerator", machine.accelerator or "not stated", ""))
    scale_up = machine.scale_up
    lines.append(
        ("scale-up domain", f"{machine.domain_accelerators} accelerators", _shape(scale_up))
    )
    if scale_up is not None:
        shown = units.show(scale_up.accelerator_bytes_per_s, rate)
        lines.append(("scale-up per accelerator", shown, "one direction"))
    lines.append(("accelerators per rack", str(machine.rack_accelerators), machine.chassis))
    if machine.host is not None:
        host = machine.host
        note = f"{host.wire.link} to each accelerator"
        lines.append(("CPUs", f"{host.cpus} {host.cpu} for {host.accelerators} accelerators", note))
        lines.append(("host memory", units.show(host.memory_bytes, "bytes"), "of these CPUs"))
    if machine.nics is not None:
        nics = machine.nics
        each = units.show(nics.wire.bytes_per_s, rate)
        lines.append(("NICs", f"{machine.nics_per_accelerator:g} per accelerator", nics.part))
        lines.append(("NIC rate", each, f"{nics.wire.link}, one direction"))
    lines += _fabric_lines(machine)
    most = machine.max_accelerators
    lines.append(("largest machine", f"{most:,} accelerators" if most else "no limit", ""))
    lines += _counted_lines(machine)
    lines += _published_lines(machine)
    return lines


def _shape(scale_up: object) -> str:
    match scale_up:
        case Switched(groups=groups, links=links, switch=switch, spines=spines):
            top = f", {spines * len(links)} more above" if spines else ""
            return f"{sum(links)} links each to {groups * len(links)} switch chips ({switch}){top}"
        case Mesh(links=links):
            return f"all pairs, {links} link{'s' if links > 1 else ''} each"
        case Torus(shape=shape):
            return "torus " + " x ".join(map(str, shape))
        case _:
            return "as the graph has it"


def _fabric_lines(machine: Description) -> list[tuple[str, str, str]]:
    fabric = machine.fabric
    if fabric is None:
        return []
    pod = fabric.pod_units * machine.domain_accelerators
    lines = [
        ("fabric", fabric.kind, f"{fabric.rails} rails"),
        ("leaf pod", f"{pod:,} accelerators", f"{fabric.rails} x {fabric.leaf.part}"),
    ]
    if fabric.spine is not None:
        lines.append(("leaf oversubscription", f"{fabric.oversubscription:g}:1", fabric.spine.part))
    if fabric.core is not None:
        flat = units_without_cores(fabric, machine.nics_per_unit) * machine.domain_accelerators
        note = f"{fabric.core_oversubscription:g}:1, {fabric.core.part}"
        lines.append(("core above", f"{flat:,} accelerators", note))
    return lines


def _counted_lines(machine: Description) -> list[tuple[str, str, str]]:
    """Totals of one switched domain, counted in its graph, and what optics would draw in it."""
    size = machine.domain_accelerators
    if not isinstance(machine.scale_up, Switched) or size > MOST_COUNTED:
        return []
    facts = published_facts(machine, size)
    note = f"one domain of {size}; what its graph holds"
    lines = []
    for key in ("scale_up_links", "copper_pairs", "scale_up_bytes_per_s"):
        value = facts.get(key, 0.0)
        if value:
            whole = f"{value:,.0f}"
            shown = units.show(value, "bytes_per_s") if key.endswith("_per_s") else whole
            lines.append((f"counted {key}", shown, note))
    if facts.get("copper_pairs"):
        media, rate = load_catalog().media, facts["scale_up_bytes_per_s"]
        each = ", ".join(
            f"{medium} {8e-3 * rate * media[medium].joule_per_bit_per_end:.1f} kW"
            for medium in ("cpo", "lpo", "pluggable-1600g")
        )
        lines.append(("optics for copper would add", each, note))
    return lines


def _published_lines(machine: Description) -> list[tuple[str, str, str]]:
    source = str(machine.published.get("source", ""))
    lines = []
    for key, value in machine.published.items():
        if key in ("source", "at", "note"):
            continue
        shown = units.show(value, "bytes_per_s") if key.endswith("_per_s") else f"{value:,}"
        lines.append((f"published {key}", shown, source))
    return lines
