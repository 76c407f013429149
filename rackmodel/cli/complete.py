"""What a shell completes: names that ship, then files.

In:  the beginning of a word.
Out: `machines`, `models`, `anything`, as typer's `autocompletion` takes them.
Left out: options and their choices, which typer completes itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import rackmodel
from rackmodel.files import is_folder


def machines(incomplete: str) -> list[str]:
    """Machines and files that begin so."""
    from rackmodel.topology import topology_names

    return _beginning(incomplete, topology_names())


def models(incomplete: str) -> list[str]:
    """Models and files that begin so."""
    from rackmodel.workload.catalog import model_names

    return _beginning(incomplete, model_names())


def anything(incomplete: str) -> list[str]:
    """Machines, models, parts and files that begin so."""

    parts = [name for table in rackmodel.load_catalog().tables.values() for name in table]
    return sorted({*machines(incomplete), *models(incomplete), *_beginning(incomplete, parts)})


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    folder = Path(incomplete) if incomplete.endswith("/") else Path(incomplete).parent
    files = sorted(folder.iterdir()) if is_folder(folder) else []
    found = [f"{one}/" if is_folder(one) else str(one) for one in files]
    return [one for one in (*names, *found) if one.startswith(incomplete)]
