"""Stretches kept from their first visit: nothing but events tells whether segments are walked."""

from __future__ import annotations

import random

import numpy as np
import pytest
from test_folding import FlatKernels, TreeMachine, small_model
from test_folding_everywhere import random_job, random_machine

from rackmodel.engine.options import EngineOptions
from rackmodel.engine.rank_logs import expanded
from rackmodel.engine.script import Cut, Hold, Join, KernelRun
from rackmodel.engine.step import simulate_step
from rackmodel.engine.stretches import Record, Stretch
from rackmodel.topology import load_topology
from rackmodel.workload import Job, Plan
from rackmodel.workload.validity import check


def nothing(*_, **__):
    """What stands for a stretch where there are none."""
    return None


def assert_as_walked(monkeypatch, machine, job, **options):
    """Assert that a step is the same where no stretch is kept; return events with and without."""

    def run():
        how = EngineOptions(**options)
        return simulate_step(machine, job, FlatKernels(), how, taken=lambda *_: 0.1)

    kept = run()
    with monkeypatch.context() as patch:
        patch.setattr(Stretch, "of", nothing)
        walked = run()
    assert kept.step_s == pytest.approx(walked.step_s, rel=1e-13)
    assert len(kept.splices) == len(walked.splices)
    if not kept.splices:
        for one, other in zip(kept.logs, walked.logs, strict=True):
            rows, pieces = (
                [row for row in expanded(log) if row[2] != "hold" or row[4] - row[3] > 1e-12]
                for log in (one, other)
            )
            assert [row[:3] for row in rows] == [row[:3] for row in pieces]
            times, piecewise = (np.array([row[3:] for row in x]) for x in (rows, pieces))
            np.testing.assert_allclose(times, piecewise, rtol=1e-12, atol=1e-15)
    return kept.events, walked.events


def crowded_case(seed):
    """Return a machine on whose links tp and ep meet, and a job whose passes begin both beside."""
    rnd = random.Random(seed)
    pp = rnd.choice([1, 2, 4])
    plan = Plan(
        tp=rnd.choice([2, 4]),
        pp=pp,
        dp=rnd.choice([4, 8]),
        ep=rnd.choice([2, 4]),
        tp_overlap=True,
        ep_overlap=pp > 1,
        schedule="dualpipe" if pp > 1 else "",
        sharding=rnd.choice(["none", "zero1"]) if pp > 1 else rnd.choice(["zero1", "zero3"]),
        micro_batch=1,
    )
    more = {"experts": 16, "topk": 2, "moe_ffn": 2048, "kv_heads": 4}
    batches = 2 * pp * rnd.choice([2, 3]) if pp > 1 else rnd.choice([3, 6])
    job = Job(
        model=small_model(layers=8, gated_ffn=True, hidden=2048, **more),
        plan=plan,
        seq_len=4096,
        global_batch=plan.replicas * batches,
    )
    check(job)
    machine = TreeMachine(rnd.choice([8, 16, 64]), up=rnd.choice([1, 0.5]))
    options = {"fold": rnd.random() < 0.5, "repeat": rnd.choice(["exact", "all"])}
    if rnd.random() < 0.3:  # replicas drift apart
        options["slow"] = {rnd.choice([0, 1]): 1.3}
    return machine, job, options


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
@pytest.mark.parametrize("seed", range(10))
def test_crowded_segments_are_kept_as_they_are_walked(monkeypatch, seed, engine):
    machine, job, options = crowded_case(seed)
    kept, walked = assert_as_walked(monkeypatch, machine, job, engine=engine, **options)
    assert kept <= (0.7 if job.plan.pp > 1 else 1.05) * walked


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
@pytest.mark.parametrize("gpus", [512, 456])
def test_segments_whose_links_others_load_only_with_the_team(monkeypatch, gpus, engine):
    """On a torus rings of tp share links with each other and with those of dp.

    Where all that load them belong to the team, nothing of it in flight is quiet enough; in a slice
    that is filled in part others load them, too.
    """
    plan = Plan(tp=4, dp=gpus // 4, sharding="zero1", tp_overlap=True)
    job = Job(model=small_model(layers=4), plan=plan, seq_len=1024, global_batch=plan.dp * 8)
    machine = load_topology("tpu-v5p-pod")
    kept, walked = assert_as_walked(monkeypatch, machine, job, engine=engine)
    assert kept < 0.5 * walked if gpus == 512 else kept == walked


@pytest.mark.parametrize("seed", range(100, 112))
def test_whatever_the_plan(monkeypatch, seed):
    rnd = random.Random(seed)
    job, machine = random_job(rnd), random_machine(rnd)
    slow = {rnd.choice([0, 1]): 1.3} if rnd.random() < 0.3 and job.gpus > 1 else {}
    assert_as_walked(monkeypatch, machine, job, slow=slow, fold=rnd.random() < 0.7, repeat="all")


def beside(*, late=False):
    """Return the pieces of a segment whose collective runs beside kernels, and their cut."""
    run = KernelRun(1, 1.0, ((1, 1.0),))
    begun, hold = Join(0, 0, "tp", "tp", "t"), Hold(2, "t")
    return Cut.of([hold, begun, run, run] if late else [begun, run, hold, run])


def test_who_ends_while_another_exchanges_disturbs_it():
    for heard_s, known in ((1.0, True), (1.2, False)):
        stretch = Stretch.of(beside(), (0, 1), frozenset([0]))
        record = Record.at(stretch, 0, 7, 0.0)
        record.ends(0, 1.1, 1.0)
        assert not record.known
        record.ends(1, 1.3, heard_s)
        assert (record.known, stretch.apart) == (known, not known)


def test_what_was_begun_elsewhere_is_not_kept():
    assert Stretch.of(beside(late=True), (0,), frozenset([0])) is None
