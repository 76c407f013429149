"""Parts from tables: the fields of each dataclass, filled and checked.

In:  `{dotted field: Quantity}` of one part.
Out: an Accelerator, a Link, a Transport, a Switch or a Medium, with the provenance of each field.
Left out: reading files (tables), which parts there are (catalog).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from rackmodel import gate
from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.hardware.parts import (
    Accelerator,
    Link,
    Medium,
    PowerModel,
    Quantity,
    Switch,
    ThermalModel,
    Transport,
    Tray,
)

Part = TypeVar("Part", Accelerator, Link, Transport, Switch, Medium)

FORMATS = ("fp64", "fp32", "tf32", "bf16", "fp16", "int8", "fp8", "nvfp4")
"""Number formats of the arithmetic; nvfp4 stands for every 4-bit float."""

_NESTED: dict[str, type] = {"power": PowerModel, "thermal": ThermalModel}
_FORMAT_KEYED = ("flops_per_s", "power.e_flop_j", "power.gemm_eta")
_FRACTIONS = frozenset(
    (
        "payload_efficiency",
        "scattered",
        "efficiency",
        "always_on",
        "link_always_on",
        "voltage_floor",
        "cap_fitted",
        "act_wait",
    )
) | {"act_collective", "act_stall", "data_toggle", "die_share", "gemm_eta"}
_ABOVE_ZERO = frozenset(
    (
        "hbm_bytes",
        "power_w",
        "compute_units",
        "dies",
        "radix",
        "chips",
        "payload_efficiency",
        "scattered",
    )
) | {
    "gemm_eta",
    "r_k_per_w",
    "peak_clock_ratio",
    "clock_max_ratio",
    "tau_die_s",
    "matrix_rows",
    "cap_window_s",
}
_KINDS: dict[type, dict[str, str]] = {}  # what `field_kinds` has found so far
_COUNTS = ("accelerators", "rack_chassis")  # of a chassis: whole numbers above 0
_ABOUT_ONLY = ("note",)  # facts about the table that no part carries


def field_kinds(part: type) -> dict[str, str]:
    """Return {dotted field: its annotation} with nested models spelled out."""
    if part in _KINDS:
        return _KINDS[part]
    kinds: dict[str, str] = {}
    for field in dataclasses.fields(part):
        if field.name in ("name", "provenance"):
            continue
        if field.name in _NESTED:
            inner = field_kinds(_NESTED[field.name])
            kinds |= {f"{field.name}.{key}": kind for key, kind in inner.items()}
        else:
            kinds[field.name] = str(field.type)
    _KINDS[part] = kinds
    return kinds


def text_fields(part: type) -> frozenset[str]:
    """Return the fields that hold text."""
    return frozenset(field for field, kind in field_kinds(part).items() if kind == "str")


def check_fields(part: type, table: Iterable[str], where: str) -> None:
    """Refuse fields that the part does not have.

    Raises
    ------
    UnknownName
        With the nearest field that it has.
    """
    kinds = field_kinds(part)
    for field in table:
        parent, _, key = field.rpartition(".")
        plain = field in kinds and not kinds[field].startswith("Mapping")
        if plain or field in _ABOUT_ONLY:
            continue
        if kinds.get(field, "").startswith("Mapping"):
            known = FORMATS if field in _FORMAT_KEYED else ("KEY",)
            raise InvalidInput(
                f"{where}.{field}: is no field but holds several, one a key; give one, such"
                f" as {field}.{known[0]}"
            )
        if not kinds.get(parent, "").startswith("Mapping"):
            raise UnknownName.among(f"field in {where}:", field, kinds)
        if parent in _FORMAT_KEYED and key not in FORMATS:
            raise UnknownName.among(f"number format in {where}.{parent}:", key, FORMATS)


def check_loose(table: Mapping[str, Quantity], kinds: Mapping[str, str], where: str) -> None:
    """Refuse values of a chassis or a price that are not what they are in the shipped tables.

    kinds : {field: "text" or "number"}, a group such as "part_w" without its keys.

    Raises
    ------
    UnknownName, InvalidInput
    """
    for field, found in table.items():
        kind = kinds.get(field) or kinds.get(field.partition(".")[0] + ".")
        at = f"{where}.{field}"
        if kind is None:
            raise UnknownName.among(f"field in {where}:", field, kinds)
        _plain(found, "str" if kind == "text" else "float", field, at)
        if field == "trays":
            read_trays(found.text, at)
        elif field in _COUNTS and not (found.low >= 1 and found.value == int(found.value)):
            raise InvalidInput(f"{at}: expected a whole number of 1 or more, found {found.value:g}")


def read_trays(text: str, where: str) -> tuple[Tray, ...]:
    """Read a rack elevation, top to bottom.

    >>> read_trays("compute:10*1 switch:9*1", "")[1]
    Tray(kind='switch', count=9, units=1)
    """
    trays = []
    for word in text.split():
        found = re.fullmatch(r"([a-z-]+):([0-9]{1,3})\*([0-9]{1,2})", word)
        if not found or not int(found[2]) or not int(found[3]):
            raise InvalidInput(
                f"{where}: expected kind:count*units such as node:4*8, found {word[:60]!r}"
            )
        trays.append(Tray(kind=found[1], count=int(found[2]), units=int(found[3])))
    if not trays:
        raise InvalidInput(f"{where}: expected kind:count*units such as node:4*8, found nothing")
    return tuple(trays)


def missing_fields(part: type, table: Mapping[str, Quantity]) -> tuple[str, ...]:
    """Return the fields that a part must have and the table lacks."""
    missing = []
    parents = {field.rpartition(".")[0] for field in table}
    for field, kind in field_kinds(part).items():
        if kind.endswith("| None"):
            continue
        if kind.startswith("Mapping"):
            if field not in parents and field != "ceilings":
                missing.append(field)
        elif field not in table:
            missing.append(field)
    return tuple(missing)


def build(part: type[Part], name: str, table: Mapping[str, Quantity], where: str) -> Part:
    """Return the part that the table describes.

    Raises
    ------
    InvalidInput
        If a field is missing or a value is not what the field takes.
    """
    if missing := missing_fields(part, table):
        remedy = 'give them, or begin with like = "NAME" to copy a known part'
        raise InvalidInput(f"{where}: lacks {', '.join(missing[:6])}; {remedy}")
    values: dict[str, Any] = {}
    groups: dict[str, dict[str, Quantity]] = {}
    for at, quantity in table.items():
        field, _, key = at.rpartition(".")
        groups.setdefault(field, {})[key] = quantity
    for field, kind in field_kinds(part).items():
        if kind.startswith("Mapping"):
            values[field] = {
                key: _plain(found, "float", field, f"{where}.{field}.{key}")
                for key, found in groups.get(field, {}).items()
            }
        else:
            found = table.get(field)
            values[field] = (
                None if found is None else _plain(found, kind, field, f"{where}.{field}")
            )
    for nested, model in _NESTED.items():
        prefix = nested + "."
        inner_values = {
            k[len(prefix) :]: values.pop(k) for k in list(values) if k.startswith(prefix)
        }
        if inner_values:
            values[nested] = model(**inner_values)
    provenance = {field: q.provenance for field, q in table.items() if field not in _ABOUT_ONLY}
    made: Any = part
    result: Part = made(name=name, provenance=provenance, **values)
    return result


def _plain(found: Quantity, kind: str, field: str, where: str) -> object:
    """Return the value as the field's type, or say what it should have been."""
    kind = kind.removesuffix(" | None")
    if kind == "str":
        if not found.text:
            raise InvalidInput(f"{where}: expected text, found {found.value:g}")
        return found.text
    if kind == "bool":
        if not found.flag:
            raise InvalidInput(f"{where}: expected true or false, found {_shown(found)}")
        return found.value == 1.0
    if found.text or found.flag:
        raise InvalidInput(f"{where}: expected a number, found {_shown(found)}")
    last = field.rpartition(".")[2]
    if last in _FRACTIONS and found.value > 1:
        raise InvalidInput(f"{where}: expected a share between 0 and 1, found {found.value:g}")
    if last in _ABOVE_ZERO and found.value == 0:
        raise InvalidInput(f"{where}: has to be above zero, found 0")
    if kind == "int":
        if found.value != int(found.value):
            raise InvalidInput(f"{where}: expected a whole number, found {found.value:g}")
        return int(found.value)
    return found.value


def _shown(found: Quantity) -> str:
    return (
        gate.shown(found.text)
        if found.text
        else ("true or false" if found.flag else f"{found.value:g}")
    )
