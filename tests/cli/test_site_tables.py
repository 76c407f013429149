"""What a person reads about power, money and failures of a simulated step."""

from __future__ import annotations

import pytest

WORDS = (
    "simulate",
    "gb200-nvl72",
    "--model",
    "gpt3-13b",
    "--gpus",
    72,
    "--global-batch",
    144,
    "--seq-len",
    2048,
    "--tp",
    4,
    "--pp",
    1,
    "--micro-batch",
    1,
    "--default-plan",
)


@pytest.fixture(scope="module")
def shown():
    from typer.testing import CliRunner

    from rackmodel.cli import app

    def call(*more):
        return CliRunner().invoke(app, [str(word) for word in (*WORDS, *more)]).stdout

    return call("--tokens", "15T"), call("--supply-c", "60", "--medium", "scale-up=aec")


def test_every_window_has_its_peak(shown):
    text, _ = shown
    for line in (
        "power within a step",
        "means over 1 ms",
        "means over 20 ms",
        "means over 100 ms",
        "means over 1 s",
        "computing less communicating",
        "steepest ramp",
        "strongest beat",
        "provisioned",
        "tokens/s per MW",
    ):
        assert line in text


def test_capital_has_parts_with_bounds(shown):
    text, swapped = shown
    lines = {line.split("  ")[0]: line for line in text.splitlines() if line}
    for part in ("accelerators", "chassis", "hall", "links", "switches", "cooling"):
        assert lines[part].count("$") == 3, part
    assert "an hour: depreciation" in text
    assert "scale up links" in swapped


def test_a_whole_run_has_its_units(shown):
    text, _ = shown
    run = text[text.index("whole run") :]
    for name, unit in (("tokens", "15 T"), ("energy", "MWh"), ("dollars", "$"), ("days", "")):
        (line,) = [one for one in run.splitlines() if one.startswith(name)][:1]
        assert unit in line


def test_a_throttled_machine_says_so_first(shown):
    _, text = shown
    assert "throttled: the coolant carries" in text
    assert "note: temperature: the coolant leaves gb200" in text
    assert "note: coolant: a supply of 60 C is above the 45 C" in text
