"""Host memory is a candidate where nothing else fits, and is said."""

from dataclasses import replace

import pytest
from typer.testing import CliRunner

import rackmodel
from rackmodel.cli.app import app
from rackmodel.errors import DoesNotFit
from rackmodel.workload import load_model

JOB = {"model": "llama3.1-70b", "gpus": 8, "global_batch": 32, "seq_len": 4096}


def test_what_fits_stays_in_hbm_and_what_does_not_goes_to_the_host():
    here = rackmodel.simulate("dgx-b200", **JOB)
    assert here.step.job.plan.offload == ()
    there = rackmodel.simulate("dgx-h100", **JOB)
    assert there.step.job.plan.offload == ("optimizer",)
    assert there.step.job.plan == rackmodel.search("dgx-h100", **JOB).job.plan
    words = "simulate dgx-h100 --model llama3.1-70b --gpus 8 --global-batch 32 --seq-len 4096"
    text = CliRunner().invoke(app, words.split())
    assert "offload optimizer" in text.stdout


def test_weights_go_last_and_a_plan_that_says_where_is_left_alone():
    large = JOB | {"model": replace(load_model("llama3.1-70b"), layers=136)}
    plan = rackmodel.simulate("dgx-h100", **large).step.job.plan
    assert (plan.offload, plan.sharding) == (("optimizer", "parameters"), "zero3")
    with pytest.raises(DoesNotFit, match="host memory"):
        rackmodel.simulate("dgx-h100", **JOB | {"model": "llama3.1-405b"})
    with pytest.raises(DoesNotFit, match=r"smaller batch or model$"):
        rackmodel.simulate("dgx-h100", **large, plan={"offload": ["optimizer"]})
