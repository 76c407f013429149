"""Where the command line calls the other rooms; each is imported when it is called.

In:  checked words of the command line (`JobWords`, names, paths).
Out: what the public functions return.
Left out: parsing of words, printing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rackmodel.cli.values import assignments, clip
from rackmodel.errors import InvalidInput

if TYPE_CHECKING:
    from rackmodel.hardware import Catalog

_FILE_SUFFIXES = {".toml", ".json", ".graphml", ".xml", ".csv"}
LISTS = ("stage_layers", "offload", "recompute_modules")  # fields of a plan: "a,b"
# Fields of a job that no option of their own sets; `--plan` takes them too.
JOB_FIELDS = ("token_routing", "routing_skew", "routing_seed", "capacity_factor", "attention")
MAX_FILE_BYTES = 2_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class JobWords:
    """A job as the command line gives it; `plan` holds only the fields that were given."""

    model: str
    gpus: int
    global_batch: int
    seq_len: int | None = None
    precision: str = "bf16"
    stack: str | None = None
    cuda_graphs: bool | None = None
    plan: Mapping[str, Any] = field(default_factory=dict)


def check_file(path: Path, where: str) -> Path:
    """Return `path` if it is a readable file of text; else raise `InvalidInput`."""
    shown = clip(str(path), 200)
    if "\0" in str(path):
        raise InvalidInput(f"{where}: a file name can't hold a null character")
    try:
        if path.is_dir():
            raise InvalidInput(f"{where}: wanted a file; {shown} is a directory")
        if not path.exists():
            raise InvalidInput(f"{where}: no file {shown}")
        if path.is_file() and path.stat().st_size > MAX_FILE_BYTES:
            raise InvalidInput(f"{where}: {shown} is larger than 2 GB")
        with path.open("rb") as file:
            head = file.read(65536)
    except OSError as error:
        raise InvalidInput(f"{where}: can't read {shown} ({error.strerror})") from error
    if b"\0" in head:
        raise InvalidInput(f"{where}: {shown} is not text (it holds null bytes)")
    try:
        head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.end < len(head) - 4 or len(head) < 65536:  # not merely cut inside a character
            raise InvalidInput(
                f"{where}: {shown} is not UTF-8 text (byte {error.start})"
            ) from error
    return path


def name_or_file(word: str, where: str) -> str:
    """Return `word`; where it looks like a path, make sure that it can be read."""
    if not word.strip():
        raise InvalidInput(f"{where}: wanted a name or a file; got nothing")
    if "/" in word or "\\" in word or Path(word[:300]).suffix.lower() in _FILE_SUFFIXES:
        check_file(Path(word), where)
    elif "\0" in word:
        raise InvalidInput(f"{where}: a name can't hold a null character")
    return word


def plan_fields(given: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """Return the plan fields that were given, those of `--plan FIELD=VALUE` included."""
    fields = {name: value for name, value in given.items() if value is not None}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name.isidentifier() or not text.strip():
            raise InvalidInput(f"--plan: wanted FIELD=VALUE; got {clip(word)!r}")
        if name in fields:
            raise InvalidInput(f"--plan: {name} is given twice")
        parts = [part.strip() for part in text.split(",")]
        values = [_plan_value(part) for part in parts if part]
        fields[name] = values if name in LISTS else _plan_value(text.strip())
    if words:
        from dataclasses import fields as fields_of

        from rackmodel.errors import UnknownName
        from rackmodel.workload import Plan

        known = {*JOB_FIELDS, *(entry.name for entry in fields_of(Plan))}
        for name in fields:
            if name not in known:
                raise UnknownName.among("field of the plan", name, known)
    return fields


def _plan_value(text: str) -> bool | int | float | str:
    if text.lower() in ("true", "yes", "on", "false", "no", "off"):
        return text.lower() in ("true", "yes", "on")
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def catalog(sets: Sequence[str], files: Sequence[Path]) -> Catalog | None:
    """Return the catalog with the overrides of `--set` and `--catalog`; None without any."""
    overrides = assignments(sets)
    if not overrides and not files:
        return None
    for path in files:
        check_file(path, "--catalog")
    from rackmodel.hardware import load_catalog

    return load_catalog(overrides=overrides or None, files=tuple(files))


def simulate(topology: str, words: JobWords, parts: Catalog | None, **options: Any) -> Any:
    """Return the Result of one job; what its plan leaves out is searched."""
    from rackmodel import api

    return api.simulate(
        name_or_file(topology, "TOPOLOGY"), **_job_options(words), catalog=parts, **options
    )


def compare(
    topologies: Sequence[str], words: JobWords, parts: Catalog | None, **options: Any
) -> Any:
    """Return the Result of the best plan on each topology, or why it can't run there."""
    from rackmodel import api

    names = [name_or_file(word, "TOPOLOGY") for word in topologies]
    return api.compare(names, **_job_options(words), catalog=parts, **options)


def search(
    topology: str, words: JobWords, parts: Catalog | None, *, top: int, **options: Any
) -> Any:
    """Return the best plans, ranked."""
    from rackmodel import api

    return api.search(
        name_or_file(topology, "TOPOLOGY"),
        **_job_options(words),
        catalog=parts,
        top=top,
        **options,
    )


def _job_options(words: JobWords) -> dict[str, Any]:
    """Return the job as keyword arguments of the front api."""
    options: dict[str, Any] = {
        "model": name_or_file(words.model, "--model"),
        "gpus": words.gpus,
        "global_batch": words.global_batch,
        "seq_len": words.seq_len,
        "precision": words.precision,
        "plan": {k: v for k, v in words.plan.items() if k not in JOB_FIELDS},
        "cuda_graphs": words.cuda_graphs,
        **{name: words.plan[name] for name in JOB_FIELDS if name in words.plan},
    }
    if words.stack is not None:
        options["stack"] = words.stack
    return options


def listing(kind: str, parts: Catalog | None) -> list[dict[str, Any]]:
    """Return one row for every thing of a kind."""
    if kind == "models":
        from rackmodel.workload.catalog import model_rows

        return [dict(row) for row in model_rows()]
    if kind == "topologies":
        from rackmodel.topology.names import topology_rows

        return [dict(row) for row in topology_rows()]
    from rackmodel.hardware import catalog_rows

    return [dict(row) for row in catalog_rows(kind, parts)]


def everything_about(name: str, parts: Catalog | None) -> dict[str, Any]:
    """Return {name, kind, facts, rows} of a topology, part or model."""
    name_or_file(name, "NAME")
    from rackmodel.cli.lookup import look_up

    return look_up(name, parts)


def heat(
    topology: str, words: JobWords, parts: Catalog | None, *, site: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the elevation of the hottest rack while it trains: {title, rows, notes, ...}."""
    found = simulate(topology, words, parts, site={**site, "trays": True}).assessment
    rack = max(found["racks"], key=lambda one: one["heat_w"])
    rows = [row for row in found["trays"] if row["rack_class"] == rack["rack"]]
    loop = rack["coolant"]
    air = rack["air"]
    ways = []
    if loop["flow_lpm"]:
        ways.append(
            f"{rack['liquid_w'] / rack['heat_w']:.0%} to liquid: {loop['flow_lpm']:,.0f} L/min of "
            f"{loop['fluid']}, {loop['supply_c']:.0f} to {loop['return_c']:.0f} degC, "
            f"{loop['drop_pa'] / 1e3:.0f} kPa, pumps {loop['pump_w']:,.0f} W, "
            f"facility water up to {loop['facility_c']:.0f} degC ({loop['water_class']})"
        )
    if rack["air_w"] > 0:
        ways.append(
            f"{rack['air_w'] / rack['heat_w']:.0%} to air: {air['flow_m3_per_s']:.2f} m3/s "
            f"({air['flow_cfm']:,.0f} CFM), {air['inlet_c']:.0f} to {air['outlet_c']:.0f} degC, "
            f"fans {rack['by_part_w'].get('fan', 0.0):,.0f} W"
        )
    return {
        "topology": topology,
        "rack_class": rack["rack"],
        "racks_alike": rack["count"],
        **{key: rack[key] for key in ("heat_w", "liquid_w", "air_w", "peak_w")},
        "by_part_w": rack["by_part_w"],
        "coolant": loop,
        "air": air,
        "junction_c": rack["junction_c"],
        "swing": rack["swing"],
        "title": "\n".join(
            [f"{topology}: {rack['heat_w'] / 1e3:,.1f} kW of heat, mean over a step", *ways]
        ),
        "rows": rows,
        "notes": found["notes"],
    }


def goodput(
    topology: str,
    gpus: int,
    parts: Catalog | None,
    *,
    media: Mapping[str, str] | None = None,
    lengths_m: Mapping[str, float] | None = None,
    spares: Sequence[int] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Return what failures do to a job: rates by part, interval, goodput, spares."""
    from rackmodel.assess.availability import Stops, availability
    from rackmodel.assess.site import Site
    from rackmodel.hardware import load_catalog
    from rackmodel.topology import load_topology

    catalog = parts or load_catalog()
    machine = load_topology(name_or_file(topology, "TOPOLOGY"), catalog=catalog)
    found = availability(
        catalog,
        machine.inventory(gpus),
        accelerators=gpus,
        domain=0 if machine.slice_shape(gpus) else machine.domain_accelerators,
        stops=Stops(**options),
        site=Site.of(None, media=media, lengths_m=lengths_m),
        spares=spares,
    )
    return {"topology": machine.name, **found}
