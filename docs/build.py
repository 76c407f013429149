"""Build the site: `python docs/build.py [--out .site] [--quick]`.

In:  docs/*.md, the scripts of examples/, the package that is installed.
Out: the site in HTML. Pages of commands, fields, catalog, accuracy and pictures are made from the
     package, so that they can't be stale; the scripts are run, and what they print is what their
     pages show. A warning (a link that leads nowhere, a script that fails) stops the build.
Left out: what the site looks like (`conf.py`).
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jupytext
from sphinx.cmd.build import main as sphinx
from typer.models import OptionInfo

from rackmodel.cli.app import COMMANDS
from rackmodel.cli.options import expanded
from rackmodel.cli.tables_catalog import cell as with_unit, heading
from rackmodel.schema import KINDS, schema
from rackmodel.validation.accuracy import recorded, stack_rows

DOCS = Path(__file__).parent
ROOT = DOCS.parent
# Before a table of words: a phone lays its cells below each other.
WORDS = "```{rst-class} words\n```\n"
SOURCES = tomllib.loads((ROOT / "rackmodel/hardware/data/sources.toml").read_text("utf-8"))


def run(*words: str) -> str:
    """Return what a command prints; the build stops where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "rackmodel", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"rackmodel {' '.join(words)}: {done.stderr}")
    return done.stdout


def cell(value: object) -> str:
    """Return text that stands in a cell of a Markdown table."""
    return re.sub(r"\s+", " ", str(value)).replace("|", "\\|")


def table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    heads = list(heads)
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(cell(value) for value in row)} |"
    yield ""


def commands() -> Iterator[str]:
    yield "# Commands\n"
    yield "Every command takes `--json`; those that return tables take `--csv`. Results go to"
    yield "stdout, everything else to stderr. Exit codes: 0 done, 2 the input is wrong, 3 the job"
    yield "can't run, 4 an `--assert` was missed.\n"
    yield from table(
        ["command", "what it does"],
        (
            [f"[{name}](commands/{name}.md)", command.told]
            for name, command in sorted(COMMANDS.items())
        ),
    )
    yield "```{toctree}\n:hidden:\n"
    yield from (f"commands/{name}" for name in sorted(COMMANDS))
    yield "```"


def command_page(name: str) -> Iterator[str]:
    command = COMMANDS[name].function
    yield f"# rackmodel {name}\n"
    for part in inspect.cleandoc(command.__doc__ or "").replace("\b\n", "").split("\n\n"):
        head, colon, shown = part.partition(":\n" if part.startswith("Examples:") else ": ")
        if colon and head in ("Example", "Examples"):
            yield "```sh"
            yield from (line.strip() for line in shown.splitlines())
            yield "```\n"
        else:
            yield part + "\n"
    yield from panels(command)


def panels(command: Callable[..., None]) -> Iterator[str]:
    """Yield a table of the words of each panel, as typer is told them."""
    found: dict[str, list[list[str]]] = {}
    for one in inspect.signature(expanded(command)).parameters.values():
        hint, told = typing.get_args(one.annotation)[:2]
        option = isinstance(told, OptionInfo)
        panel = told.rich_help_panel or ("Options" if option else "Arguments")
        # In `Annotated`, typer keeps the first name of an option where a default would stand.
        words = [
            word for word in (told.default, *(told.param_decls or ())) if isinstance(word, str)
        ]
        unions = (typing.Union, types.UnionType)
        kinds = typing.get_args(hint) if typing.get_origin(hint) in unions else (hint,)
        choices = [str(word) for kind in kinds for word in typing.get_args(kind)]
        value = told.metavar or ", ".join(choices) or ("" if bool in kinds else "TEXT")
        text, default = told_default(str(told.help or ""))
        if one.default is True:
            default = words[0].partition("/")[0]
        elif one.default not in (None, False, inspect.Parameter.empty):
            default = str(one.default)
        elif one.default is inspect.Parameter.empty:
            default = "**needed**"
        found.setdefault(panel, []).append(
            [
                ", ".join(f"`{word}`" for word in words) if option else f"`{told.metavar}`",
                value if option else "",
                text,
                default,
            ]
        )
    for panel, rows in found.items():
        heads = ["word", "value", "what it is", "default"]
        if not any(row[-1] for row in rows):
            heads, rows = heads[:-1], [row[:-1] for row in rows]
        yield f"**{panel}**\n"
        yield WORDS
        yield from table(heads, rows)


def told_default(text: str) -> tuple[str, str]:
    """Return the help of an option without its "Default: ...", and that."""
    before, _, after = text.partition(" Default: ")
    default, example, shown = after.partition(" Example: ")
    return f"{before}{example}{shown}", default.removesuffix(".")


def kind_of(field: Mapping[str, Any]) -> str:
    """Return the type of a field of a JSON Schema in words."""
    if "$ref" in field:
        return f"[{field['$ref'].rsplit('/', 1)[-1]}](#{field['$ref'].rsplit('/', 1)[-1].lower()})"
    if "enum" in field:
        return ", ".join(f"`{word}`" for word in field["enum"])
    if "anyOf" in field:
        return " or ".join(kind_of(one) for one in field["anyOf"] if one.get("type") != "null")
    if field.get("type") == "array":
        return f"list of {kind_of(field.get('items', {}))}"
    if field.get("type") == "object" and isinstance(field.get("additionalProperties"), Mapping):
        return f"table of {kind_of(field['additionalProperties'])}"
    return str(field.get("type", "any"))


def fields(name: str, found: Mapping[str, Any]) -> Iterator[str]:
    if not found.get("properties"):
        return
    yield f"### {name}\n"
    if found.get("description"):
        yield found["description"].split("\n\n")[0].replace("\n", " ") + "\n"
    needed = found.get("required", ())
    yield WORDS
    yield from table(
        ["field", "type", "what it is", "default"],
        (
            [
                f"`{key}`",
                kind_of(field),
                field.get("description", ""),
                "**needed**"
                if key in needed
                else ""
                if field.get("default") is None
                else f"`{field['default']}`",
            ]
            for key, field in found["properties"].items()
        ),
    )


def default_of(field: Mapping[str, Any]) -> str:
    return "" if field.get("default") is None else f"`{field['default']}`"


def files_page() -> Iterator[str]:
    yield "# Files\n"
    yield "Fields of every file that rackmodel reads, made from the schemas that check them"
    yield "(`rackmodel schema KIND` prints the JSON Schema). Quantities may be written with units:"
    yield '`"900 GB/s"`, `"400 Gb/s"`, `"120 kW"`.\n'
    for kind in KINDS:
        if kind == "result":
            continue
        whole = schema(kind)
        yield f"## {kind}\n"
        yield from fields(whole.get("title", kind), whole)
        for name, part in whole.get("$defs", {}).items():
            yield from fields(name, part)
    yield "\nWhat a result holds stands on [its own page](results.md).\n"


def percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def accuracy() -> Iterator[str]:
    known = recorded()
    yield "# Accuracy\n"
    yield "Predicted against published training steps, as recorded for this version and held by a"
    yield "gate; `rackmodel validate` repeats it on the runs that ship with the package.\n"
    heads = [
        "runs",
        "number",
        "not predicted",
        "mean error",
        "median",
        "90th percentile",
        "bias",
        "inside the band",
    ]
    figures = ("mape", "median", "p90", "bias", "inside_band")

    def row(name: str, found: Mapping[str, Any]) -> list[str]:
        return [name, found["rows"], found["failures"], *(percent(found[key]) for key in figures)]

    yield from table(heads, (row(name, known[name]) for name in ("core", "wide")))
    for key in (key for key in known if key.startswith("by_")):
        yield f"## {key.replace('_', ' ')}\n"
        yield from table(heads, (row(name, found) for name, found in known[key].items()))
    yield "## by family of software\n"
    yield from table(
        ["family", "runs", "mean error", "inside the band"],
        (
            [r["name"], r["runs"], percent(r["mean_error"]), percent(r["inside_band"])]
            for r in stack_rows()
        ),
    )


def catalog() -> Iterator[str]:
    yield "# Catalog\n"
    yield "What ships, made from the files beside the code. `rackmodel show NAME` prints every"
    yield "field with its source and grade.\n"
    for kind in ("topologies", "accelerators", "links", "switches", "models"):
        rows = json.loads(run("list", kind, "--json"))["rows"]
        yield f"## {kind}\n"
        keys = [key for key in rows[0] if not isinstance(rows[0][key], (dict, list))]
        yield from table(
            map(heading, keys), ([listed(key, row.get(key)) for key in keys] for row in rows)
        )
    yield "## sources\n"
    yield from table(
        ["key", "where", "what it is", "used for"],
        (
            [
                f"[`{key}`]{{#source-{key}}}",
                linked(found["where"]),
                found.get("kind", ""),
                found.get("used_for", ""),
            ]
            for key, found in sorted(SOURCES.items())
        ),
    )


def structure(*words: str) -> str:
    """Return what the script that reads the package as source prints."""
    call = [sys.executable, "-m", "benchmarks.structure", *words]
    return subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def modules() -> Iterator[str]:
    yield "# Modules\n"
    yield "Each file of the package in one line: the first of its docstring"
    yield "(`python -m benchmarks.structure --files`).\n"
    rows = [line.split(maxsplit=1) for line in structure("--files").splitlines()]
    yield from table(["file", "what it is for"], ([f"`{file}`", text] for file, text in rows))


def linked(text: str) -> str:
    """Return text with its addresses and repositories as links."""
    text = re.sub(r"(https?://[^\s,;)]+)", r"<\1>", text)
    return re.sub(
        r"github ([\w.-]+/[\w.-]+)@([0-9a-f]{40})",
        r"[github \1](https://github.com/\1/tree/\2)",
        text,
    )


def listed(key: str, value: object) -> str:
    """Return a value with its unit, as `rackmodel list` prints it; a source as a link."""
    if key == "source" and value in SOURCES:
        return f"[{value}](#source-{value})"
    return "" if value is None else with_unit(key, value)


def gallery(folder: Path, quick: bool) -> Iterator[str]:
    yield "# Gallery\n"
    yield "Every picture was made by the command below it when this site was built.\n"
    pictures = tomllib.loads((DOCS / "gallery.toml").read_text("utf-8"))["picture"]
    for number, picture in enumerate(pictures):
        title, command, name = picture["title"], picture["command"], f"{number:02}.png"
        if quick:
            shutil.copy(DOCS / "gb200-nvl72.png", folder / name)
        else:
            run(*command.replace("FILE", str(folder / name)).split())
        yield f"## {title}\n\n![{title}](gallery/{name})\n"
        shown = command.replace("FILE", f"{command.split()[0]}.png")
        yield f"```sh\nrackmodel {shown}\n```\n"


def assemble(source: Path, quick: bool) -> None:
    """Lay the sources of the site: pages by hand and made here, scripts, files that they read."""
    for path in DOCS.iterdir():
        if path.suffix in (".md", ".svg", ".png", ".css") or path.name == "conf.py":
            shutil.copy(path, source)
    shutil.copy(ROOT / "benchmarks/validation/constants.md", source)
    shutil.copy(ROOT / "CHANGES.md", source / "changes.md")
    shutil.copytree(ROOT / "examples", source / "examples", ignore=shutil.ignore_patterns("__*"))
    tutorials = source / "tutorials"
    tutorials.mkdir()
    for script in sorted((ROOT / "examples").glob("*.py")):
        shutil.move(source / "examples" / script.name, tutorials)
        notebook = jupytext.read(script)
        jupytext.write(notebook, source / "examples" / f"{script.stem}.ipynb")
    (source / "gallery").mkdir()
    structure("--draw", str(source / "packages.svg"))
    pages = {
        "commands.md": commands(),
        "files.md": files_page(),
        "accuracy.md": accuracy(),
        "catalog.md": catalog(),
        "modules.md": modules(),
        "gallery.md": gallery(source / "gallery", quick),
    }
    (source / "commands").mkdir()
    pages |= {f"commands/{name}.md": command_page(name) for name in COMMANDS}
    for name, lines in pages.items():
        (source / name).write_text("\n".join(lines) + "\n", "utf-8")
    for page in source.glob("*.md"):
        page.write_text(links(page.read_text("utf-8")), "utf-8")


def links(text: str) -> str:
    """Point links that hold in the repository at the copies in the site."""
    text = re.sub(r"\]\(\.\./examples/([\w-]+\.py)\)", r"](tutorials/\1)", text)
    text = re.sub(r"\[`([^\]]+)`\]\(\.\./(examples/[^)]+)\)", r"{download}`\1 <\2>`", text)
    return text.replace("](../benchmarks/validation/constants.md", "](constants.md")


def main() -> None:
    read = argparse.ArgumentParser(description="Build the site.")
    read.add_argument("--out", type=Path, default=ROOT / ".site")
    read.add_argument("--quick", action="store_true", help="Run no script, draw no picture.")
    given = read.parse_args()
    off = (
        ["-D", "nb_execution_mode=off", "-D", "suppress_warnings=myst-nb.lexer"]
        if given.quick
        else []
    )
    with tempfile.TemporaryDirectory(prefix="rackmodel-docs-") as folder:
        assemble(Path(folder), given.quick)
        words = ["-W", "--keep-going", "-q", *off, folder, str(given.out)]
        raise SystemExit(sphinx(words))


if __name__ == "__main__":
    main()
