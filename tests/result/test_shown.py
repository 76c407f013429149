"""Results show themselves: frames, pictures on given axes, tables in notebooks."""

from __future__ import annotations

import matplotlib as mpl
import pytest

import rackmodel
from rackmodel.errors import InvalidInput
from rackmodel.serving.pareto import Front

mpl.use("Agg")
JOB = {"model": "gpt3-13b", "gpus": 8, "global_batch": 8, "seq_len": 1024}
PLAN = {"tp": 8, "pp": 1, "micro_batch": 1}


@pytest.fixture
def ax():
    from matplotlib.figure import Figure

    return Figure().add_subplot()


def test_a_result_and_a_comparison_have_the_same_row():
    alone = rackmodel.simulate("dgx-h100", **JOB, plan=PLAN)
    beside = rackmodel.compare(["dgx-h100", "dgx-a100-80"], **JOB, plan=PLAN)
    assert len(alone.frame) == 1
    assert alone.frame.iloc[0].equals(beside.frame.iloc[0])
    assert alone.frame["usd_per_mtoken"][0] == alone.usd_per_mtoken


def test_steps_are_drawn_on_the_axes_that_are_given(ax):
    alone = rackmodel.simulate("dgx-h100", **JOB, plan=PLAN)
    assert alone.plot(ax=ax) is ax
    one = len(ax.patches)
    other = ax.figure.add_subplot()
    both = rackmodel.compare(["dgx-h100", "dgx-a100-80"], **JOB, plan=PLAN)
    assert both.plot(ax=other) is other
    assert len(other.patches) > one > 0


def test_a_search_is_drawn_and_shown(ax):
    found = rackmodel.search("dgx-h100", **JOB)
    assert found.plot(ax=ax) is ax
    assert found._repr_html_().count("<tr") == len(found.frame) + 1
    cheapest = rackmodel.search("dgx-h100", **JOB, objective="watts")
    energies = [one.result.energy_j_per_token for one in cheapest.candidates]
    assert energies == sorted(energies)


def test_what_is_served_is_drawn_and_shown(ax):
    served = rackmodel.serve("dgx-h100", model="llama3-8b", gpus=8, isl=1024, osl=256, users=64)
    assert served.plot(ax=ax) is ax
    assert served.frame["tpot_s"].tolist() == [served.tpot_s]
    assert "usd_per_mtoken" in served._repr_html_()


def test_a_front_without_points_says_where_to_look():
    with pytest.raises(InvalidInput, match=r"\.reasons"):
        Front(rows=(), reasons={"dgx-h100": "too large"}).plot()
