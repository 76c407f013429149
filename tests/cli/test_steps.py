"""simulate and compare: options reach the front door, results come out in every form."""

from __future__ import annotations

import csv
import io
import json

import pytest

JOB = ["--model", "gpt3-13b", "--gpus", "16", "--global-batch", "64"]


def test_options_reach_the_front_door(run, door):
    result = run(
        "simulate",
        "dgx-h100",
        "--model",
        "gpt3-13b",
        "--gpus",
        "1,024",
        "--global-batch",
        "2e3",
        "--seq-len",
        "8k",
        "--tp",
        "8",
        "--micro-batch",
        "2",
        "--recompute",
        "full",
        "--no-fold",
        "--engine",
        "compiled",
        "--plan",
        "ep_overlap=true",
        "--medium",
        "scale-up=pluggable",
        "--tokens",
        "15T",
        "--json",
        "--medium",
        "scale-out=aec:5m",
        "--power-cap",
        "500W",
        "--supply-c",
        "25",
        "--rise-k",
        "12",
        "--pue",
        "1.2",
        "--usd-per-kwh",
        "0.1",
    )
    assert result.exit_code == 0, result.stderr
    _, topology, options = door[0]
    assert topology == "dgx-h100"
    assert (options["gpus"], options["global_batch"], options["seq_len"]) == (1024, 2000, 8192)
    assert options["plan"] == {
        "tp": 8,
        "micro_batch": 2,
        "recompute": "full",
        "ep_overlap": True,
    }
    assert (options["fold"], options["engine"]) == (False, "compiled")
    assert options["site"] == {
        "media": {"scale-up": "pluggable", "scale-out": "aec"},
        "lengths_m": {"scale-out": 5.0},
        "run_tokens": 15e12,
        "power_cap_w": 500.0,
        "supply_c": 25.0,
        "rise_k": 12.0,
        "facility_pue": 1.2,
        "usd_per_kwh": 0.1,
    }


def test_what_the_plan_leaves_out_is_left_to_the_search(run, door):
    assert run("simulate", "dgx-h100", *JOB, "--json").exit_code == 0
    assert door[0][2]["plan"] == {}


def test_json_is_the_result_and_nothing_else(run, door, row):
    result = run("simulate", "dgx-h100", *JOB, "--json")
    assert json.loads(result.stdout) == {**row, "topology": "dgx-h100"}
    assert result.stderr == ""


def test_csv_is_one_flat_row(run, door, row):
    rows = list(csv.DictReader(io.StringIO(run("simulate", "dgx-h100", *JOB, "--csv").stdout)))
    assert len(rows) == 1
    assert float(rows[0]["step_s"]) == row["step_s"]
    assert float(rows[0]["breakdown_s.compute"]) == row["breakdown_s"]["compute"]


def test_table_says_the_answer_with_units_and_the_peak(run, door):
    text = run("simulate", "dgx-h100", *JOB).stdout
    lines = [line.split() for line in text.splitlines() if line.strip()]
    assert "16 accelerators" in text
    assert any(line[0] == "step" for line in lines[:4]), "the answer comes first"
    assert "TFLOP/s dense" in text
    assert "of 80 GB (75 GiB)" in text
    assert "kW" in text
    assert "$" in text


def test_compare_puts_machines_side_by_side_and_keeps_the_misfit(run, door):
    result = run("compare", "gb200-nvl72", "dgx-h100", "dgx-2", *JOB)
    assert result.exit_code == 0
    head = next(line for line in result.stdout.splitlines() if "gb200-nvl72" in line)
    assert "dgx-h100" in head
    assert "dgx-2" in head
    assert "too big" in result.stdout
    assert result.stderr.startswith("rackmodel: dgx-2: too big")


def test_compare_fails_if_nothing_runs(run, door):
    result = run("compare", "dgx-2", *JOB, "--json")
    assert result.exit_code == 3
    assert result.stdout == ""


def test_a_job_that_does_not_fit_is_exit_3(fails, door):
    words = [word if word != "16" else "7" for word in JOB]
    assert "212 GB" in fails(3, "simulate", "dgx-h100", *words)


@pytest.mark.parametrize(
    ("demand", "code"),
    [
        ("mfu>=0.1", 0),
        ("mfu>=0.99", 4),
        ("breakdown_s.compute<1e9", 0),
        ("racks.heat_w<1", 4),
        ("hbm.used_bytes.weights>1", 0),
    ],
)
def test_assert_decides_the_exit_code_after_the_result_is_out(run, door, demand, code):
    result = run("simulate", "dgx-h100", *JOB, "--json", "--assert", demand)
    assert result.exit_code == code, result.stderr
    assert json.loads(result.stdout)["gpus"] == 16


@pytest.mark.parametrize("demand", ["mfu", "mfu=>1", "mfu>=x", "mfu>=nan", "nothing>1", ""])
def test_a_bad_assert_is_bad_input(run, door, demand):
    assert run("simulate", "dgx-h100", *JOB, "--json", "--assert", demand).exit_code == 2


def test_plot_and_out_are_whole_files(run, door, tmp_path):
    plot, out = tmp_path / "p.svg", tmp_path / "r.json"
    result = run("compare", "a", "b", *JOB, "--json", "--plot", plot, "--out", out)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert len(json.loads(out.read_text())["rows"]) == 2
    assert plot.read_text().rstrip().endswith("</svg>")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.svg", "r.json"]


def test_a_real_step_from_words_to_trace(run, tmp_path):
    trace = tmp_path / "t.json.gz"
    result = run(
        "simulate",
        "dgx-h100",
        "--model",
        "gpt3-1.3b",
        "--gpus",
        "8",
        "--tp",
        "2",
        "--pp",
        "1",
        "--dp",
        "4",
        "--micro-batch",
        "1",
        "--default-plan",
        "--global-batch",
        "8",
        "--seq-len",
        "2k",
        "--json",
        "--trace",
        trace,
    )
    assert result.exit_code == 0, result.stderr
    answer = json.loads(result.stdout)
    assert 0 < answer["mfu"] < 1
    assert sum(answer["breakdown_s"].values()) == pytest.approx(answer["step_s"])
    assert trace.stat().st_size > 500


@pytest.mark.parametrize(("pp", "told"), [(1, "waiting for other ranks"), (2, "pipeline bubble")])
def test_waits_without_stages_are_no_bubble_of_a_pipeline(run, pp, told):
    words = "--model gpt3-13b --gpus 16 --global-batch 32 --slow 3=1.3 --default-plan"
    printed = run("simulate", "dgx-h100", *words.split(), "--tp", "8", "--pp", str(pp)).stdout
    assert printed.count(told) == 2  # where the time goes, and where the peak goes
    assert ("pipeline bubble" in printed) == (pp > 1)


def test_execution_traces_hold_all_micro_batches(run, tmp_path):
    words = "--model gpt3-13b --gpus 16 --global-batch 1024 --tp 4 --pp 2 --default-plan --json"
    traced = run("simulate", "dgx-h100", *words.split(), "--trace", tmp_path / "a.et")
    assert traced.exit_code == 0, traced.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.0.et", "a.8.et"]
    whole = run("simulate", "dgx-h100", *words.split(), "--repeat", "all")
    events = (json.loads(answer.stdout)["simulation"]["events"] for answer in (traced, whole))
    assert len(set(events)) == 1
