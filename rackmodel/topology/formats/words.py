"""Words of users for kinds of nodes and facts of links, and `--map`, which says what a file means.

In:  a graph with the keys of its file.
Out: the same graph in rackmodel's words.
Left out: whether the values are sound (`check`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rackmodel.annotations import DiGraph
from rackmodel.errors import InvalidInput
from rackmodel.gate import shown
from rackmodel.topology.kinds import Kind
from rackmodel.units import LEAST_BARE

_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("gpu", "tpu", "npu", "xpu", "device", "accel"), Kind.ACCELERATOR),
    **dict.fromkeys(("nvswitch", "nvlink_switch", "ualink_switch", "nvsw"), Kind.SCALE_UP_SWITCH),
    **dict.fromkeys(("scaleup_switch", "xgmi_switch"), Kind.SCALE_UP_SWITCH),
    **dict.fromkeys(("hca", "rnic", "net", "network_interface"), Kind.NIC),
    **dict.fromkeys(("tor", "tor_switch", "leaf_switch", "edge_switch", "asw"), Kind.LEAF),
    **dict.fromkeys(("spine_switch", "agg", "aggregation", "psw"), Kind.SPINE),
    **dict.fromkeys(("core_switch", "super_spine", "dsw"), Kind.CORE),
    **dict.fromkeys(("host_cpu", "socket", "numa"), Kind.CPU),
    **dict.fromkeys(("optical_switch", "optical_circuit_switch"), Kind.OCS),
}
_KIND_KEYS = ("type", "node_type", "role")
# Keys of a link: what it is in rackmodel, and how many of SI one of its unit is.
_LINK_KEYS: dict[str, tuple[str, float]] = {
    **dict.fromkeys(("bandwidth", "bw", "capacity", "rate", "speed"), ("bytes_per_s", 1.0)),
    **dict.fromkeys(("bytes_per_second", "bandwidth_bytes_per_s"), ("bytes_per_s", 1.0)),
    **dict.fromkeys(("bandwidth_gbps", "gbps", "gbit_s", "bw_gbps"), ("bytes_per_s", 1e9 / 8)),
    **dict.fromkeys(("bandwidth_mbps", "mbps"), ("bytes_per_s", 1e6 / 8)),
    **dict.fromkeys(("latency", "delay", "delay_s"), ("latency_s", 1.0)),
    **{"latency_ms": ("latency_s", 1e-3), "delay_ms": ("latency_s", 1e-3)},
    **{"latency_us": ("latency_s", 1e-6), "delay_us": ("latency_s", 1e-6)},
    **{"latency_ns": ("latency_s", 1e-9), "delay_ns": ("latency_s", 1e-9)},
}
_WITHOUT_UNIT = ("bandwidth", "bw", "rate", "speed", "latency", "delay")
MOST_LATENCY_S = 0.1  # of a link: no machine is as large
_EXPRESSION = re.compile(r"\s*([A-Za-z_][\w .-]*?)\s*(?:([*/])\s*([\d.]+(?:e[+-]?\d+)?))?\s*")
_NODE_KEYS = ("kind", "rack", "index", "part")
_GRAPH_KEYS = ("accelerator", "chassis")


def normalised(
    graph: DiGraph[Any], file: str, maps: Mapping[str, str] | None = None
) -> DiGraph[Any]:
    """Put rackmodel's words in place of a file's, after what `maps` says of them.

    Parameters
    ----------
    maps : {"bytes_per_s": "LinkSpeedRaw/8"}: a key of rackmodel is a key of the file, times or over
        a number, or a value for all that lack it; {"links.pcie": "64 GB/s"}: the rate of links of
        that name; {"accelerator": "h100"}: what a machine is made of, by its name in the catalog.

    Raises
    ------
    InvalidInput
        If a map names no key of the file.
    """
    for key, expression in (maps or {}).items():
        _apply(graph, key, expression, file)
    for _, data in graph.nodes(data=True):
        _name_kind(data)
    joined = {str(data.get("kind")) for _, data in graph.nodes(data=True)}
    if joined & {Kind.SCALE_UP_SWITCH, Kind.NIC}:  # else "switch" may be either
        for _, data in graph.nodes(data=True):
            if data.get("kind") == "switch":
                data["kind"] = Kind.LEAF.value
    for _, _, data in graph.edges(data=True):
        for key in [key for key in data if str(key).lower() in _LINK_KEYS]:
            name, unit = _LINK_KEYS[str(key).lower()]
            value = data[key]
            if name not in data:
                number = isinstance(value, int | float) and not isinstance(value, bool)
                if number and str(key).lower() in _WITHOUT_UNIT:
                    _check_unit(name, key, value, file)
                data[name] = value * unit if number else value
    bare = (data for *_, data in graph.edges(data=True) if "bytes_per_s" not in data)
    if names := sorted({str(data["link"]) for data in bare if data.get("link")}):
        raise InvalidInput(
            f"{file}: links {', '.join(map(repr, names[:6]))} state no bandwidth; add it, or give"
            f" rates of one direction: --map links.{names[0]}='64 GB/s'"
        )
    return graph


def _check_unit(name: str, key: str, value: float, file: str) -> None:
    """Refuse a number that no link has in SI: it is of a unit that its key does not say."""
    rate = name == "bytes_per_s"
    if 0 < value < LEAST_BARE if rate else value >= MOST_LATENCY_S:
        means, unit, sign = ("bytes a second", "GB/s", "*1e9") if rate else ("s", "us", "/1e6")
        raise InvalidInput(
            f"{file}: a link has {key} {value:g}; a number means {means}: write"
            f" '{value:g} {unit}' or whatever it is, or say --map {name}={key}{sign}"
        )


def _name_kind(data: dict[str, Any]) -> None:
    if "kind" not in data:
        said = next((data[key] for key in _KIND_KEYS if isinstance(data.get(key), str)), None)
        word = str(said).lower().replace("-", "_").replace(" ", "_")
        if said is None or (word not in _KINDS and word not in list(Kind) and word != "switch"):
            return
        data["kind"] = word
    word = str(data["kind"]).lower().replace("-", "_").replace(" ", "_")
    if word in _KINDS:
        data["kind"] = _KINDS[word].value


def _apply(graph: DiGraph[Any], key: str, expression: str, file: str) -> None:
    """Set one key of nodes or links by an expression."""
    where = f"{file}: --map {key}={expression}"
    if key in _GRAPH_KEYS:
        graph.graph[key] = expression.strip()
        return
    if key.startswith("links."):
        named = [d for *_, d in graph.edges(data=True) if d.get("link") == key[6:]]
        if not named:
            raise InvalidInput(
                f"{where}: no link of the file is called {shown(key[6:])}; give another name"
            )
        for data in named:
            data.setdefault("bytes_per_s", expression)
        return
    on_nodes = key in _NODE_KEYS
    tables = [d for _, d in graph.nodes(data=True)]
    if not on_nodes:
        tables = [d for *_, d in graph.edges(data=True)]
    found = _EXPRESSION.fullmatch(expression)
    name, sign, number = found.groups() if found else ("", None, None)
    if not any(name in data for data in tables):
        if sign or (not on_nodes and found and not expression.strip()[0].isdecimal()):
            keys = sorted({str(k) for data in tables for k in data})
            raise InvalidInput(
                f"{where}: no {'node' if on_nodes else 'link'} has {shown(name)}; give one of"
                f" {', '.join(keys[:12]) or 'no keys'}"
            )
        for data in tables:
            data.setdefault(key, expression.strip())
        return
    for data in tables:
        if name in data:
            data[key] = _times(data[name], sign, number, where)


def _times(value: Any, sign: str | None, number: str | None, where: str) -> Any:
    if sign is None or number is None:
        return value
    try:
        factor = float(number)
        return float(value) * factor if sign == "*" else float(value) / factor
    except (TypeError, ValueError, ZeroDivisionError):
        raise InvalidInput(f"{where}: expected a number, found {shown(value)}") from None
