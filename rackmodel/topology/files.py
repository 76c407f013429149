"""What stands in a file that describes a machine.

In:  a path.
Out: its bytes and its text, if there are not too many.
Left out: what they mean (`toml_file`, `graph_file`).
"""

from __future__ import annotations

from pathlib import Path

from rackmodel.errors import InvalidInput

GRAPH_SUFFIXES = (".json", ".graphml", ".xml")
MOST_GRAPH_BYTES = 400_000_000
MOST_BYTES = 2_000_000
"""No description is longer; a larger file is something else."""


def is_graph(path: Path) -> bool:
    """Say whether the file holds a graph, by its ending."""
    return path.suffix.lower() in GRAPH_SUFFIXES


def content_of(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises
    ------
    InvalidInput
        If it is too large or cannot be read.
    """
    try:
        size = path.stat().st_size
        if not is_graph(path) and size > MOST_BYTES:
            raise InvalidInput(f"{path}: {size:,} bytes is no topology file")
        if size > MOST_GRAPH_BYTES:
            raise InvalidInput(
                f"{path}: {size:,} bytes; graphs above {MOST_GRAPH_BYTES:,} are refused"
            )
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read as text: {error}") from None


def text_of(content: bytes, path: Path) -> str:
    """Return the text of a file; a byte-order mark before a graph is no part of it.

    Raises
    ------
    InvalidInput
        If it is not UTF-8.
    """
    try:
        text = content.decode("utf-8-sig" if is_graph(path) else "utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: cannot be read as text: {error}") from None
    return text.replace("\r\n", "\n")
