"""Topology files of SimAI and of ns-3 (HPCC and its kin).

In:  a text: a line of counts, lines with the numbers of switches, then one line a link: source,
target, rate, delay, error rate.
Out: a directed graph; nodes are named by their numbers.
Left out: error rates.

SimAI's first line is `nodes gpus_per_server nvswitches switches links gpu_type`, with NVSwitches
first among the numbers of the second (aliyun/SimAI, gen_Topo_Template.py); ns-3's is `nodes
switches links`.
"""

from __future__ import annotations

from typing import Any

from rackmodel import units
from rackmodel.annotations import DiGraph
from rackmodel.errors import InvalidInput
from rackmodel.gate import shown
from rackmodel.topology.check import MOST_EDGES
from rackmodel.topology.formats.joined import Joined
from rackmodel.topology.kinds import Kind


def from_simai(text: str, file: str) -> DiGraph[Any]:
    """Return the graph of a SimAI or ns-3 topology file."""
    lines = [words for line in text.splitlines() if (words := line.split("#")[0].split())]
    nodes, servers, local, switches, links, part = _header(lines[0], file)
    ids: list[int] = []
    row = 1
    while row < len(lines) and len(ids) < local + switches:
        ids += [_whole(word, f"{file}: numbers of switches") for word in lines[row]]
        row += 1
    if len(ids) != local + switches or len(set(ids)) != len(ids) or max(ids, default=0) >= nodes:
        raise InvalidInput(
            f"{file}: expected the numbers of {local + switches} switches, each below {nodes},"
            f" found {len(ids)}"
        )
    if len(lines) - row != links:
        raise InvalidInput(f"{file}: expected {links:,} links, found {len(lines) - row:,}")
    joined, known = Joined(), set(ids)
    accelerators = [n for n in range(nodes) if n not in known]
    for place, node in enumerate(accelerators):
        joined.add(node, Kind.ACCELERATOR, rack=place // servers if servers else 0)
    for place, node in enumerate(ids):
        joined.add(node, Kind.SCALE_UP_SWITCH if place < local else Kind.LEAF)
    for number, words in enumerate(lines[row:], start=row + 1):
        _link(joined, words, nodes, f"{file}: line {number}")
    joined.place_switches(ids[local:])
    if part:
        joined.graph.graph["accelerator"] = part
    return joined.graph


def _header(words: list[str], file: str) -> tuple[int, int, int, int, int, str]:
    """Nodes, accelerators a server, NVSwitches, other switches, links, and the part."""
    if len(words) == 3:
        nodes, switches, links = (_whole(word, f"{file}: first line") for word in words)
        found = nodes, 0, 0, switches, links, ""
    elif len(words) in (5, 6):
        nodes, servers, local, switches, links = (
            _whole(word, f"{file}: first line") for word in words[:5]
        )
        found = nodes, servers, local, switches, links, _part(words[5] if len(words) > 5 else "")
    else:
        raise InvalidInput(
            f"{file}: the first line holds {len(words)} words; expected are, for SimAI, nodes,"
            " gpus_per_server, nvswitches, switches, links, gpu_type; that of ns-3 nodes, switches,"
            " links"
        )
    if found[4] > MOST_EDGES or found[0] > MOST_EDGES:
        raise InvalidInput(f"{file}: give at most {MOST_EDGES:,} nodes or links: more are refused")
    return found


def _part(word: str) -> str:
    """The part of the catalog that a name of SimAI means; empty: none."""
    from rackmodel.hardware import load_catalog

    return word.lower() if word.lower() in load_catalog().accelerators else ""


def _link(joined: Joined, words: list[str], nodes: int, where: str) -> None:
    if len(words) < 4:
        raise InvalidInput(f"{where}: expected source, target, rate, delay, found {shown(words)}")
    a, b = (_whole(word, where) for word in words[:2])
    for node in (a, b):
        if node >= nodes:
            raise InvalidInput(
                f"{where}: node {node} has to be below the {nodes} of the first line"
            )
    rate = units.parse(words[2], "bytes_per_s", where=where, positive=True)
    joined.link(a, b, rate, units.parse(words[3], "s", where=where))


def _whole(word: str, where: str) -> int:
    if not word.isdecimal() or len(word) > 9:
        raise InvalidInput(f"{where}: expected a whole number, found {shown(word)}")
    return int(word)
