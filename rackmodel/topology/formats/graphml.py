"""GraphML, as NetworkX and the Topology Zoo write it.

In:  a text and the name of its file.
Out: a directed graph with the file's own keys.
Left out: what the keys mean (`words`).
"""

from __future__ import annotations

import warnings
from typing import Any

from rackmodel.annotations import DiGraph
from rackmodel.errors import InvalidInput
from rackmodel.gate import shown
from rackmodel.topology.check import as_directed


def from_graphml(text: str, file: str) -> DiGraph[Any]:
    """Return the graph of a GraphML text that is known to declare no entities."""
    import xml.etree.ElementTree as ElementTree

    import networkx as nx

    try:
        with warnings.catch_warnings(action="ignore"):  # of keys that are not declared: texts
            found = nx.parse_graphml(text)
    except (
        ElementTree.ParseError,
        nx.NetworkXError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise InvalidInput(
            f"{file}: not valid GraphML: {shown(str(error), 120)}; mend it"
        ) from None
    return as_directed(found, file)
