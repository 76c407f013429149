"""Design search: specs are checked before anything runs, constraints and fronts hold."""

import pytest

from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.sweeps.design_search import run_designs
from rackmodel.sweeps.design_spec import OBJECTIVES, read_design

BASE = {"topology": "dgx-h100", "model": "gpt3-13b", "gpus": 8, "global_batch": 8}
SPEC = {"base": BASE, "axes": {"seq_len": [1024, 2048], "micro_batch": [1, 2, 4]}}


def figures(job):
    """Longer sequences and larger micro-batches are faster and hotter."""
    speed = job["seq_len"] * job["micro_batch"]
    return {"tokens_per_s": speed, "rack_peak_w": 10.0 * speed, "cost": {}.get("x")}


def test_a_spec_has_objectives_constraints_and_jobs():
    wanted = read_design(SPEC | {"constraints": ["rack_peak_w <= 50e3"], "most": 4, "seed": 3})
    assert wanted.objectives == OBJECTIVES
    assert (wanted.most, wanted.seed, wanted.spec.combinations) == (4, 3, 6)
    nested = read_design(SPEC | {"objectives": {"cost": {"usd_per_mtoken": "min"}}})
    assert nested.objectives == {"cost.usd_per_mtoken": "min"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objective": {}}, "did you mean 'objectives'"),
        ({"objectives": {"tokens_per_s": "more"}}, "objectives.tokens_per_s = 'more' has to be"),
        ({"objectives": {}}, "has to be a table"),
        ({"constraints": "rack_peak_w < 1"}, "has to be a list"),
        ({"constraints": ["rack_peak_w <"]}, r"constraints\[0\] = 'rack_peak_w <'"),
        ({"most": 0}, "most: expected a whole number from 1 to 100,000, found 0"),
        ({"base": {}}, "no topology"),
        ({"axes": {"seq_len": ["long"]}}, r"axes.seq_len\[0\] = 'long'"),
    ],
)
def test_bad_specs_name_the_place_and_the_remedy(change, message):
    with pytest.raises(InvalidInput, match=message):
        read_design(SPEC | change)


def test_the_front_is_within_the_constraints():
    wanted = read_design(
        SPEC
        | {
            "constraints": ["rack_peak_w <= 50e3"],
            "objectives": {"tokens_per_s": "max", "rack_peak_w": "min"},
        }
    )
    frame = run_designs(wanted, job=figures)
    assert len(frame) == 6
    assert (frame.loc[frame["allowed"], "rack_peak_w"] <= 50e3).all()
    # speed and heat grow together: every design that is allowed is on the front
    assert frame.loc[frame["allowed"], "pareto"].all()
    assert not frame.loc[~frame["allowed"], "pareto"].any()


def test_a_column_that_rows_lack_is_named():
    wanted = read_design(SPEC | {"objectives": {"tokens_per_ss": "max"}})
    with pytest.raises(UnknownName, match="did you mean 'tokens_per_s'"):
        run_designs(wanted, job=figures)
    wanted = read_design(
        SPEC | {"objectives": {"tokens_per_s": "max"}, "constraints": ["rack_pek_w < 1"]}
    )
    with pytest.raises(UnknownName, match=r"constraints\[0\].*did you mean 'rack_peak_w'"):
        run_designs(wanted, job=figures)


def test_filters_leave_designs_out_also_when_sampled():
    spec = SPEC | {
        "axes": {"seq_len": list(range(64, 6464, 64)), "micro_batch": list(range(1, 65))},
        "filters": ["micro_batch <= 8"],
        "objectives": {"tokens_per_s": "max"},
        "most": 64,
    }
    frame = run_designs(read_design(spec), job=figures)
    assert 0 < len(frame) <= 64
    assert (frame["micro_batch"] <= 8).all()
    assert frame.equals(run_designs(read_design(spec), job=figures))
