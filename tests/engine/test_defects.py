"""Slow, broken and mixed parts, and placement: what they are named, and the laws that they keep."""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np
import pytest
from test_folding import FlatKernels, compare, small_model

import rackmodel
from rackmodel.engine.options import EngineOptions
from rackmodel.engine.step import simulate_step
from rackmodel.errors import CannotRun, InvalidInput, UnknownName
from rackmodel.result.link_usage import link_bytes
from rackmodel.topology import load_topology
from rackmodel.workload import Job, Plan

DGX = load_topology("dgx-h100")
RACK = load_topology("gb200-nvl72")


def job(tp=8, pp=1, dp=2, batches=2, **plan):
    return Job(
        model=small_model(),
        plan=Plan(tp=tp, pp=pp, dp=dp, **plan),
        seq_len=1024,
        global_batch=dp * batches,
    )


def step(machine=DGX, wanted=None, **options):
    return simulate_step(machine, wanted or job(), FlatKernels(), EngineOptions(**options))


def stands(made):
    return made.rank_map.accelerators(made.job.gpus)


@pytest.mark.parametrize(
    ("words", "ranks"),
    [("gpu3", [3]), ("accelerator-3", [3]), ("domain1", range(8, 16)), ("rack0", range(16))],
)
def test_a_part_by_its_name_is_its_ranks_by_their_numbers(words, ranks):
    named = step(slow={words: 1.5})
    assert named.step_s == pytest.approx(step(slow=dict.fromkeys(ranks, 1.5)).step_s, rel=1e-12)
    assert named.step_s > step().step_s


@pytest.mark.parametrize(
    "options",
    [
        {"slow": {"gpu3": 1.3, "nic-4": 2.0}},
        {"broken": ["nic-3", "gpu9"]},
        {"broken": ["switch-0-0-1"]},
        {"placement": [8, 4, 4]},
        {"slow": {"leaf-0-2": 3.0}, "routing": "ecmp", "seed": 1},
    ],
)
def test_folded_equals_unfolded_with_defects(options):
    compare(DGX, job(tp=4, pp=2), **options)


def test_no_rank_stands_on_what_is_broken_and_no_byte_crosses_it():
    made = step(broken=["gpu3", "nic-9", "leaf-0-5"])
    assert stands(made).tolist() == list(range(8, 24))  # the whole node is passed over
    network = made.machine.network
    dead = [network.number[name] for name in ("accelerator-3", "nic-9", "leaf-0-5")]
    assert not np.isin(network.tail, dead).any()
    assert not np.isin(network.head, dead).any()
    own, _ = link_bytes(made)
    assert (own <= network.capacity * made.step_s * (1 + 1e-9)).all()


def test_spares_of_a_rack_take_the_place_of_what_is_broken():
    plain, made = (step(RACK, job(dp=16), broken=b) for b in ([], ["gpu5", "gpu70"]))
    assert stands(plain)[:64].tolist() == list(range(64))
    assert stands(made)[:64].tolist() == [a for a in range(66) if a != 5][:64]
    assert made.step_s == pytest.approx(plain.step_s, rel=1e-3)  # cables are as long as they are


def test_a_broken_switch_takes_its_share_of_the_domain():
    """18 switch chips: without one, the 17 that are left carry the same bytes."""
    wanted = job(tp=16, dp=4)
    alone = [step(RACK, wanted, broken=b) for b in ([], ["switch-0-0-3"])]
    rates = [made.machine.network.capacity[made.machine.network.scale_up] for made in alone]
    up = [float(r.sum()) for r in rates]
    assert up[1] == pytest.approx(up[0] * 17 / 18)


def test_slower_links_are_slower_and_never_quicker():
    times = [step(slow={"nic-3": factor}).step_s for factor in (1.0, 2.0, 4.0)]
    assert times[0] == pytest.approx(step().step_s, rel=1e-12)
    assert times == sorted(times)
    assert times[2] > times[0]


def test_placement_is_what_is_said():
    assert step(placement=[4]).rank_map.used == 4
    assert stands(step(placement=[6, 6, 4])).tolist() == [
        *range(6),
        *range(8, 14),
        *range(16, 20),
    ]
    by_count, by_list = step(placement=[4]), step(placement=[4, 4, 4, 4])
    assert by_count.step_s == pytest.approx(by_list.step_s, rel=1e-9)


def test_ranks_walk_a_torus_as_they_are_told():
    words = {"model": "gpt3-13b", "gpus": 64, "global_batch": 64, "seq_len": 2048}
    words["plan"] = {"tp": 4, "pp": 1, "micro_batch": 1, "sharding": "zero3"}
    machine = "tpu-v5p-pod"
    usual = rackmodel.simulate(machine, **words)
    orders = list(itertools.permutations(range(len(usual.step.rank_map.shape))))
    steps = {one: rackmodel.simulate(machine, **words, placement=list(one)) for one in orders}
    own = tuple(reversed(usual.step.rank_map.order))
    assert steps[own].step_s == pytest.approx(usual.step_s, rel=1e-9)
    assert {one: made.step.rank_map.order for one, made in steps.items()} == {
        one: tuple(reversed(one)) for one in orders
    }
    with pytest.raises(InvalidInput, match="names dimensions of a torus"):
        rackmodel.simulate("dgx-h100", **words, placement=[1, 0])


def test_another_accelerator_in_every_place_is_another_machine():
    words = {"model": "gpt3-13b", "gpus": 16, "global_batch": 16, "seq_len": 2048}
    words["plan"] = {"tp": 8, "pp": 1, "micro_batch": 1}
    plain = rackmodel.simulate("dgx-h100", **words, default_plan=True)
    mixed = rackmodel.simulate("dgx-h100", **words, default_plan=True, mixed={"domain1": "a100-80"})
    same = rackmodel.simulate("dgx-h100", **words, default_plan=True, mixed={"domain1": "h100"})
    whole = rackmodel.simulate("dgx-h100", **words, default_plan=True, mixed={"rack0": "a100-80"})
    assert same.step_s == pytest.approx(plain.step_s, rel=1e-12)
    assert plain.step_s < mixed.step_s <= whole.step_s * (1 + 1e-9)
    assert any("mixed" in note for note in mixed.to_dict()["notes"])
    # Power, peaks and prices are those of what stands there.
    told = [one.to_dict() for one in (plain, mixed, same, whole)]
    drawn = [sum(r["by_part_w"]["accelerator"] for r in one["racks"]) for one in told]
    assert drawn[2] == pytest.approx(drawn[0], rel=1e-12)
    there = rackmodel.simulate("dgx-a100-80", **words, default_plan=True)
    own = sum(r["by_part_w"]["accelerator"] for r in there.to_dict()["racks"])
    # A quicker fabric: they wait less, draw more watts and need fewer joules.
    assert own < drawn[3] < 1.1 * own < drawn[0]
    assert drawn[3] * whole.step_s < own * there.step_s
    assert plain.peak_flops_per_s > mixed.peak_flops_per_s > whole.peak_flops_per_s
    assert mixed.peak_flops_per_s == pytest.approx(
        (plain.peak_flops_per_s + whole.peak_flops_per_s) / 2
    )
    paid = [one["cost"]["capital_by_part_usd"]["accelerators"] for one in told]
    assert paid[0] == paid[2] > paid[1] == pytest.approx((paid[0] + paid[3]) / 2)


def test_each_part_of_a_mixed_machine_has_its_own_clock_under_a_cap():
    words = {"model": "gpt3-13b", "gpus": 16, "global_batch": 16, "seq_len": 2048}
    words |= {"plan": {"tp": 8, "pp": 1, "micro_batch": 1}, "default_plan": True}

    def step(**more):
        return rackmodel.simulate("dgx-h100", **words, **more)

    # 450 W hold an H100 back (700 W), but no A100 (400 W).
    older = {"mixed": {"rack0": "a100-80"}}
    assert step(**older, power_cap_w=450.0).step_s == pytest.approx(step(**older).step_s, rel=1e-12)
    capped = step(power_cap_w=450.0)
    assert capped.step_s > 1.02 * step().step_s
    same = step(mixed={"rack0": "h100"}, power_cap_w=450.0)
    assert same.step_s == pytest.approx(capped.step_s, rel=1e-3)
    assert same.to_dict()["power"]["cap_clock"] == pytest.approx(
        capped.to_dict()["power"]["cap_clock"], rel=1e-3
    )
    # Where both stand, the older ones hold the step up: the cap on the newer ones hardly acts.
    both = {"mixed": {"domain1": "a100-80"}}
    assert step(**both, power_cap_w=450.0).step_s == pytest.approx(step(**both).step_s, rel=0.02)
    slowed = step(**older, power_cap_w=300.0).to_dict()["power"]
    assert slowed["cap_slows"]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (
            {"broken": ["foo"]},
            UnknownName,
            r"no part of the machine 'foo' \(give gpu0 to gpu\d+, rack0, domain0",
        ),
        ({"slow": {"gpu99": 2.0}}, UnknownName, "gpu99"),
        ({"slow": {99: 2.0}}, InvalidInput, "give ranks of 0 to 15"),
        ({"slow": {"gpu0": 0.5}}, InvalidInput, "would be quicker; give .* 2 is half as fast"),
        ({"slow": {"gpu20": 2.0}, "placement": [8, 4, 4]}, InvalidInput, "can't act"),
        ({"placement": [9]}, CannotRun, "a domain has 8.*place at most 8"),
        (
            {"placement": [8, 4]},
            CannotRun,
            "12 accelerators are placed, the job has 16; make the numbers",
        ),
        ({"placement": [8], "packed": True}, InvalidInput, "give one"),
        ({"mixed": {"nic-3": "h200"}}, InvalidInput, "only accelerators"),
    ],
)
def test_what_can_not_be_is_refused_in_one_line(options, error, words):
    with pytest.raises(error, match=words) as raised:
        step(**options)
    assert "\n" not in str(raised.value)


def test_a_machine_without_enough_that_works_says_so():
    graph = nx.Graph(accelerator="h100")
    for number in range(8):
        graph.add_node(f"gpu-{number}", kind="accelerator")
        graph.add_edge(f"gpu-{number}", "switch-0", bytes_per_s=450e9)
    graph.nodes["switch-0"]["kind"] = "scale_up_switch"
    machine = load_topology(graph)
    with pytest.raises(CannotRun, match="fewer --gpus, or --packed"):
        step(machine, job(dp=1), broken=["gpu-0"])
    assert stands(step(machine, job(tp=4, dp=1), broken=["gpu-0"])).tolist() == [1, 2, 3, 4]


def test_a_torus_has_no_place_to_leave_out():
    with pytest.raises(CannotRun, match="torus"):
        step(load_topology("tpu-v5p-pod"), job(dp=8), broken=["gpu3"])
