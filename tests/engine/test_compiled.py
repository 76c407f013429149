"""Compiled code does what SimPy does, event by event, to the last bit."""

from __future__ import annotations

import random

import numpy as np
import pytest
from test_folding import FlatKernels, TreeMachine, small_model
from test_folding_everywhere import random_job, random_machine

from rackmodel.engine import array_run, compiled, engines, simulation
from rackmodel.engine.instructions import TOKEN_NODES
from rackmodel.engine.options import EngineOptions
from rackmodel.engine.simulation import TooSlow
from rackmodel.engine.step import simulate_step
from rackmodel.errors import InvalidInput
from rackmodel.network.sharing import NUMBA
from rackmodel.topology import load_topology
from rackmodel.workload import Job, Plan

needs_numba = pytest.mark.skipif(not NUMBA, reason="numba is not installed")


def told(step):
    """Return all that a step logged, with what locksteps last in their stead."""
    return [
        [(*one[:7], None if one.lockstep is None else one.lockstep.total_s) for one in log]
        for log in step.logs
    ]


def assert_the_same(machine, job, **options):
    """Assert that both engines log the same events at the same instants; return them."""
    plain, arrays = (
        simulate_step(
            machine,
            job,
            FlatKernels(),
            EngineOptions(engine=engine, **options),
            taken=lambda *_: 0.1,
        )
        for engine in ("simpy", "compiled")
    )
    assert (plain.engine, arrays.engine) == ("simpy", "compiled")
    assert plain.step_s == arrays.step_s
    assert plain.events == arrays.events
    assert plain.splices == arrays.splices
    assert told(plain) == told(arrays)


def random_case(seed):
    """Return a machine, a job and how it is simulated."""
    rnd = random.Random(seed)
    job, machine = random_job(rnd), random_machine(rnd)
    options = {
        "fold": rnd.random() < 0.3,
        "routing": rnd.choice(["spray", "ecmp", "ecmp", "single"]),
        "seed": seed,
        "packed": rnd.random() < 0.3,
        "repeat": rnd.choice(["exact", "all"]),
    }
    if rnd.random() < 0.3 and job.gpus > 1:
        options["slow"] = {rnd.choice([0, 1]): 1.3}
    return machine, job, options


@needs_numba
@pytest.mark.parametrize("seed", [n for n in range(14) if n not in (3, 5)])  # these two are long
def test_compiled_code_does_what_simpy_does(seed):
    machine, job, options = random_case(seed)
    assert_the_same(machine, job, **options)


@needs_numba
def test_hashed_paths_that_meet():
    plan = Plan(tp=8, pp=2, dp=8, sharding="zero3")
    job = Job(
        model=small_model(layers=8, hidden=8192, ffn=32768),
        plan=plan,
        seq_len=2048,
        global_batch=32,
    )
    assert_the_same(load_topology("dgx-h100-dragonfly"), job, routing="ecmp", seed=7)


def small_case():
    """Return a machine of thin uplinks, a job in which sends and gradients meet on them."""
    plan = Plan(tp=2, pp=2, dp=4, sharding="zero3")
    job = Job(model=small_model(layers=4), plan=plan, seq_len=1024, global_batch=12)
    return TreeMachine(4, up=0.25), job


def test_the_same_without_compiling(monkeypatch):
    """The code of arrays gives the same when Python runs it: nothing hangs on the compiler."""
    monkeypatch.setattr(array_run, "run", compiled.run.work)
    monkeypatch.setattr(simulation, "NUMBA", True)
    assert_the_same(*small_case(), fold=False)


@needs_numba
def test_a_step_that_takes_too_long():
    machine, job = small_case()
    whole = simulate_step(machine, job, FlatKernels(), EngineOptions(engine="compiled"))
    limited = EngineOptions(engine="compiled", limit_s=0.9 * whole.step_s)
    with pytest.raises(TooSlow):
        simulate_step(machine, job, FlatKernels(), limited)


@needs_numba
def test_logs_read_like_lists():
    machine, job = small_case()
    log = simulate_step(machine, job, FlatKernels(), EngineOptions(engine="compiled")).logs[0]
    assert [log[n] for n in range(len(log))] == list(log)
    assert list(log[1:3]) == list(log)[1:3]
    assert log[-1] == list(log)[-1]
    assert np.all(log.times[:, 1] >= log.times[:, 0])


def test_compiled_without_numba_says_what_to_install(monkeypatch):
    monkeypatch.setattr(simulation, "NUMBA", False)
    machine, job = small_case()
    with pytest.raises(InvalidInput, match=r"pip install 'rackmodel\[fast\]'"):
        simulate_step(machine, job, FlatKernels(), EngineOptions(engine="compiled"))
    assert simulate_step(machine, job, FlatKernels()).engine == "simpy"


@pytest.mark.parametrize("seed", range(4))
def test_expected_events_are_about_those_that_come(monkeypatch, seed):
    found = []

    def asked(events):
        found.extend(events)
        return False

    monkeypatch.setattr(simulation, "compiling_repays", asked)
    machine, job, options = random_case(seed)
    options.pop("engine", None)
    events = simulate_step(machine, job, FlatKernels(), EngineOptions(**options)).events
    assert 0.3 * events - 100 <= sum(found) <= 2 * events + 100


def test_compiled_code_is_loaded_once_many_steps_have_repaid_it(monkeypatch):
    monkeypatch.setattr(engines, "_walked", [0])
    monkeypatch.setattr(engines, "_is_compiled", lambda: True)
    chosen = [engines.compiling_repays([engines.LARGE // 3 + 1]) for _ in range(4)]
    assert chosen == [False, False, True, True]
    assert not engines.compiling_repays([engines.SMALL - 1])
    monkeypatch.setattr(engines, "_is_compiled", lambda: False)
    assert not engines.compiling_repays([engines.LARGE])
    assert engines.compiling_repays([engines.HUGE])


@pytest.mark.parametrize("kept", [False, True])
def test_what_repays_compiling_does_so_with_more_events(monkeypatch, kept):
    monkeypatch.setattr(engines, "_is_compiled", lambda: kept)
    chosen = []
    for exponent in range(2, 9):
        monkeypatch.setattr(engines, "_walked", [0])
        chosen.append(engines.compiling_repays([10**exponent]))
    assert chosen == sorted(chosen)
    assert not chosen[0]
    assert chosen[-1]


@needs_numba
def test_sends_held_to_the_end_of_many_micro_batches_need_no_second_run(monkeypatch):
    """Tokens of all micro-batches at once have room, and short lists: seconds are linear."""
    runs = []

    def run(tables, state, clock, fluid, limit_s):
        ended = compiled.run(tables, state, clock, fluid, limit_s)
        runs.append((ended, state))
        return ended

    monkeypatch.setattr(array_run, "run", run)
    plan = Plan(tp=2, pp=4, vpp=2, dp=1)
    job = Job(model=small_model(layers=8), plan=plan, seq_len=1024, global_batch=128)
    options = EngineOptions(engine="compiled", repeat="all")
    simulate_step(TreeMachine(4, up=0.25), job, FlatKernels(), options)
    assert [ended for ended, _ in runs] == [compiled.ENDED]
    state = runs[0][1]
    held = int(state.counts[TOKEN_NODES])  # the most at once
    assert held > 64 * (len(state.ranks) + 1)
    assert len(state.token_at) * state.token_at.shape[1] >= held
