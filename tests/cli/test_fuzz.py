"""Files of strangers with one thing wrong: an answer, or one line and exit 2 or 3."""

from __future__ import annotations

import copy
import json
import math
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PLAN = ["--tp", "1", "--pp", "1", "--micro-batch", "1", "--default-plan", "--json"]
JOB = ["--gpus", "4", "--global-batch", "8", "--seq-len", "1024", *PLAN]
NODES = [{"id": f"g{i}", "kind": "accelerator"} for i in range(4)]
GRAPH = {
    "directed": False,
    "graph": {"accelerator": "h100"},
    "nodes": [*NODES, {"id": "s", "kind": "scale_up_switch"}],
    "edges": [
        {"source": f"g{i}", "target": "s", "bytes_per_s": 450e9, "latency_s": 5e-7, "count": 18}
        for i in range(4)
    ],
}
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 4,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 32000,
}
WRONG = st.sampled_from(
    [
        math.nan,
        math.inf,
        -1,
        0,
        1,
        3,
        10**9,
        10**400,
        1e300,
        1e-300,
        0.5,
        None,
        True,
        "",
        "x",
        "3",
        "5 W",
        "x" * 10_000,
        "\n",
        [],
        [1],
        ["x"],
        [None],
        [[1]],
        {},
        {"a": 1},
    ]
)


def answered(result):
    """Check what came out: numbers that are numbers, or one line."""
    assert result.exit_code in (0, 2, 3), result.output
    if result.exit_code == 0:
        json.loads(result.stdout, parse_constant=pytest.fail)
        return
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("rackmodel: ")
    assert len(lines[0]) < 1000
    assert result.stdout == ""


@QUICK
@given(
    st.sampled_from(
        [
            ("edges", 0, "bytes_per_s"),
            ("edges", 0, "latency_s"),
            ("edges", 0, "count"),
            ("edges", 0, "payload_efficiency"),
            ("edges", 0, "kind"),
            ("edges", 0, "source"),
            ("edges", 0, "lanes"),
            ("edges", 0, "length_m"),
            ("edges", 0, "medium"),
            ("edges", 0),
            ("nodes", 0, "id"),
            ("nodes", 0, "kind"),
            ("nodes", 0, "index"),
            ("nodes", 0, "rack"),
            ("nodes", 0, "part"),
            ("nodes", 0, "coordinates"),
            ("nodes", 0),
            ("nodes",),
            ("edges",),
            ("graph", "shape"),
            ("graph", "accelerator"),
            ("graph", "ocs"),
            ("graph", "name"),
            ("graph",),
            ("directed",),
        ]
    ),
    WRONG,
    st.sampled_from(["flows", "collective", "simulate"]),
)
def test_graphs(run, tmp_path, where, value, command):
    graph = copy.deepcopy(GRAPH)
    spot = graph
    for step in where[:-1]:
        spot = spot[step]
    spot[where[-1]] = value
    file = tmp_path / "g.json"
    file.write_text(json.dumps(graph))
    flows = tmp_path / "f.csv"
    flows.write_text("source,target,bytes,start_s\ng1,g2,1e9,0\n")
    words = {
        "flows": [flows, "--json"],
        "collective": ["--op", "all-reduce", "--bytes", "1MB", "--gpus", "4", "--json"],
        "simulate": ["--model", "gpt3-125m", *JOB],
    }
    answered(run(command, file, *words[command]))


@QUICK
@given(st.sampled_from([*sorted(CONFIG), "head_dim", "num_local_experts"]), WRONG)
def test_models(run, tmp_path, key, value):
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**CONFIG, key: value}))
    answered(run("simulate", "dgx-h100", "--model", file, *JOB))


def toml(value):
    """Return one value as TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value)


SHIPPED = Path(__file__).parents[2] / "topologies"


@QUICK
@given(st.data(), WRONG, st.sampled_from(["dgx-h100", "gb200-nvl72", "tpu-v5p-pod"]))
def test_topologies(run, tmp_path, data, value, name):
    machine = tomllib.loads((SHIPPED / f"{name}.toml").read_text())
    spot = data.draw(
        st.sampled_from([machine, machine["shape"], machine["fabric"], machine["host"]])
    )
    spot[data.draw(st.sampled_from([*sorted(spot), "nosuch"]))] = [] if value is None else value
    file = tmp_path / "machine.toml"
    file.write_text("\n".join(f"{json.dumps(k)} = {toml(v)}" for k, v in machine.items()))
    answered(
        run("collective", file, "--op", "all-reduce", "--bytes", "1MB", "--gpus", "16", "--json")
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("source,source,target,bytes\n0,0,1,1\n", "same name"),
        ("source,target,bytes\n0,1,1,5,6\n0,1,1,5,6\n", "CSV"),
        ("source,target,bytes\n0,1\n", "bytes"),
        ("source,target,bytes\n0,1,1e300\n", "bytes"),
        ("source,target,bytes\n0,1,1_000\n", "bytes"),
        ("source,target,bytes,start_s\n0,1,1,1e300\n", "start_s"),
        ("source,target,bytes\n0,99,1\n", "no node '99'"),
        ("source,target,bytes\n" + "x" * 100_000 + ",8,1\n", "no node"),
        ('source,target,bytes\n"0,8,1\n', "CSV"),
    ],
)
def test_tables_of_flows(fails, tmp_path, text, says):
    (tmp_path / "f.csv").write_text(text)
    line = fails(2, "flows", "dgx-h100", tmp_path / "f.csv", "--csv")
    assert says in line
    assert len(line) < 1000


@pytest.mark.parametrize(
    ("code", "words", "says"),
    [
        (2, ["--plan", "stage_layers=20,x"], "stage_layers"),
        (3, ["--plan", "stage_layers=20,21"], "stage_layers"),
        (3, ["--plan", "sharding=hsdp"], "hsdp"),
        (3, ["--plan", "recompute_layers=999"], "recompute_layers"),
        (2, ["--plan", "recompute_modules=zz"], "zz"),
        (3, ["--tp", "3"], "40 heads"),
        (3, ["--pp", "64"], "40 layers"),
        (3, ["--micro-batch", "128"], "micro_batch 128"),
        (3, ["--vpp", "2", "--pp", "1"], "vpp 2"),
        (2, ["--set", "accelerators.h100.hbm_bytes_per_s=1e-300 B/s"], "too small"),
        (2, ["--set", "accelerators.h100.hbm_bytes_per_s=1e35"], "too large"),
        (2, ["--set", "accelerators.h100.flops_per_s=1e15"], "flops_per_s.fp64"),
    ],
)
def test_plans_and_overrides(fails, code, words, says):
    job = ["--model", "gpt3-13b", "--gpus", "16", "--global-batch", "64", "--seq-len", "2048"]
    assert says in fails(code, "simulate", "dgx-h100", *job, *words)


@pytest.mark.parametrize("word", ["none", "[]"])
def test_a_list_of_a_plan_can_be_given_as_empty(fails, word):
    job = ["--model", "gpt3-13b", "--gpus", "2", "--global-batch", "2", "--tp", "2", "--pp", "1"]
    told = fails(3, "simulate", "dgx-a100-40", *job, "--plan", f"offload={word}")
    assert "fits 2 x a100-40" in told


def test_a_batch_of_one_leaves_one_replica(run):
    job = ["--model", "gpt3-13b", "--gpus", "16", "--global-batch", "1", "--seq-len", "2048"]
    result = run("simulate", "dgx-h100", *job, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["plan"]["dp"] == 1


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("tokens_per_s", 382_529.4, "382,529"),
        ("step_s_low", 0.656, "656 ms"),
        ("step_s", math.nan, "–"),
        ("peak_flops_per_s", 2.5e15, "2.5 PFLOP/s"),
    ],
)
def test_cells_have_their_unit(name, value, shown):
    from rackmodel.cli.tables_catalog import cell

    assert cell(name, value) == shown
