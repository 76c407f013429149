"""Max-min rates: the law, the forms against each other, cases by hand."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from rackmodel.errors import NoRoute
from rackmodel.network import BACKENDS, fair_rates, fair_rates_rows
from rackmodel.network.reference import max_min_rates
from rackmodel.network.sharing import NUMBA

INSTALLED = [name for name in BACKENDS if NUMBA or name != "numba"]


@st.composite
def systems(draw):
    links = draw(st.integers(1, 8))
    flows = draw(st.integers(1, 14))
    # few distinct values, so that ties are common
    capacity = draw(
        st.lists(st.sampled_from([1.0, 2.0, 3.0, 10.0]), min_size=links, max_size=links)
    )
    rows = []
    for _ in range(flows):
        path = draw(st.lists(st.integers(0, links - 1), max_size=4, unique=True))
        rows.append({k: draw(st.sampled_from([1.0, 0.5, 0.25])) for k in path})
    cap = [draw(st.sampled_from([np.inf, 0.3, 2.0])) if row else 1.0 for row in rows]
    weight = [draw(st.sampled_from([1.0, 1.0, 2.0, 0.5])) for _ in rows]
    return rows, np.array(capacity), np.array(cap), np.array(weight)


def arrays(rows):
    indptr = np.cumsum([0, *map(len, rows)])
    links = np.array([k for row in rows for k in row], dtype=np.int64)
    return indptr, links, np.array([x for row in rows for x in row.values()], dtype=float)


def reference(rows, capacity, cap, weight):
    rates = max_min_rates(
        dict(enumerate(rows)),
        dict(enumerate(capacity.tolist())),
        cap=dict(enumerate(cap.tolist())),
        weight=dict(enumerate(weight.tolist())),
    )
    return np.array([rates[i] for i in range(len(rows))])


@settings(max_examples=80, deadline=None)
@given(systems())
def test_every_flow_is_held_back_by_a_full_link_where_none_is_faster(system):
    rows, capacity, cap, weight = system
    rates = fair_rates(*arrays(rows), capacity, cap, weight)
    load = np.zeros(len(capacity))
    fastest = np.zeros(len(capacity))
    for row, rate, w in zip(rows, rates, weight, strict=True):
        for link, fraction in row.items():
            load[link] += fraction * rate
            fastest[link] = max(fastest[link], rate / w)
    assert (load <= capacity * (1 + 1e-9)).all()
    for row, rate, limit, w in zip(rows, rates, cap, weight, strict=True):
        full = [k for k in row if load[k] >= capacity[k] * (1 - 1e-9)]
        held = any(rate / w >= fastest[k] * (1 - 1e-9) for k in full)
        assert held or rate == pytest.approx(limit)


@settings(max_examples=80, deadline=None)
@given(systems())
def test_all_backends_agree_with_the_textbook(system):
    rows, capacity, cap, weight = system
    wanted = reference(rows, capacity, cap, weight)
    for name in INSTALLED:
        rates = fair_rates(*arrays(rows), capacity, cap, weight, backend=name)
        assert rates == pytest.approx(wanted, rel=1e-9), name


def random_system(flows, links, seed):
    rng = np.random.default_rng(seed)
    rows = [
        dict.fromkeys(rng.choice(links, rng.integers(1, 6), replace=False).tolist(), 1.0)
        for _ in range(flows)
    ]
    return rows, rng.uniform(1, 10, links), np.full(flows, np.inf), rng.choice([1.0, 2.0], flows)


@pytest.mark.skipif(not NUMBA, reason="numba is not installed")
@pytest.mark.parametrize("seed", range(3))
def test_compiled_form_agrees_with_the_textbook(seed):
    rows, capacity, cap, weight = random_system(300, 60, seed)
    cap[::7] = 0.05
    rates = fair_rates(*arrays(rows), capacity, cap, weight, backend="numba")
    assert rates == pytest.approx(reference(rows, capacity, cap, weight), rel=1e-9)


def test_large_systems_agree_whatever_form_they_take():
    rows, capacity, cap, weight = random_system(9000, 400, 5)
    whole = fair_rates(*arrays(rows), capacity, cap, weight)
    arrays_only = fair_rates(*arrays(rows), capacity, cap, weight, backend="numpy")
    assert whole == pytest.approx(arrays_only, rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(systems())
def test_rows_agree_with_flows_one_by_one(system):
    rows, capacity, cap, _ = system
    rates = fair_rates_rows([list(row.items()) for row in rows], capacity.tolist(), cap.tolist())
    wanted = reference(rows, capacity, cap, np.ones(len(rows)))
    assert rates == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_rows_agree_with_the_textbook_on_rough_numbers(seed):
    rng = np.random.default_rng(seed)
    load = np.where(rng.random((40, 60)) < 0.1, rng.uniform(0.01, 9, (40, 60)), 0.0)
    capacity, own = rng.uniform(1, 9, 40), np.where(rng.random(60) < 0.3, 0.2, np.inf)
    rows = [dict(zip(np.flatnonzero(x).tolist(), x[x > 0].tolist(), strict=True)) for x in load.T]
    own[[not row for row in rows]] = 1.0
    rates = fair_rates_rows([list(row.items()) for row in rows], capacity.tolist(), own.tolist())
    assert rates == pytest.approx(reference(rows, capacity, own, np.ones(60)), rel=1e-9)


def test_rows_know_multiplicities():
    # three flows of one class and one of another on a link of 8, the latter capped at 0.5
    rates = fair_rates_rows([[(0, 3.0)], [(0, 1.0)]], [8.0], [np.inf, 0.5])
    assert rates == pytest.approx([2.5, 0.5])


def test_a_small_load_is_not_lost_beside_a_huge_one():
    # the first class ends at 1e-20 of the link; rounding would leave nothing for the second
    rates = fair_rates_rows([[(0, 1e20), (1, 1.0)], [(0, 1.0)]], [8.0, 1e-30], [np.inf, np.inf])
    assert rates == pytest.approx([1e-30, 8.0])


def test_two_flows_halve_a_shared_link():
    assert max_min_rates({"a": {"x": 1}, "b": {"x": 1}}, {"x": 100e9}) == {"a": 50e9, "b": 50e9}


def test_parking_lot():
    # one long flow over three links, one short flow on each
    rows = [{0: 1.0, 1: 1.0, 2: 1.0}, {0: 1.0}, {1: 1.0}, {2: 1.0}]
    rates = fair_rates(*arrays(rows), np.array([10.0, 4.0, 6.0]))
    assert rates.tolist() == [2.0, 8.0, 2.0, 4.0]


def test_unknown_link_is_an_error():
    with pytest.raises(NoRoute, match="unknown links"):
        max_min_rates({"a": {"x": 1.0}}, {})


def test_nothing_to_cross_means_no_limit():
    assert fair_rates(np.array([0, 0]), np.zeros(0, int), np.zeros(0), np.ones(1))[0] == np.inf
