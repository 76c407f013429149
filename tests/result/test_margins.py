"""What binds a step is what half of would make it quickest: as machines with twice of it say."""

import pytest

import rackmodel
from rackmodel.assess.run import run
from rackmodel.hardware import load_catalog
from rackmodel.result.margins import KERNELS, OF_KERNELS
from rackmodel.study.resources import scale
from rackmodel.topology import load_topology

EXPERTS = {"model": "mixtral-8x7b", "gpus": 16, "global_batch": 32, "seq_len": 4096}
SMALL = {"gpus": 8, "global_batch": 8, "seq_len": 2048}
LONG = {"model": "llama3.1-70b", "gpus": 64, "global_batch": 8, "seq_len": 131072}
CASES = {
    "dense": (
        "dgx-h100",
        {"model": "gpt3-13b", "gpus": 16, "global_batch": 64, "seq_len": 2048},
        {"tp": 2, "pp": 2},
    ),
    "experts": (
        "dgx-h100",
        {**EXPERTS, "precision": "fp8"},
        {"ep": 8, "pp": 1, "tp": 1, "recompute": "full"},
    ),
    "shared": ("dgx-h100", {**EXPERTS, "precision": "fp8"}, {"ep": 8, "pp": 1, "tp": 1}),
    "pipeline": ("dgx-a100-80", EXPERTS, {"ep": 8, "pp": 2, "tp": 2}),
    "wires": ("dgx-h100", {"model": "gpt3-13b", **SMALL}, {"tp": 8, "pp": 1}),
    "host": ("dgx-h100", {"model": "gpt3-1.3b", **SMALL, "seq_len": 512}, {"tp": 8, "pp": 1}),
    "rings": ("gb200-nvl72", {**LONG, "precision": "fp8-mx"}, {"tp": 4, "cp": 8, "pp": 1}),
    "turning": ("gb200-nvl72", {"model": "gpt3-6.7b", **SMALL, "seq_len": 512}, {"tp": 4, "pp": 1}),
    "nodes": (
        "dgx-h100",
        {"model": "deepseek-v3", "gpus": 64, "global_batch": 128, "seq_len": 4096}
        | {"precision": "fp8"},
        {"ep": 64, "pp": 1},
    ),
}
RESOURCES = {
    "matrix units": ("flops_per_s",),
    "HBM bandwidth": ("hbm_bytes_per_s",),
    "host launch": ("host_launches_per_s",),
    "wires": ("scale_up_bytes_per_s", "nic_bytes_per_s", "fabric_bytes_per_s"),
}
NOT_BOUGHT = ("bubble",)


@pytest.fixture(scope="module", params=CASES)
def simulated(request):
    machine, words, plan = CASES[request.param]
    plan = {"micro_batch": 1, **plan}
    return machine, rackmodel.simulate(machine, **words, plan=plan, check_memory=False)


@pytest.fixture(scope="module")
def gains(simulated):
    """What a machine with twice of each gains, simulated anew; share of the step."""
    name, result = simulated
    found = {}
    for limit, resources in RESOURCES.items():
        machine, parts = load_topology(name), load_catalog()
        for resource in resources:
            machine, parts = scale(machine, parts, resource, 2.0)
        twice = run(machine, result.step.job, catalog=parts, check_memory=False)
        found[limit] = 1.0 - twice.step_s / result.step_s
    return found


def bought(result):
    """Margins by what can be doubled, as shares of the step."""
    found = dict.fromkeys(RESOURCES, 0.0)
    for name, seconds in result.margins_s.items():
        if name not in NOT_BOUGHT:
            found[name if name in OF_KERNELS else "wires"] += seconds / result.step_s
    return found


def test_the_largest_margin_binds(simulated):
    _, result = simulated
    margins, parts = result.margins_s, result.breakdown_s
    wires = {name: value for name, value in margins.items() if name not in (*OF_KERNELS, "bubble")}
    own = {name: value for name, value in margins.items() if name not in wires}
    traffic = sum(wires.values()) > max(own.values())
    assert margins[result.bound_by] == max((wires if traffic else own).values())
    own_s = sum(parts.get(name, 0.0) for name in (*KERNELS, "bubble"))
    assert all(0.0 <= margins[name] <= own_s / 2.0 * (1.0 + 1e-9) for name in OF_KERNELS)
    assert sum(margins.values()) <= result.step_s


def test_margins_are_what_a_machine_with_twice_as_much_gains(simulated, gains):
    assert bought(simulated[1]) == pytest.approx(gains, abs=0.035)


def test_nothing_else_gains_much_more_than_what_is_said_to_bind(simulated, gains):
    said = simulated[1].bound_by
    assert said not in NOT_BOUGHT
    named = gains[said if said in OF_KERNELS else "wires"]
    assert named > 0.07
    assert named >= max(gains.values()) - 0.025
