"""What a name stands for, and everything known about it: a topology, a part, a model.

In:  a name or a file, the catalog.
Out: {name, kind, rows: [{field, value, grade, source, note}], sources}.
Left out: layout on a screen (`tables_catalog`).
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rackmodel
from rackmodel import gate
from rackmodel.cli.tables_catalog import cell
from rackmodel.errors import UnknownName
from rackmodel.files import is_file, is_folder, read_json, read_toml

if TYPE_CHECKING:
    from rackmodel.cli.catalog_words import CatalogWords
    from rackmodel.hardware import Catalog
    from rackmodel.topology import Topology
    from rackmodel.workload.schedules.schedule import Schedule


def look_up(name: str, words: CatalogWords) -> dict[str, Any]:
    """Return everything known about `name`.

    A name that several kinds hold is a topology first, then a model, then a part;
    "accelerators.NAME" asks for the part.

    Raises
    ------
    UnknownName
        If no kind holds it; with the nearest names of all kinds.
    """
    parts = words.catalog()
    kind = _kind_of_file(Path(name)) if Path(name[:300]).suffix or "/" in name else None
    if kind is None:
        kind = _kind_of_name(name, parts)
    if kind == "topology":
        return _topology(words.machine(name, parts), parts)
    words.load()
    if kind == "model":
        return _model(name)
    return _part(name, parts)


def _kind_of_file(path: Path) -> str | None:
    """Return "topology" or "model" for a file or a directory, None if there is no such file."""
    if is_folder(path):
        return "model"
    if not is_file(path):
        return None
    if path.suffix.lower() in (".sh", ".args", ".py"):  # a launch describes a model
        return "model"
    if path.suffix.lower() not in (".toml", ".json"):
        return "topology"
    read = partial(read_json, finite=False) if path.suffix.lower() == ".json" else read_toml
    keys = gate.table(read(path), f"{path}: the file")
    return (
        "model"
        if {"layers", "hidden", "hidden_size", "model_type", "n_embd", "peft_type"} & set(keys)
        else "topology"
    )


def _kind_of_name(name: str, parts: Catalog | None) -> str:
    from rackmodel.topology import topology_names
    from rackmodel.workload.catalog import model_names

    topologies, models = topology_names(), model_names()
    tables = (parts or rackmodel.load_catalog()).tables
    known = {part for table in tables.values() for part in table}
    if name in topologies:
        return "topology"
    if name in models:
        return "model"
    kind, _, rest = name.partition(".")
    if name in known or rest in tables.get(kind, ()):
        return "part"
    if is_folder(Path(name)):  # as MODEL elsewhere, where nothing has the name
        return "model"
    raise UnknownName.among("topology, model or part", name, {*topologies, *models, *known})


def _topology(name: str | Topology, parts: Catalog | None) -> dict[str, Any]:
    from rackmodel.topology import describe

    topology = rackmodel.load_topology(name, catalog=parts)
    rows = [
        {"field": field, "value": value, "note": note} for field, value, note in describe(topology)
    ]
    payload = {"name": topology.name, "kind": "topology", "rows": rows}
    if topology.accelerator:
        payload["lines"] = [f"parts: `rackmodel show {topology.accelerator}`"]
    return payload


def _model(name: str) -> dict[str, Any]:
    from rackmodel.workload.catalog import describe

    model = rackmodel.load_model(name)
    rows = []
    for field, value in describe(model).items():
        if isinstance(value, Mapping):
            rows += [{"field": f"{field}.{key}", "value": part} for key, part in value.items()]
        else:
            rows.append({"field": field, "value": value})
    for row in rows:
        row["si"] = row["value"]
        row["value"] = cell(str(row["field"]), row["value"])
    return {"name": model.name, "kind": "model", "rows": rows}


def _part(name: str, parts: Catalog | None) -> dict[str, Any]:
    from rackmodel.hardware import describe, sources

    catalog = parts or rackmodel.load_catalog()
    rows = [fact._asdict() for fact in describe(name, catalog)]
    plain = name.partition(".")[2] if name.partition(".")[0] in catalog.tables else name
    kinds = [kind for kind, table in catalog.tables.items() if plain in table]
    rows.sort(
        key=lambda row: "." in str(row["field"]) and not str(row["field"]).startswith("flops")
    )
    used = {key for row in rows for key in str(row["source"] or "").split()}
    known = {key: f"{source.where} ({source.kind})" for key, source in sources().items()}
    cited = {key: known[key] for key in sorted(used) if key in known}
    return {"name": name, "kind": ", ".join(kinds), "rows": rows, "sources": cited}


def _schedules() -> list[dict[str, Any]]:
    from rackmodel.workload.schedules.schedule import schedules

    tried = "", "domains, "
    return [
        {
            "name": one.name,
            "chunks": _chunks(*one.chunks),
            "pipeline": "needed" if one.needs_pipeline else "or none",
            "weight_gradients": "passes of their own" if one.splits_weights else "",
            **_shown(one),
            "searched": "always" if one.usual else f"{tried[one.quick]}--space full, --schedule",
            "source": one.source,
            "from": _file_of(one.order),
        }
        for one in schedules().values()
    ]


_SHOWN = 8, 64  # pipeline ranks and micro-batches for which schedules are told apart


def _shown(one: Schedule) -> dict[str, Any]:
    """Return micro-batches that the fullest rank keeps (of 1/p of the model), and the bubble."""
    from rackmodel.workload.schedules.holding import in_flight

    p, m = _SHOWN
    v = one.chunks[0]
    if one.refuses(p, m, v):
        return {}
    kept = max(in_flight(one.name, p, m, v, rank) for rank in range(p))
    return {"in_flight": kept * one.directions, "bubble": round(one.bubble(p, m, v), 4)}


def _chunks(least: int, most: int) -> str:
    """Return how many model chunks a rank may hold, in words."""
    if least == most:
        return str(least)
    return f"{least} to {most}" if most < sys.maxsize else f"{least} or more"


def _collectives() -> list[dict[str, Any]]:
    from rackmodel.network import collectives
    from rackmodel.network.collectives.registry import ALGORITHM

    assert collectives  # which registers the shipped ones
    return [
        {"name": one.name, "operations": ", ".join(one.ops), "from": _file_of(one.build)}
        for one in ALGORITHM.values()
    ]


def _builders() -> list[dict[str, Any]]:
    from rackmodel.topology.builders import BUILDERS

    return [
        {
            "name": name,
            "builds": (one.build.__doc__ or "").strip().partition("\n")[0],
            "from": _file_of(one.build),
        }
        for name, one in BUILDERS.items()
    ]


def _file_of(function: Any) -> str:
    """Return the file of an extension's function; "" for what ships."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    file = Path(code.co_filename) if code else Path()
    return "" if Path(__file__).parents[1] in file.parents else str(file)


REGISTERED: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "schedules": _schedules,
    "collectives": _collectives,
    "builders": _builders,
}
"""What extensions add to beside parts: the rows of `rackmodel list` by kind."""
