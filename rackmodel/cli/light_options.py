"""Reads the words of a command line without pydantic, which loads longer than a step takes.

In:  the options of a command as typer makes them.
Out: `LightCommand`, `LightGroup`: commands whose options read what they can by themselves.
Left out: choices that are wrong, paths, lists, every error: they go typer's way.

Typer makes a pydantic adapter of every option to read its value, whether it was given or not.
"""

from __future__ import annotations

import contextlib
from typing import Any

from typer.core import TyperCommand, TyperGroup

_USUAL = object()


def _read_lightly(option: Any) -> Any:
    """Return an option that reads a word with its own reader, and nothing where none is given."""
    told = getattr(option, "type_descriptor", None)
    if told is None or "process_value" in vars(option):
        return option  # a typer without adapters; done before
    usual, reader = option.process_value, told.parameter_info.parser
    several = option.multiple or option.nargs == -1

    def read(value: Any) -> Any:
        if value is None:
            return () if several else None
        if several or told.is_list:
            return _USUAL
        if reader is not None:
            with contextlib.suppress(ValueError):  # worded by typer
                return reader(value)
        elif isinstance(value, str) and (told.annotation is str or value in (told.choices or ())):
            return value
        return _USUAL

    def process(ctx: Any, value: Any) -> Any:
        found = read(value)
        if found is _USUAL or (option.required and option.value_is_missing(found)):
            return usual(ctx, value)
        return found if option.callback is None else option.callback(ctx, option, found)

    option.process_value = process
    return option


class LightCommand(TyperCommand):
    """A command whose options are read without pydantic."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options of the command."""
        return [_read_lightly(option) for option in super().get_params(ctx)]


class LightGroup(TyperGroup):
    """A group whose own options are read without pydantic."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options of the group itself."""
        return [_read_lightly(option) for option in super().get_params(ctx)]
