"""Files that users begin and convert: each runs as it is."""

import json

import pytest


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("topology", "my.toml", ["show", "{}"]),
        ("model", "my.toml", ["show", "{}"]),
        ("stack", "my.py", ["--extend", "{}", "list", "stacks"]),
    ],
)
def test_a_new_file_runs_as_it_is(kind, name, words, run, tmp_path):
    path = tmp_path / name
    assert run("new", kind, "--out", str(path)).exit_code == 0
    found = run(*(word.format(path) for word in words))
    assert found.exit_code == 0
    assert ("my-stack" if kind == "stack" else "my") in found.stdout


def test_a_new_machine_carries_a_collective(run, tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(run("new", "topology").stdout)
    job = ["--op", "all-reduce", "--bytes", "1G", "--gpus", "256"]
    assert run("collective", str(path), *job).exit_code == 0


def test_a_machine_is_converted_and_read_again(run, tmp_path):
    path = tmp_path / "m.infragraph.yaml"
    assert run("convert", "dgx-h100", "--gpus", "16", "--out", str(path)).exit_code == 0
    assert "largest machine" in run("show", str(path)).stdout
    bad = run("convert", "dgx-h100", "--out", str(tmp_path / "m.dot"))
    assert bad.exit_code == 2
    assert "wanted a file that ends in" in bad.stderr


@pytest.mark.parametrize(
    ("word", "told"),
    [("bytes_per_s", "wanted KEY=EXPR"), ("colour=red", "wanted KEY=EXPR"), ("kind=", "wanted")],
)
def test_a_map_that_says_nothing_is_refused(word, told, run):
    found = run("show", "dgx-h100", "--map", word)
    assert found.exit_code == 2
    assert told in found.stderr


def test_a_map_acts_on_graphs_only(run):
    found = run("show", "dgx-h100", "--map", "kind=accelerator")
    assert found.exit_code == 2
    assert "this is a description" in found.stderr


@pytest.mark.parametrize("precision", ["bf16", "fp8"])
def test_what_a_simulation_emits_runs_again_as_the_same_job(run, tmp_path, precision):
    path = tmp_path / "launch.sh"
    job = ["--model", "gpt3-13b", "--gpus", "16", "--global-batch", "16", "--seq-len", "2048"]
    plan = ["--tp", "4", "--pp", "2", "--micro-batch", "1", "--sharding", "zero1"]
    whole = [*plan, "--vpp", "1", "--cp", "1", "--recompute", "full", "--stack", "megatron"]
    whole += ["--precision", precision]
    first = run("simulate", "dgx-h100", *job, *whole, "--json")
    out = run("simulate", "dgx-h100", *job, *whole, "--emit", "megatron", "--out", str(path))
    assert out.exit_code == 0
    again = run("simulate", "dgx-h100", "--from", str(path), "--json")
    assert again.exit_code == 0, again.stderr
    steps = [json.loads(one.stdout)["step_s"] for one in (first, again)]
    assert steps[0] == pytest.approx(steps[1], rel=1e-9)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--gpus", "8", "--global-batch", "8"], "--model: missing"),
        (["--model", "gpt3-13b", "--gpus", "8"], "--global-batch: missing"),
        (["--from", "nowhere.sh"], "nowhere.sh: no such file"),
    ],
)
def test_what_no_launch_file_says_is_asked_for(words, told, run):
    found = run("simulate", "dgx-h100", *words)
    assert found.exit_code == 2
    assert told in found.stderr


def test_two_results_are_compared(run, tmp_path):
    for name, step in (("a.json", 2.0), ("b.json", 1.0)):
        (tmp_path / name).write_text(json.dumps({"gpus": 8, "step_s": step}))
    found = run("diff", str(tmp_path / "a.json"), str(tmp_path / "b.json"))
    assert found.exit_code == 0
    assert "-50.0%" in found.stdout
    same = run("diff", str(tmp_path / "a.json"), str(tmp_path / "a.json"))
    assert "the results are the same" in same.stdout
    assert run("diff", str(tmp_path / "a.json"), "nowhere.json").exit_code == 2
