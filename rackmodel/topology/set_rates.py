"""Rates that a user sets: the number of links stays, the rate of each follows.

In:  a catalog in which rates of parts were replaced, a machine built at their nominal rates.
Out: `nominal`, the catalog that says how many links and ports there are; `at_set_rates`, the
machine with the rates that were set.
Left out: how values are set (`hardware.catalog`).

How many ports a switch has follows from the rates that its maker sells: a link set to half its rate
leaves the other half of its port unused, one set to twice its rate has ports to match.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from rackmodel.errors import InvalidInput
from rackmodel.hardware import Catalog
from rackmodel.topology.shapes import Switched, Torus, Wire
from rackmodel.topology.topology import Topology

Part = TypeVar("Part")


def nominal(catalog: Catalog) -> Catalog:
    """Return the catalog with the rates that its links and accelerators had before any was set."""
    if not catalog.nominal:
        return catalog
    links, accelerators = dict(catalog.links), dict(catalog.accelerators)
    for key, rate in catalog.nominal.items():
        kind, name, _ = key.split(".")
        if kind == "links":
            links[name] = replace(links[name], bytes_per_s=rate)
        elif name in accelerators:
            accelerators[name] = replace(accelerators[name], scale_up_bytes_per_s=rate)
    return replace(catalog, links=links, accelerators=accelerators, nominal={})


def at_set_rates(machine: Topology, catalog: Catalog) -> Topology:
    """Return a machine of nominal rates with those that were set, and a note that says so.

    Raises
    ------
    InvalidInput
        If the rates of an accelerator and of its links are both set and do not agree.
    """
    factors = {key: _set_rate(catalog, key) / rate for key, rate in catalog.nominal.items()}
    if not factors:
        return machine
    inside = f"accelerators.{machine.accelerator}.scale_up_bytes_per_s"
    links = {key.split(".")[1]: value for key, value in factors.items() if key[:6] == "links."}
    used = _links_of(machine)
    inner = {machine.scale_up.wire.link} if isinstance(machine.scale_up, Switched) else used
    if isinstance(machine.scale_up, Torus):
        inner = _links_of(machine.scale_up)
    both = sorted(inner & links.keys())
    if inside in factors and any(abs(links[name] / factors[inside] - 1) > 1e-9 for name in both):
        raise InvalidInput(
            f"{inside} and links.{both[0]}.bytes_per_s are both set and do not agree: the links of"
            " an accelerator together have its rate; leave one of them out"
        )
    acts = [f"links.{name}.bytes_per_s" for name in sorted(used & links.keys())]
    domain = factors.get(inside)
    if domain is not None:
        acts.append(inside)
        scaled = _times(machine.scale_up, dict.fromkeys(inner, domain))
    else:
        scaled = _times(machine.scale_up, links)
    changes: dict[str, Any] = {
        name: _times(getattr(machine, name), links) for name in ("host", "nics", "fabric")
    }
    if machine.own_graph is not None:
        changes["own_graph"] = _graph_times(machine, links, domain)
    notes = [f"{key} is set: no link of {machine.name} has it" for key in factors.keys() - acts]
    if acts:
        notes.insert(0, f"{', '.join(acts)} set: published totals are not compared")
        changes["published"] = {}
    return replace(machine, scale_up=scaled, notes=(*machine.notes, *sorted(notes)), **changes)


def _set_rate(catalog: Catalog, key: str) -> float:
    kind, name, field = key.split(".")
    return float(catalog.tables[kind][name][field].value)


def _links_of(part: object) -> set[str]:
    """Return the ids of the links in a part of a machine."""
    if isinstance(part, Topology) and part.own_graph is not None:
        return {str(facts["link"]) for _, _, facts in part.own_graph.edges(data=True)} - {""}
    if isinstance(part, Wire):
        return {part.link}
    if isinstance(part, tuple):
        return set().union(*map(_links_of, part))
    if is_dataclass(part) and not isinstance(part, type):
        return set().union(*(_links_of(getattr(part, one.name)) for one in fields(part)))
    return set()


def _times(part: Part, factors: dict[str, float]) -> Part:
    """Return a part of a machine with the rates of its links times their factors."""
    found: Any = part
    if isinstance(found, Wire):
        found = replace(found, bytes_per_s=found.bytes_per_s * factors.get(found.link, 1.0))
    elif isinstance(found, tuple):
        found = tuple(_times(one, factors) for one in found)
    elif is_dataclass(found) and not isinstance(found, type):
        changed = {one.name: _times(getattr(found, one.name), factors) for one in fields(found)}
        found = replace(found, **changed)
    result: Part = found
    return result


def _graph_times(machine: Topology, links: dict[str, float], domain: float | None) -> Any:
    """Return the user's graph with the rates of its links times their factors."""
    from rackmodel.topology.kinds import Kind

    assert machine.own_graph is not None
    graph = machine.own_graph.copy()
    kinds = dict(graph.nodes(data="kind"))
    local = (Kind.ACCELERATOR, Kind.SCALE_UP_SWITCH)
    for source, target, facts in graph.edges(data=True):
        factor = links.get(facts["link"], 1.0)
        if domain is not None and kinds[source] in local and kinds[target] in local:
            factor = domain
        facts["bytes_per_s"] *= factor
    return graph
