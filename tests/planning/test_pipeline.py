"""Pipelines in closed form: the short ones that are played stand for all longer ones."""

import numpy as np
import pytest

from rackmodel.planning.pipeline import PASSES, Pipe, graph_of, pipeline_s
from rackmodel.workload.schedules.schedule import schedule_of, schedules

SHAPES = [(p, v) for p in (2, 4, 6) for v in (1, 2, 3)]


def cases():
    for name, schedule in schedules().items():
        for p, v in SHAPES:
            if schedule.refuses(p, schedule.told(p)[1], v) == "":
                yield name, p, v


def played(name, p, v, m, seconds, hop, *, transfers="late", few=None):
    schedule = schedule_of(name)
    batches = m if few is None else min(m, few)
    pipe = Pipe(name, p, v, False, transfers, batches)
    stages = seconds.reshape(len(PASSES), p * v, -1)
    alone = stages[:3].sum(axis=0)
    busy = alone[np.array(schedule.placement(p, v))].sum(axis=1) / schedule.directions
    return pipeline_s(pipe, np.full(len(hop), float(m)), seconds, hop, busy)


def walked(name, p, v, m, seconds, hop, transfers):
    """Seconds of a pipeline, action by action, all of them: one plan."""
    graph = graph_of.__wrapped__(Pipe(name, p, v, False, transfers, m))
    ends_s = {}
    for low, high in graph.levels:
        for a in range(low, high):
            arrived = [ends_s[w] + hop for w in graph.arrives[a].tolist() if w in ends_s]
            start = max([0.0, *arrived, ends_s.get(int(graph.before[a]), 0.0)])
            ends_s[a] = start + sum(seconds[row] for row in graph.passes[a].tolist() if row >= 0)
    return max(ends_s[int(a)] for a in graph.last[:p])


def durations(rng, schedule, stages, plans, *, unlike):
    """Seconds of `PASSES` of each stage, alike or within a quarter. [len(PASSES), stages, plans]"""
    forward, backward, weights = rng.uniform(0.5, 2.0, (3, 1, plans))
    weights = weights * schedule.splits_weights
    alike = np.stack([forward, backward, weights, forward, backward + weights])
    return alike * (rng.uniform(0.8, 1.25, (1, stages, plans)) if unlike else np.ones((stages, 1)))


@pytest.mark.parametrize(("name", "p", "v"), list(cases()))
def test_few_micro_batches_tell_of_many(name, p, v):
    """Exactly, where stages are alike and transfers free; else to 3 percent."""
    schedule, plans = schedule_of(name), 6
    few, most = schedule.told(p)
    m = most + 7 * (most - few)
    rng = np.random.default_rng(p * 10 + v)
    for transfers in ("batched" if schedule.batched else "late", "ahead"):
        for unlike, hop_s, off in ((False, 0.0, 1e-9), (True, 0.0, 0.03), (True, 0.02, 0.03)):
            each = durations(rng, schedule, p * v, plans, unlike=unlike)
            seconds, hop = each.reshape(-1, plans), rng.uniform(0.0, hop_s, plans)
            told = played(name, p, v, m, seconds, hop, transfers=transfers, few=most)
            every = played(name, p, v, m, seconds, hop, transfers=transfers)
            assert told[0] == pytest.approx(every[0], rel=off)
            one = walked(name, p, v, m, seconds[:, 0].tolist(), float(hop[0]), transfers)
            assert every[0][0] == pytest.approx(one, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "p", "v"), [case for case in cases() if schedule_of(case[0]).hides_exchanges]
)
def test_passes_that_run_together_may_be_too_few_in_the_shorter_pipeline(name, p, v):
    """Pipelines beside each other, one of which pairs no passes."""
    most = schedule_of(name).told(p)[1]
    graph = graph_of(Pipe(name, p, v, True, "ahead", most))
    assert len(graph.passes) == len(graph.before)
    assert (graph.passes[:, 0] >= 0).all()
