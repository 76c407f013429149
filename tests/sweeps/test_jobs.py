"""Jobs of a sweep: their names are those of the command line."""

import pytest

from rackmodel.errors import RackModelError
from rackmodel.sweeps.jobs import check_value, job_fields, simulate_job

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
