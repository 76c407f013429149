"""The other commands, for real: list, show, draw, collective, flows, and what help imports."""

from __future__ import annotations

import csv
import inspect
import io
import json
import re
import subprocess
import sys
import typing

import pytest

from rackmodel.cli.app import COMMANDS as VERBS
from rackmodel.cli.network_commands import ALGORITHMS as ALGORITHMS_IN_WORDS, OPERATIONS
from rackmodel.cli.options import expanded
from rackmodel.network import ALGORITHMS, OPS

COMMANDS = [
    "simulate",
    "compare",
    "search",
    "collective",
    "flows",
    "heat",
    "list",
    "show",
    "draw",
    "validate",
    "sweep",
    "report",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(run, command):
    text = run(command, "--help").stdout
    assert "Example" in text
    assert f"rackmodel {command}" in text


def test_help_names_every_command_and_the_exit_codes(run):
    text = run("--help").stdout
    for command in COMMANDS:
        assert f" {command} " in text
    assert "130" in text


def test_version(run):
    import rackmodel

    assert run("--version").stdout.split() == ["rackmodel", rackmodel.__version__]


def test_help_and_errors_import_nothing_heavy():
    code = (
        "import sys\nfrom rackmodel.cli import app\n"
        "from typer.testing import CliRunner\n"
        "CliRunner().invoke(app, ['--help'])\n"
        "CliRunner().invoke(app, ['simulate', 'x', '--gpus', '-1'])\n"
        "heavy = {'numpy', 'pandas', 'scipy', 'matplotlib', 'networkx', 'simpy', 'pint'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", ["topologies", "accelerators", "links", "switches", "models"])
def test_list_in_every_form(run, kind):
    rows = json.loads(run("list", kind, "--json").stdout)["rows"]
    table = list(csv.DictReader(io.StringIO(run("list", kind, "--csv").stdout)))
    assert [row["name"] for row in rows] == [row["name"] for row in table]
    assert len(rows) > 5
    text = run("list", kind).stdout
    assert all(row["name"] in text for row in rows)


@pytest.mark.parametrize("name", ["gb200", "gb200-nvl72", "llama3.1-405b", "nvlink5"])
def test_show_tells_values_with_units(run, name):
    payload = json.loads(run("show", name, "--json").stdout)
    assert payload["rows"]
    assert name in run("show", name).stdout


def test_set_overrides_what_show_prints(run):
    text = run("show", "gb200", "--set", "accelerators.gb200.hbm_bytes_per_s=10 TB/s").stdout
    line = next(line for line in text.splitlines() if line.startswith("hbm_bytes_per_s"))
    assert "10 TB/s" in line


def test_collective_as_nccl_tests_prints_it(run):
    words = ["collective", "dgx-h100", "--op", "all-reduce", "--bytes", "8:8G:x32", "--gpus", "8"]
    rows = json.loads(run(*words, "--json").stdout)["rows"]
    assert [row["bytes"] for row in rows] == [8.0 * 32**k for k in range(len(rows))]
    for row in rows:
        assert row["time_s"] >= row["bound_s"] > 0
        assert row["busbw_bytes_per_s"] == pytest.approx(row["algbw_bytes_per_s"] * 2 * 7 / 8)
    text = run(*words).stdout
    assert "busbw (GB/s)" in text
    assert "time (us)" in text


def test_an_exchange_over_racks_says_what_would_use_its_ports(run):
    words = ("collective", "gb200-nvl72", "--op", "all-to-all", "--bytes", "1GB", "--gpus", "144")
    assert "--algorithm rail gathers over the rack" in run(*words).output
    assert "gathers over the rack" not in run(*words, "--algorithm", "rail").output


def test_collective_plot(run, tmp_path):
    path = tmp_path / "b.png"
    words = ["--op", "all-to-all", "--bytes", "1MB,1GB", "--gpus", "8", "--plot", path]
    assert run("collective", "dgx-h100", *words).exit_code == 0
    assert path.read_bytes().startswith(b"\x89PNG")


def test_flows_keep_rows_order_and_columns(run, tmp_path):
    path = tmp_path / "f.csv"
    path.write_text(
        "tag,source,target,bytes,start_s\nlate,accelerator-0,accelerator-1,2e9,0.5\n"
        "early,accelerator-2,accelerator-3,1e9,0\n"
    )
    rows = list(csv.DictReader(io.StringIO(run("flows", "dgx-h100", path, "--csv").stdout)))
    assert [row["tag"] for row in rows] == ["late", "early"]
    assert float(rows[0]["finish_s"]) > 0.5 > float(rows[1]["finish_s"]) > 0
    for row in rows:
        assert repr(float(row["finish_s"])) == row["finish_s"], "full double precision"
        assert row["bottleneck"]


def test_flows_on_a_graph_file(run, tmp_path):
    graph = {
        "directed": False,
        "nodes": [{"id": name, "kind": "accelerator"} for name in "ab"]
        + [{"id": "s", "kind": "scale_up_switch"}],
        "edges": [{"source": name, "target": "s", "bytes_per_s": 1e9} for name in "ab"],
    }
    (tmp_path / "g.json").write_text(json.dumps(graph))
    (tmp_path / "f.csv").write_text("source,target,bytes,start_s\na,b,1e9,0\na,b,1e9,0\n")
    result = run("flows", tmp_path / "g.json", tmp_path / "f.csv", "--json")
    assert result.exit_code == 0, result.stderr
    rows = json.loads(result.stdout)["rows"]
    assert [row["finish_s"] for row in rows] == pytest.approx([2.0, 2.0])


def test_draw_writes_a_picture(run, tmp_path):
    path = tmp_path / "r.svg"
    result = run("draw", "gb200-nvl72", "--out", path)
    assert result.exit_code == 0, result.stderr
    assert "</svg>" in path.read_text()


RUNS = (
    "id,topology,gpus,model,layers,hidden,ffn,heads,kv_heads,head_dim,gated_ffn,vocab,seq_len,"
    "global_batch,micro_batch,tp,pp,dp,recompute,precision,measured_step_s\n"
    "a,dgx-h100,8,gpt3-1.3b,24,2048,8192,16,16,128,0,50304,2048,64,4,1,1,8,none,bf16,1.0\n"
    "b,dgx-h100,8,gpt3-1.3b,24,2048,8192,16,16,128,0,50304,2048,64,4,3,1,8,none,bf16,1.0\n"
)


def test_validate_predicts_or_says_why_not(run, tmp_path):
    (tmp_path / "runs.csv").write_text(RUNS)
    plot = tmp_path / "v.svg"
    result = run("validate", tmp_path / "runs.csv", "--json", "--plot", plot)
    assert result.exit_code == 0, result.stderr
    answer = json.loads(result.stdout)
    good, bad = answer["rows"]
    assert good["error"] == pytest.approx(good["predicted_step_s"] - 1.0)
    assert bad["predicted_step_s"] is None
    assert bad["reason"]
    assert "core" in answer["summary"]
    assert plot.exists()


SPEC = """
[base]
topology = "dgx-h100"
model = "gpt3-1.3b"
global_batch = 16
seq_len = 2048
pp = 1
micro_batch = 1
[axes]
gpus = [8, 16]
tp = [1, 2]
"""


def test_sweep_fills_a_directory_and_resumes_to_the_same_rows(run, tmp_path):
    spec, out = tmp_path / "s.toml", tmp_path / "runs"
    spec.write_text(SPEC)
    first = run("sweep", spec, "--out", out, "--json", "--plot", tmp_path / "s.png")
    assert first.exit_code == 0, first.stderr
    again = run("sweep", spec, "--out", out, "--resume", "--json")
    assert json.loads(again.stdout) == json.loads(first.stdout)
    assert len(json.loads(first.stdout)["rows"]) == 4


def test_search_ranks_plans(run):
    words = ["--model", "gpt3-1.3b", "--gpus", "8", "--global-batch", "16", "--seq-len", "2k"]
    result = run("search", "dgx-h100", *words, "--top", "2", "--pp", "1", "--json")
    assert result.exit_code == 0, result.stderr
    steps = [row["step_s"] for row in json.loads(result.stdout)["rows"]]
    assert steps == sorted(steps)


def test_heat_adds_up_to_the_rack(run):
    words = ["--model", "gpt3-1.3b", "--gpus", "8", "--global-batch", "16", "--seq-len", "2k"]
    plan = ["--plan", "tp=1", "--plan", "pp=1", "--plan", "micro_batch=1"]
    answer = json.loads(run("heat", "dgx-h100", *words, *plan, "--json").stdout)
    assert sum(row["heat_w"] for row in answer["rows"]) == pytest.approx(answer["heat_w"])


def test_help_of_collectives_names_all_that_are_registered():
    assert set(OPERATIONS) == {*OPS, "send"}
    words = set(re.findall(r"[\w-]+", ALGORITHMS_IN_WORDS))
    assert {name for names in ALGORITHMS.values() for name in names} - {"send"} <= words


@pytest.mark.parametrize(
    ("command", "option", "default"),
    [("simulate", "optimizer", "adam"), ("serve", "kv", "fp8"), ("serve", "chunk", "8192")],
)
def test_help_tells_the_default_of_what_may_be_said_elsewhere(command, option, default):
    told = inspect.signature(expanded(VERBS[command].function)).parameters[option]
    assert told.default is None  # so that a launch file or a search may say it
    assert f"Default: {default}." in typing.get_args(told.annotation)[1].help


def test_help_shows_what_stands_in_brackets(run):
    """Rich takes [word] for markup: help has to escape it."""
    for command, verb in VERBS.items():
        shown = "".join(run(command, "--help").stdout.split())
        for word in re.findall(r"\[+\w+\]+", verb.function.__doc__):
            assert word in shown, command
