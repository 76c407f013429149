"""The options that change parts or a machine's file, or say what a graph's file means.

In:  --set, --catalog, --map.
Out: `CatalogWords`: the catalog and the machine of a command.
Left out: which commands have them (`groups`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

import rackmodel
from rackmodel.cli.files import check_file
from rackmodel.cli.options import Words, parameter
from rackmodel.cli.output import note
from rackmodel.cli.values import assignments, mappings
from rackmodel.errors import InvalidInput

if TYPE_CHECKING:
    from rackmodel.hardware import Catalog
    from rackmodel.topology import Topology as Machine


@dataclass(frozen=True)
class CatalogWords:
    """What a command asks for: {dotted key: value} over files over what ships.

    overrides : values of parts. changes : values of the machine, without "topology.".
    """

    overrides: Mapping[str, str]
    files: tuple[Path, ...]
    changes: Mapping[str, str]
    maps: Mapping[str, str] = field(default_factory=dict)  # what keys of a graph's file mean

    @property
    def given(self) -> list[str]:
        """The words of a command line that set this."""
        values = {**self.overrides, **{f"topology.{key}": v for key, v in self.changes.items()}}
        sets = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
        sets += [word for k, value in self.maps.items() for word in ("--map", f"{k}={value}")]
        return sets + [word for path in self.files for word in ("--catalog", str(path))]

    def machine(self, name: str, catalog: Catalog | None) -> str | Machine:
        """Return the machine with what was set, and tell what that means; else its name."""
        if not self.changes and catalog is None and not self.maps:
            return name

        machine = rackmodel.load_topology(
            name, overrides=self.changes or None, catalog=catalog, maps=self.maps
        )
        for told in machine.notes:
            note(told)
        return machine

    def with_machine(self, name: str) -> tuple[str | Machine, Catalog | None]:
        """Return a machine, or its name where nothing was set, and the catalog."""
        catalog = self.catalog()
        return self.machine(name, catalog), catalog

    def with_machines(self, names: Sequence[str]) -> tuple[list[str | Machine], Catalog | None]:
        """Return several machines with what was set, or their names, and the catalog."""
        catalog = self.catalog()
        return [self.machine(name, catalog) for name in names], catalog

    def load(self) -> Catalog | None:
        """Return the catalog of a command that has no machine; None: the one that ships.

        Raises
        ------
        InvalidInput
            If a value of the machine is set.
        """
        if self.maps:
            raise InvalidInput("--map: this command has no machine whose file it could explain")
        if self.changes:
            raise InvalidInput(
                f"--set topology.{next(iter(self.changes))}: this command has no machine to change"
            )
        return self.catalog()

    def catalog(self) -> Catalog | None:
        """Return the catalog; None where it is the one that ships."""
        if not self.overrides and not self.files:
            return None

        return rackmodel.load_catalog(overrides=self.overrides or None, files=self.files)


Sets: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a value of a part or of the machine's file: "
        "accelerators.gb200.hbm_bytes_per_s='10 TB/s', topology.fabric.oversubscription=2. "
        "Repeatable.",
        rich_help_panel="Catalog",
        show_default=False,
    ),
]
Files: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        "--catalog",
        metavar="FILE",
        help="A TOML file with parts to add or override. Repeatable. Example: --catalog parts.toml",
        rich_help_panel="Catalog",
        show_default=False,
    ),
]


Maps: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="KEY=EXPR",
        help="What keys of a graph's file mean: bytes_per_s=LinkSpeedRaw/8, kind=accelerator, "
        "links.pcie='64 GB/s', accelerator=h100. Repeatable.",
        rich_help_panel="Catalog",
        show_default=False,
    ),
]


def catalog_words(words: Words) -> CatalogWords:
    """Return what the options of a command line ask for."""
    files = tuple(check_file(path, "--catalog") for path in words.get("files", ()))
    parts: dict[str, str] = {}
    changes: dict[str, str] = {}
    for key, value in assignments(words.get("sets", ())).items():
        kind, _, rest = key.partition(".")
        (changes if kind == "topology" else parts)[rest if kind == "topology" else key] = value
    return CatalogWords(parts, files, changes, mappings(words.get("maps", ())))


def catalog_options() -> list[Parameter]:
    """Return --set, --catalog and --map."""
    return [
        parameter("sets", Sets, None),
        parameter("files", Files, None),
        parameter("maps", Maps, None),
    ]
