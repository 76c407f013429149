"""The constants that training steps decide: read them, move a step by them, write them.

In:  parameters.toml; kernels.toml and stacks.toml of the package, or copies of them.
Out: `Parameter`s with the values that stand; files with other values.
Left out: choosing values (`fit.py`).
"""

from __future__ import annotations

import re
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

from rackmodel.software import Software
from rackmodel.software.constant_files import HOMES, home

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Parameter:
    """One constant: where it lives, what is believed of it, what it moves."""

    at: tuple[str, ...]
    prior: float
    deviation: float  # of the logarithm
    source: str
    classes: str = ""
    family: str = ""
    kind: str = ""
    generation: str = ""
    part: str = ""
    foreign: bool = False
    inverse: bool = False

    @property
    def name(self) -> str:
        """Return where the constant lives, the first place if there are several."""
        return self.at[0].split(":", 1)[1]

    def exponent(
        self, name: str, family: str, part: str, software: Software, foreign: bool
    ) -> float:
        """Return how often the constant's value is a factor of a class of seconds."""
        kind = software.kind.split("-")[0]
        wanted = (
            (self.classes, name),
            (self.family, family),
            (self.kind, kind),
            (self.generation, software.attention_kernels),
            (self.part, part),
        )
        if not all(re.fullmatch(p, text) for p, text in wanted if p):
            return 0.0
        if self.foreign and not foreign:
            return 0.0
        return -1.0 if self.inverse else 1.0


def parameters() -> list[Parameter]:
    """Return the parameters of parameters.toml, in order."""
    table = tomllib.loads((HERE / "parameters.toml").read_text("utf-8"))
    return [Parameter(**{**row, "at": tuple(row["at"])}) for row in table["parameter"]]


def value(parameter: Parameter, folder: Path | None = None) -> float:
    """Return the value that stands in the files of a folder (None: those that ship)."""
    file, path = parameter.at[0].split(":", 1)
    found: object = tomllib.loads(_file(f"{file}.toml", folder).read_text("utf-8"))
    for word in path.split("."):
        assert isinstance(found, dict)
        found = found[word]
    return float(str(found))


def _file(name: str, folder: Path | None) -> Path:
    return home(name) if folder is None else folder / name


def write(values: dict[Parameter, float], folder: Path | None) -> None:
    """Put values into the constant files of a folder; where it has none they are copied first."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in HOMES:
            if not (folder / name).exists():
                shutil.copy(home(name), folder / name)
    for parameter, number in values.items():
        for place in parameter.at:
            file, path = place.split(":", 1)
            target = _file(f"{file}.toml", folder)
            target.write_text(replaced(target.read_text("utf-8"), path, number), "utf-8")


def replaced(text: str, path: str, number: float) -> str:
    """Return a TOML text with one number in place of another; all else keeps its form.

    The number stands at `[section] key = 1.0` or inside `[section] key = { inner = 1.0 }`.

    >>> replaced("[a.b]\\nc = 1.0  # why\\n", "a.b.c", 2.5)
    '[a.b]\\nc = 2.5  # why\\n'
    >>> replaced("[a]\\nb = { c = 1.0, d = 2 }\\n", "a.b.c", 3.0)
    '[a]\\nb = { c = 3, d = 2 }\\n'
    """
    lines, section = text.split("\n"), ""
    words = path.split(".")
    plain, inline = (".".join(words[:-1]), words[-1]), (".".join(words[:-2]), words[-2])
    for i, content in enumerate(lines):
        if content.startswith("["):
            section = content.split("]")[0].strip("[")
        elif section == plain[0] and re.match(rf"{re.escape(plain[1])} *= *[0-9]", content):
            lines[i] = re.sub(r"(= *)[0-9.e+-]+", rf"\g<1>{number:.4g}", content, count=1)
            return "\n".join(lines)
        elif section == inline[0] and content.startswith(f"{inline[1]} = {{"):
            pattern = rf"([{{ ]{re.escape(plain[1])} = )[0-9.e+-]+"
            new, count = re.subn(pattern, rf"\g<1>{number:.4g}", content)
            if count == 1:
                lines[i] = new
                return "\n".join(lines)
    raise KeyError(path)
