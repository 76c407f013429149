"""The line of a long command: on a terminal alone, stage and count, no estimate that lies."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from rackmodel import api
from rackmodel.cli import waiting
from rackmodel.cli.waiting import Waiting
from rackmodel.stages import listening, tell


@pytest.fixture
def line(monkeypatch):
    """A line whose clock is set by hand."""
    clock = [100.0]
    monkeypatch.setattr(waiting.time, "monotonic", lambda: clock[0])
    one = Waiting(after_s=1e6)
    yield one, clock
    one.clear(over=True)


def test_stage_and_count(line):
    one, clock = line
    with listening(one.hear):
        tell("machines", 1, 3)
        tell("dgx-h100: estimating 1,551 plans")
        clock[0] += 12
        assert one.line() == "machines 1 of 3, dgx-h100: estimating 1,551 plans, 12 s"
        tell("simulating plan", 2)
        assert "simulating plan 2" in one.line()
        tell("machines", 2, 3)
        assert one.line() == "machines 2 of 3, 12 s"


def test_the_rest_is_told_only_from_enough_that_is_done(line):
    one, clock = line
    one.hear("runs", 0, 100)
    clock[0] += 4
    one.hear("runs", 7, 100)
    assert "left" not in one.line()
    clock[0] += 6
    one.hear("runs", 20, 100)
    assert "about 40 s left at this pace" in one.line()
    one.hear("runs", 100, 100)
    assert "left" not in one.line()
    one.hear("draws", 8, 16)  # another stage has a pace of its own
    clock[0] += 2
    assert "about 2 s left" in one.line()


def test_it_comes_late_and_goes_without_a_trace():
    text = io.StringIO()
    one = Waiting(Console(file=text, force_terminal=True, width=80), after_s=0.05)
    one.hear("runs", 3, 9)
    assert text.getvalue() == ""
    time.sleep(0.5)
    assert "runs 3 of 9" in text.getvalue()
    one.clear(over=True)
    assert text.getvalue().endswith(("\x1b[2K", "\x1b[?25h"))
    size = len(text.getvalue())
    time.sleep(0.3)
    assert len(text.getvalue()) == size


def test_every_search_tells_its_stages():
    heard = []
    words = {"model": "gpt3-13b", "gpus": 16, "global_batch": 32, "seq_len": 2048}
    with listening(lambda *told: heard.append(told)):
        api.compare(["dgx-h100", "dgx-a100-80"], **words)
    assert ("machines", 1, 2) in heard
    assert any("estimating" in stage for stage, _, _ in heard)
    assert ("simulating plan", 1, None) in heard


def test_piped_it_is_silent(run):
    assert run("list", "topologies").stderr == ""
