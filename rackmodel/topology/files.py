"""What stands in a file that describes a machine.

In:  a path.
Out: its bytes and its text, if there are not too many.
Left out: what they mean (`toml_file`, `graph_file`); how files are read (`rackmodel.files`).
"""

from __future__ import annotations

from pathlib import Path

from rackmodel import files

MOST_GRAPH_BYTES = 400_000_000
MOST_BYTES = 2_000_000
"""No description is longer; a larger file is something else."""


def is_graph(path: Path) -> bool:
    """Say whether a file holds a graph (what is no description does), by its ending."""
    return path.suffix.lower() != ".toml"


def content_of(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises
    ------
    InvalidInput
        If it is too large or cannot be read.
    """
    return files.read_bytes(path, most=MOST_GRAPH_BYTES if is_graph(path) else MOST_BYTES)


def text_of(content: bytes, path: Path) -> str:
    """Return the text of a file; a byte-order mark is no part of it.

    Raises
    ------
    InvalidInput
        If it is not UTF-8.
    """
    return files.as_text(content, str(path))
