"""What a reader of the README tries first: files by their endings, names of hubs, tables."""

from __future__ import annotations

import json

import networkx as nx
import pytest
from matplotlib import pyplot as plt

from rackmodel.reporting.designs import design_front
from rackmodel.reporting.levers import tornado
from rackmodel.reporting.study import sweep_plot
from rackmodel.reporting.words import counted
from rackmodel.workload import load_model

STEP = ("simulate", "dgx-h100", "--model", "gpt3-125m", "--gpus", "1", "--global-batch", "8")


@pytest.mark.parametrize("ending", ["json", "csv"])
def test_a_file_is_written_as_its_name_ends(run, tmp_path, ending):
    run(*STEP, "--out", str(tmp_path / f"named.{ending}"))
    run(*STEP, "--out", str(tmp_path / "asked"), f"--{ending}")
    named, asked = ((tmp_path / one).read_text() for one in (f"named.{ending}", "asked"))
    if ending == "json":
        assert json.loads(named).keys() == json.loads(asked).keys()
    assert named.splitlines()[0] == asked.splitlines()[0]
    text = tmp_path / "table.txt"
    run(*STEP, "--out", str(text))
    assert text.read_text().startswith("gpt3-125m  1 accelerator  ")


def test_one_of_a_kind_is_no_plural(run):
    text = run(*STEP).stdout
    assert "Simulated 1 rank in 1 class, " in text
    assert counted(2, "class") == "2 classes"


def test_the_software_is_said_beside_the_job(run):
    assert "stack default" in run(*STEP).stdout.splitlines()[0]
    assert "stack torchtitan" in run(*STEP, "--stack", "torchtitan").stdout.splitlines()[0]


def test_a_name_of_a_hub_is_the_model_that_ships(run, fails):
    name = "meta-llama/Llama-3.1-8B"
    assert load_model(name).name == "llama3.1-8b"
    words = ["simulate", "dgx-h100", "--gpus", "8", "--global-batch", "8", "--model"]
    assert run(*words, name).stdout.startswith("llama3.1-8b")
    assert "nothing is fetched: give its config.json" in fails(2, *words, "acme/none")


def test_a_file_that_is_no_model_says_so(tmp_path, fails):
    picture = tmp_path / "model.png"
    picture.write_bytes(b"\x89PNG\0\0")
    words = [*STEP]
    words[words.index("gpt3-125m")] = str(picture)
    assert "model.png" in fails(2, *words)
    (tmp_path / "model.md").write_text("layers 12")
    words[words.index(str(picture))] = str(tmp_path / "model.md")
    assert "model.md: no file of a model; give a .toml" in fails(2, *words)


def test_a_sweep_shows_what_varies_and_what_came_of_it(run, tmp_path):
    spec = tmp_path / "spec.toml"
    spec.write_text(
        'base.model = "gpt3-125m"\nbase.global_batch = 8\nbase.topology = "dgx-h100"\n'
        "axes.gpus = [1, 8]\naxes.tp = [1, 16]\n"
    )
    head, *rows = run("sweep", str(spec), "--out", str(tmp_path / "runs")).stdout.splitlines()
    assert head.split("  ")[0] == "gpus"
    for title in ("tp", "step", "MFU", "what binds", "$ per Mtoken", "why not"):
        assert title in head
    assert "peak flops" not in head
    assert "matrix units" in rows[0]
    assert "4 jobs, 2 can't run" in rows


def test_pictures_of_sweeps_say_what_was_found():
    rows = [
        {"gpus": gpus, "topology": name, "tokens_per_s_per_gpu": speed, "status": "done"}
        for name, gpus, speed in (("a", 8, 16_000.0), ("a", 16, 15_000.0), ("b", 8, 4_000.0))
    ]
    ax = sweep_plot(rows)
    assert ax.get_title(loc="left") == "Most at a, gpus 8: 16,000 tokens/s per accelerator"
    ax.figure.canvas.draw()
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert any("," in label for label in labels)
    plt.close(ax.figure)


def test_a_front_says_how_many_accelerators_are_paid_for_and_idle(run):
    words = "--model llama3.1-70b --gpus 8 --tp 8 --isl 128 --osl 128"
    text = run("front", "gb200-nvl72", "dgx-b200", *words.split()).stdout
    assert "gb200-nvl72: 89% of the accelerators of its racks idle, counted in $" in text
    assert "dgx-b200: " not in text


@pytest.mark.parametrize(
    ("links", "helps"),
    [
        ({"bandwidth": 400, "latency": 5e-7}, "--map bytes_per_s=bandwidth*1e9"),
        ({"bw": 400.0, "latency": 5e-7}, "'400 GB/s'"),
        ({"bandwidth": 4e11, "latency": 5}, "--map latency_s=latency/1e6"),
        ({"bandwidth": 4e11, "delay": 500}, "'500 us'"),
    ],
)
def test_a_number_whose_unit_nobody_says_is_not_taken_for_si(tmp_path, run, fails, links, helps):
    graph = nx.DiGraph(accelerator="h100")
    graph.add_node("sw", kind="nvswitch")
    for one in range(2):
        graph.add_edge(f"gpu{one}", "sw", **links)
        graph.add_edge("sw", f"gpu{one}", **links)
        graph.nodes[f"gpu{one}"]["kind"] = "gpu"
    file = tmp_path / "own.json"
    file.write_text(json.dumps(nx.node_link_data(graph, edges="edges")))
    words = ["simulate", str(file), *STEP[2:]]
    words[words.index("1")] = "2"
    assert helps in fails(2, *words)
    if helps.startswith("--map"):
        assert run(*words, *helps.split()).exit_code == 0


def test_pictures_of_levers_and_designs_say_what_was_found():
    rows = [{"resource": "flops", "gain": 0.6, "loss": -0.4}, {"resource": "nic", "gain": 0.01}]
    ax = tornado(rows)
    assert ax.get_title(loc="left").startswith("Doubling: ")
    assert "+60.0%" in ax.get_title(loc="left")
    plt.close(ax.figure)
    rows = [
        {"allowed": True, "pareto": True, "tokens_per_s": 1e6, "cost.usd_per_mtoken": usd}
        for usd in (0.05, 0.06)
    ]
    aims = {"tokens_per_s": "max", "cost.usd_per_mtoken": "min"}
    figure = design_front(rows, objectives=aims)
    assert figure.axes[0].get_title(loc="left") == "Cost, at best 0.05 $ per million tokens"
    plt.close(figure)


def test_a_graph_of_one_accelerator_is_titled_so(run, tmp_path):
    graph = nx.DiGraph(accelerator="h100")
    graph.add_node("gpu", kind="accelerator")
    file = tmp_path / "one.json"
    file.write_text(json.dumps(nx.node_link_data(graph, edges="edges")))
    assert "graph of 1 accelerator\n" in run("show", str(file)).stdout.replace(" \n", "\n")
