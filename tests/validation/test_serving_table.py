"""What rows of a table of published serving runs mean, and the table that ships."""

import pandas as pd
import pytest

from rackmodel.errors import InvalidInput
from rackmodel.serving.habits import Habits
from rackmodel.validation.accuracy import EVERY, SERVED, SERVED_RECORD, recorded
from rackmodel.validation.serving_errors import validate_serving
from rackmodel.validation.serving_runs import case_of
from rackmodel.verbs.studies import validate

ROW = {
    "system": "dgx-h100",
    "gpus": 8,
    "catalog_model": "llama3.1-8b",
    "mode": "aggregated",
    "tp": 1,
    "isl": 1000,
    "osl": 100,
    "concurrency": 8,
    "tpot_ms": 10.0,
    "software": "vllm",
}


def test_unstated_weights_are_those_that_the_model_is_published_in():
    assert case_of(ROW).job.weights == "bf16"
    assert case_of({**ROW, "catalog_model": "deepseek-v3", "tp": 8}).job.weights == "fp8"


def test_a_rate_tells_how_many_requests_run():
    """Tokens per second times seconds per token: Little's law."""
    row = {**ROW, "concurrency": None, "tokens_per_s_per_gpu": 500.0}
    case = case_of(row)
    assert case.kind == "rate"
    assert case.job.users == 500 * 8 * 0.01


def test_prefill_workers_that_are_not_stated_are_searched():
    row = {**ROW, "mode": "disaggregated", "prefill_gpus": 2, "system": "dgx-h100"}
    case = case_of(row)
    assert case.open_plan
    assert case.apart
    assert case.fixed["tp"] == 1
    found = validate_serving(pd.DataFrame([row]))["rows"][0]
    assert found["reason"] == ""
    assert found["filled"] == "plan"


def test_more_ranks_than_experts_hold_copies():
    row = {
        **ROW,
        "catalog_model": "deepseek-v3",
        "gpus": None,
        "tp": None,
        "ep": 320,
        "mode": "decode",
        "weights_precision": "int8",
    }
    job = case_of(row).job
    assert job.worker.dp_attention
    assert job.model.experts + job.redundant_experts == 320


def test_no_rank_holds_less_of_an_expert_than_a_block_of_its_scales():
    """DeepSeek's experts of 2,048 columns: 16 ranks may cut them, 32 hold whole ones."""
    row = {**ROW, "catalog_model": "deepseek-v3", "weights_precision": "fp4", "dp_attention": 1}
    for ranks, ep in ((16, 1), (32, 32)):
        worker = case_of({**row, "gpus": ranks, "tp": ranks, "ep": 1}).job.worker
        assert (worker.tp, worker.ep) == (ranks, ep)


def test_drafts_that_say_no_acceptance_give_the_tokens_a_step_that_are_published():
    row = {**ROW, "catalog_model": "deepseek-v3", "tp": 8}
    for drafts, low, high in ((1, 1.76, 1.82), (2, 2.18, 2.25), (3, 2.44, 2.50)):
        job = case_of({**row, "mtp": f"mtp {drafts} (acceptance unstated)"}).job
        assert job.mtp == drafts
        assert low <= job.tokens_a_step <= high
    stated = case_of({**row, "mtp": "simulated, acceptance 60%"}).job
    assert (stated.mtp, stated.acceptance) == (1, 0.6)


@pytest.mark.parametrize("turn", [0.5, 4.0, 30.0])
def test_who_waits_for_more_steps_is_answered_later(turn):
    soon, late = (Habits().first_token_s(0.01, 0.05, 0.1, 1, n * turn) for n in (1, 2))
    assert late - soon == pytest.approx(turn * 0.01)


def test_the_shipped_table_is_predicted_in_any_order_and_by_any_workers():
    few = pd.read_csv(SERVED, low_memory=False)[::150]
    forth, back = validate_serving(few)["rows"], validate_serving(few[::-1])["rows"]
    assert [row["id"] for row in forth] == [row["id"] for row in back[::-1]]
    for one, other in zip(forth, back[::-1], strict=True):
        assert one["predicted_tpot_s"] == pytest.approx(other["predicted_tpot_s"], rel=1e-9)


def test_the_record_holds_the_rows_that_the_gate_predicts():
    rows = pd.read_csv(SERVED, usecols=["id", "source", "url"])
    record = recorded(SERVED_RECORD)
    assert record["all"]["rows"] == len(rows)
    assert rows["source"].notna().all()
    assert record["sample"]["all"]["rows"] == len(rows[::EVERY])


def test_a_table_and_serving_together_are_refused():
    with pytest.raises(InvalidInput, match="columns of a table tell"):
        validate(pd.DataFrame([ROW]), serving=True)
