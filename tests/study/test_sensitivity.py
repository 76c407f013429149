"""Sensitivities and design search: laws that hold for any machine, cases worked by hand."""

import math

import numpy as np
import pytest

from rackmodel.engine.networks import network_of
from rackmodel.errors import CannotRun, InvalidInput, UnknownName
from rackmodel.hardware import load_catalog
from rackmodel.study.resources import RESOURCES, scale
from rackmodel.study.shadow_prices import sensitivity, sobol
from rackmodel.sweeps.design_search import pareto_front, run_designs
from rackmodel.sweeps.design_spec import DesignSpec
from rackmodel.topology import load_topology
from rackmodel.workload import Job, Plan, load_model


def small_job(**plan):
    plan = {"tp": 2, "pp": 2, "dp": 4} | plan
    return Job(model=load_model("gpt3-6.7b"), plan=Plan(**plan), seq_len=2048, global_batch=32)


def test_more_of_a_resource_never_slows_and_less_never_speeds_up():
    found = sensitivity("dgx-h100", small_job())
    rows = {row["resource"]: row for row in found["rows"]}
    assert set(rows) == set(RESOURCES)
    for name, row in rows.items():
        if row["gain"] is not None and not row["replanned"]:
            assert row["gain"] >= -1e-6, name
            assert row["loss"] <= 1e-6, name
    assert rows["flops_per_s"]["gain"] > 0.3
    assert rows["hbm_bytes"]["gain"] >= -0.01  # best plan against best plan, by estimate
    assert rows["hbm_bytes"]["loss"] <= 0.01
    assert rows["scale_up_bytes_per_s"]["gain"] > 0.01
    # nothing gains more than the resource itself grew
    assert all(row["gain"] < 1.0 for row in rows.values() if row["gain"] is not None)
    assert 0 < sum(row["elasticity"] or 0 for row in rows.values()) < 1.6


def test_a_host_twice_as_quick_is_worth_most_where_kernels_wait_for_it():
    (waiting,) = sensitivity(
        "dgx-h100",
        {"model": "gpt3-1.3b", "gpus": 8, "global_batch": 64, "seq_len": 512}
        | {"plan": {"tp": 8, "pp": 1, "micro_batch": 1}},
        resources=("host_launches_per_s",),
    )["rows"]
    (busy,) = sensitivity("dgx-h100", small_job(), resources=("host_launches_per_s",))["rows"]
    assert waiting["gain"] > 0.3
    assert 0.0 <= busy["gain"] < 0.1
    assert waiting["loss"] < -0.3


def test_scaling_touches_one_resource_only():
    machine, catalog = load_topology("gb200-nvl72"), load_catalog()
    scaled, _ = scale(machine, catalog, "nic_bytes_per_s", 2.0)
    before, after = network_of(machine, 144), network_of(scaled, 144)
    nic = before.of_kind("nic")
    outside = nic[before.tail] | nic[before.head]
    for rates in ("capacity", "nominal"):
        ratio = getattr(after, rates) / getattr(before, rates)
        assert (ratio == np.where(outside, 2.0, 1.0)).all()
    assert (after.latency_s == before.latency_s).all()
    with pytest.raises(CannotRun, match="ask for its network"):
        scaled.graph(144)
    _, parts = scale(machine, catalog, "hbm_bytes_per_s", 3.0)
    own, plain = parts.accelerators["gb200"], catalog.accelerators["gb200"]
    assert own.hbm_bytes_per_s == 3 * plain.hbm_bytes_per_s
    assert own.flops_per_s == plain.flops_per_s
    larger, _ = scale(machine, catalog, "domain_accelerators", 2.0)
    assert larger.domain_accelerators == 144
    with pytest.raises(UnknownName, match="did you mean 'hbm_bytes'"):
        scale(machine, catalog, "hbm_byte", 2.0)
    with pytest.raises(InvalidInput, match="factor above 0"):
        scale(machine, catalog, "hbm_bytes", 0.0)


def test_sobol_finds_the_variances_of_a_sum():
    found = sobol(
        lambda x: 2 * x["a"] + x["b"] + 0 * x["c"], dict.fromkeys("abc", (0.0, 1.0)), samples=512
    )
    shares = dict(zip(found["constant"], found["total"], strict=True))
    assert shares["a"] == pytest.approx(0.8, abs=0.03)  # variances 4 : 1
    assert shares["b"] == pytest.approx(0.2, abs=0.03)
    assert shares["c"] == pytest.approx(0.0, abs=0.01)


def curve(job):
    """Throughput grows with the domain, heat faster; above 100 it does not run."""
    if job["domain"] > 100:
        raise CannotRun("no such rack")
    return {
        "tokens": math.sqrt(job["domain"]) * job.get("x", 1.0),
        "heat": 1.0 * job["domain"] * job.get("x", 1.0),
    }


def test_design_search_keeps_constraints_and_marks_the_front():
    wanted = DesignSpec.of(
        {"model": "m"},
        {"domain": [4, 16, 64, 256], "x": [1.0, 2.0]},
        {"tokens": "max", "heat": "min"},
        constraints=["heat <= 100"],
    )
    frame = run_designs(wanted, job=curve)
    assert frame["status"].tolist() == ["done"] * 6 + ["infeasible"] * 2
    assert frame.loc[frame["allowed"], "heat"].tolist() == [4, 8, 16, 32, 64]
    # (16, x 1) gives 4 for 16 of heat, and (4, x 2) the same for 8
    assert frame.loc[frame["pareto"], ["domain", "x"]].to_numpy().tolist() == [
        [4, 1],
        [4, 2],
        [16, 2],
    ]


def test_many_designs_are_sampled_evenly_and_the_same_every_time():
    knobs = {"domain": list(range(1, 101)), "x": [0.1 * n for n in range(1, 101)]}
    wanted = DesignSpec.of({}, knobs, {"tokens": "max"}, most=64)
    frames = [run_designs(wanted, job=curve) for _ in range(2)]
    assert frames[0].equals(frames[1])
    assert 50 < len(frames[0]) <= 64
    assert frames[0]["pareto"].sum() == 1


def test_pareto_front_keeps_equals():
    assert pareto_front([[1, 1], [1, 1], [0, 2], [2, 2]], ["min", "min"]).tolist() == [
        True,
        True,
        True,
        False,
    ]


def test_links_stay_scaled_where_a_stand_in_has_the_tiers_of_the_whole():
    machine, parts = load_topology("gb200-nvl72"), load_catalog()
    scaled, _ = scale(machine, parts, "latency_s", 0.5)
    plain, half = (network_of(one.tiers_of(4608), 144).latency_s for one in (machine, scaled))
    assert (half == plain / 2).all()
