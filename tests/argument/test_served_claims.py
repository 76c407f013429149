"""Claims about serving: figures at a speed, pairs of machines, what more HBM costs."""

import pytest

from rackmodel.argument.verdicts import served
from rackmodel.hardware import load_catalog
from rackmodel.serving.words import job_of_words
from rackmodel.topology import load_topology

JOB = {"model": "gpt-oss-120b", "gpus": 8, "isl": 1024, "osl": 1024, "kv": "fp8", "mtp": 0}


@pytest.fixture(scope="module")
def front():
    machine = load_topology("dgx-b200")
    how = {"apart": False, "speeds": (40.0, 150.0)}
    return served.front_of(machine, JOB, (1, 64, 1024), load_catalog(), **how)


def test_slower_users_leave_more_and_cheaper_tokens(front):
    quick, slow = (front.at(speed) for speed in (150.0, 40.0))
    assert quick["tokens_per_s_per_gpu"] < slow["tokens_per_s_per_gpu"]
    assert quick["usd_per_mtoken"] > slow["usd_per_mtoken"]
    assert quick["j_per_token"] > slow["j_per_token"]
    assert front.at(1e5) is None


def test_a_machine_gains_nothing_over_itself(front):
    row = served.pair(front, front, 100.0)
    assert (row["tokens"], row["usd"], row["joules"]) == pytest.approx((0.0, 0.0, 0.0))
    assert served.pair(front, front, 1e5)["only"] == "none"
    job = {"isl": 1024, "osl": 1024, "mtp": 0, "over": "8"}
    less = {"tokens_per_s_per_user": 200.0, "tokens": -0.17, "usd": -0.1}
    words = served.told_where([{**job, **row}, {**job, **less}])
    assert "no drafts: no more tokens at 100 (+0.0% to +0.0% for the same money" in words
    assert "at 200 -17% tokens, -10% for the same money" in words


@pytest.mark.parametrize(
    ("tokens", "usd", "word"),
    [
        ((0.0, 0.0), (0.16, 0.16), "refuted"),  # cheaper, but not by its domain
        ((0.0, 0.7), (0.16, 0.9), "depends"),
        ((0.3, 0.7), (0.4, 0.9), "supported"),
        ((0.3, 0.7), (-0.4, 0.9), "depends"),
    ],
)
def test_a_price_without_tokens_supports_nothing(monkeypatch, tokens, usd, word):
    monkeypatch.setattr(served, "SPEEDS", (50.0, 125.0))
    monkeypatch.setattr(served, "rack_front", lambda *case: None)
    made = iter(zip(tokens, usd, strict=True))

    def stood_in(nodes, rack, speed):
        more, cheaper = next(made)
        return {"tokens_per_s_per_user": speed, "tokens": more, "usd": cheaper}

    monkeypatch.setattr(served, "pair", stood_in)
    assert served.domain(quick=True).verdict == word


def test_hbm_that_gives_nothing_costs_what_it_adds_to_an_hour(front):
    base = front.at(100.0)
    row = served.gain(base, base, 1000.0)
    dearer = 1.0 + 1000.0 / base["capital_usd_per_gpu"] * base["capital_share"]
    assert row["usd"] == pytest.approx(1.0 / dearer - 1.0)
    assert 0.0 < base["capital_share"] < 1.0
    assert served.gain(base, None, 0.0) == {}


@pytest.mark.parametrize("case", [(s, d) for s in served.SHAPES for d in served.DRAFTED])
def test_every_case_is_a_job_that_can_be_asked(case):
    """Words that change nothing are refused: without drafts none is accepted."""
    (isl, osl), drafted = case
    words = {**served.RACK, **served.DRAFTED[drafted], "isl": isl, "osl": osl, "users": 1}
    job, _ = job_of_words(load_topology("gb200-nvl72"), words)
    assert (job.isl, job.osl) == (isl, osl)
