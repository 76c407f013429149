"""Options of the command line, made from the fields of dataclasses.

In:  dataclasses whose fields say what they mean (`rackmodel.fields.about`).
Out: `Group`, a set of options that a command takes as one value; `expanded`, the function that
     typer reads, with one parameter for each option.
Left out: which groups there are (`groups`), how words are read (`values`).
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from rackmodel.cli import part_words, values
from rackmodel.fields import bounds, check_values, described, kinds_of
from rackmodel.sizes import sizes

Words = dict[str, Any]
LeftOut = typing.Literal["filled", "open", "searched"]
#: How a word is read, by the unit of its field, else by its type: (metavar, reader).
_READERS: dict[object, tuple[str, Callable[[str, str], Any]]] = {
    int: ("N", values.count),
    float: ("X", values.number),
    "sequences": ("B", values.count),
    "tokens": ("S", values.tokens),
    "run tokens": ("T", values.run_tokens),
    "seed": ("SEED", values.count),
    "runs": ("N", values.count),
    "degC": ("DEGC", values.number),
    "K": ("K", values.number),
    "L/min": ("L/MIN", values.number),
    "ratio": ("RATIO", values.number),
    "usd": ("USD", values.number),
    "days": ("DAYS", values.number),
    "w": ("POWER", values.quantity("w")),
    "s": ("TIME", values.quantity("s")),
    "bytes": ("BYTES", values.quantity("bytes")),
    "bytes_per_s": ("RATE", values.quantity("bytes_per_s")),
    "size": ("SIZE", sizes),
    "media": ("TIER=MEDIUM[:LENGTH]", values.medium),
    "slow": ("PART=FACTOR", part_words.slow),
    "mixed": ("PART=ACCELERATOR", part_words.mixed),
    "rank": ("RANK", values.count),
    "parts": ("PART,...", part_words.names),
    "counts": ("N,...", part_words.counts),
    "smoothing": ("HOW=VALUE", values.smoothing),
}


class Group(NamedTuple):
    """Options that a command takes as one value.

    options : of the dataclass, made when a command needs them. collect : the value, from the words
    that were given.
    """

    options: Callable[[], list[inspect.Parameter]]
    collect: Callable[[Words], Any]


def fields_options(
    kind: Any, panel: str = "", only: tuple[str, ...] = (), *, left_out: LeftOut = "filled"
) -> list[inspect.Parameter]:
    """Return one typer parameter for each field that has an option.

    panel : "" for that of each field. only : names of fields; () means all. left_out : whether what
    is not given is "filled" here by its default, stays "open" to what else may say it before the
    default does, or is "searched".
    """
    kinds = kinds_of(kind)
    return [
        _parameter(one, kinds[one.name], panel or one.metadata["panel"] or "Job", left_out)
        for one in fields(kind)
        if one.metadata.get("option") and (not only or one.name in only)
    ]


def parameter(name: str, kind: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    """Return a parameter by name, of an annotated kind."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _parameter(one: Field[Any], hint: Any, panel: str, left_out: LeftOut) -> inspect.Parameter:
    told = one.metadata
    option, unit = str(told["option"]), told["unit"]
    plain = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    named = one.default not in (None, "", "default", MISSING) and one.default != ()
    default = one.default if named and left_out == "filled" else None
    text = described(told)
    if named and one.default and left_out == "open" and "Default:" not in text:
        text += f" Default: {option if one.default is True else one.default}."
    settings: Words = {
        "rich_help_panel": panel,
        "show_default": default is not None and default is not False,
    }
    names = option.split()
    kind: Any
    if bool in plain:
        kind = bool
        if one.default is not False:
            names = [f"{option}/--no-{option[2:]}"]
    elif told["choices"] and (str in plain or typing.get_origin(hint) is typing.Literal):
        kind = typing.Literal[told["choices"]]
    else:
        kind = Path if Path in plain else str if str in plain else Any
        settings["metavar"] = "FILE" if kind is Path else (unit or one.name).upper()
        reader = _READERS.get(unit) or next((_READERS[p] for p in plain if p in _READERS), None)
        if reader is not None:
            kind, settings["metavar"] = str, reader[0]
            read = reader[1]
            if read in (values.count, values.tokens):
                least, most = bounds(one)
                read = functools.partial(read, least=least, limit=most)
            elif read is values.number:
                given = {"least": told["least"], "limit": told["most"]}
                read = functools.partial(read, **{k: v for k, v in given.items() if v is not None})
            settings["parser"] = _reader(read, option)
        if plain[0] is not str and typing.get_origin(plain[0]) is not None:
            kind = list[str]
    if told["examples"] and bool not in plain:
        text += f" Example: {names[0]} {_shown(told['examples'][0], unit)}"
    required = one.default is MISSING and one.default_factory is MISSING and left_out == "filled"
    return parameter(
        one.name,
        Annotated[
            kind if required or default is not None else kind | None,
            typer.Option(*names, help=text, **settings),
        ],
        inspect.Parameter.empty if required else default,
    )


def _shown(example: object, unit: object) -> object:
    """Return an example as a person writes it: 500W, 15T, 32."""
    if not isinstance(example, float):
        return example
    if unit == "run tokens":
        return f"{example / 1e12:g}T"
    return f"{example:g}{'W' if unit == 'w' else ''}"


def _reader(read: Callable[[str, str], Any], option: str) -> Callable[[object], Any]:
    """Return a typer parser that names its option in errors; what is read already stays."""

    def word(given: object) -> Any:
        return read(given, option) if isinstance(given, str) else given

    return word


def expanded(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return a command with one parameter for each option of its groups, for typer to read."""
    hints = typing.get_type_hints(command, include_extras=True)
    groups: dict[str, tuple[Group, list[str]]] = {}
    parameters: list[inspect.Parameter] = []
    for one in inspect.signature(command).parameters.values():
        extras: tuple[Any, ...] = getattr(hints[one.name], "__metadata__", ())
        group = next((extra for extra in extras if isinstance(extra, Group)), None)
        if group is None:
            parameters.append(parameter(one.name, hints[one.name], one.default))
            continue
        options = group.options()
        groups[one.name] = group, [option.name for option in options]
        parameters += options

    @functools.wraps(command)
    def call(**words: Any) -> Any:
        given = {}
        for name, (group, names) in reversed(groups.items()):  # the cheapest to refuse come last
            mine = {each: words.pop(each) for each in names}
            given[name] = group.collect({k: v for k, v in mine.items() if v is not None})
        return command(**words, **given)

    call.__dict__["__signature__"] = inspect.Signature(parameters)
    call.__annotations__ = {one.name: one.annotation for one in parameters}
    del call.__wrapped__
    return call


def of_dataclass(kind: Any, panel: str, only: tuple[str, ...] = ()) -> Group:
    """Return the group of a dataclass of its own: its options make one instance."""

    def collect(words: Mapping[str, Any]) -> Any:
        made = kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in words.items()})
        check_values(made)
        return made

    return Group(functools.partial(fields_options, kind, panel, only), collect)
