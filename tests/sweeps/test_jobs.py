"""Jobs of a sweep: their names are those of the command line."""

import pytest

from rackmodel.api import simulate
from rackmodel.errors import InvalidInput, RackModelError
from rackmodel.sweeps.jobs import check_value, flat_row, job_fields, read_job_spec, simulate_job

MOE = {
    "topology": "dgx-h100",
    "model": "mixtral-8x7b",
    "gpus": 32,
    "global_batch": 32,
    "seq_len": 2048,
    "tp": 1,
    "pp": 1,
    "dp": 32,
    "ep": 8,
    "micro_batch": 1,
    "recompute": "full",
    "sharding": "zero3",
}


def test_a_sweep_sets_the_routing_of_packets_and_that_of_tokens():
    assert {"routing", "token_routing", "routing_skew"} <= set(job_fields())
    plain = simulate_job(MOE)
    dropping = simulate_job(MOE | {"token_routing": "drop", "capacity_factor": 1.25})
    hashed = simulate_job(MOE | {"routing": "single"})
    assert dropping["step_s"] > plain["step_s"]
    assert hashed["step_s"] >= plain["step_s"]


@pytest.mark.parametrize(("name", "value"), [("routing", "drop"), ("token_routing", "spray")])
def test_words_of_the_other_routing_are_refused(name, value):
    with pytest.raises(RackModelError, match=name):
        check_value(name, value)


def test_lists_are_written_with_commas():
    base = {"topology": "dgx-h100", "model": "llama3.1-8b", "gpus": 8, "global_batch": 8}
    base |= {"seq_len": 2048, "tp": 1, "pp": 1, "micro_batch": 1, "sharding": "zero3"}
    rows = {
        words: simulate_job(base | {"freeze": words})
        for words in ("embedding", "embedding,layers:0-29")
    }
    few = rows["embedding,layers:0-29"]["hbm.used_bytes.optimizer"]
    assert few < 0.2 * rows["embedding"]["hbm.used_bytes.optimizer"]
    away = simulate_job(base | {"offload": "optimizer,parameters"})
    assert away["hbm.used_bytes.optimizer"] == away["hbm.used_bytes.weights"] == 0.0
    with pytest.raises(InvalidInput, match="no offload 'weights'"):
        read_job_spec({"base": base, "axes": {"offload": ["optimizer,weights"]}})


def test_a_row_is_what_simulate_says_also_where_nothing_contends():
    words = {"topology": "gb200-nvl72", "model": "llama3.1-8b", "gpus": 1, "global_batch": 4}
    plan = {"tp": 1, "pp": 1, "micro_batch": 2, "recompute": "none", "sharding": "zero1"}
    whole = simulate(**words, seq_len=2048, plan=plan).to_dict()
    assert whole["contention"] == []
    assert simulate_job(words | plan | {"seq_len": 2048}) == flat_row(whole)
