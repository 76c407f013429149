"""Advice about a plan: what is told is what is simulated, and what is pasted is that plan."""

import json
import shlex
from dataclasses import replace

import pytest
from typer.testing import CliRunner

import rackmodel
from rackmodel.cli.app import app
from rackmodel.planning.advice import flags, wasted

JOB = {"model": "gpt3-13b", "gpus": 8, "global_batch": 16, "seq_len": 1024}
WORDS = "dgx-h100 --model gpt3-13b --gpus 8 --global-batch 16 --seq-len 1024"
POOR = {"tp": 8, "recompute": "full"}


@pytest.fixture(scope="module")
def poor():
    return rackmodel.advise("dgx-h100", {**JOB, "plan": POOR})


def _simulated(options):
    done = CliRunner().invoke(app, ["simulate", *shlex.split(f"{WORDS} {options}"), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_what_is_pasted_is_the_step_that_was_told(poor):
    assert poor["rows"]
    for row in poor["rows"][:2]:
        again = _simulated(row["all_flags"])
        assert again["step_s"] == pytest.approx(row["step_s"], rel=1e-9)
        assert poor["step_s"] / again["step_s"] - 1 == pytest.approx(row["gain"], abs=1e-9)
        for name, value in row["new"].items():
            assert again["plan"][name] == value
    assert _simulated(poor["flags"])["step_s"] == pytest.approx(poor["best_step_s"], rel=1e-9)


def test_one_change_leaves_the_others_as_given(poor):
    given = rackmodel.simulate("dgx-h100", **JOB, plan=POOR).to_dict(["plan"])["plan"]
    for row in poor["rows"]:
        plan = _simulated(row["all_flags"])["plan"]
        moved = {name for name in plan if plan[name] != given[name]}
        assert moved - {"dp"} == set(row["new"])


def test_nothing_that_was_looked_at_is_faster_than_the_best(poor):
    assert poor["best_step_s"] <= min(poor["step_s"], *(row["step_s"] for row in poor["rows"]))
    assert poor["times_as_fast"] == pytest.approx(poor["step_s"] / poor["best_step_s"])


def test_the_best_plan_has_nothing_to_gain(poor):
    again = rackmodel.advise("dgx-h100", rackmodel.search("dgx-h100", **JOB).job)
    assert again["times_as_fast"] < 1.01


def test_where_a_plan_is_refused_what_is_told_fits():
    plan = {"tp": 1, "pp": 1, "sharding": "none", "micro_batch": 2, "recompute": "none"}
    found = rackmodel.advise("dgx-h100", {**JOB, "plan": plan})
    assert found["refusal"]
    assert found["step_s"] is None
    assert all(row["gain"] is None for row in found["rows"])
    row = found["rows"][0]
    assert _simulated(row["all_flags"])["step_s"] == pytest.approx(row["step_s"], rel=1e-9)


def test_what_no_plan_can_run_stays_refused():
    with pytest.raises(rackmodel.DoesNotFit):
        rackmodel.advise("dgx-h100", {**JOB, "model": "gpt3-175b", "plan": {"tp": 8}})


def test_flags_say_every_field_that_is_not_as_usual():
    plan = rackmodel.Plan(
        tp=4, pp=2, dp=1, dp_overlap=False, offload=("optimizer",), stage_layers=(20, 20)
    )
    plan = replace(plan, tp_overlap=False, ep_overlap=False)  # what silence means, which is told
    words = shlex.split(flags(plan))
    assert not any("dispatcher" in word for word in words)  # nothing is dispatched
    again = _simulated(" ".join(words))["plan"]
    assert (
        rackmodel.Plan(**{k: tuple(v) if isinstance(v, list) else v for k, v in again.items()})
        == plan
    )


def test_parts_that_take_no_longer_are_not_wasted():
    assert wasted({"compute": 1.0}, {"compute": 1.0, "tp": 2.0}) == []


@pytest.mark.parametrize("kind", ["Job", "words"])
def test_a_job_and_its_words_get_the_same_advice(poor, kind):
    if kind == "words":
        job = {**JOB, "plan": POOR}
    else:
        job = rackmodel.simulate("dgx-h100", **JOB, plan=POOR).step.job
    again = rackmodel.advise("dgx-h100", job)
    assert [row["choice"] for row in again["rows"]] == [row["choice"] for row in poor["rows"]]
