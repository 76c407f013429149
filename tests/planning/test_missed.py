"""How likely a search missed a better plan, by hand."""

import math

import numpy as np
import pytest

from rackmodel.planning.missed import PRIOR, Spreads, better_chance

ONE, OTHER = (0, 0), (1, 0)  # families
EVEN = Spreads(0.01, 0.01)


def normal(z):
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


def test_families_apart_spread_little_within_and_much_overall():
    told = [0.00, 0.01, 0.30, 0.31]
    within, overall = Spreads.of(told, [ONE, ONE, OTHER, OTHER], usual=0.01)
    assert within == pytest.approx(math.sqrt((PRIOR * 1e-4 + 4 * 0.005**2) / (PRIOR + 4 - 2)))
    assert overall == pytest.approx(
        math.sqrt((PRIOR * 1e-4 + 2 * (0.155**2 + 0.145**2)) / (PRIOR + 4 - 1))
    )
    assert Spreads.of(told, [ONE] * 4, usual=0.01).within == pytest.approx(overall)


def test_one_simulated_plan_says_nothing_of_how_estimates_spread():
    assert Spreads.of([0.3], [ONE], usual=0.02) == pytest.approx((0.02, 0.02))


def test_kinds_count_once_each_by_their_best_plan():
    likely = np.array([1.02, 1.01, 1.01])
    kinds = np.array([[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 2]])
    one, two = (better_chance(1.0, likely[:n], kinds[:n], [ONE], EVEN) for n in (2, 3))
    chance = normal(math.log(1.0 / 1.01) / 0.01)
    assert one == pytest.approx(chance)
    assert two == pytest.approx(1.0 - (1.0 - chance) ** 2)
    assert better_chance(1.0, likely[:0], kinds[:0], [ONE], EVEN) == 0.0


def test_a_family_that_none_was_simulated_of_is_less_sure():
    spreads = Spreads(within=0.01, overall=0.08)
    likely, kinds = np.array([1.03]), np.array([[*ONE, 0, 1]])
    sure, unsure = (better_chance(1.0, likely, kinds, [known], spreads) for known in (ONE, OTHER))
    assert sure < 0.01 < 0.3 < unsure
