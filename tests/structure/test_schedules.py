"""Only workload/schedules names a schedule: all else asks its facts and its actions."""

import ast

from benchmarks.structure import FILES, module_of, tree
from rackmodel.workload.schedules.holding import in_flight
from rackmodel.workload.schedules.schedule import Schedule, passes, schedules


def test_no_line_outside_of_the_schedules_names_one():
    # Launch files are other frameworks' words: their readers say which schedule each word means.
    names = set(schedules())
    found = [
        f"{module_of(path)}:{node.lineno}: {node.value}"
        for path in FILES
        if not ({"schedules", "launch"} & set(module_of(path).split(".")))
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert found == []


def test_facts_of_a_schedule_agree_with_its_actions():
    for schedule in schedules().values():
        assert isinstance(schedule, Schedule)
        p, v = 4, schedule.chunks[0]
        m = schedule.told(p)[1]
        assert schedule.refuses(p, m, v) == ""
        kinds = passes(schedule.name, p, m, v)[:, :, 0, 0]
        assert (kinds == 2).any() == schedule.splits_weights
        assert (in_flight(schedule.name, p, 2 * m, v, 0) > m) == (not schedule.repeats)
