"""What a job of a sweep means: a flat dict of names and values, simulated to a flat row.

In:  {"topology": "gb200-nvl72", "model": "gpt3-175b", "gpus": 1024, "tp": 8, "set....": ...}.
Out: the same names with the result's figures, in SI units.
Left out: reading SPEC.toml (spec.py), running many (api.py).

Names are those of the command line. Any field of the plan may be left out; the best one is
searched. ``set.accelerators.gb200.hbm_bytes_per_s`` changes one value of the catalog,
``set.topology.scale_up.domain`` one of the topology's file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from rackmodel import gate
from rackmodel.api import simulate
from rackmodel.engine.options import ROUTINGS
from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.fields import kinds_of
from rackmodel.files import is_file
from rackmodel.hardware import Catalog, load_catalog
from rackmodel.result.records import ResultRecord
from rackmodel.sweeps.filters import Value
from rackmodel.sweeps.spec import FlatJob, Kind, SweepSpec, read_spec
from rackmodel.topology import Topology, load_topology
from rackmodel.workload import Job, Plan, load_model
from rackmodel.workload.schedules.schedule import schedules

NEEDED = ("topology", "model", "gpus", "global_batch")
# What a job has beside the fields of `Job` and `Plan`.
_JOB: dict[str, Kind] = {
    "topology": "str",
    "model": "str",
    "gpus": "int",
    "default_plan": "bool",  # defaults for what is left out, instead of a search
    "routing": "str",  # of packets; that of tokens is token_routing, a field of the job
    "catalog": "str",  # TOML files, separated by commas
}
# Whole numbers.
_FROM_0 = ("shard_size", "prefetch", "routing_seed", "dispatch_domain", "lora", "document_len")
_KINDS: dict[object, Kind] = {
    int: "int",
    float: "float",
    str: "str",
    bool: "bool",
    int | None: "int",
    bool | None: "bool",
    tuple[str, ...]: "str",  # members with commas between
    tuple[int, ...]: "str",
}
_TOPOLOGY = "set.topology."
_WALL = "simulation.wall_s"  # differs from one run to the next
# Of this a row has nothing, so it is not worked out: what is one for all rows or among their own
# inputs, and lists of records other than links and racks.
_NOT_ASKED = frozenset({"version", "catalog", "waterfall", "contention", "trays"})
_FILES = (".toml", ".json", ".graphml", ".xml")


def job_fields() -> dict[str, Kind]:
    """Names that a job may have, with their kinds: the command line's, and the plan's fields."""
    hints = {**kinds_of(Plan), **kinds_of(Job)}
    found = {name: _KINDS[hint] for name, hint in hints.items() if hint in _KINDS}
    return {**found, **_JOB, **dict.fromkeys(_FROM_0, "any")}


def _choices() -> dict[str, Sequence[str]]:
    """Words that fields may be: as `Job` and `Plan` have them, and what users may register."""
    own = {
        one.name: one.metadata.get("choices", ()) for part in (Job, Plan) for one in fields(part)
    }
    return {**own, "schedule": tuple(schedules()), "routing": ROUTINGS}


def read_job_spec(source: Path | str | Mapping[str, object], *, name: str = "spec") -> SweepSpec:
    """Read the spec of a sweep over training steps; see `spec.read_spec`."""
    spec = read_spec(source, job_fields(), check=check_value, name=name)
    given = {*spec.base, *(name for axis in spec.axes for name in axis)}
    for name in NEEDED:
        if name not in given:
            raise InvalidInput(f"{spec.source}: no {name}; write it in [base] or give it an axis")
    return spec


def check_value(name: str, value: Value) -> None:
    """Raise if `value` names a machine, model or choice that there is not."""
    if name == "model":
        load_model(str(value))
    elif name == "topology":
        load_topology(str(value))
    elif name == "catalog":
        for path in str(value).split(","):
            if not is_file(Path(path)):
                raise InvalidInput("no such file; give one that exists")
    elif choices := _choices().get(name):
        listed = _listed(name, value)
        for one in listed if isinstance(listed, list) else [value]:
            UnknownName.check(name, str(one), choices)


def _listed(name: str, value: Value) -> Value | list[str] | list[int]:
    """Return the members of a field that is a list, which a row has as text; others as they are."""
    hint = {**kinds_of(Plan), **kinds_of(Job)}.get(name)
    words = [word.strip() for word in str(value).split(",") if word.strip()]
    if hint == tuple[int, ...]:
        return [gate.whole(word, name, least=0) for word in words]
    return words if hint == tuple[str, ...] else value


def simulate_job(flat: FlatJob) -> dict[str, Value]:
    """Simulate one job; the row's figures.

    Raises
    ------
    RackModelError
        As `rackmodel.api.simulate` does; a sweep keeps the reason.
    """
    options: dict[str, Any] = {}
    plan: dict[str, Any] = {}
    job_names = {*_JOB, *kinds_of(Job)}
    for name, value in flat.items():
        if name in ("topology", "catalog") or name.startswith("set."):
            continue
        (options if name in job_names else plan)[name] = _listed(name, value)
    catalog, topology = machine_of(flat)
    result = simulate(topology, **options, plan=plan, catalog=catalog)
    known = ResultRecord.__annotations__
    return flat_row(result.to_dict(name for name in known if name not in _NOT_ASKED))


def machine_of(flat: FlatJob) -> tuple[Catalog, Topology]:
    """Catalog and topology of a job, with its ``set.`` values."""
    changes = {name: value for name, value in flat.items() if name.startswith("set.")}
    files = str(flat["catalog"]).split(",") if flat.get("catalog") else []
    stamps = tuple((path, _file_digest(path)) for path in files)
    return _machine(str(flat["topology"]), tuple(sorted(changes.items())), stamps)


@lru_cache(maxsize=32)
def _machine(
    name: str, changes: tuple[tuple[str, Value], ...], files: tuple[tuple[str, str], ...]
) -> tuple[Catalog, Topology]:
    parts = {
        key.removeprefix("set."): value for key, value in changes if not key.startswith(_TOPOLOGY)
    }
    shape = {key.removeprefix(_TOPOLOGY): v for key, v in changes if key.startswith(_TOPOLOGY)}
    catalog = load_catalog(overrides=parts or None, files=[Path(path) for path, _ in files])
    return catalog, load_topology(name, overrides=shape or None, catalog=catalog)


def flat_row(tree: Mapping[str, Any]) -> dict[str, Value]:
    """Result as one flat row: nested names dotted, links by tier, racks as their sum and maximum.

    >>> flat_row({"step_s": 2.0, "cost": {"usd": 1.5}, "racks": [{"count": 2, "heat_w": 5.0}]})
    {'step_s': 2.0, 'cost.usd': 1.5, 'racks': 2, 'heat_w': 10.0, 'rack_heat_w': 5.0}
    """
    told = {name: value for name, value in tree.items() if name not in _NOT_ASKED}
    row: dict[str, Value] = {}
    for name, value in gate.leaves(told):
        if isinstance(value, list | tuple):
            if all(isinstance(item, int | float | str) for item in value):
                row[name] = " ".join(map(str, value))
        elif name != _WALL:
            row[name] = _plain(value)
    for link in tree.get("links", ()):
        for name in ("utilisation_mean", "utilisation_peak", "bytes"):
            if name in link:
                row[f"links.{link['tier']}.{link.get('kind', '')}.{name}"] = _plain(link[name])
    racks = tree.get("racks", ())
    if racks:
        row["racks"] = int(sum(rack["count"] for rack in racks))
        for name in ("heat_w", "liquid_w", "air_w", "peak_w"):
            if all(name in rack for rack in racks):
                row[name] = float(sum(rack[name] * rack["count"] for rack in racks))
                row[f"rack_{name}"] = float(max(rack[name] for rack in racks))
    return row


def _plain(value: Any) -> Value:
    """A value of Python's own types: numpy's would not be the same text everywhere."""
    known = value is None or isinstance(value, bool | int | float | str)
    plain: Value = value if known else value.item()
    return plain


def base_fields(overrides: Mapping[str, object], catalogs: Sequence[Path]) -> FlatJob:
    """What the command line's --set and --catalog add to every job."""
    found: FlatJob = {}
    for name, value in overrides.items():
        if not isinstance(value, bool | int | float | str):
            raise InvalidInput(f"--set {name}: {value!r} has to be a number or text")
        found[f"set.{name}"] = value
    if catalogs:
        found["catalog"] = ",".join(str(path) for path in catalogs)
    return found


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Digest of rackmodel's own code and data: rows of another version are not this one's."""
    root = Path(__file__).parents[1]
    whole = hashlib.blake2b(digest_size=8)
    files = [*root.rglob("*.py"), *root.rglob("*.toml"), *root.rglob("*.csv")]
    files += (root.parent / "topologies").glob("*.toml")  # in a checkout they stand beside
    for path in sorted(set(files)):
        whole.update(path.name.encode())
        whole.update(path.read_bytes())
    return whole.hexdigest()


def files_digest(spec: SweepSpec) -> str:
    """Digest of the files that the jobs of a spec name: machines, models, catalogs."""
    named: set[str] = set()
    for column in ("topology", "model", "catalog"):
        values = [spec.base[column]] if column in spec.base else []
        values += [value for axis in spec.axes for value in axis.get(column, ())]
        named |= {path for value in values for path in str(value).split(",")}
    files = [name for name in sorted(named) if name.endswith(_FILES) and is_file(Path(name))]
    return "".join(map(_file_digest, files))


def _file_digest(path: str) -> str:
    return hashlib.blake2b(Path(path).read_bytes(), digest_size=8).hexdigest()
