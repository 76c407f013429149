"""Published serving runs: what their columns mean, and how far off predictions are."""

import pandas as pd
import pytest

from rackmodel.serving.run import running, settle, steps_of
from rackmodel.topology import load_topology
from rackmodel.validation.serving_errors import is_serving, validate_serving
from rackmodel.validation.serving_runs import case_of

# A run of InferenceX as aiconfigurator-core ships it (Apache-2.0); one of TensorRT-LLM's overview.
LOOP = {
    "id": "a",
    "system": "dgx-h100",
    "gpus": 4,
    "catalog_model": "llama3-70b",
    "tp": 4,
    "pp": 1,
    "weights_precision": "fp8",
    "software": "vllm",
    "mode": "aggregated",
    "isl": 1024,
    "osl": 1024,
    "concurrency": 64,
    "tpot_ms": 19.5,
    "notes": "lengths uniform in 0.8-1.0 of isl/osl",
}
FULL = {
    "id": "b",
    "system": "dgx-h200",
    "gpus": 4,
    "catalog_model": "llama3-70b",
    "tp": 4,
    "pp": 1,
    "weights_precision": "fp8",
    "software": "tensorrt-llm",
    "mode": "offline",
    "isl": 500,
    "osl": 2000,
    "tokens_per_s_per_gpu": 3050.05,
    "tokens_kind": "output",
}


def test_lengths_are_the_mean_of_their_range():
    job = case_of(LOOP).job
    assert (job.isl, job.osl, job.users) == (922, 922, 64)


def test_a_wide_group_with_one_rank_of_attention_runs_attention_by_data():
    row = {**LOOP, "catalog_model": "deepseek-v3", "tp": 1, "ep": 32, "gpus": 32}
    worker = case_of(row).job.worker
    assert (worker.tp, worker.ep, worker.dp_attention) == (32, 32, True)


def test_what_is_predicted_is_what_the_engine_says():
    """Validation takes the steps of searches; simulated ones give the same steady state."""
    case = case_of(LOOP)
    steps = steps_of(load_topology(LOOP["system"]))
    state = settle(case.job, steps, float(running(case.job, steps.part)), case.rounds)
    found = validate_serving(pd.DataFrame([LOOP]))["rows"][0]
    assert found["predicted_tpot_s"] == pytest.approx(state.tpot_s, rel=1e-3)
    assert found["predicted_ttft_s"] == pytest.approx(state.ttft_s, rel=1e-3)


def test_predictions_stand_beside_what_was_measured():
    frame = pd.DataFrame([LOOP, FULL, {**LOOP, "id": "c", "catalog_model": None}])
    assert is_serving(frame)
    found = validate_serving(frame)
    loop, full, unknown = found["rows"]
    assert abs(loop["error"]) < 0.25
    assert loop["tpot_s_low"] < loop["predicted_tpot_s"] < loop["tpot_s_high"]
    assert abs(full["error_tokens_per_s_per_gpu"]) < 0.3
    assert unknown["predicted_tpot_s"] is None
    assert "catalog_model" in unknown["reason"]
    assert found["summary"]["core"]["rows"] == 3


@pytest.mark.parametrize("change", [{"id": "z"}, {"source": "elsewhere"}, {"tpot_ms": 1.0}])
def test_a_prediction_hangs_on_nothing_but_the_job(change):
    both = validate_serving(pd.DataFrame([LOOP, {**LOOP, **change}]))["rows"]
    assert both[0]["predicted_tpot_s"] == both[1]["predicted_tpot_s"]
