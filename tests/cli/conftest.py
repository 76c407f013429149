"""A runner of commands, and a front door that answers at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import rackmodel
from rackmodel.cli import app
from rackmodel.result.comparison import Comparison


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are as wide as they need, whatever the terminal that runs the tests says."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def run() -> Callable[..., Result]:
    """Run a command line; nothing but our own exits may come out of it."""

    def call(*words: str) -> Result:
        result = CliRunner().invoke(app, [str(word) for word in words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


@pytest.fixture
def fails(run: Callable[..., Result]) -> Callable[..., str]:
    """Run a command line that has to fail: returns its one line on stderr."""

    def call(code: int, *words: str) -> str:
        result = run(*words)
        lines = result.stderr.splitlines()
        assert result.exit_code == code, (result.exit_code, result.stderr, result.stdout)
        assert len(lines) == 1, result.stderr
        assert lines[0].startswith("rackmodel: ")
        assert "Traceback" not in result.output
        return lines[0]

    return call


class MadeResult:
    """What the front door hands out, with the shape of `simulate --json`."""

    def __init__(self, row: dict[str, Any]) -> None:
        self.row = row

    def to_dict(self) -> dict[str, Any]:
        return self.row

    def plot(self) -> Any:
        from rackmodel.reporting.steps import compare_figure

        return compare_figure([self.row])


@pytest.fixture
def row() -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "simulated.json").read_text())


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch, row: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Replace the front door; returns the list of calls that reached it."""
    from rackmodel.errors import DoesNotFit

    calls: list[tuple[str, Any, Any]] = []

    def simulate(topology: Any, **options: Any) -> MadeResult:
        calls.append(("simulate", topology, options))
        if options["gpus"] == 7:
            raise DoesNotFit("rank 0 needs 212 GB; gb200 has 186 GB")
        return MadeResult({**row, "topology": str(topology)})

    def compare(topologies: Any, **options: Any) -> Comparison:
        calls.append(("compare", topologies, options))
        return Comparison(
            (
                name,
                DoesNotFit("too big") if name == "dgx-2" else MadeResult({**row, "topology": name}),
            )
            for name in topologies
        )

    flat = {"step_s": 1.0, "drawn_w": np.ones(64), "seen_w": np.ones(64)}
    monkeypatch.setattr("rackmodel.assess.series.rack_over_step", lambda result: flat)
    monkeypatch.setattr(rackmodel, "simulate", simulate)
    monkeypatch.setattr(rackmodel, "compare", compare)
    return calls
