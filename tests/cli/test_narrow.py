"""At 80 columns columns go before digits."""

from __future__ import annotations

import pytest

from rackmodel.cli.output import render
from rackmodel.cli.tables import filled

TITLES = ("machine", *(f"figure {number}" for number in range(9)))
ROWS = [("gb200-nvl72", *(f"{number + 1:,},234,567" for number in range(9)), "")]


@pytest.mark.parametrize("width", [80, 100, 200])
def test_no_number_is_cut_and_what_is_gone_is_named(width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    text = render([filled(TITLES, ROWS, "title")], terminal=False)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in text
    row = next(line for line in lines if line.startswith("gb200"))
    shown = [cell for cell in ROWS[0][1:-1] if cell in row]
    gone = [title for title in TITLES if lines[-1].startswith("left out") and title in lines[-1]]
    assert len(shown) + len(gone) == 9
    assert len(shown) >= {80: 5, 100: 7, 200: 9}[width]


def test_a_table_that_fits_keeps_all_its_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    rows = [("a", "1", "a long text that may be broken over several lines of the last column")]
    text = render([filled(("x", "y"), rows, "why")], terminal=False)
    assert "left out" not in text
    assert "column" in text
