"""How likely a search missed a better plan, by hand."""

import math

import numpy as np
import pytest

from rackmodel.planning.missed import PRIOR, SPREAD_OF_FAMILIES, Spreads, better_chance

ONE, OTHER = (0, 0), (1, 0)  # families
EVEN = Spreads(0.01, 0.0, {})  # of a family that nothing is known of, too


def normal(z):
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


def test_families_apart_spread_little_within_and_much_between():
    told = [0.00, 0.01, 0.30, 0.31]
    found = Spreads.of(told, [ONE, ONE, OTHER, OTHER], usual=0.01)
    assert found.within == pytest.approx(math.sqrt((PRIOR * 1e-4 + 4 * 0.005**2) / (PRIOR + 4 - 2)))
    usual = PRIOR * SPREAD_OF_FAMILIES**2
    assert found.between == pytest.approx(math.sqrt((usual + 2 * 0.15**2) / (PRIOR + 2 - 1)))
    assert found.overall == pytest.approx(math.hypot(found.within, found.between))
    same = Spreads.of(told, [ONE] * 4, usual=0.01)
    assert same.between == pytest.approx(math.sqrt(usual / PRIOR))
    assert same.within > 10 * found.within


def test_one_simulated_plan_says_nothing_of_how_estimates_spread():
    found = Spreads.of([0.3], [ONE], usual=0.02)
    assert found.within == pytest.approx(0.02)
    assert found.between == pytest.approx(SPREAD_OF_FAMILIES)


def test_the_more_of_a_family_were_simulated_the_surer_is_its_mean():
    found = Spreads(0.01, 0.02, {ONE: 1, OTHER: 4})
    assert found.around(ONE) == pytest.approx(0.01 * math.sqrt(2.0))
    assert found.around(OTHER) == pytest.approx(0.01 * math.sqrt(1.25))
    assert found.around((7, 7)) == pytest.approx(math.hypot(0.01, 0.02))


def test_kinds_count_once_each_by_their_best_plan():
    likely = np.array([1.02, 1.01, 1.01])
    kinds = np.array([[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 2]])
    one, two = (better_chance(1.0, likely[:n], kinds[:n], EVEN) for n in (2, 3))
    chance = normal(math.log(1.0 / 1.01) / 0.01)
    assert one == pytest.approx(chance)
    assert two == pytest.approx(1.0 - (1.0 - chance) ** 2)
    assert better_chance(1.0, likely[:0], kinds[:0], EVEN) == 0.0


def test_a_family_that_none_was_simulated_of_is_less_sure():
    likely, kinds = np.array([1.03]), np.array([[*ONE, 0, 1]])
    sure, unsure = (
        better_chance(1.0, likely, kinds, Spreads(0.01, 0.08, {known: 9})) for known in (ONE, OTHER)
    )
    assert sure < 0.01 < 0.3 < unsure
