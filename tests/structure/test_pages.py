"""The page of places, docs/architecture.md: each exists, and none of the package is left out."""

import re
from pathlib import Path

import pytest

from benchmarks.structure import summaries

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "rackmodel"
PAGE = (ROOT / "docs/architecture.md").read_text("utf-8")
CHANGES = PAGE[PAGE.index("## Where a change goes") : PAGE.index("## How it is kept so")]
PLACES = [
    word
    for word in re.findall(r"`([^` ]+)`", CHANGES)
    if "/" in word or word.endswith((".py", ".toml"))
]
NAMED = {
    found.resolve()
    for word in PLACES
    for base in (PACKAGE, ROOT)
    for found in base.glob(word.rstrip("/"))
}


@pytest.mark.parametrize("place", sorted(set(PLACES)))
def test_a_place_that_the_page_names_exists(place):
    assert any(any(base.glob(place.rstrip("/"))) for base in (PACKAGE, ROOT))


def tracked(pattern):
    return [path for path in PACKAGE.rglob(pattern) if "__pycache__" not in path.parts]


@pytest.mark.parametrize("folder", sorted({path.parent for path in tracked("*.py")} - {PACKAGE}))
def test_every_folder_with_code_is_named(folder):
    assert any(folder == place or folder in place.parents for place in NAMED)


@pytest.mark.parametrize("file", sorted(tracked("data/**/*.*")))
def test_every_data_file_is_named(file):
    assert file in NAMED


@pytest.mark.parametrize(("file", "line"), [*summaries()])
def test_the_first_line_of_a_file_is_a_sentence(file, line):
    """The index of files prints it."""
    assert line.endswith((".", "?"))
