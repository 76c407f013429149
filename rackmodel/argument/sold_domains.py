"""Scale-up domains of one accelerator as they are sold: what stands around them, what joins them.

In:  an accelerator, accelerators of a domain, how its upper tier is made; the machines that ship.
Out: `sold`, a machine; `reach`, the medium that its domain needs.
Left out: jobs (`api`), prices and watts of parts (`hardware`).

Chassis, host and wires are those of the smallest machine that ships with links of that kind and at
least that domain: a node of 8, a rack of 36 or 72. NICs and fabric are those of the accelerator's
own machine, so that only the domain differs. Larger domains than any that ships need more switch
ports: up to `COPPER_ENDS` accelerators one tier of the chips that take the links with the least
power, in copper; above it two tiers, the upper one on optics because it leaves the rack.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.hardware import (
    Accelerator,
    Catalog,
    Switch,
    accelerator as accelerator_of,
    load_catalog,
)
from rackmodel.topology import Topology, changed, load_topology, topology_names
from rackmodel.topology.shapes import Mesh, Switched

COPPER_ENDS = 144
"""Accelerators of the largest domain in copper: a Kyber rack. Source: THW-KYBER."""
COPPER_M = 1.0  # reach of passive copper at 200 Gb/s a lane: the whole rack (catalog: copper)
UPPER_M = 10.0  # from rack to switch rack of a row (assumed)
MOST = 4_608  # accelerators of a domain
RAILS = 18  # at most, where leaves allow: a node's or a rack's NICs spread over that many leaves


class HostsUneven(InvalidInput):
    """A domain that hosts of some accelerators do not fill evenly."""


def sold(
    accelerator: str,
    domain: int,
    *,
    medium: str = "cpo",
    taper: float = 1.0,
    link: str = "",
    changes: Mapping[str, object] | None = None,
    catalog: Catalog | None = None,
) -> Topology:
    """Return a machine of domains of that size.

    Parameters
    ----------
    accelerator : id in the catalog, with links that switches take.
    domain : accelerators of a scale-up domain.
    medium : of the upper tier of domains above `COPPER_ENDS`: "cpo", "pluggable", "lpo".
    taper : links from accelerators over links to the upper tier: 1, 2 or 4.
    link : other scale-up links of the same rate together, such as "ualink1-x4" or "uec-800".
    changes : values of the machine's file put over it, {"nics.per_host": 8}.

    Raises
    ------
    InvalidInput, UnknownName
        If there is no such accelerator, or no switch could join such a domain.

    Examples
    --------
    >>> [sold("gb200", size).chassis for size in (8, 36, 72)]
    ['dgx-b200', 'gb200-nvl36', 'gb200-nvl72']
    """
    parts = catalog or load_catalog()
    part = accelerator_of(accelerator, parts)
    _check(part, domain, medium, taper, link, parts)
    shipped = _switched(part, parts)
    larger = [one for one in shipped if one.domain_accelerators >= domain]
    most = max(one.domain_accelerators for one in shipped)
    size = min(one.domain_accelerators for one in larger) if larger else most
    around = _nearest([one for one in shipped if one.domain_accelerators == size], part, parts)
    own = [one for one in shipped if one.accelerator == accelerator] or [around]
    base = _nearest(own, part, parts)
    shape = dict(_file(around)["shape"])
    if domain != size or link:
        shape = _shape(part, domain, around, parts, (medium, taper, link))
    host = around.host
    assert host is not None
    if domain % host.accelerators:
        raise HostsUneven(
            f"domain of {domain} accelerators: a host of {around.name} has {host.accelerators};"
            " choose a multiple"
        )
    assert base.host is not None
    assert base.nics is not None
    per_host = base.nics.per_host * host.accelerators // base.host.accelerators
    nics = {**_file(base)["nics"], "per_host": max(1, per_host)}
    over: dict[str, object] = {
        "title": f"{accelerator} in domains of {domain}",
        "accelerator": accelerator,
        "shape": shape,
        "nics": nics,
        "fabric": _fabric(base, domain // host.accelerators * int(nics["per_host"])),
    }
    over |= changes or {}
    try:
        machine = changed(around, over, parts)
    except InvalidInput as error:
        raise InvalidInput(f"domain of {domain} accelerators: {error}") from None
    return _named(machine, f"{accelerator}-domain{domain}", tuple(changes or ()))


def sold_notes(made: Sequence[Topology], upper: tuple[str, float]) -> list[str]:
    """Return how the machines are made."""
    around = ", ".join(f"{one.domain_accelerators}: {one.chassis}" for one in made)
    notes = [f"chassis and prices by domain: {around}"]
    if any(reach(one) == "optical" for one in made):
        notes.append(f"upper tier of larger domains: {upper[0]}, {upper[1]:g}:1")
    return notes + list(dict.fromkeys(told for one in made for told in one.notes))


def reach(machine: Topology) -> str:
    """Return the medium that the widest tier of a machine's domain needs: "copper" or "optical".

    >>> reach(sold("gb200", 72)), reach(sold("gb200", 288))
    ('copper', 'optical')
    """
    scale_up = machine.scale_up
    assert isinstance(scale_up, Switched)
    wires = [scale_up.wire, *([scale_up.upper] if scale_up.upper else [])]
    media = load_catalog().media
    optical = any(media[wire.medium].kind == "optical" for wire in wires)
    return "optical" if optical else "copper"


def _check(
    part: Accelerator, domain: int, medium: str, taper: float, link: str, parts: Catalog
) -> None:
    if not 2 <= domain <= MOST:
        raise InvalidInput(f"domain of {domain} accelerators: choose 2 to {MOST:,}")
    if not 1 <= taper <= 16:
        raise InvalidInput(f"taper of {taper:g}: choose 1 to 16, down over up")
    UnknownName.check("medium", medium, parts.media)
    if link and link not in parts.links:
        raise UnknownName.among("link", link, parts.links)
    if not part.scale_up_links or not part.scale_up_bytes_per_s:
        raise InvalidInput(
            f"{part.name} has no scale-up links: there is no domain to vary; give another"
            " accelerator"
        )


@cache
def _shipped() -> tuple[Topology, ...]:
    """Return the machines that ship whose domain is switched and whose racks a fat tree joins."""
    machines = map(load_topology, topology_names())
    return tuple(
        one
        for one in machines
        if isinstance(one.scale_up, Switched) and one.fabric and one.fabric.kind == "fat-tree"
    )


def _switched(part: Accelerator, parts: Catalog) -> list[Topology]:
    """Return the machines with links of the same kind as the accelerator's, its own first."""
    known = parts.accelerators
    found = [
        one
        for one in _shipped()
        if known[one.accelerator].scale_up_link == part.scale_up_link
        and isinstance(one.scale_up, Switched | Mesh)  # a torus has a wire each way
        and one.scale_up.wire.link == part.scale_up_link
    ]
    if not found:
        raise InvalidInput(
            f"{part.name}: no machine that ships joins its {part.scale_up_link} links by switches,"
            " so its domain can't be varied; name an accelerator with switched scale-up links,"
            " such as gb200"
        )
    return found


def _nearest(machines: list[Topology], part: Accelerator, parts: Catalog) -> Topology:
    """Return the machine whose accelerator is most like this one; of its own the plain one."""

    def unlike(one: Topology) -> tuple[object, ...]:
        other = parts.accelerators[one.accelerator]
        fabric = one.fabric
        bent = 0.0 if fabric is None else fabric.oversubscription
        return (
            other.name != part.name,
            -one.domain_accelerators,
            abs(one.year - _year(part, parts)),
            abs(other.power_w - part.power_w),
            bent,
            one.chassis != one.name,  # a cloud's nodes are another maker's machine
            len(one.name),
            one.name,
        )

    return min(machines, key=unlike)


def _year(part: Accelerator, parts: Catalog) -> float:
    found = parts.tables["accelerators"][part.name].get("year")
    return found.value if found is not None else 0.0


def _file(machine: Topology) -> dict[str, Any]:
    return tomllib.loads(machine.source_text)


def _shape(
    part: Accelerator,
    domain: int,
    around: Topology,
    parts: Catalog,
    upper: tuple[str, float, str],
) -> dict[str, Any]:
    """Return [shape] of a domain that no machine has: chips as few as their ports allow."""
    medium, taper, link = upper
    scale_up = around.scale_up
    assert isinstance(scale_up, Switched)
    name = link or part.scale_up_link
    rate = parts.links[name].bytes_per_s
    links = round(part.scale_up_bytes_per_s / rate)
    if not links or abs(links * rate / part.scale_up_bytes_per_s - 1) > 0.05:
        raise InvalidInput(
            f"{part.name} has {part.scale_up_bytes_per_s / 1e9:g} GB/s for its domain: links of"
            f" {rate / 1e9:g} GB/s ({name}) do not make that up"
        )
    one_rack = domain <= _copper_most(around)
    inside = domain <= around.domain_accelerators and not link
    shape: dict[str, Any] = {
        "accelerators": domain,
        "link": name,
        "medium": scale_up.wire.medium if inside else "copper",
        "length_m": scale_up.wire.length_m if inside else COPPER_M,
    }
    wanted = parts.switches[scale_up.switch]
    chips = [wanted] if not link else []
    kind = parts.links[name].kind
    chips += [one for one in parts.switches.values() if one.kind == kind and one != wanted]
    if one_rack:
        fitting = [(one, _planes(links, domain, _ports(one, rate))) for one in chips]
        sized = [(one, planes) for one, planes in fitting if planes]
        if sized and sized[0][0] == wanted:
            sized = sized[:1]  # the chips of the machine itself will do
        if sized:
            chip, planes = min(sized, key=lambda each: each[0].power_w * each[1])
            trays = max(1, planes // 2)
            return {**shape, "switch": chip.name, "switches": planes, "trays": trays} | {
                "links": links // planes
            }
    tiered = [(chip, _two_tiers(links, domain, _ports(chip, rate), taper)) for chip in chips]
    tiered = [(chip, tiers) for chip, tiers in tiered if tiers]
    if tiered and tiered[0][0] == wanted and not link:
        tiered = tiered[:1]
    if tiered:
        chip, tiers = min(
            tiered,
            key=lambda each: (
                each[0].power_w * each[1]["switches"] * (each[1]["groups"] + each[1]["spines"])
            ),
        )
        length_m = min(UPPER_M, parts.media[medium].reach_m)
        above = {"upper_medium": medium, "upper_length_m": length_m}
        return {**shape, **tiers, **above, "switch": chip.name}
    raise InvalidInput(
        f"domain of {domain} accelerators: no switch for {name} has the ports, one tier or two;"
        " give a smaller domain"
    )


def _copper_most(around: Topology) -> int:
    """Return the largest domain that copper reaches: what ships, or a rack of trays made denser."""
    assert around.host is not None
    trays = around.domain_accelerators > around.host.accelerators
    more = COPPER_ENDS if trays else around.rack_accelerators
    return max(around.domain_accelerators, more)


def _ports(chip: Switch, rate: float) -> int:
    """Ports of that rate: of faster ones each is split, of slower ones several make one up."""
    split = chip.port_bytes_per_s / rate
    return chip.radix * int(split + 1e-6) if split > 1 - 1e-6 else int(chip.radix * split)


def _planes(links: int, domain: int, ports: int) -> int:
    """Return the fewest chips over which an accelerator's links spread evenly; 0: none.

    >>> _planes(18, 8, 72), _planes(18, 72, 72), _planes(18, 144, 72)
    (2, 18, 0)
    """
    return next(
        (c for c in range(1, links + 1) if not links % c and domain * links // c <= ports), 0
    )


def _two_tiers(links: int, domain: int, ports: int, taper: float) -> dict[str, int]:
    """Return groups, chips and spines of a domain in two tiers; empty: its ports do not suffice.

    A group is as large as the ports of a chip leave room for uplinks; spines as few as their ports
    allow.

    >>> _two_tiers(18, 576, 72, 1.0)["spines"], _two_tiers(18, 576, 72, 2.0)["spines"]
    (9, 4)
    """
    for groups in (g for g in range(2, domain // 4 + 1) if not domain % g):
        down = domain // groups
        up = round(down / taper)
        if not up or down + up > ports:
            continue
        for spines in (s for s in range(1, up + 1) if not up % s):
            if groups * up // spines <= ports:
                return {
                    "groups": groups,
                    "switches": links,
                    "links": 1,
                    "spines": spines,
                    "spine_links": up // spines,
                }
    return {}


def _fabric(base: Topology, nics: int) -> dict[str, Any]:
    """Return [fabric] of the accelerator's own machine, with leaves full whatever the domain."""
    fabric = base.fabric
    assert fabric is not None
    told = {
        key: value
        for key, value in _file(base)["fabric"].items()
        if key not in ("rails", "pod_units", "group_pods")
    }
    down = int(fabric.leaf.ports / (1 + 1 / fabric.oversubscription) + 1e-9)
    fitting = [
        rails
        for rails in range(1, nics + 1)
        if not nics % rails
        and nics // rails <= down
        and not down % (nics // rails)
        and rails <= 2 * RAILS
    ] or [rails for rails in range(1, nics + 1) if not nics % rails and nics // rails <= down]
    rails = max((r for r in fitting if r <= RAILS), default=min(fitting))
    told |= {"rails": rails, "pod_units": max(1, down // (nics // rails))}
    if "core_switch" in told:  # boxes of more ports do for spines too: fewer tiers
        told["spine_switch"] = told["core_switch"]
    return told


def _named(machine: Topology, name: str, told: tuple[str, ...]) -> Topology:
    """Return the machine under its name, with a note only on what the user changed."""
    notes = machine.notes[1:]
    if told:
        notes = (f"topology.{', topology.'.join(told)} set in every domain", *notes)
    return replace(machine, name=name, notes=notes)
