"""Networks compiled from elements, kept between simulations; steps that are given up."""

import dataclasses
import gc
import weakref

import numpy as np
import pytest
from test_folding import FlatKernels, TreeMachine, small_model

import rackmodel
from rackmodel import api
from rackmodel.assess.run import kernels_s, run
from rackmodel.engine import folding, groups, networks
from rackmodel.engine.networks import network_of
from rackmodel.engine.options import EngineOptions
from rackmodel.engine.simulation import TooSlow
from rackmodel.engine.step import simulate_step
from rackmodel.network import Network
from rackmodel.result.link_usage import link_bytes
from rackmodel.topology import load_topology
from rackmodel.workload import Job, Plan

MACHINES = (
    *("gb200-nvl72", "dgx-h100", "dgx-h100-rail-only", "dgx-h100-dragonfly", "tpu-v5p-pod"),
    *("mi355x-platform", "nvl576", "cloudmatrix384", "trn2-ultraserver", "hgx-a100-80-4x200g"),
)


@pytest.mark.parametrize("routing", ["spray", "ecmp"])
@pytest.mark.parametrize("name", MACHINES)
def test_elements_compile_to_the_same_network_as_the_graph(name, routing):
    machine = load_topology(name)
    most = machine.max_accelerators or 300
    for used in {1, min(most, 100), min(most, 300)}:
        graph = Network.from_graph(machine.graph(used, bundled=True), routing=routing)
        lists = Network.of_machine(machine, used, routing=routing)
        for field in dataclasses.fields(Network):
            one, other = getattr(graph, field.name), getattr(lists, field.name)
            if field.name == "nodes":  # names that are spelled out when they are read
                other = tuple(other)
            if field.name != "_cache":
                assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other


def test_a_network_is_kept_for_the_next_simulation_but_not_a_users_graph():
    machine = load_topology("dgx-h100")
    assert network_of(machine, 9) is network_of(machine, 16)
    assert network_of(machine, 16) is not network_of(machine, 17)
    own = load_topology(machine.graph(8), accelerator="h100")
    assert network_of(own, 8) is not network_of(own, 8)


def test_networks_are_kept_by_content_until_the_caches_are_cleared():
    one = network_of(load_topology("dgx-h100"), 16)
    rackmodel.clear_caches()
    again = network_of(load_topology("dgx-h100"), 16)
    assert again is not one
    machine = load_topology("dgx-h100")
    equal, other = dataclasses.replace(machine), dataclasses.replace(machine, title="another")
    assert network_of(equal, 16) is again
    assert network_of(other, 16) is not again


def test_hashed_routes_are_not_taken_to_repeat():
    machine = TreeMachine(4, pod=1)
    plan = Plan(tp=4, dp=90)
    job = Job(model=small_model(), plan=plan, seq_len=1024, global_batch=90)
    hashed = simulate_step(machine, job, FlatKernels(), EngineOptions(routing="ecmp"))
    assert len(hashed.rank_weight) == plan.gpus
    assert len(simulate_step(machine, job, FlatKernels()).rank_weight) < plan.gpus


def test_a_step_beyond_the_limit_is_given_up_and_one_within_is_not():
    machine = TreeMachine(8)
    job = Job(model=small_model(), plan=Plan(tp=4, pp=2, dp=2), seq_len=1024, global_batch=12)
    whole = simulate_step(machine, job, FlatKernels())
    limited = simulate_step(
        machine, job, FlatKernels(), EngineOptions(limit_s=whole.step_s * (1 + 1e-9))
    )
    assert limited.step_s == whole.step_s
    with pytest.raises(TooSlow, match="longer than"):
        simulate_step(machine, job, FlatKernels(), EngineOptions(limit_s=0.9 * whole.step_s))


@pytest.mark.parametrize("plan", [{"tp": 4, "pp": 2}, {"tp": 8, "pp": 1}, {"tp": 2, "pp": 4}])
def test_no_step_is_quicker_than_the_kernels_of_its_busiest_stage(plan):
    machine = load_topology("dgx-h100")
    job = api.job_of(
        machine,
        model="gpt3-13b",
        gpus=16,
        global_batch=32,
        seq_len=2048,
        plan={**plan, "micro_batch": 1},
        default_plan=True,
    )
    step = run(machine, job).step
    assert 0.3 * step.step_s < kernels_s(machine, job) <= step.step_s


def test_steps_that_exchange_the_same_share_what_was_folded():
    job = Job(model=small_model(), plan=Plan(tp=4, pp=2, dp=4), seq_len=1024, global_batch=32)
    machine, kernels = load_topology("dgx-h100"), FlatKernels()
    one = simulate_step(machine, job, kernels)
    more = simulate_step(machine, job.replace(global_batch=64), kernels)
    assert more.machine is one.machine
    assert more.step_s > one.step_s
    for other in (job.replace(micro_batch=2), job.replace(sharding="zero3", pp=1, dp=8)):
        assert simulate_step(machine, other, kernels).machine is not one.machine
    slow = simulate_step(machine, job, kernels, EngineOptions(slow={"3": 2.0}))
    assert slow.machine is not one.machine


def test_what_is_kept_of_a_network_has_a_bound(monkeypatch):
    job = Job(model=small_model(), plan=Plan(tp=4, pp=2, dp=4), seq_len=1024, global_batch=32)
    machine, kernels = load_topology("dgx-h100"), FlatKernels()
    other = job.replace(sharding="zero3", pp=1, dp=8)
    plenty = [simulate_step(machine, one, kernels) for one in (job, other)]
    network, used = plenty[1].machine.network, [one.machine.crossings for one in plenty]
    assert folding.crossings_kept(network) >= sum(used)
    rackmodel.clear_caches()
    monkeypatch.setattr(folding, "MOST_CROSSINGS", 10)
    monkeypatch.setattr(groups, "MOST_PLACED", 10)
    few = [simulate_step(machine, one, kernels) for one in (job, other)]
    network = few[1].machine.network
    assert folding.crossings_kept(network) <= used[1] + 10  # of what was simulated last
    assert [one.step_s for one in few] == [one.step_s for one in plenty]


def test_a_step_does_not_hold_its_machine_and_folds_it_again_where_asked(monkeypatch):
    job = Job(model=small_model(), plan=Plan(tp=4, pp=2, dp=4), seq_len=1024, global_batch=32)
    machine, kernels = load_topology("dgx-h100"), FlatKernels()
    one = simulate_step(machine, job, kernels)
    before, own = weakref.ref(one.machine.system.channels[0].streams.loads), link_bytes(one)
    monkeypatch.setattr(folding, "MOST_CROSSINGS", 10)
    simulate_step(machine, job.replace(sharding="zero3", pp=1, dp=8), kernels)
    gc.collect()
    assert before() is None
    assert all(map(np.array_equal, link_bytes(one), own))


def test_a_network_is_forgotten_for_others(monkeypatch):
    machine = load_topology("dgx-h100")
    one = network_of(machine, 64)
    assert network_of(machine, 64) is one
    monkeypatch.setattr(networks, "MOST_KEPT", 1)
    network_of(machine, 128)
    assert network_of(machine, 64) is not one
