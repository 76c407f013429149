"""Whatever is typed: one clear line, exit 2 or 3, never a traceback, files left as they were."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from typer.testing import CliRunner

import rackmodel
from rackmodel.cli import app, values
from rackmodel.errors import InvalidInput, InvalidPlan
from rackmodel.fields import kinds_of
from rackmodel.sizes import sizes
from rackmodel.workload import Plan

JOB = ["--model", "gpt3-13b", "--gpus", "16", "--global-batch", "64"]


@pytest.mark.parametrize(
    "number",
    ["-3", "0", "nan", "inf", "1e400", "1e99", "1.5", "", "x", "1 2", "9" * 500, "٣", "0x10"],
)
@pytest.mark.parametrize("option", ["--gpus", "--global-batch", "--tp", "--seq-len"])
def test_bad_numbers(fails, door, option, number):
    words = ["simulate", "dgx-h100", "--model", "gpt3-13b", "--global-batch", "8", "--gpus", "8"]
    assert option in fails(2, *words, option, number)
    assert door == []


@pytest.mark.parametrize(
    "words",
    [
        ["simulate"],
        ["simulate", "dgx-h100"],
        ["nosuchcommand"],
        ["simulate", "dgx-h100", *JOB, "--nosuch"],
        ["simulate", "dgx-h100", *JOB, "--precision", "bf17"],
        ["simulate", "dgx-h100", *JOB, "--json", "--csv"],
        ["simulate", "", *JOB],
        ["simulate", "no\0thing", *JOB],
        ["simulate", "dgx-h100", *JOB, "--plot", "p.gif"],
        ["simulate", "dgx-h100", *JOB, "--plot", "/nonexistent/p.png"],
        ["simulate", "dgx-h100", *JOB, "--out", "/nonexistent/r.json"],
        ["simulate", "dgx-h100", *JOB, "--trace", "t.txt"],
        ["simulate", "dgx-h100", *JOB, "--set", "nonsense"],
        ["simulate", "dgx-h100", *JOB, "--set", "accelerators.h100.hbm_bytes=1TB=2"],
        ["simulate", "dgx-h100", *JOB, "--set", "accelerators.nosuch.hbm_bytes=1TB"],
        ["simulate", "dgx-h100", *JOB, "--set", "accelerators.h100.hbm_bytes=nan"],
        ["simulate", "dgx-h100", *JOB, "--catalog", "/nonexistent.toml"],
        ["simulate", "dgx-h100", *JOB, "--plan", "nosuch=1"],
        ["simulate", "dgx-h100", *JOB, "--tp", "2", "--plan", "tp=4"],
        ["simulate", "dgx-h100", *JOB, "--medium", "scale-up"],
        ["simulate", "dgx-h100", *JOB, "--medium", "scale-up=aec:far"],
        ["simulate", "dgx-h100", *JOB, "--tokens", "lots"],
        ["simulate", "dgx-h100", *JOB, "--power-cap", "500 GB"],
        ["simulate", "dgx-h100", *JOB, "--power-cap", "nan"],
        ["compare", "dgx-h100", *JOB, "--supply-c", "warm"],
        ["heat", "dgx-h100", *JOB, "--rise-k", "inf"],
        ["collective", "dgx-h100", "--op", "all-reduce", "--bytes", "1GB:1MB", "--gpus", "8"],
        ["collective", "dgx-h100", "--op", "all-reduce", "--bytes", "8:8G:x1", "--gpus", "8"],
        ["collective", "dgx-h100", "--op", "all-reduce", "--bytes", "8:8G:x1.0001", "--gpus", "8"],
        ["collective", "dgx-h100", "--op", "all-reduce", "--bytes", "nan", "--gpus", "8"],
        ["collective", "dgx-h100", "--op", "all-reduce", "--bytes", "1GB", "--gpus", "1e8"],
        ["collective", "dgx-h101", "--op", "all-reduce", "--bytes", "1GB", "--gpus", "8"],
        ["list", "nonsense"],
        ["show", "gb20"],
        ["draw", "gb200-nvl72", "--out", "x.txt"],
        ["validate", "/nonexistent.csv"],
        ["sweep", "/nonexistent.toml", "--out", "x"],
        ["report", "--out", "report.txt"],
    ],
)
def test_bad_words_are_exit_2_with_one_line(fails, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fails(2, *words)
    assert list(tmp_path.iterdir()) == []


def test_unknown_names_come_with_the_nearest(fails):
    assert "did you mean 'gb200-nvl72'" in fails(2, "simulate", "gb200-nvl7", *JOB)
    assert "did you mean" in fails(2, "show", "lama3.1-405b")


JOB_LINE = " ".join(JOB)
JUNK = {
    "binary": b"\x00\x01\xff\xfe",
    "empty": b"",
    "latin1": "söurce".encode("latin-1"),
    "unclosed": b'{["',
    "wrong": b"a,b\n1,2\n",
    "ragged": b"source,target,bytes,start_s\n1,2\n1,2,3,4,5,6,7\n",
    "deep": b"[" * 5000,
    "bom": b"\xef\xbb\xbfsource;target\n",
}


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize(
    "words",
    [
        ["simulate", "FILE.toml", *JOB],
        ["simulate", "FILE.json", *JOB],
        ["simulate", "FILE.graphml", *JOB],
        ["simulate", "dgx-h100", "--model", "FILE.json", "--gpus", "8", "--global-batch", "8"],
        ["simulate", "dgx-h100", "--model", "FILE.toml", "--gpus", "8", "--global-batch", "8"],
        ["simulate", "dgx-h100", *JOB, "--catalog", "FILE.toml"],
        ["flows", "dgx-h100", "FILE.csv"],
        ["validate", "FILE.csv"],
        ["show", "FILE.toml"],
        ["show", "FILE.json"],
        ["report", "--claims", "FILE.json", "--out", "r.html"],
    ],
)
def test_junk_in_files_is_exit_2(run, tmp_path, monkeypatch, words, junk):
    monkeypatch.chdir(tmp_path)
    name = next(word for word in words if word.startswith("FILE"))
    Path(name).write_bytes(JUNK[junk])
    result = run(*words)
    assert result.exit_code == 2, (result.exit_code, result.output)
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


@pytest.mark.parametrize(
    "words",
    [
        *(f"simulate FILE.{end} {JOB_LINE}" for end in ("toml", "json", "graphml", "xml", "yml")),
        *(f"simulate dgx-h100 --from FILE.{end}" for end in ("sh", "py", "yaml", "toml", "json")),
        *(f"show FILE.{end}" for end in ("toml", "json", "sh", "xml")),
        *(f"replay FILE.{end} --on dgx-h100" for end in ("json", "json.gz", "et")),
        *(
            f"simulate dgx-h100 --model FILE.{end} --gpus 8 --global-batch 8"
            for end in ("json", "sh")
        ),
        f"simulate dgx-h100 {JOB_LINE} --catalog FILE.toml",
        f"simulate dgx-h100 {JOB_LINE} --from FILE.toml",
        "list accelerators --catalog FILE.toml",
        "--extend FILE.py list stacks",
        "diff FILE.json FILE.json",
        "sweep FILE.toml --out runs",
        "design FILE.toml",
        "hall FILE.toml",
        "flows dgx-h100 FILE.csv",
        "collective dgx-h100 --op all-to-all --bytes 1GB --gpus 8 --split FILE.csv",
        "convert FILE.xml --out m.graphml",
        "draw FILE.toml --out m.png",
        "validate FILE.csv",
        "serve dgx-h100 --model llama3-8b --gpus 8 --trace FILE.csv",
        "report --claims FILE.json --out r.html",
        "report --validation FILE.csv --out r.html",
    ],
)
def test_an_empty_file_is_said_to_be_empty(fails, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    name = next(word for word in words.split() if word.startswith("FILE"))
    Path(name).touch()
    assert f"{name} is empty; give" in fails(2, *words.split())


def test_a_table_of_something_else_is_no_launch_file(fails, tmp_path):
    path = tmp_path / "machine.toml"
    path.write_text("[fabric]\nkind = 'fat_tree'\n")
    assert "no table of torchtitan" in fails(2, "simulate", "dgx-h100", *JOB, "--from", path)


def test_a_directory_in_place_of_a_file(fails, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("d.toml", "d.json", "d.csv"):
        Path(name).mkdir()
    assert "d.toml is a directory; give" in fails(2, "simulate", "d.toml", *JOB)
    fails(2, "flows", "dgx-h100", "d.csv")
    fails(2, "simulate", "dgx-h100", *JOB, "--out", "d.json")


FLOWS = "source,target,bytes,start_s\n"


@pytest.mark.parametrize(
    "line",
    [
        "accelerator-0,accelerator-1,-1,0",
        "accelerator-0,accelerator-1,nan,0",
        "accelerator-0,accelerator-1,1e9,-1",
        "accelerator-0,accelerator-1,,0",
        "accelerator-0,nowhere,1e9,0",
        "accelerator-0,accelerator-1,lots,0",
        "accelerator-0,accelerator-1,1e400,0",
    ],
)
def test_bad_flows_name_what_is_wrong(fails, tmp_path, line):
    path = tmp_path / "f.csv"
    path.write_text(FLOWS + "accelerator-0,accelerator-1,1e6,0\n" + line + "\n")
    fails(2, "flows", "dgx-h100", path)


def test_a_group_larger_than_the_machine_is_wrong_input(fails):
    words = ("--op", "all-reduce", "--bytes", "1GB")
    fails(2, "collective", "dgx-h100-ideal", *words, "--gpus", "1000")


def test_an_old_file_survives_a_failed_run(run, door, tmp_path):
    out = tmp_path / "r.json"
    out.write_text("old")
    words = [word if word != "16" else "7" for word in JOB]
    assert run("simulate", "dgx-h100", *words, "--json", "--out", out).exit_code == 3
    assert out.read_text() == "old"


def test_devices_are_written_as_they_are(run, door):
    assert run("simulate", "dgx-h100", *JOB, "--json", "--out", os.devnull).exit_code == 0
    assert not Path(os.devnull).is_file()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission_is_bad_input(fails, tmp_path):
    tmp_path.chmod(0o500)
    fails(2, "simulate", "dgx-h100", *JOB, "--out", tmp_path / "x.json")


def test_interrupt_is_one_line_and_130(run, monkeypatch, door):
    def stop(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(rackmodel, "simulate", stop)
    result = run("simulate", "dgx-h100", *JOB)
    assert result.exit_code == 130
    assert result.stderr.splitlines() == ["rackmodel: interrupted; nothing more was written"]


def test_interrupt_that_c_code_swallows_is_still_one(run, monkeypatch, door):
    def stop(*args, **options):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise TypeError("as numpy does inside a comparison") from None

    monkeypatch.setattr(rackmodel, "simulate", stop)
    assert run("simulate", "dgx-h100", *JOB).exit_code == 130


def test_a_closed_pipe_is_quiet():
    done = subprocess.run(
        f"{sys.executable} -m rackmodel list models --json | head -c 1",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "{"
    assert done.stderr == ""


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=30) | st.from_regex(r"[0-9kMGTx:+,.eE-]{1,20}", fullmatch=True))
def test_values_are_read_or_refused(word):
    for read in (
        lambda: values.count(word, "--gpus"),
        lambda: values.tokens(word, "--seq-len"),
        lambda: sizes(word),
        lambda: values.assignments([word]),
        lambda: values.thresholds([word]),
    ):
        with contextlib.suppress(InvalidInput):
            answer = read()
            assert not isinstance(answer, int) or answer >= 1


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.text(max_size=12), max_size=5))
def test_no_words_make_a_traceback(words):
    result = CliRunner().invoke(app, ["collective", *words])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert result.exit_code in (0, 2, 3)


@pytest.mark.parametrize("name", ["micro_batch", "tp", "lora", "document_len"])
@pytest.mark.parametrize("word", ["-1", "1.5", "x", "5000000000"])
def test_a_number_is_refused_in_the_same_words_by_python_and_by_the_command(name, word):
    """`--micro-batch -1` and `micro_batch=-1`; what may be 0 says so."""
    value = word if word == "x" else float(word) if "." in word else int(word)
    job = {"model": "gpt3-125m", "gpus": 8, "global_batch": 8}
    said = {"plan": {name: value}} if name in kinds_of(Plan) else {name: value}
    with pytest.raises(InvalidInput) as told:
        rackmodel.simulate("dgx-h100", **job, **said)
    option = f"--{name.replace('_', '-')}"
    words = f"dgx-h100 --model gpt3-125m --gpus 8 --global-batch 8 {option} {word}"
    done = CliRunner().invoke(app, ["simulate", *words.split()])
    assert done.exit_code == 2
    same = str(told.value).replace(f"{name}:", f"{option}:")
    assert done.stderr.strip() == f"rackmodel: {same}"


@pytest.mark.parametrize("words", [{"tp": 64}, {"tp": 9_000_000}, {"cp": 9_000_000}])
def test_cuts_that_leave_nothing_of_a_layer_are_refused_before_a_search(words):
    job = {"model": "gpt3-125m", "gpus": 8, "global_batch": 8, "seq_len": 1024}
    with pytest.raises(InvalidPlan, match=r"does not divide|is not a multiple of"):
        rackmodel.simulate("dgx-h100", **job, plan=words)


def test_a_directory_is_shown_as_model_takes_it(tmp_path, monkeypatch):
    config = Path(__file__).parent.parent / "published/hf/mamba2-2.7b.json"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/config.json").write_text(config.read_text())
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["show", "mine", "--json"])
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["kind"] == "model"
    (tmp_path / "bare").mkdir()
    done = CliRunner().invoke(app, ["show", "bare"])
    assert "holds no config.json" in done.stderr
