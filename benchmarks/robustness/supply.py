"""What rackmodel depends on: the least versions said twice are the same, and what is known of them.

In:  pyproject.toml, constraints-min.txt, the packages that are installed, a folder of advisories.
Out: a table; exit code 1 if the two lists differ, or an advisory fits what is installed.
Left out: fetching advisories. Offline, give a copy of github.com/pypa/advisory-database.

    python -m benchmarks.robustness.supply [ADVISORIES]
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


def _name(text: str) -> str:
    return text.lower().replace("_", "-").replace(".", "-")


def least() -> dict[str, str]:
    """Return {package: least version} of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    pairs = (line.split(";")[0].partition(">=") for line in project["dependencies"])
    return {_name(name.strip()): version.strip() for name, _, version in pairs}


def constraints() -> dict[str, str]:
    """Return {package: version} of constraints-min.txt."""
    lines = (ROOT / "constraints-min.txt").read_text("utf-8").splitlines()
    pairs = (line.partition("==") for line in lines if line and line[0] != "#")
    return {_name(name.strip()): version.strip() for name, _, version in pairs}


def unlike() -> list[str]:
    """Return what the two lists say differently: a constraint begins with the least version."""
    said, tried = least(), constraints()
    found = [f"{name}: only in one list" for name in sorted(said.keys() ^ tried.keys())]
    for name in sorted(said.keys() & tried.keys()):
        if not f"{tried[name]}.".startswith(f"{said[name]}."):
            found.append(f"{name}: {said[name]} in pyproject.toml, {tried[name]} tried")
    return found


def installed() -> dict[str, str]:
    """Return {package: version} of this environment."""
    return {_name(one.metadata["Name"]): one.version for one in metadata.distributions()}


def advisories(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the advisories of a copy of the PyPA database: vulns/PACKAGE/*.yaml."""
    for path in sorted(folder.glob("vulns/*/*.yaml")):
        found = yaml.safe_load(path.read_text("utf-8"))
        if isinstance(found, dict) and not found.get("withdrawn"):
            yield found


def affected(folder: Path) -> list[str]:
    """Return the advisories that name an installed package at its version."""
    versions, found = installed(), []
    for one in advisories(folder):
        for part in one.get("affected", ()):
            name = _name(str(part.get("package", {}).get("name", "")))
            if versions.get(name) in part.get("versions", ()):
                found.append(f"{name} {versions[name]}: {one['id']}")
    return found


def main(words: list[str]) -> int:
    """Print what differs and what is known."""
    wrong = unlike()
    print(f"least versions: {len(least())} packages, {len(wrong)} unlike", *wrong, sep="\n  ")
    if words:
        known = affected(Path(words[0]))
        print(f"advisories that fit: {len(known)}", *known, sep="\n  ")
        wrong += known
    else:
        print("advisories: no folder given, none read (offline)")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
