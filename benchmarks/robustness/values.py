"""Values of the wrong kind, and files with them.

In:  a random source, a document (mappings, lists, values).
Out: the document with something wrong, as JSON, TOML, CSV or GraphML.
Left out: which documents there are (`seeds`).
"""

from __future__ import annotations

import copy
import csv
import io
import json
import math
import random
import re
from typing import Any
from xml.sax.saxutils import quoteattr

#: What a value is replaced with; numbers at borders, other kinds, texts that look like numbers.
WRONG: tuple[Any, ...] = (
    *(math.nan, math.inf, -math.inf, -1, -5, 0, 1, 2, 3, 7, 64, 10**9, 10**12, 10**400, 2**63),
    *(1e300, 1e-300, 0.5, -0.5, 1.0, 1e15, 1e18, True, False, None),
    *("", " ", "x", "3", "1e3", "-1", "0", "nan", "inf", "1e400", "0x10", "1_000", "1,024", "٣"),
    *("5 W", "10 TB/s", "400 Gb/s", "8k", "50%", "true", "None", "a,b", "a=b", "=1+1", "../x"),
    *("x" * 300, "x" * 10_000, "9" * 500, "\n", "\t", "💥", "h100", "gpt3-125m", "dgx-h100"),
    *([], [1], [0], ["x"], [None], [[1]], [-1, 2], ["1"], [1, 2, 3], [True], [1e300]),
    *({}, {"a": 1}, {"value": 1}, {"value": "x"}, {"low": 2, "value": 1}, {"from": 1, "to": 2}),
)
#: The same as words of a command line, and some more.
WORDS: tuple[str, ...] = tuple(
    dict.fromkeys(
        [
            *(one if isinstance(one, str) else str(one) for one in WRONG),
            *("1e3x", "--json", "-", "--", "@", "1:2", "8:8G:x2", "1=2", "a=b=c", "0=2", "3=1.2"),
            *("scale-up=aec:5m", "scale-up=", "x=y", "10,14", "1GB", "-1GB", "1e-9", "15T", "4h"),
            *("no\0thing", "no\udc80thing", "a" * 250 + ".json", "/", "/dev/null", ".", "~"),
            *("mfu>=0.4", "mfu>=x", "step_s<1e400", "rows.0>1", "h100.hbm_bytes=1TB"),
        ]
    )
)


def mutated(document: Any, dice: random.Random) -> Any:
    """Return a copy with one thing changed: a value, a key, a member too many or too few."""
    changed = copy.deepcopy(document)
    spot, key = dice.choice(list(_spots(changed)) or [(None, None)])
    if spot is None:
        return dice.choice(WRONG)
    how = dice.random()
    if how < 0.72:
        spot[key] = copy.deepcopy(dice.choice(WRONG))
    elif how < 0.8:
        del spot[key]
    elif how < 0.88 and isinstance(spot, dict):
        spot[dice.choice([f"{key}x", str(key).upper(), "", "nosuch", "a.b", "x" * 300])] = spot[key]
    elif how < 0.94:
        scale = dice.choice([0, -1, 1000, 1e-6, 1e12, 0.37])
        value = spot[key]
        plain = isinstance(value, int | float) and not isinstance(value, bool)
        held = plain and abs(value) < 1e300  # a float can hold the product
        spot[key] = value * scale if held else [value]
    elif isinstance(spot, list):
        spot.append(copy.deepcopy(spot[key]))
    else:
        spot[key] = {"value": spot[key], dice.choice(["low", "source", "nosuch"]): 1}
    return changed


def in_text(text: str, dice: random.Random) -> str:
    """Return a text with one word or number of it replaced, taken out or doubled."""
    words = list(re.finditer(r"[\w.+-]+", text))
    if not words:
        return text
    one = dice.choice(words)
    put = dice.choice([*(str(value) for value in WRONG), "", one[0] * 2, f"-{one[0]}", "²"])
    return text[: one.start()] + put + text[one.end() :]


def _spots(document: Any) -> Any:
    """Yield (container, key) of every place in a document."""
    keys: Any = ()
    if isinstance(document, dict):
        keys = list(document)
    elif isinstance(document, list):
        keys = range(len(document))
    for key in keys:
        yield document, key
        yield from _spots(document[key])


def to_bytes(name: str, document: Any) -> bytes:
    """Return a document as the file that its name's ending asks for."""
    kind = name.rpartition(".")[2]
    if kind == "json":
        text = json.dumps(document)
    elif kind == "toml":
        text = _toml_file(document)
    elif kind == "csv":
        text = _csv(document)
    elif kind == "graphml":
        text = _graphml(document)
    else:
        text = str(document)
    return text.encode("utf-8", "surrogatepass")


def scrambled(content: bytes, dice: random.Random) -> bytes:
    """Return bytes with a piece cut out, doubled, changed or put in."""
    at = dice.randrange(len(content) + 1)
    end = min(len(content), at + dice.choice([1, 1, 2, 8, 100]))
    put = dice.choice(
        [b"", b"\0", b"\xff", b"\n", b'"', b"[" * 3000, b"-", b"9", b"e9", b"\xef\xbb\xbf", b"="]
    )
    doubled = content[at:end] if dice.random() < 0.2 else b""
    if dice.random() < 0.1:
        return content[:at]
    return content[:at] + doubled + put + content[end if not doubled else at :]


def _toml_file(document: Any) -> str:
    if not isinstance(document, dict):
        return _toml(document)
    return "\n".join(f"{_toml_key(key)} = {_toml(value)}" for key, value in document.items())


def _toml_key(key: Any) -> str:
    return json.dumps(str(key))


def _toml(value: Any) -> str:
    """Return one value as TOML."""
    if value is None:
        return "[]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml_key(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value)


def _csv(rows: Any) -> str:
    text = io.StringIO()
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        return str(rows)
    csv.writer(text, lineterminator="\n").writerows(
        [["" if cell is None else cell for cell in row] for row in rows]
    )
    return text.getvalue()


def _graphml(graph: Any) -> str:
    """Return node-link data as GraphML, every attribute under a type that its value suggests."""
    try:
        parts = {
            "graph": [graph.get("graph", {})],
            "node": graph["nodes"],
            "edge": graph["edges"],
        }
        keys: dict[tuple[str, str], str] = {}
        for domain, members in parts.items():
            for member in members:
                for key, value in member.items():
                    if key not in ("id", "source", "target"):
                        keys.setdefault((domain, key), _graphml_type(value))
        head = "".join(
            f"<key id={quoteattr(f'{domain}{key}')} for={quoteattr(domain)} "
            f"attr.name={quoteattr(key)} attr.type={quoteattr(kind)}/>"
            for (domain, key), kind in keys.items()
        )
        body = _data("graph", parts["graph"][0])
        for node in graph["nodes"]:
            body += f"<node id={quoteattr(str(node['id']))}>{_data('node', node)}</node>"
        for edge in graph["edges"]:
            ends = (
                f"source={quoteattr(str(edge['source']))} target={quoteattr(str(edge['target']))}"
            )
            body += f"<edge {ends}>{_data('edge', edge)}</edge>"
    except (AttributeError, KeyError, TypeError):
        return str(graph)
    direction = "directed" if graph.get("directed") else "undirected"
    return (
        '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">'
        f'{head}<graph edgedefault="{direction}">{body}</graph></graphml>'
    )


def _graphml_type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return {int: "long", float: "double"}.get(type(value), "string")


def _data(domain: str, member: Any) -> str:
    return "".join(
        f"<data key={quoteattr(f'{domain}{key}')}>{_text(value)}</data>"
        for key, value in member.items()
        if key not in ("id", "source", "target")
    )


def _text(value: Any) -> str:
    text = str(value)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("\0", "")
