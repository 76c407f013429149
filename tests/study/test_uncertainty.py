"""Error bars: a product of powers has a band and shares that can be worked out by hand."""

import math

import pytest

from rackmodel.errors import InvalidInput
from rackmodel.hardware import load_catalog
from rackmodel.study.resources import RESOURCES
from rackmodel.study.uncertainty import Uncertain, error_bars, ratio_error_bars, uncertain
from rackmodel.topology import load_topology
from rackmodel.workload import Job, Plan, load_model


def factor(name, low, high):
    return Uncertain(name=name, resource="", low=low, high=high, source="")


def test_a_product_of_powers_has_the_band_that_follows():
    constants = [factor("a", 0.9, 1.1), factor("b", 0.9, 1.1), factor("c", 0.9, 1.1)]
    found = error_bars(lambda x: 5.0 * x["a"] ** 2 / x["b"], constants, draws=16)
    assert found["value"] == pytest.approx(5.0)
    assert found["surface_error"] < 1e-9  # the surface holds it exactly
    shares = {row["constant"]: row["total"] for row in found["rows"]}
    assert shares["a"] == pytest.approx(0.8, abs=0.03)  # variances 4 : 1
    assert shares["b"] == pytest.approx(0.2, abs=0.03)
    assert shares["c"] == pytest.approx(0.0, abs=0.01)
    # the logarithm spreads by sqrt(4 + 1) * 0.2 / sqrt(12); 80% lie within about 1.28 of these
    spread = math.sqrt(5.0) * 0.2 / math.sqrt(12.0)
    assert math.log(found["high"] / found["low"]) == pytest.approx(2 * 1.28 * spread, rel=0.1)


def test_too_few_draws_are_refused():
    with pytest.raises(InvalidInput, match="take 8 or more"):
        error_bars(lambda x: 1.0, [factor(n, 0.9, 1.1) for n in "abc"], draws=6)


def test_every_constant_is_a_resource_with_a_source():
    assert {one.resource for one in uncertain()} <= set(RESOURCES)
    assert all(one.low < 1.0 < one.high and one.source for one in uncertain())


def test_a_machine_against_itself_has_no_error_bar():
    machine = load_topology("dgx-h100")
    job = Job(model=load_model("gpt3-6.7b"), plan=Plan(tp=2, dp=4), seq_len=1024, global_batch=8)
    found = ratio_error_bars((machine, job), (machine, job), load_catalog(), draws=16)
    assert found["value"] == found["low"] == found["high"] == 1.0
