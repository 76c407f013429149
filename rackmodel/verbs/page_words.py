"""What a page is to hold beside results, and the files that it takes, checked.

In:  words, paths.
Out: `PageWords`, `page_files`, `read_rows`.
Left out: the page itself (`page`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rackmodel import files, gate
from rackmodel.errors import InvalidInput
from rackmodel.fields import record, setting


@dataclass(frozen=True, kw_only=True)
class PageWords:
    """What a page holds beside the results."""

    validation: Path | None = setting(
        None,
        "Published runs (.csv) or what `validate --json` wrote: adds the error tables.",
        "runs.csv",
        option="--validation",
    )
    claims: Path | None = setting(
        None,
        "What `claims --json` wrote: adds the verdicts.",
        "claims.json",
        option="--claims",
    )
    study: Path | None = setting(
        None,
        "What `rackmodel study` wrote (a directory): adds its answers and pictures.",
        "runs/study",
        option="--study",
    )
    brief: bool = setting(
        False, "Only the results: no plan map, no collectives, no rack.", option="--brief"
    )
    sensitivity: bool = setting(
        False, "Also what doubling each resource gains; minutes more.", option="--sensitivity"
    )


def page_words(given: Mapping[str, Any]) -> PageWords:
    """Return the words of a page; names of files may be texts."""
    named = ("validation", "claims", "study")
    words = {
        name: Path(value) if name in named and isinstance(value, str) else value
        for name, value in given.items()
    }
    return record(PageWords, words, "page")


def page_files(out: Path, page: PageWords) -> tuple[Path, Mapping[str, Any] | None]:
    """Return where the page goes, and verdicts; all files checked before anything is simulated."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise InvalidInput(f"--out: wanted a file ending in .html; got {out.name!r:.60}")
    files.check_writable(out, "--out")
    verdicts = None if page.claims is None else read_rows(page.claims, "--claims")
    if page.validation is not None:
        files.check_file(page.validation, where="--validation")
    return out, verdicts


def read_rows(path: Path, option: str) -> dict[str, Any]:
    """Return a JSON object with `rows`, as the commands write it."""
    shown = f"{option}: {path}"
    found = files.read_json(path, where=option)
    if not isinstance(found, dict) or not isinstance(found.get("rows"), list):
        raise InvalidInput(f"{shown} has no list `rows`; give what a command wrote with --json")
    for number, row in enumerate(found["rows"]):
        gate.table(row, f"{shown}: rows[{number}]")
    return found
