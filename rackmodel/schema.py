"""JSON Schema of what users write and of what rackmodel prints, made from the types themselves.

In:  a kind: topology, parts, models, sweep, design (files), result (`simulate --json`), serving
     (`serve --json`), requests (`serve --rate --json`).
Out: `schema`, as JSON Schema 2020-12 with the version of rackmodel; `check` of one object.
Left out: what values mean together; the readers of the files check that.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import MISSING, fields
from types import GenericAlias
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model

import rackmodel
from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.fields import described, kinds_of
from rackmodel.hardware.build import FORMATS
from rackmodel.hardware.parts import Accelerator, Link, Medium, Switch, Transport
from rackmodel.result.hall_records import HallRecord
from rackmodel.result.records import ResultRecord
from rackmodel.result.serving_records import RequestsRecord, ServingRecord
from rackmodel.workload import Job, Model, Plan

Stated: TypeAlias = Annotated[
    float | str | bool | dict[str, Any],
    Field(description="A value, or {value, source, grade, note, low, high}."),
]

Whole: TypeAlias = int | None
Word: TypeAlias = str | None
LinkName: TypeAlias = Annotated[Word, Field(description="A name of `rackmodel list links`.")]
MediumName: TypeAlias = Annotated[Word, Field(description="A name of `rackmodel list media`.")]
LinkRate: TypeAlias = Annotated[
    float | str | None, Field(description="One direction: '50 GB/s'. Default: the link's.")
]
LinkDelay: TypeAlias = Annotated[
    float | str | None, Field(description="Latency of a link: '500 ns'. Default: the link's.")
]
LinkLength: TypeAlias = Annotated[float | str | None, Field(description="Length: '2 m'.")]
LinkLanes: TypeAlias = Annotated[Whole, Field(description="Lanes. Default: the link's.")]


class Section(BaseModel):
    """A table of a file; keys that it does not know are refused."""

    model_config = ConfigDict(extra="forbid")


class LinkKeys(Section):
    """A link, as a table uses it."""

    link: LinkName = None
    link_bytes_per_s: LinkRate = None
    link_latency_s: LinkDelay = None
    link_lanes: LinkLanes = None
    medium: MediumName = None
    length_m: LinkLength = None


class HostLinkKeys(Section):
    """From a host to its NICs."""

    host_link: LinkName = None
    host_link_bytes_per_s: LinkRate = None
    host_link_latency_s: LinkDelay = None
    host_link_lanes: LinkLanes = None
    host_medium: MediumName = None
    host_length_m: LinkLength = None


class UpLinkKeys(Section):
    """From leaves to spines."""

    uplink: LinkName = None
    uplink_bytes_per_s: LinkRate = None
    uplink_latency_s: LinkDelay = None
    uplink_lanes: LinkLanes = None
    upmedium: MediumName = None
    uplength_m: LinkLength = None


class CoreLinkKeys(Section):
    """From spines to cores."""

    core_link: LinkName = None
    core_link_bytes_per_s: LinkRate = None
    core_link_latency_s: LinkDelay = None
    core_link_lanes: LinkLanes = None
    core_medium: MediumName = None
    core_length_m: LinkLength = None


class HostSection(LinkKeys):
    """One host: accelerators and CPUs behind the same NICs."""

    accelerators: int | None = Field(
        None, description="Accelerators of a host. Default: those of a tray."
    )
    cpu: str | None = Field(
        None, description="Its CPU, as the catalog of prices and power names it."
    )
    cpus: int | None = Field(
        None, description="CPUs of a host. Default: one for each four accelerators."
    )
    memory: float | str | None = Field(
        None,
        description="Memory of a host's CPUs: '2 TB'. Default: 480 GB a Grace, 1.5 TB a Vera, 1 TB"
        " any other one.",
    )


class NicsSection(LinkKeys, HostLinkKeys):
    """NICs of a host."""

    per_host: Whole = Field(
        None,
        description="NICs of a host, a divisor or multiple of its accelerators. Default: them.",
    )
    part: Word = Field(None, description="The NIC, a name of the catalog of power and prices.")
    transport: Word = Field(None, description="A name of `rackmodel list transports`.")


class FabricSection(UpLinkKeys, CoreLinkKeys):
    """The fabric between scale-up domains."""

    kind: str = Field(
        description="fat-tree, leaf-spine, rail-only, single-switch, dragonfly or none."
    )
    switch: str = Field(description="Switch of the leaves, a name of `rackmodel list switches`.")
    spine_switch: Word = Field(None, description="Switch of the spines. Default: the leaves'.")
    core_switch: Word = Field(None, description="Switch above the spines. Default: theirs.")
    rails: int | None = Field(
        None, description="Leaves that a unit's NICs are spread over; a divisor of its NICs."
    )
    pod_units: int | None = Field(None, description="Scale-up domains on one set of leaves.")
    group_pods: int | None = Field(
        None, description="Pods below one set of spines, where cores join these."
    )
    local_links: int | None = Field(
        None, description="Dragonfly: links between two routers of a group."
    )
    global_links: int | None = Field(None, description="Dragonfly: links between two groups.")
    oversubscription: float | None = Field(
        None, description="Of a leaf: rate down over rate up. Default: 1."
    )
    core_oversubscription: float | None = Field(
        None, description="Of a spine: rate down over rate up. Default: 1."
    )


class TopologyFile(Section):
    """A machine: `rackmodel simulate FILE.toml`."""

    builder: str = Field(description="How [shape] is read: a name of `rackmodel list builders`.")
    accelerator: str = Field(
        description="The accelerator, a name of `rackmodel list accelerators`."
    )
    title: str | None = Field(None, description="One line that says what it is.")
    year: int | None = Field(None, description="When it was, or will be, sold.")
    chassis: str | None = Field(
        None, description="What stands around the accelerators: trays, power supplies, cooling."
    )
    chassis_accelerators: int | None = Field(
        None, description="Accelerators of a chassis. Default: the catalog's, else those of a tray."
    )
    rack_accelerators: int | None = Field(
        None, description="Accelerators of a rack. Default: the catalog's, else those of a domain."
    )
    power_shelves: int | None = Field(None, description="Power shelves of a rack.")
    shape: dict[str, Any] = Field(description="The builder's arguments.")
    host: HostSection | None = Field(None, description="The host of the accelerators.")
    nics: NicsSection | None = Field(
        None, description="Its NICs; without them the machine is one scale-up domain."
    )
    fabric: FabricSection | None = Field(
        None, description="What joins the NICs; without it the machine is one scale-up domain."
    )
    published: dict[str, Any] = Field({}, description="What the built graph has to come out at.")


class SweepFile(Section):
    """Many jobs: `rackmodel sweep FILE.toml --out DIR`."""

    title: str | None = None
    base: dict[str, Any] = Field({}, description="Words of the job, as on the command line.")
    axes: dict[str, Any] = Field({}, description="Lists or ranges; every combination is a job.")
    zips: Any = Field(None, description="Columns that walk together.")
    filters: Any = Field(None, description="Conditions that a job has to meet.")


class DesignFile(SweepFile):
    """A search over hardware: `rackmodel design FILE.toml`."""

    objectives: dict[str, Literal["max", "min"]]
    constraints: list[str] = []
    most: int | None = None
    seed: int | None = None


def _part(kind: type, name: str) -> Any:
    """Return the table of a part, its fields all of them open to be left to `like` or defaults."""
    known: dict[str, Any] = {"like": (str, None), "source": (str, None), "grade": (str, None)}
    known |= {"note": (str, None), "text": (str, None)}
    for field, hint in kinds_of(kind).items():
        if field not in ("name", "provenance"):
            nested = "Mapping" in str(hint) or field in ("power", "thermal")
            known[field] = (dict[str, Any] if nested else Stated, None)
    return create_model(name, __base__=Section, **known)


@functools.cache
def _adapter(kind: str) -> TypeAdapter[Any]:
    """Return what checks and describes one kind."""
    if kind == "parts":
        shapes = {
            "accelerators": Accelerator,
            "links": Link,
            "transports": Transport,
            "switches": Switch,
            "media": Medium,
        }
        tables: dict[str, Any] = {
            name: (GenericAlias(dict, (str, _part(shape, f"{shape.__name__}Table"))), {})
            for name, shape in shapes.items()
        }
        tables |= {
            name: (dict[str, Any], {}) for name in ("chassis", "prices", "sources", "defaults")
        }
        return TypeAdapter(create_model("PartsFile", __base__=Section, **tables))
    if kind == "models":
        hints = kinds_of(Model)
        known: dict[str, Any] = {"family": (str, None), "ffn_ratio": (float, None)}
        for field in fields(Model):
            needed = field.name in ("layers", "hidden", "heads", "vocab")
            if field.name != "name":
                default = None if field.default is MISSING else field.default
                hint = hints[field.name]
                known[field.name] = (hint, ...) if needed else (hint | None, default)
        return TypeAdapter(create_model("ModelFile", __base__=Section, **known))
    return TypeAdapter(KINDS[kind])


#: What `schema` knows; parts and models are made from the dataclasses that they fill.
KINDS: dict[str, Any] = {
    "topology": TopologyFile,
    "parts": None,
    "models": None,
    "sweep": SweepFile,
    "design": DesignFile,
    "result": ResultRecord,
    "serving": ServingRecord,
    "requests": RequestsRecord,
    "hall": HallRecord,
}


def schema(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of a kind.

    >>> schema("result")["properties"]["mfu"]["type"]
    'number'

    Raises
    ------
    UnknownName
        For a kind that there is not.
    """
    UnknownName.check("schema", kind, KINDS)
    found = _adapter(kind).json_schema()
    if kind in ("sweep", "design"):
        found["properties"]["base"]["properties"] = _job_words()
    if kind == "parts":
        found["$defs"]["AcceleratorTable"]["properties"]["flops_per_s"]["propertyNames"] = {
            "enum": list(FORMATS)
        }
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, "version": rackmodel.__version__, **found}


def check(kind: str, value: Mapping[str, Any]) -> None:
    """Refuse an object that its schema does not allow, with where and why.

    Raises
    ------
    InvalidInput
    """
    UnknownName.check("schema", kind, KINDS)
    try:
        _adapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"{kind}: {where}: {first['msg']}") from None


def _job_words() -> dict[str, Any]:
    """Return the words of a job by name: what each is, with an example."""
    found: dict[str, Any] = {}
    for kind in (Job, Plan):
        for field in fields(kind):
            told = field.metadata
            if told:
                found[field.name] = {"description": described(told), "examples": told["examples"]}
                if told["choices"]:
                    found[field.name]["enum"] = list(told["choices"])
    return found
