"""What broke once, as kinds: one line that says where, what and what to do."""

import csv
import io
import json
import os
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

import rackmodel
from rackmodel.errors import CannotRun, InvalidInput, RackModelError, UnknownName
from rackmodel.files import csv_text, safe_cell, whole_file
from rackmodel.workload import load_model

JOB = [
    *("--model", "gpt3-125m", "--gpus", "4", "--global-batch", "8", "--seq-len", "512"),
    *("--tp", "4", "--pp", "1", "--micro-batch", "1", "--default-plan", "--json"),
]
TEXTS = ["x", "1e3", "", "nan", "-5"]


@pytest.mark.parametrize("value", [*TEXTS, "[1]", "1.5", "9" * 400])
@pytest.mark.parametrize("field", ["cp", "ep", "etp", "vpp", "dp", "stage_layers"])
def test_a_plan_takes_numbers_where_it_means_numbers(fails, field, value):
    listed = (field, value) == ("stage_layers", "[1]")  # a list, but not of these layers
    line = fails(3 if listed else 2, "simulate", "dgx-h100", *JOB, "--plan", f"{field}={value}")
    assert (field if value else "--plan") in line


@pytest.mark.parametrize("value", ["x", "1e400", "-1", "true", "nan", "1 TB"])
@pytest.mark.parametrize(
    "key",
    [
        "chassis.dgx-h100.rack_chassis",
        "chassis.dgx-h100.accelerators",
        "chassis.dgx-h100.fan_exponent",
        "chassis.dgx-h100.part_w.cpu",
        "prices.hall.life_years",
        "accelerators.h100.compute_units",
    ],
)
def test_numbers_of_the_catalog_are_numbers(fails, key, value):
    assert key in fails(2, "simulate", "dgx-h100", *JOB, "--set", f"{key}={value}")


@pytest.mark.parametrize("value", ["1", "node", "node:0*1", "node:4*8 x", "node:٣*8"])
@pytest.mark.parametrize("command", ["heat", "simulate"])
def test_trays_are_kinds_with_counts(fails, command, value):
    line = fails(2, command, "dgx-h100", *JOB, "--set", f"chassis.dgx-h100.trays={value}")
    assert "chassis.dgx-h100.trays" in line


def test_words_of_the_catalog_are_of_their_list(fails):
    line = fails(2, "heat", "dgx-h100", *JOB, "--set", "chassis.dgx-h100.cooling=7")
    assert "cooling" in line


def pair(**changes):
    """Two accelerators with NICs on a leaf; `changes` go to a node, an edge or the graph."""
    graph = {
        "directed": False,
        "graph": {"accelerator": "h100", **changes.get("graph", {})},
        "nodes": [
            *({"id": one, "kind": "accelerator"} for one in "ab"),
            *({"id": f"n{one}", "kind": "nic"} for one in "ab"),
            {"id": "l", "kind": "leaf", "part": "quantum2", **changes.get("node", {})},
        ],
        "edges": [
            {"source": a, "target": b, "bytes_per_s": 5e10, **changes.get("edge", {})}
            for a, b in (("a", "na"), ("b", "nb"), ("na", "l"), ("nb", "l"))
        ],
    }
    return json.dumps(graph)


@pytest.mark.parametrize("value", ["x", "1e3", -5, 0, 1.5, [1], {"a": 1}, True, 10**400])
@pytest.mark.parametrize("place", ["node count", "node rack", "edge count", "edge lanes"])
def test_counts_of_graphs_are_whole_numbers(fails, run, tmp_path, place, value):
    where, key = place.split()
    (tmp_path / "g.json").write_text(pair(**{where: {key: value}}))
    words = ["collective", tmp_path / "g.json", "--op", "all-reduce", "--bytes", "1MB"]
    if place == "node rack" and value == 0:
        assert run(*words, "--gpus", "2").exit_code == 0
        return
    line = fails(2, *words, "--gpus", "2")
    assert key in line
    assert len(line) < 400


@pytest.mark.parametrize("value", ["1e3", "x", -1, [1], 0.5])
@pytest.mark.parametrize("command", ["flows", "collective"])
def test_facts_of_graphs_are_read_once_for_all_commands(fails, tmp_path, command, value):
    (tmp_path / "g.json").write_text(pair(graph={"ocs": value}))
    (tmp_path / "f.csv").write_text("source,target,bytes,start_s\na,b,1,0\n")
    words = {
        "flows": [tmp_path / "f.csv"],
        "collective": ["--op", "all-reduce", "--bytes", "1MB", "--gpus", "2"],
    }
    assert "ocs" in fails(2, command, tmp_path / "g.json", *words[command])


CONFIG = {
    **{"model_type": "qwen3_moe", "hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 100},
    **{"num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": 128},
    **{"moe_intermediate_size": 64, "num_experts": 4, "num_experts_per_tok": 1},
}


@pytest.mark.parametrize("value", [1, "0", {"a": 1}, "x"])
@pytest.mark.parametrize("key", ["mlp_only_layers", "layer_types"])
def test_lists_of_configs_are_lists(fails, tmp_path, key, value):
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, key: value}))
    assert key in fails(2, "show", tmp_path / "config.json")


def test_flags_of_configs_are_flags(fails, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "tie_word_embeddings": "false"}))
    assert "tie_word_embeddings" in fails(2, "show", tmp_path / "config.json")


COLUMNS = "id,topology,gpus,model,layers,hidden,heads,vocab,experts,topk,seq_len,global_batch,mtp"


@pytest.mark.parametrize("column", ["experts", "gpus", "layers", "heads", "mtp", "topk"])
@pytest.mark.parametrize("value", ["many", "1e400", "-8", "0.5", "²"])
def test_cells_of_runs_are_numbers_or_a_reason(run, tmp_path, column, value):
    cells = dict.fromkeys(COLUMNS.split(","), "") | {
        **{"id": "r", "topology": "dgx-h100", "gpus": "8", "model": "M", "layers": "2"},
        **{"hidden": "256", "heads": "4", "vocab": "1000", "seq_len": "512", "global_batch": "8"},
    }
    (tmp_path / "r.csv").write_text(f"{COLUMNS}\n{','.join((cells | {column: value}).values())}\n")
    result = run("validate", tmp_path / "r.csv", "--workers", "1", "--json")
    assert result.exit_code == 0, result.output
    assert column in json.loads(result.stdout)["rows"][0]["reason"]


@pytest.mark.parametrize("argument", ["topology", "model"])
def test_names_that_no_file_can_have_are_unknown_names_in_python(argument):
    words = {"topology": "dgx-h100", "model": "gpt3-125m", argument: "x" * 5000}
    with pytest.raises(RackModelError, match="x"):
        rackmodel.simulate(words.pop("topology"), gpus=4, global_batch=8, seq_len=512, **words)


@pytest.mark.parametrize("end", ["1" + "0" * 400, "-1" + "0" * 400, "inf", "nan", "'7'"])
def test_ends_of_ranges_are_numbers_that_a_float_can_hold(fails, tmp_path, end):
    (tmp_path / "s.toml").write_text(
        'title = "t"\n[axes]\n'
        f"seq_len = {{from = 512, to = {end}, times = 2}}\n"
        '[base]\ntopology = "dgx-h100"\nmodel = "gpt3-125m"\ngpus = 4\nglobal_batch = 8\n'
    )
    line = fails(2, "sweep", tmp_path / "s.toml", "--out", tmp_path / "out")
    assert "axes.seq_len.to" in line
    assert "finite number" in line


@pytest.mark.parametrize("value", [np.array(-5), np.int64(3), np.array([2])])
def test_numbers_of_numpy_in_a_config_are_read_or_refused(value):
    config = {
        **{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 256},
        **{"intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4},
        **{"vocab_size": 1000, "num_local_experts_shared_width": value},
    }
    with pytest.raises(InvalidInput, match="num_local_experts_shared_width"):
        load_model(config)


def test_a_timeline_beyond_memory_is_refused():
    result = rackmodel.simulate(
        "dgx-h100",
        model="gpt3-125m",
        gpus=4,
        global_batch=10**9,
        seq_len=512,
        plan={"tp": 1, "pp": 1, "micro_batch": 1},
        default_plan=True,
    )
    assert result.step_s > 0
    with pytest.raises(CannotRun, match="rows"):
        _ = result.events


def test_a_word_for_routing_is_checked_before_what_depends_on_it():
    with pytest.raises(UnknownName, match="routing"):
        rackmodel.simulate(
            "dgx-h100", model="gpt3-125m", gpus=4, global_batch=8, seq_len=512, routing="x", seed=1
        )


def test_undeclared_keys_of_graphml_warn_of_nothing(fails, tmp_path, recwarn):
    graph = nx.DiGraph(accelerator="h100")
    graph.add_edge("a", "b", payload_efficiency=0.5)
    text = "\n".join(nx.generate_graphml(graph))
    (tmp_path / "g.graphml").write_text(text.replace('<key id="d1"', '<key id="d9"', 1))
    fails(2, "show", tmp_path / "g.graphml")
    assert [str(one.message) for one in recwarn if "key" in str(one.message).lower()] == []


@pytest.mark.parametrize("option", ["--trace", "--out", "--plot"])
def test_names_that_no_file_can_have_are_one_line(fails, option):
    ending = {"--plot": ".png"}.get(option, ".json")
    line = fails(2, "simulate", "dgx-h100", *JOB, option, "x" * 300 + ending)
    assert option in line
    assert len(line) < 500


@pytest.mark.parametrize(
    "words",
    [
        ["simulate", "P.json", *JOB],
        ["simulate", "P.toml", *JOB],
        ["show", "P.json"],
        ["simulate", "dgx-h100", *JOB, "--catalog", "P.toml"],
        ["validate", "P.csv"],
        ["flows", "dgx-h100", "P.csv"],
        ["sweep", "P.toml", "--out", "o"],
    ],
)
def test_pipes_are_refused_and_not_waited_for(fails, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    os.mkfifo(next(word for word in words if word[:2] == "P."))
    assert "pipe" in fails(2, *words)


def test_a_link_to_nowhere_is_not_written_through(fails, tmp_path):
    (tmp_path / "r.json").symlink_to(tmp_path / "none" / "r.json")
    assert "--out" in fails(2, "list", "links", "--json", "--out", tmp_path / "r.json")


def test_a_file_that_fails_half_way_leaves_nothing(tmp_path):
    def full():
        with whole_file(tmp_path / "r.txt") as part:
            part.write_bytes(b"half")
            raise OSError(28, "No space left on device")

    with pytest.raises(InvalidInput, match="no space left"):
        full()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cell", ["=1+1", "+x", "-x", "@sum", "\t=1", "\r=1"])
def test_cells_that_a_spreadsheet_would_run_are_quoted(run, tmp_path, cell):
    assert safe_cell(cell) == "'" + cell
    (tmp_path / "f.csv").write_text(f'source,target,bytes,note\n0,1,1e6,"{cell}"\n')
    text = run("flows", "dgx-h100", tmp_path / "f.csv", "--csv").stdout
    rows = csv.DictReader(io.StringIO(text, newline=""))
    assert next(rows)["note"][0] == "'"


@pytest.mark.parametrize("cell", ["-5", "+1e3", "-inf", "x=1", "a", -5.0, 3])
def test_other_cells_stay_as_they_are(cell):
    assert safe_cell(cell) == cell


def test_numbers_of_tables_stay_to_their_last_bit(tmp_path):
    import pandas as pd

    frame = pd.DataFrame({"a": [0.1 + 0.2, -1e-300], "b": ["=x", "y"], "=c": [None, 2]})
    (tmp_path / "t.csv").write_text(csv_text(frame))
    with (tmp_path / "t.csv").open(newline="") as table:
        again = list(csv.DictReader(table))
    assert [float(row["a"]) for row in again] == frame["a"].tolist()
    assert [row["b"] for row in again] == ["'=x", "y"]


@pytest.mark.parametrize(
    ("words", "code"), [(["show", "y" * 5000], 2), (["list", "y" * 5000], 2), (["y" * 5000], 2)]
)
def test_long_words_are_cut(fails, words, code):
    assert len(fails(code, *words)) < 1500


def test_a_fault_of_the_system_is_one_line(fails, monkeypatch):
    def full(*words, **more):
        raise OSError(5, "Input/output error", "somewhere")

    monkeypatch.setattr(rackmodel, "simulate", full)
    line = fails(2, "simulate", "dgx-h100", *JOB)
    assert "somewhere" in line
    assert "Input/output error" in line
    assert Path.cwd().exists()
