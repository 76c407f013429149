"""Machines of the study differ in what was asked for and in nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from rackmodel.errors import CannotRun, InvalidInput, UnknownName
from rackmodel.study.scale_up import DOMAINS, FIELDS, PLANS, best_of, machine, point
from rackmodel.study.spec import read_spec

SPECS = sorted((Path(__file__).parents[2] / "benchmarks" / "scale_up_vs_scale_out").glob("*.toml"))


@pytest.mark.parametrize("domain", DOMAINS)
def test_domains_differ_in_size_only(domain):
    one = machine(domain)
    assert one.domain_accelerators == domain
    assert one.scale_up.accelerator_bytes_per_s == pytest.approx(900e9)
    assert one.nic_bytes_per_s == pytest.approx(50e9)
    assert one.rack_accelerators == 72
    plan = one.plan(4608)
    assert plan.leaf_down == plan.leaf_up == 32


@pytest.mark.parametrize("rate", [200, 400, 800, 1600])
def test_nics_have_the_rate_that_was_asked_for(rate):
    for domain in (8, 72, 576):
        assert machine(domain, nic_gbps=rate).nic_bytes_per_s == pytest.approx(rate * 1e9 / 8)


def test_unknown_sizes_are_refused_with_those_there_are():
    with pytest.raises(InvalidInput, match="576"):
        machine(100)
    with pytest.raises(InvalidInput, match="1600"):
        machine(72, nic_gbps=300)
    with pytest.raises(UnknownName, match="deepseek-v3"):
        point({"model": "deepseek", "gpus": 1152})


def test_no_plan_that_fits_is_told_with_its_reason():
    with pytest.raises(CannotRun):
        best_of(machine(8), "llama3.1-405b", 8, 8, 4096, [{"tp": 8}])


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_specs_are_read_and_name_models_with_plans(path):
    jobs = list(read_spec(path, FIELDS).jobs())
    assert jobs
    for job in jobs:
        assert job["model"] in PLANS
        assert job.get("domain", 72) in DOMAINS
        assert job["gpus"] % 4 == 0


def test_a_larger_domain_never_slows_experts_that_fit_it():
    job = {"model": "deepseek-v3", "gpus": 576, "global_batch": 1152, "plans": 1}
    rows = [point({**job, "domain": domain}) for domain in (8, 72)]
    assert rows[1]["tokens_per_s_per_gpu"] > rows[0]["tokens_per_s_per_gpu"]
    assert rows[0]["ep_share"] > rows[1]["ep_share"]
