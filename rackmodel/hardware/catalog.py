"""The catalog: all parts that rackmodel knows, with a user's own values on top.

In:  the TOML tables in `hardware/data`, a user's TOML files, and single overrides.
Out: a Catalog of frozen parts; `accelerator("gb200")` and its like by name.
Left out: machines (topology), what values mean for time, heat and money.

A user's file holds `[accelerators.NAME]`, `[links.NAME]`, `[transports.NAME]`, `[switches.NAME]`,
`[media.NAME]`, `[chassis.NAME]` and `[prices.NAME]` tables in the layout of `tables`; it may add
parts (`like = "gb200"` begins with a copy) and replace single values. An override is one such
value:
"accelerators.gb200.hbm_bytes_per_s" -> "10 TB/s".
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rackmodel import gate, units
from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.files import read_toml
from rackmodel.hardware.build import (
    build,
    check_fields,
    check_loose,
    missing_fields,
    text_fields,
)
from rackmodel.hardware.parts import (
    Accelerator,
    Catalog,
    Link,
    Medium,
    Quantity,
    Source,
    Switch,
    Transport,
)
from rackmodel.hardware.tables import Tables, is_value, read_quantity, read_tables
from rackmodel.shipped import kept, shipped_toml

DATA = Path(__file__).parent / "data"
PARTS = {
    "accelerators": Accelerator,
    "links": Link,
    "transports": Transport,
    "switches": Switch,
    "media": Medium,
}
KINDS = (*PARTS, "chassis", "prices")
_USER = {"source": "user", "grade": "override"}
_RATES = {"links": "bytes_per_s", "accelerators": "scale_up_bytes_per_s"}


@gate.called
def load_catalog(
    *, overrides: Mapping[str, object] | None = None, files: Sequence[str | Path] = ()
) -> Catalog:
    """Return the catalog, with the user's files and then the overrides applied.

    Parameters
    ----------
    overrides : {"kind.name.field": value in SI, or text with a unit}.
    files : TOML files of the same layout, the last one wins.

    Raises
    ------
    UnknownName
        If an override or a file names a kind, part, field, grade or format that there is not.
    InvalidInput
        If a file can't be read, or a value is not what its field takes.

    Examples
    --------
    >>> faster = load_catalog(overrides={"accelerators.gb200.hbm_bytes_per_s": "10 TB/s"})
    >>> faster.accelerators["gb200"].hbm_bytes_per_s
    10000000000000.0
    """
    if not overrides and not files:
        return _shipped_catalog()
    overrides = gate.table(overrides or {}, "overrides")
    tables: dict[str, Tables] = {kind: dict(named) for kind, named in _shipped_tables().items()}
    known = _rates_of(tables)
    for file in gate.members(files, "files", '["parts.toml"]'):
        _add_file(tables, Path(file))
        known = _rates_of(tables) | known
    for key, value in gate.leaves(overrides, whole=is_value):
        _override(tables, key, value)
    rates = _rates_of(tables)
    nominal = {key: rate for key, rate in known.items() if rates[key] != rate}
    return _catalog(tables, _shipped_tables(), nominal)


def accelerator(name: str, catalog: Catalog | None = None) -> Accelerator:
    """Return an accelerator by name.

    Raises
    ------
    UnknownName
        If there is none, with the nearest name.
    InvalidInput
        If it is announced without the figures that a simulation needs.
    """
    catalog = catalog or load_catalog()
    if name in catalog.incomplete:
        missing = catalog.incomplete[name]
        raise InvalidInput(
            f"accelerator {name!r} is announced without figures ({', '.join(missing[:4])}, ...); "
            f"set them: --set accelerators.{name}.{missing[0]}=..., or give a file with like = ..."
        )
    UnknownName.check("accelerator", name, catalog.accelerators)
    return catalog.accelerators[name]


def shipped_files() -> list[Path]:
    """Return the package's own files that the catalog hangs on, code included."""
    code = [DATA.with_name(f"{name}.py") for name in ("tables", "parts", "build")]
    return [*(DATA / f"{kind}.toml" for kind in KINDS), *code, Path(units.__file__)]


@functools.cache
def _shipped_tables() -> dict[str, Tables]:
    """Return the quantities of the package's own files."""
    plain = kept("parts", shipped_files(), _plain_tables)
    return {
        kind: {
            name: {field: Quantity(*values) for field, values in table.items()}
            for name, table in named.items()
        }
        for kind, named in plain.items()
    }


def _plain_tables() -> dict[str, dict[str, dict[str, tuple[object, ...]]]]:
    """Return the tables as plain data: the values of a `Quantity` in their order."""
    found: dict[str, dict[str, dict[str, tuple[object, ...]]]] = {}
    for kind in KINDS:
        path = DATA / f"{kind}.toml"
        texts = text_fields(PARTS[kind]) if kind in PARTS else frozenset()
        read = read_tables(read_toml(path), path.name, texts=texts)
        found[kind] = {
            name: {field: tuple(one) for field, one in table.items()}
            for name, table in read.items()
        }
    return found


@functools.cache
def _shipped_catalog() -> Catalog:
    return _catalog(_shipped_tables(), _shipped_tables(), {})  # which tests check


@functools.cache
def sources() -> dict[str, Source]:
    """Return what each source key stands for."""
    return {
        key: Source(str(entry["where"]), str(entry["kind"]), str(entry.get("used_for", "")))
        for key, entry in shipped_toml(DATA / "sources.toml").items()
        if isinstance(entry, Mapping)
    }


@functools.cache
def _loose_kinds(kind: str) -> dict[str, str]:
    """Return {field: "text" or "number"} of chassis or prices, as the shipped tables have them."""
    kinds: dict[str, str] = {}
    for table in _shipped_tables()[kind].values():
        for field, found in table.items():
            group, dot, _ = field.partition(".")
            kinds[group + dot] = "text" if found.text else "number"
    return kinds


def _texts(kind: str) -> frozenset[str]:
    """Return the fields of a kind of part that hold text."""
    if kind in PARTS:
        return text_fields(PARTS[kind])
    return frozenset(field for field, what in _loose_kinds(kind).items() if what == "text")


def _add_file(tables: dict[str, Tables], path: Path) -> None:
    """Put a user's tables on top."""
    for kind, content in read_toml(path).items():
        UnknownName.check(f"kind of part in {path}:", kind, KINDS)
        if not isinstance(content, Mapping):
            raise InvalidInput(f"{path}: {kind}: expected tables such as [{kind}.NAME]")
        texts = _texts(kind)
        where = f"{path}: {kind}"
        tables[kind] |= read_tables(
            content, where, known=tables[kind], texts=texts, about={**_USER, "source": path.name}
        )


def _rates_of(tables: Mapping[str, Tables]) -> dict[str, float]:
    """Return {dotted key: rate} of all links and accelerators. [bytes/s]"""
    return {
        f"{kind}.{name}.{field}": table[field].value
        for kind, field in _RATES.items()
        for name, table in tables[kind].items()
        if field in table
    }


def _override(tables: dict[str, Tables], key: str, value: object) -> None:
    """Replace one value."""
    kind, _, rest = key.partition(".")
    if kind not in KINDS:
        if holding := [one for one in PARTS if kind in tables[one]]:
            raise InvalidInput(f"{key}: write {holding[0]}.{key}; the kind of a part comes first")
        raise UnknownName.among("kind of part", kind, KINDS)
    name, _, field = rest.partition(".")
    UnknownName.check(f"part in {kind}:", name, tables[kind])
    if not field:
        raise InvalidInput(f"{key}: names no field; write {kind}.{name}.FIELD=VALUE")
    if kind in PARTS:
        check_fields(PARTS[kind], [field], f"{kind}.{name}")
    elif field not in tables[kind][name]:
        raise UnknownName.among(f"field in {kind}.{name}:", field, tables[kind][name])
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        value = value.strip().lower() == "true"
    quantity = read_quantity(value, key, field, _USER, _texts(kind))
    tables[kind] = {**tables[kind], name: {**tables[kind][name], field: quantity}}


class _Parts(Mapping[str, Any]):
    """Parts of one kind by name, each built when it is first asked for: a job needs a few."""

    def __init__(self, kind: str, tables: Tables) -> None:
        self.kind, self.tables = kind, tables
        self.built: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self.built:
            where = f"{self.kind}.{name}"
            self.built[name] = build(PARTS[self.kind], name, self.tables[name], where)
        return self.built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tables)

    def __len__(self) -> int:
        return len(self.tables)

    def __repr__(self) -> str:
        return repr(dict(self))


def _catalog(
    tables: Mapping[str, Tables], known: Mapping[str, Tables], nominal: Mapping[str, float]
) -> Catalog:
    """Return all parts; those whose tables are not `known` are built and checked now."""
    new = {
        kind: {name: one for name, one in tables[kind].items() if one is not named.get(name)}
        for kind, named in known.items()
    }
    for kind, part in PARTS.items():
        for name, table in new[kind].items():
            check_fields(part, table, f"{kind}.{name}")
    for kind in ("chassis", "prices"):
        for name, table in new[kind].items():
            check_loose(table, _loose_kinds(kind), f"{kind}.{name}")
    incomplete = {
        name: missing
        for name, table in tables["accelerators"].items()
        if "status" in table
        and table["status"].text == "announced"
        and (missing := missing_fields(Accelerator, table))
    }
    complete = {n: t for n, t in tables["accelerators"].items() if n not in incomplete}
    parts = {kind: _Parts(kind, {**tables, "accelerators": complete}[kind]) for kind in PARTS}
    for kind, built in parts.items():
        for name in filter(built.tables.__contains__, new[kind]):
            _check_names(built[name], parts)
    return Catalog(
        accelerators=parts["accelerators"],
        links=parts["links"],
        transports=parts["transports"],
        switches=parts["switches"],
        media=parts["media"],
        chassis=tables["chassis"],
        prices=tables["prices"],
        incomplete=incomplete,
        tables=tables,
        nominal=nominal,
    )


def _check_names(part: Any, parts: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse a part that names links or transports which there are not."""
    if isinstance(part, Accelerator):
        for field in ("scale_up_link", "host_link"):
            if (link := getattr(part, field)) not in parts["links"]:
                where = f"link in accelerators.{part.name}.{field}:"
                raise UnknownName.among(where, link, parts["links"])
    if isinstance(part, Link) and part.transport not in (None, *parts["transports"]):
        where = f"transport of links.{part.name}:"
        raise UnknownName.among(where, str(part.transport), parts["transports"])
