"""`--set` acts on every command that has a machine, and a user's own machine stays the user's."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from rackmodel.hardware import load_catalog
from rackmodel.study.resources import scale
from rackmodel.topology import load_topology

Run = Callable[..., Result]
JOB = ("--model", "gpt3-13b", "--gpus", "16", "--global-batch", "16", "--seq-len", "1024")
PLAN = ("--tp", "8", "--pp", "1", "--micro-batch", "1")
SLOWER = ("--set", "topology.nics.link_bytes_per_s=1 GB/s")
COMMANDS = {
    "simulate": ("dgx-h100", *JOB, *PLAN),
    "compare": ("dgx-h100", "dgx-h200", *JOB, *PLAN),
    "search": ("dgx-h100", *JOB, *PLAN, "--top", "1"),
    "collective": ("dgx-h100", "--op", "all-reduce", "--bytes", "1GB", "--gpus", "16"),
    "heat": ("dgx-h100", *JOB, *PLAN),
    "show": ("dgx-h100",),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_value_of_the_machine_acts(run: Run, command: str) -> None:
    words = (command, *COMMANDS[command], "--json")
    plain, slower = run(*words), run(*words, *SLOWER)
    assert slower.exit_code == 0, slower.output
    assert json.loads(slower.stdout) != json.loads(plain.stdout)
    assert "topology.nics.link_bytes_per_s set: published totals" in slower.stderr


def test_a_value_of_no_machine_is_refused(fails: Callable[..., str]) -> None:
    assert "no machine" in fails(2, "list", "links", *SLOWER)
    assert "no machine" in fails(2, "show", "gb200", *SLOWER)
    assert "unknown key" in fails(2, "show", "dgx-h100", "--set", "topology.nics.lnk=1")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A machine of the user's own, under a name that does not ship."""
    path = tmp_path / "mine.toml"
    path.write_text(load_topology("dgx-h100").text())
    return path


def test_a_report_on_a_machine_of_ones_own(run: Run, mine: Path, tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    job = ("--model", "gpt3-125m", "--gpus", "8", "--global-batch", "8", "--seq-len", "512")
    words = ("report", str(mine), *job, "--brief", "--out", str(page))
    found = run(*words, "--set", "topology.nics.link_bytes_per_s=20 GB/s")
    assert found.exit_code == 0, found.output
    text = re.sub("<[^>]+>", "", page.read_text())  # words of the command stand apart
    assert "mine" in text
    assert "topology.nics.link_bytes_per_s=20 GB/s" in text  # the command to have it again


def test_domains_of_a_machine_of_ones_own_can_be_scaled(mine: Path) -> None:
    machine = load_topology(mine, overrides={"fabric.oversubscription": 2})
    larger, _ = scale(machine, load_catalog(), "domain_accelerators", 2.0)
    assert larger.domain_accelerators == 16
    assert larger.fabric is not None
    assert larger.fabric.oversubscription == 2
