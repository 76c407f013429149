"""The front under an objective: rates that keep it, ratios of prefill and decode."""

import pytest

import rackmodel


def test_a_front_under_an_objective_keeps_it_and_knows_the_best_ratio():
    words = {"model": "llama3-8b", "isl": 2048, "osl": 64, "gpus": 2, "requests": 60}
    found = rackmodel.front_requests(["dgx-h100"], **words, slo={"ttft": 0.3, "tpot": 0.02})
    ratios = [row["prefill_gpus"] for row in found.rows]
    assert len(set(ratios)) == len(ratios) > 1
    rates = [row["requests_per_s"] for row in found.rows]
    assert rates == sorted(rates, reverse=True)
    assert all(row["within_slo"] >= 0.9 for row in found.rows)
    best = found.rows[0]
    tighter = rackmodel.front_requests(["dgx-h100"], **words, slo={"ttft": 0.15, "tpot": 0.01})
    assert tighter.rows[0]["requests_per_s"] <= best["requests_per_s"]
    with pytest.raises(rackmodel.CannotRun, match="no plan keeps 90%"):
        rackmodel.front_requests(["dgx-h100"], **words, slo="tpot=1us")
