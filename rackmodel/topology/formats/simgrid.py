"""SimGrid platforms.

In:  the XML element `platform`.
Out: a directed graph: hosts are accelerators, routers are switches.
Left out: CPUs' speed, disks, properties, traces; zones in zones.

Read are routes of one link between hosts and routers (each is an edge), routes whose first and last
link are the ends' own (a star around one switch, or a backbone), and `<cluster>` without a topology
of its own (a star). A link of several routes is one resource in SimGrid; where it can't be told
what stands between, the platform is refused. Source: SimGrid 4 manual, "Platforms in XML".
"""

from __future__ import annotations

from typing import Any

from rackmodel import units
from rackmodel.annotations import DiGraph, Element
from rackmodel.errors import InvalidInput
from rackmodel.gate import shown
from rackmodel.topology.formats.joined import Joined
from rackmodel.topology.kinds import Kind

MOST_HOSTS = 100_000
Route = tuple[str, str, list[str], bool]  # from, to, links, and back as well


def from_simgrid(root: Element, file: str) -> DiGraph[Any]:
    """Return the graph of a platform of one zone, or of clusters."""
    joined = Joined()
    zones = [zone for tag in ("zone", "AS") for zone in root.iter(tag)]
    for cluster in root.iter("cluster"):
        _cluster(joined, cluster, file)
    links = {one.get("id", ""): _facts(one, file) for zone in zones for one in zone.findall("link")}
    hosts = [one.get("id", "") for zone in zones for one in zone.findall("host")]
    routers = [one.get("id", "") for zone in zones for one in zone.findall("router")]
    for host in hosts:
        joined.add(host, Kind.ACCELERATOR)
    kinds = [_kind(one) for zone in zones for one in zone.findall("router")]
    for router, kind in zip(routers, kinds, strict=True):
        joined.add(router, kind or Kind.LEAF)
    routes = [_route(one, links, joined, file) for zone in zones for one in zone.findall("route")]
    routes = [route for route in routes if route[0] != route[1]]  # a host's loopback
    if all(len(route[2]) == 1 for route in routes):
        for a, b, (link,), both in routes:
            joined.link(a, b, *links[link], both=both)
    else:
        _star(joined, routes, links, file)
    if not hosts and not joined.graph:
        raise InvalidInput(f"{file}: the platform has no <host> and no <cluster>; add one")
    unnamed = [router for router, kind in zip(routers, kinds, strict=True) if not kind]
    joined.place_switches(unnamed)
    return joined.graph


def _kind(router: Element) -> str:
    """The kind that rackmodel wrote beside a router."""
    said = {prop.get("id"): prop.get("value", "") for prop in router.findall("prop")}
    kind = said.get("kind", "")
    return kind if kind in list(Kind) else ""


def _facts(link: Element, file: str) -> tuple[float, float]:
    """Rate and latency of a link."""
    where = f"{file}: <link> {shown(link.get('id'))}"
    rate = units.parse(_plain(link, "bandwidth"), "bytes_per_s", where=where, positive=True)
    return rate, units.parse(_plain(link, "latency") or 0.0, "s", where=where)


def _plain(element: Element, key: str) -> str | float:
    """A quantity as SimGrid writes it; without a unit it is SI."""
    text = element.get(key, "").strip()
    try:
        return float(text)
    except ValueError:
        return text


def _route(
    route: Element, links: dict[str, tuple[float, float]], joined: Joined, file: str
) -> Route:
    a, b = route.get("src", ""), route.get("dst", "")
    for end in (a, b):
        if end not in joined.graph:
            raise InvalidInput(
                f"{file}: <route> from {shown(a)} to {shown(b)}: no {shown(end)}; add it"
            )
    used = [one.get("id", "") for one in route.findall("link_ctn")]
    if missing := [one for one in used if one not in links]:
        raise InvalidInput(
            f"{file}: <route> from {shown(a)}: no <link> {shown(missing[0])}; add it"
        )
    if not used:
        raise InvalidInput(
            f"{file}: <route> from {shown(a)} to {shown(b)} has no <link_ctn>; add one"
        )
    return a, b, used, route.get("symmetrical", "YES").upper() == "YES"


def _star(
    joined: Joined, routes: list[Route], links: dict[str, tuple[float, float]], file: str
) -> None:
    """Hosts with a link of their own around one switch, or around a backbone between two sides."""
    own: dict[str, str] = {}
    between: set[tuple[str, ...]] = set()
    for a, b, used, _ in routes:
        between.add(tuple(used[1:-1]))
        for end, link in ((a, used[0]), (b, used[-1])):
            if own.setdefault(end, link) != link:
                raise InvalidInput(
                    f"{file}: routes of {shown(end)} begin with several links; read are routes of"
                    " one link between neighbours (routing Floyd or Dijkstra), and stars"
                )
    if len(between) > 1 or any(len(middle) > 1 for middle in between):
        raise InvalidInput(
            f"{file}: routes share links between hosts in ways that are not read; write routes of"
            " one link between neighbours, with <router> where links meet"
        )
    middle = next(iter(between))
    joined.add("switch", Kind.LEAF)
    for host, link in own.items():
        rate, delay_s = links[link]
        back = links[middle[0]] if middle else (rate, 0.0)
        joined.link(host, "switch", min(rate, back[0]), delay_s + back[1] / 2)


def _cluster(joined: Joined, cluster: Element, file: str) -> None:
    """Hosts of a cluster around its switch, each with `bw` both ways."""
    name = cluster.get("id", "cluster")
    if cluster.get("topology", "FLAT").upper() != "FLAT":
        raise InvalidInput(
            f"{file}: <cluster> {shown(name)}: topology {shown(cluster.get('topology'))} is not"
            " read; describe the machine as TOML (rackmodel new topology)"
        )
    numbers = _radical(cluster.get("radical", ""), f"{file}: <cluster> {shown(name)}: radical")
    where = f"{file}: <cluster> {shown(name)}"
    rate = units.parse(_plain(cluster, "bw"), "bytes_per_s", where=f"{where}: bw", positive=True)
    delay_s = units.parse(_plain(cluster, "lat") or 0.0, "s", where=f"{where}: lat")
    joined.add(f"{name} switch", Kind.LEAF)
    for number in numbers:
        host = f"{cluster.get('prefix', '')}{number}{cluster.get('suffix', '')}"
        joined.add(host, Kind.ACCELERATOR)
        joined.link(host, f"{name} switch", rate, delay_s)


def _radical(text: str, where: str) -> list[int]:
    """Numbers of "0-31,40"."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()) or len(first + last) > 14:
            raise InvalidInput(f"{where}: expected numbers such as 0-31, found {shown(text)}")
        if int(last or first) - int(first) + len(found) > MOST_HOSTS:
            raise InvalidInput(f"{where}: give at most {MOST_HOSTS:,} hosts: more are refused")
        found += range(int(first), int(last or first) + 1)
    return found
