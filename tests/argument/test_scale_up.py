"""Machines of the study differ in what was asked for and in nothing else."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from rackmodel.argument import scale_up
from rackmodel.argument.machines import DOMAINS, machine
from rackmodel.argument.ratios import record_ratio
from rackmodel.argument.scale_up import FIELDS, MODELS, Work, best_found, best_of, point, whole
from rackmodel.errors import CannotRun, InvalidInput, UnknownName
from rackmodel.sweeps.spec import read_spec
from rackmodel.sweeps.store import canonical
from rackmodel.verbs import scale_up_study as study

SPECS = sorted(study.SPECS.glob("*.toml"))


@pytest.mark.parametrize("domain", DOMAINS)
def test_domains_differ_in_size_only(domain):
    one = machine(domain)
    assert one.domain_accelerators == domain
    assert one.scale_up.accelerator_bytes_per_s == pytest.approx(900e9)
    assert one.nic_bytes_per_s == pytest.approx(50e9)
    assert one.rack_accelerators == {8: 16, 16: 36, 36: 36}.get(domain, 72)  # as they are sold
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
        best_of(machine(8), Work("llama3.1-405b", 8, 8, 4096), [{"tp": 8}])


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_specs_are_read_and_name_models_with_plans(path):
    jobs = list(read_spec(path, FIELDS).jobs())
    assert jobs
    for job in jobs:
        assert job["model"] in MODELS
        assert set(whole(job)) == set(FIELDS)
        assert job.get("domain", 72) in DOMAINS
        assert job["gpus"] % 4 == 0


def test_all_specs_together_ask_for_each_point_once(tmp_path):
    wanted = study.points(study.FULL)
    every = [canonical(job) for jobs in wanted.values() for job in jobs]
    assert len(set(every)) < len(every)
    sizes = {job["domain"] for job in wanted["domain"]}
    assert sizes == set(DOMAINS) >= {job["domain"] for job in wanted["giant"]}
    assert {job["gpus"] for job in wanted["strong"]} >= {2304, 73728}
    assert {job["precision"] for job in wanted["precision"]} == {"bf16", "fp8-mx", "nvfp4"}
    held = ("domain", "precision", "strong", "budget", "generations", "distance", "giant")
    tokens = {j["global_batch"] * j["seq_len"] for name in held for j in wanted[name]}
    assert tokens == {4608 * 8192}
    lengths = {job["seq_len"] for job in wanted["sequence"]}
    assert {4096, 131072} <= lengths


def test_frames_of_two_specs_share_rows_and_are_resumed(tmp_path, monkeypatch):
    jobs = {
        name: [whole({"model": "llama3-70b", "gpus": 576, "domain": size}) for size in sizes]
        for name, sizes in {"domain": (72, 8, 72), "nics": (72, 8)}.items()
    }
    jobs["domain"][2]["model"] = "llama3.1-405b"
    monkeypatch.setattr(study, "points", lambda names: {name: jobs[name] for name in names})
    asked = []

    def counted(flat):
        asked.append(flat["domain"])
        return {"speed": float(flat["domain"])}

    monkeypatch.setattr(study, "point", counted)
    for _ in range(2):
        frames = study.run(("domain", "nics"), tmp_path, workers=1)
        assert frames["domain"]["speed"].tolist() == [72.0, 8.0, 72.0]
        assert frames["nics"]["speed"].tolist() == [72.0, 8.0]
        assert asked == [8, 72, 72]  # of one machine one after another


def test_a_larger_domain_never_slows_experts_that_fit_it():
    job = {"model": "deepseek-v3", "gpus": 576, "global_batch": 1152, "simulated": 1}
    rows = [point({**job, "domain": domain}) for domain in (8, 72)]
    assert rows[1]["tokens_per_s_per_gpu"] > 1.05 * rows[0]["tokens_per_s_per_gpu"]
    assert rows[0]["plan"] != rows[1]["plan"]
    assert all(abs(row["estimate_off"]) < 0.10 for row in rows)


def test_another_medium_has_the_plan_of_its_machine_and_other_watts():
    job = {"model": "llama3-70b", "gpus": 288, "global_batch": 288, "domain": 288, "simulated": 1}
    rows = [point({**job, "medium": medium}) for medium in ("pluggable", "cpo")]
    assert rows[0]["plan"] == rows[1]["plan"]
    assert rows[0]["step_s"] == pytest.approx(rows[1]["step_s"], rel=1e-4)
    assert rows[0]["it_w_per_gpu"] > rows[1]["it_w_per_gpu"]


def test_more_capacity_never_hurts():
    job = {"model": "gpt4-moe-1.8t", "gpus": 576, "global_batch": 288, "simulated": 1, "max_tp": 2}
    steps = [point({**job, "hbm_capacity": capacity})["step_s"] for capacity in (1.0, 2.0)]
    assert steps[1] <= steps[0]


@pytest.mark.parametrize("routing", ["spray", "ecmp"])
def test_no_point_walks_every_micro_batch_where_nothing_recurs(monkeypatch, routing):
    asked, plain = [], scale_up.run

    def run(*words, **more):
        asked.append(more["options"].repeat)
        return plain(*words, **more)

    monkeypatch.setattr(scale_up, "run", run)
    job = {"model": "llama3-70b", "gpus": 72, "global_batch": 288, "simulated": 1, "max_tp": 4}
    point({**job, "routing": routing})
    assert asked
    assert set(asked) == {"estimate"}


def test_experts_that_leave_their_domain_gain_from_each_larger_one():
    """The same plan, and only the domain differs: no machine is slower than a smaller one."""
    plans = [{"tp": 2, "pp": 2, "ep": 32}]
    steps = [
        best_of(machine(domain), Work("deepseek-v3", 576, 1152, 4096), plans).step_s
        for domain in (8, 16, 36)
    ]
    assert steps == sorted(steps, reverse=True)
    assert steps[0] > 1.2 * steps[2]  # there the whole group fits


def test_the_search_finds_a_plan_at_least_as_good_as_those_one_would_try():
    """Plans of the kind that published recipes have; the closed form may be a few percent off."""
    usual = [{"tp": 2, "pp": 2, "vpp": 4}, {"tp": 2, "pp": 4, "vpp": 5}, {"tp": 4, "pp": 2}]
    job = (machine(72), Work("llama3-70b", 144, 288, 8192))
    found = best_found(*job)
    assert found.best.step_s < 1.01 * best_of(*job, usual).step_s
    assert found.plans > 100
    assert found.candidates[0].job.plan.micro_batch == 1


def test_results_on_one_accelerator_share_the_errors_of_its_kernels():
    row = {
        "accelerator": "gb200",
        "tokens_per_s_per_gpu": 10.0,
        "step_s": 1.0,
        "step_s_low": 0.9,
        "step_s_high": 1.2,
        "exposed_s": 0.1,
    }
    slower = {**row, "tokens_per_s_per_gpu": 8.0, "exposed_s": 0.4}
    value, low, high = record_ratio(row, slower)
    assert (value, low, high) == pytest.approx((1.25, 1.25 * 0.88 / 0.97, 1.25 * 1.12 / 1.03))
    apart = record_ratio(row, {**slower, "accelerator": "h100"})
    width = math.hypot(math.log(0.9), math.log(1.2))
    assert apart == pytest.approx((1.25, 1.25 * math.exp(-width), 1.25 * math.exp(width)))


def test_points_that_several_specs_ask_for_count_once():
    jobs = study.points(("groups", "precision"))
    told = {"status": "done", "plans_simulated": 2, "better_chance": study.UNSURE / 2}
    frames = {name: pd.DataFrame([job | told for job in some]) for name, some in jobs.items()}
    every = {canonical(job) for some in jobs.values() for job in some}
    assert len(every) < sum(map(len, frames.values()))
    assert study.rests_on(frames).startswith(
        f"{len(every)} points, {2 * len(every)} plans simulated; of 0"
    )
    frames["groups"]["better_chance"] = 2 * study.UNSURE
    assert f"of {len(frames['groups'])} points" not in study.rests_on(
        {"precision": frames["precision"]}
    )
    assert f"of {len(frames['groups'])} points" in study.rests_on({"groups": frames["groups"]})
