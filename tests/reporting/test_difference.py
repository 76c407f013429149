"""What differs between two results: nothing of equal ones, inputs first, changes as they are."""

import json

import pytest
from hypothesis import given, strategies as st

from rackmodel.reporting.difference import difference

LEAVES = st.one_of(st.integers(1, 9), st.floats(1, 9), st.text(max_size=3), st.booleans())
TREES = st.recursive(
    LEAVES, lambda inner: st.dictionaries(st.text("abc", min_size=1), inner, max_size=3)
)
BEFORE = {
    "topology": "dgx-h100",
    "plan": {"tp": 8, "pp": 1},
    "step_s": 2.0,
    "links": [{"tier": "host", "bytes": 1.0}, {"tier": "scale_up", "bytes": 8.0}],
    "simulation": {"version": "0.2.0", "wall_s": 1.0},
}
AFTER = {
    **BEFORE,
    "plan": {"tp": 4, "pp": 1},
    "step_s": 1.0,
    "links": [{"tier": "scale_up", "bytes": 4.0}, {"tier": "host", "bytes": 1.0}],
    "simulation": {"version": "0.3.0", "wall_s": 9.0},
}


@given(st.dictionaries(st.text("abc", min_size=1), TREES, max_size=4))
def test_a_result_does_not_differ_from_itself(tree):
    assert difference(tree, json.loads(json.dumps(tree))) == []


def test_inputs_come_first_and_rows_are_met_by_name():
    rows = difference(BEFORE, AFTER)
    assert [(row["part"], row["field"]) for row in rows] == [
        ("input", "plan.tp"),
        ("input", "simulation.version"),
        ("output", "step_s"),
        ("output", "links[scale_up].bytes"),
    ]  # the clock is left out
    assert [row["change"] for row in rows[2:]] == [-0.5, -0.5]


def test_small_changes_can_be_left_out_and_missing_figures_are_shown():
    assert [row["part"] for row in difference(BEFORE, AFTER, least=0.6)] == ["input", "input"]
    (row,) = difference({"hfu": 0.4}, {})
    assert (row["before"], row["after"], row["change"]) == (0.4, None, None)


@pytest.mark.parametrize("turned", [False, True])
def test_a_change_turned_round_is_its_inverse(turned):
    pair = (AFTER, BEFORE) if turned else (BEFORE, AFTER)
    change = next(row["change"] for row in difference(*pair) if row["field"] == "step_s")
    assert change == (1.0 if turned else -0.5)
