"""Pipelines in closed form: the short ones that are played stand for all longer ones."""

import numpy as np
import pytest

from rackmodel.planning.pipeline import PASSES, Pipe, Reduced, graph_of, pipeline_s
from rackmodel.workload.schedules.schedule import schedule_of, schedules

SHAPES = [(p, v) for p in (2, 4, 6) for v in (1, 2, 3)]


def cases():
    for name, schedule in schedules().items():
        for p, v in SHAPES:
            if schedule.refuses(p, schedule.told(p)[1], v) == "":
                yield name, p, v


def gradients(p, plans, seconds=0.0, buckets=1.0, drag=0.0):
    each = np.full((p, plans), float(seconds)), np.full((p, plans), float(buckets))
    return Reduced(*each, np.full(plans, float(drag)))


def played(name, p, v, m, seconds, hop, *, transfers="late", few=None, reduced=None):
    schedule = schedule_of(name)
    batches = m if few is None else min(m, few)
    pipe = Pipe(name, p, v, False, transfers, batches)
    stages = seconds.reshape(len(PASSES), p * v, -1)
    alone = stages[:3].sum(axis=0)
    busy = alone[np.array(schedule.placement(p, v))].sum(axis=1) / schedule.directions
    reduced = reduced or gradients(p, len(hop))
    return pipeline_s(pipe, np.full(len(hop), float(m)), seconds, hop, busy, reduced)


def walked(name, p, v, m, seconds, hop, transfers):
    """Seconds of a pipeline, action by action, all of them: one plan."""
    graph = graph_of.__wrapped__(Pipe(name, p, v, False, transfers, m))
    ends_s = {}
    for level in graph.levels:
        for number, a in enumerate(range(level.low, level.high)):
            waits, count = level.waits[:, number].tolist(), len(graph.rank)
            arrived = [ends_s[w - count - 1] + hop for w in waits if w > count]
            start = max([0.0, *arrived, *(ends_s[w] for w in waits if w < count)])
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
    assert len(graph.passes) == sum(level.waits.shape[1] for level in graph.levels)
    assert (graph.passes[:, 0] >= 0).all()


@pytest.mark.parametrize(("name", "p", "v"), list(cases()))
def test_gradients_slow_the_passes_that_they_move_under_and_all_that_wait_for_these(name, p, v):
    """More gradients and more drag take longer, up to what they would take on every rank in turn;
    gradients that slow nothing change no pass, and none is lost."""
    m = schedule_of(name).told(p)[1]
    plans = 3
    each = durations(np.random.default_rng(p), schedule_of(name), p * v, plans, unlike=True)
    seconds, hop = each.reshape(-1, plans), np.full(plans, 0.01)
    bare, _, none = played(name, p, v, m, seconds, hop)
    assert (none == 0.0).all()
    free, _, left = played(name, p, v, m, seconds, hop, reduced=gradients(p, plans, 2.0, 3.0))
    assert free == pytest.approx(bare, rel=1e-12)
    assert ((left >= 0.0) & (left <= 2.0)).all()
    chunks = len(schedule_of(name).placement(p, v)[0])
    assert (left >= 2.0 / chunks / 3.0 - 1e-9).all()  # the last bucket has nothing to hide under
    before = bare
    for moved, drag in ((0.5, 0.2), (0.5, 0.6), (1.5, 0.6), (40.0, 0.6)):
        told = gradients(p, plans, moved, 3.0, drag)
        whole, _, left = played(name, p, v, m, seconds, hop, reduced=told)
        assert (whole >= before - 1e-12).all()
        assert (whole <= bare + drag * moved * p + 1e-9).all()
        before = whole


def test_a_slow_last_pass_delays_every_rank_before_it():
    """One forward, one backward: each of p ranks adds what its own last pass loses; by hand."""
    p, back, moved, drag = 4, 2.0, 3.0, 0.5
    each = np.zeros((len(PASSES), p, 1))
    each[0], each[1] = 1.0, back
    seconds, hop = each.reshape(-1, 1), np.zeros(1)
    told = gradients(p, 1, moved, 3.0, drag)
    bare = played("1f1b", p, 1, 2 * p, seconds, hop)[0][0]
    whole, _, left = played("1f1b", p, 1, 2 * p, seconds, hop, reduced=told)
    under = back * 2 / 3  # two of three buckets find so much of the pass before them
    assert whole[0] - bare == pytest.approx(p * drag * under)
    assert left[0] == pytest.approx(moved - under)
