"""Files that users begin and convert: each runs as it is."""

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
