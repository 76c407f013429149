"""Every script in examples/ runs and says something."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_example_runs_and_prints_figures(script, capsys):
    runpy.run_path(str(script), run_name="__main__")
    printed = capsys.readouterr().out
    assert any(letter.isdigit() for letter in printed)
    assert "nan" not in printed.lower()


def test_there_is_an_example_for_each_of_the_five_questions():
    assert len(SCRIPTS) >= 5
