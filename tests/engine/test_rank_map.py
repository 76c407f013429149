import numpy as np
import pytest

from rackmodel.engine.rank_map import map_ranks
from rackmodel.workload import Plan


@pytest.mark.parametrize(
    ("plan", "domain", "used"),
    [
        ({"tp": 8, "dp": 64}, 72, 64),  # 512: eight racks, none with eight ranks alone
        ({"tp": 8, "pp": 8, "dp": 9}, 72, 72),
        ({"tp": 8, "pp": 8, "dp": 64}, 72, 64),  # 4,096: one rack in nine more, all alike
        ({"tp": 8, "pp": 8, "dp": 63}, 72, 72),  # 4,032 fill racks
        ({"tp": 8, "dp": 35}, 72, 72),  # 280: fives of 56 would leave a quarter idle
        ({"tp": 4, "dp": 25}, 72, 72),  # 100: no even share of two racks is made of fours
        ({"ep": 64, "dp": 256}, 72, 64),
        ({"tp": 1, "dp": 96}, 72, 48),
        ({"tp": 16, "dp": 4}, 8, 8),  # a group that fits no domain
        ({"tp": 2, "dp": 4}, 72, 72),  # all in one rack
    ],
)
def test_racks_are_filled_evenly_where_whole_groups_allow(plan, domain, used):
    assert map_ranks(Plan(**plan), domain).used == used


def test_an_even_share_leaves_few_idle_or_takes_no_more_racks():
    for gpus in range(80, 6000, 8):
        found = map_ranks(Plan(tp=8, dp=gpus // 8), 72)
        assert found.used % 8 == 0
        assert found.domains(gpus) == -(-gpus // 72) or found.used * 9 >= 72 * 8
        assert found.idle(gpus) == 72 * found.domains(gpus) - gpus


def test_powers_of_two_fill_racks_alike():
    for power in range(7, 21):
        for domain in (72, 144, 576):
            found = map_ranks(Plan(tp=8, dp=2**power // 8), domain)
            assert 2**power <= domain or 2**power % found.used == 0


def test_a_machine_too_small_for_spares_is_filled_in_order():
    plan = Plan(tp=8, dp=128)
    assert map_ranks(plan, 72, 16 * 72).used == 64
    assert map_ranks(plan, 72, 15 * 72).used == 72


def test_a_torus_that_is_filled_in_part_keeps_its_walk():
    shape, plan = (16, 20, 28), Plan(tp=8, dp=1024)
    found = map_ranks(plan, 8960).on_torus(shape, plan)
    assert found.order[-1] == 0  # rows of 16 hold two groups; rows of 20 and 28 tear them apart
    places = np.stack(np.unravel_index(found.accelerators(plan.gpus), shape), axis=1)
    assert len({tuple(place) for place in places.tolist()}) == plan.gpus
    groups = places.reshape(-1, plan.tp, 3)
    assert (np.ptp(groups, axis=1) == [7, 0, 0]).all()
    assert found.idle(plan.gpus) == 8960 - 8192
