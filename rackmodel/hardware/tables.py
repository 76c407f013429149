"""Tables of quantities: TOML text in, values with sources out.

In:  TOML files, `{name: {field: value}}`, a value plain or
     `{value, low, mid, high, source, grade, note, year}`.
Out: `{name: {dotted field: Quantity}}` in SI; the unit comes from the field's name
     (`units.dimension_of`).
Left out: what a part must have (catalog).

`[defaults]` holds what every table of the file gets unless it says otherwise. `source`, `grade` and
`year` in a table hold for all its fields; its `note` is about the whole. `like = "gb200"` begins a
table as a copy of another one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.hardware.parts import GRADES, Quantity
from rackmodel.units import LEAST_BARE, dimension_of, parse

Table = dict[str, Quantity]
Tables = dict[str, Table]

_ABOUT = ("source", "grade", "year")  # of a table: holds for its fields
_FIELDS_TOO = ("year", "note")  # of a table: facts about the part as well
_VALUE_KEYS = frozenset((*_ABOUT, "note", "value", "low", "mid", "high"))
_DEEPEST = 4


def read_tables(
    content: Mapping[str, object],
    where: str,
    *,
    known: Mapping[str, Table] | None = None,
    texts: frozenset[str] = frozenset(),
    about: Mapping[str, object] | None = None,
) -> Tables:
    """Turn TOML tables into quantities.

    Parameters
    ----------
    content : {name: {field: value}}, with optional "defaults".
    where : file, and key path above the names, for messages.
    known : tables that `like` may copy, and that tables of the same name add to.
    texts : fields that are text whatever they begin with.
    about : source and grade of values that state none.
    """
    defaults = _mapping(content.get("defaults", {}), f"{where}.defaults" if where else "defaults")
    found: Tables = {}
    for name, body in content.items():
        if name == "defaults":
            continue
        path = f"{where}: {name}"
        if not name or "." in name:
            raise InvalidInput(
                f"{path!r}: a name of a part has no dot, and is not empty; rename it"
            )
        fields = dict(_mapping(body, path))
        table: Table = {}
        if name in (known or {}):
            table |= (known or {})[name]
        else:
            table |= _read(defaults, path, "", {**(about or {}), **_about(defaults)}, texts)
        if (like := fields.pop("like", None)) is not None:
            table |= _copy_of(like, found, known or {}, path)
        beside = {**(about or {}), **_about(defaults), **_about(fields)}
        table |= _read(fields, path, "", beside, texts)
        found[name] = table
    return found


def _copy_of(like: object, found: Tables, known: Mapping[str, Table], path: str) -> Table:
    everything = {**known, **found}
    if not isinstance(like, str) or like not in everything:
        raise UnknownName.among(f"part to copy in {path}.like:", str(like), everything)
    return everything[like]


def _mapping(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{where}: expected a table of fields, found {value!r:.60}")
    return value


def _about(fields: Mapping[str, object]) -> dict[str, object]:
    return {key: fields[key] for key in _ABOUT if key in fields}


def _read(
    fields: Mapping[str, object],
    path: str,
    prefix: str,
    about: Mapping[str, object],
    texts: frozenset[str],
) -> Table:
    """Flatten nested tables into dotted fields."""
    table: Table = {}
    for key, value in fields.items():
        field = prefix + key
        if key in _ABOUT and (prefix or key not in _FIELDS_TOO):
            continue
        if isinstance(value, Mapping) and not is_value(value):
            if field.count(".") >= _DEEPEST:
                raise InvalidInput(f"{path}.{field}: nested too deeply; write few levels")
            inner = {**about, **_about(value)}
            table |= _read(value, path, field + ".", inner, texts)
        else:
            table[field] = read_quantity(value, f"{path}.{field}", field, about, texts)
    return table


def is_value(value: Mapping[str, object]) -> bool:
    """Tell a table of a value and its bounds from one of fields."""
    return bool(value) and ("value" in value or "mid" in value or "low" in value)


def read_quantity(
    value: object,
    where: str,
    field: str,
    about: Mapping[str, object],
    texts: frozenset[str] = frozenset(),
) -> Quantity:
    """Return one value with its bounds and source.

    Raises
    ------
    InvalidInput
        If the value is not what the field's name asks for, or low <= value <= high does not hold.
    """
    bounds: Mapping[str, object] = {}
    if isinstance(value, Mapping):
        if stray := sorted(set(value) - _VALUE_KEYS):
            raise UnknownName.among(f"key in {where}:", stray[0], _VALUE_KEYS)
        if "value" not in value and "mid" not in value:
            raise InvalidInput(f"{where}: has bounds but no value; add value = ...")
        bounds, about = value, {**about, **_about(value), "note": value.get("note", "")}
        value = value["value"] if "value" in value else value["mid"]

    source, grade, note, year = _read_about(about, where)
    if isinstance(value, bool):
        number = float(value)
        return Quantity(number, number, number, source, grade, note, year, flag=True)
    dimension = dimension_of(field)
    named_text = field in texts or field == "note"
    if isinstance(value, str) and (named_text or (dimension == "1" and _is_text(value))):
        return Quantity(math.nan, math.nan, math.nan, source, grade, note, year, text=value)

    middle = parse(value, dimension, where=where)
    if dimension == "bytes" and isinstance(value, str) and 0.0 < middle < LEAST_BARE:
        raise InvalidInput(f"{where}: {value!r} is {middle:g} bytes; give its unit: '80 GB'")
    low, high = middle, middle
    if "low" in bounds:
        low = parse(bounds["low"], dimension, where=f"{where}.low")
    if "high" in bounds:
        high = parse(bounds["high"], dimension, where=f"{where}.high")
    if not low <= middle <= high:
        found = f"{low:g}, {middle:g}, {high:g}"
        raise InvalidInput(f"{where}: expected low <= value <= high, found {found}")
    return Quantity(middle, low, high, source, grade, note, year)


def _is_text(value: str) -> bool:
    """Tell text from numbers: text begins with a letter and is not "nan" or "inf"."""
    start = value.strip()[:1]
    return start.isalpha() and value.strip().lower() not in ("nan", "inf", "infinity")


def _read_about(about: Mapping[str, object], where: str) -> tuple[str, str, str, int | None]:
    source, grade, note = (about.get(key, "") for key in ("source", "grade", "note"))
    grade = grade or "assumed"
    year = about.get("year")
    if not (isinstance(source, str) and isinstance(note, str) and isinstance(grade, str)):
        raise InvalidInput(f"{where}: source, grade and note have to be text")
    UnknownName.check(f"grade in {where}:", grade, GRADES)
    if isinstance(year, Mapping):
        year = year.get("value")
    if year is not None and (isinstance(year, bool) or not isinstance(year, int)):
        raise InvalidInput(f"{where}: year has to be a whole number, found {year!r}")
    return source, grade, note, year
