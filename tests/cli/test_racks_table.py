"""The table of racks shows what a person can tell apart, and loses none."""

from rackmodel.cli.tables_step import MOST_LINES, between, merged
from rackmodel.reporting.words import scaled


def rack(heat, count=1):
    return {
        "count": count,
        "heat_w": heat,
        "liquid_w": 0.8 * heat,
        "air_w": 0.2 * heat,
        "peak_w": 1.3 * heat,
    }


def test_racks_much_alike_share_a_line_and_a_part_filled_one_has_its_own():
    racks = [rack(80e3 + 10 * i, 54) for i in range(80)] + [rack(56e3)]
    groups = merged(racks)
    assert [len(group) for group in groups] == [80, 1]
    assert sum(r["count"] for group in groups for r in group) == 80 * 54 + 1


def test_however_unlike_they_are_the_lines_stay_few():
    racks = [rack(20e3 * 1.05**i) for i in range(60)]
    groups = merged(racks)
    assert len(groups) <= MOST_LINES
    assert sum(map(len, groups)) == 60


def test_ranges_name_the_unit_once():
    def watts(value):
        return scaled(value, "W")

    assert between([81.9e3, 81.9e3], watts) == "81.9 kW"
    assert between([900.0, 1.2e3], watts) == "900 W - 1.2 kW"
    assert between([None], watts) == "–"
