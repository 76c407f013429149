import pytest

from rackmodel.engine.rank_map import map_ranks
from rackmodel.workload import Plan


@pytest.mark.parametrize(
    ("plan", "domain", "used"),
    [
        ({"tp": 8, "dp": 64}, 72, 64),  # 512: eight racks, none with eight ranks alone
        ({"tp": 8, "pp": 8, "dp": 9}, 72, 72),
        ({"tp": 4, "dp": 25}, 72, 72),  # 100: no even share of two racks is made of fours
        ({"ep": 64, "dp": 256}, 72, 64),
        ({"tp": 1, "dp": 96}, 72, 48),
        ({"tp": 16, "dp": 4}, 8, 8),  # a group that fits no domain
        ({"tp": 2, "dp": 4}, 72, 72),  # all in one rack
    ],
)
def test_racks_are_filled_evenly_where_whole_groups_allow(plan, domain, used):
    assert map_ranks(Plan(**plan), domain).used == used


def test_an_even_share_never_takes_more_racks():
    for gpus in range(80, 2000, 8):
        found = map_ranks(Plan(tp=8, dp=gpus // 8), 72)
        assert -(-gpus // found.used) == -(-gpus // 72)
        assert found.used % 8 == 0
