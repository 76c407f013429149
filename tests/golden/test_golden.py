"""Every figure of every golden job is what it was; `python -m tests.golden.write` stores anew.

A comparison with golden is no test of a mechanism: it only tells that something moved.
"""

import pytest

from tests.golden import stored
from tests.golden.jobs import JOBS, figures_of
from tests.golden.write import told


@pytest.mark.parametrize("name", JOBS)
def test_golden(name: str) -> None:
    moves = stored.moved(stored.read(name), figures_of(JOBS[name]))
    if moves:
        pytest.fail(told(name, moves, top=20), pytrace=False)


def test_every_stored_result_has_a_job() -> None:
    assert {path.stem for path in stored.RESULTS.glob("*.json")} == set(JOBS)


def test_a_changed_figure_is_named_with_its_size() -> None:
    before = {"a": {"b": [1.0, 2.0]}, "c": "word", "d": 1e-20}
    after = {"a": {"b": [1.0 + 1e-11, 2.1]}, "c": "other", "e": 1, "d": 0.0}
    moves = stored.moved(before, after)
    assert {move.path for move in moves} == {"a.b[1]", "c", "e"}
    assert str(moves[-1]).split() == ["+5.000e-02", "a.b[1]:", "2.0", "->", "2.1"]
