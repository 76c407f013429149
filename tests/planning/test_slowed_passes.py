"""Gradients under the last passes of a rank slow these, and all that waits for them."""

import numpy as np
import pytest

from rackmodel.argument.machines import machine
from rackmodel.hardware import load_catalog
from rackmodel.planning.enumeration import enumerate_plans
from rackmodel.planning.planner import Planner
from rackmodel.study.resources import scale
from rackmodel.workload import Job, Plan, load_model

# Nodes of 8: all-to-alls of 16, gradients and transfers share NICs; or gradients and transfers do.
CASES = {
    "deepseek-v3": (1024, {"tp": 1, "pp": 8, "ep": 16, "recompute": "full"}, (1, 2, 4)),
    "kimi-k2": (1024, {"tp": 1, "pp": 16, "ep": 8, "recompute": "full"}, (2,)),
    "llama3.1-405b": (128, {"tp": 8, "pp": 16, "recompute": "none"}, (2,)),
}


def one_plan(model, vpp, *, nodes=None, **more):
    batch, fields, _ = CASES[model]
    nodes = nodes or machine(8)
    words = {"model": load_model(model), "plan": Plan(), "seq_len": 4096, "global_batch": batch}
    planner = Planner(nodes, Job(precision="fp8-mx", **words), 512, None)
    fixed = {"micro_batch": 1, "sharding": "zero1", "cp": 1, "vpp": vpp, **fields, **more}
    some = enumerate_plans(planner.job, 512, domain=8, fixed=fixed).take(np.array([0]))
    return planner, some.plan(0), float(planner.estimate(some).step_s[0])


@pytest.mark.parametrize(
    ("model", "vpp"), [(model, vpp) for model, (_, _, some) in CASES.items() for vpp in some]
)
def test_closed_form_and_simulation_agree_to_2_percent_where_nics_are_shared(model, vpp):
    planner, plan, step_s = one_plan(model, vpp)
    assert step_s == pytest.approx(planner.simulate(plan).step.step_s, rel=0.02)


@pytest.mark.parametrize("vpp", [1, 4])
def test_a_step_is_no_longer_with_faster_nics_and_no_shorter_with_longer_wires(vpp):
    def step_s(resource, factor):
        nodes = scale(machine(8), load_catalog(), resource, factor)[0]
        return one_plan("deepseek-v3", vpp, nodes=nodes)[2]

    rates = [step_s("nic_bytes_per_s", factor) for factor in (0.5, 1.0, 2.0, 4.0)]
    assert rates == sorted(rates, reverse=True)
    delays = [step_s("latency_s", factor) for factor in (0.5, 1.0, 4.0, 16.0)]
    assert delays == sorted(delays)
