"""Search: nothing that divides is missed, closed form and simulation agree, the winner wins."""

import numpy as np
import pytest

from rackmodel.errors import DoesNotFit, InvalidInput, InvalidPlan, UnknownName
from rackmodel.study.enumeration import divisors, enumerate_plans
from rackmodel.study.planner import HBM_MARGIN, Planner
from rackmodel.study.search import best_plan, plan_words, search
from rackmodel.study.space import Choices
from rackmodel.topology import load_topology
from rackmodel.workload import Job, Plan, check, load_model, peak_memory


def job_of(model="gpt3-13b", batch=64, seq_len=2048, **fields):
    return Job(model=load_model(model), plan=Plan(), seq_len=seq_len, global_batch=batch, **fields)


def all_valid(job, gpus, space):
    """Every plan over powers of two that the workload accepts, by brute force."""
    found = set()
    powers = [1, 2, 4, 8, 16, 32, 64]
    for tp in powers:
        for pp in powers:
            if gpus % (tp * pp):
                continue
            for vpp in range(1, 17):
                for batch in [b for b in (1, 2, 3, 4, 6, 8, 12, 16) if b <= job.global_batch]:
                    plan = Plan(tp=tp, pp=pp, vpp=vpp, dp=gpus // tp // pp, micro_batch=batch)
                    try:
                        check(job.replace(plan=plan))
                    except InvalidPlan:
                        continue
                    layers, stages = job.model.layers, pp * vpp
                    if vpp == 1 or layers % stages == 0 or (layers + 2) % stages == 0:
                        found.add((tp, pp, vpp, batch))
    return found


@pytest.mark.parametrize(("gpus", "batch"), [(16, 32), (24, 48)])
def test_no_plan_that_the_workload_accepts_is_missed(gpus, batch):
    job = job_of(batch=batch)
    space = enumerate_plans(job, gpus, choices=Choices(shardings=("zero1",), recomputes=("none",)))
    listed = {
        (int(tp), int(pp), int(vpp), int(mb))
        for tp, pp, vpp, mb in zip(
            space.column("tp"), space.pp, space.vpp, space.column("micro_batch"), strict=True
        )
        if not any(int(x) & (int(x) - 1) for x in (tp, pp))
    }
    assert listed == all_valid(job, gpus, space)


@pytest.mark.parametrize("model", ["gpt3-13b", "deepseek-v3", "llama3.1-70b"])
def test_every_listed_plan_is_valid(model):
    job = job_of(model, batch=128, seq_len=4096)
    space = enumerate_plans(job, 64)
    for entry in range(0, len(space), max(1, len(space) // 300)):
        check(job.replace(plan=space.plan(entry)))


def test_fixed_axes_stay_and_wrong_ones_are_told():
    job = job_of()
    space = enumerate_plans(job, 16, fixed={"tp": 4, "vpp": 1, "tp_overlap": True})
    assert set(space.column("tp").tolist()) == {4}
    assert space.plan(0).tp_overlap
    with pytest.raises(UnknownName, match="did you mean 'micro_batch'"):
        enumerate_plans(job, 16, fixed={"micro_batches": 2})
    with pytest.raises(InvalidInput, match="tp = 0"):
        enumerate_plans(job, 16, fixed={"tp": 0})
    with pytest.raises(InvalidPlan, match="no plan with tp 7 divides 16"):
        enumerate_plans(job, 16, fixed={"tp": 7})


def test_divisors():
    assert divisors(36) == [d for d in range(1, 37) if 36 % d == 0]


# One NVLink domain: every accelerator has its own port into a switch that holds back nobody.
ALONE = [
    {"tp": 8, "pp": 1},
    {"tp": 1, "pp": 1, "sharding": "zero1"},
    {"tp": 8, "pp": 2, "vpp": 1},
    {"tp": 4, "pp": 4, "vpp": 1, "micro_batch": 2},
    {"tp": 1, "pp": 8, "vpp": 1},
    {"tp": 2, "pp": 4, "vpp": 2},
    {"tp": 2, "pp": 2, "vpp": 1, "recompute": "full"},
    {"tp": 2, "pp": 8, "vpp": 1, "schedule": "gpipe"},
]


@pytest.mark.parametrize("fixed", ALONE, ids=str)
def test_closed_form_and_simulation_agree_to_2_percent_without_contention(fixed):
    fixed = {"micro_batch": 1, "recompute": "none", "sharding": "zero1"} | fixed
    machine, job = load_topology("gb200-nvl72"), job_of(batch=256)
    planner = Planner(machine, job, 64, None)
    space = enumerate_plans(job, 64, fixed=fixed)
    estimates = planner.estimate(space)
    assert len(space) == 1
    result = planner.simulate(space.plan(0))
    assert estimates.step_s[0] == pytest.approx(result.step.step_s, rel=0.02)
    assert estimates.bound_s[0] <= result.step.step_s


def test_hbm_of_the_closed_form_is_the_workloads():
    job = job_of("llama3.1-70b", batch=128, seq_len=4096)
    planner = Planner(load_topology("dgx-h100"), job, 128, None)
    space = enumerate_plans(job, 128)
    estimates = planner.estimate(space)
    for entry in range(0, len(space), max(1, len(space) // 150)):
        exact = sum(peak_memory(job.replace(plan=space.plan(entry)))[1].values())
        assert estimates.hbm_bytes[entry] == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize(
    ("machine", "model", "gpus", "batch", "fixed"),
    [
        ("dgx-h100", "gpt3-13b", 16, 16, {"recompute": "none"}),
        ("gb200-nvl72", "gpt3-6.7b", 8, 8, {}),
        ("dgx-a100-80", "gpt3-13b", 32, 32, {"recompute": "full", "vpp": 1}),
    ],
)
def test_the_winner_is_within_1_percent_of_simulating_everything(
    machine, model, gpus, batch, fixed
):
    choices = Choices(
        recomputes=("none", "full"), shardings=("zero1",), max_micro_batch=4, max_vpp=2
    )
    job = job_of(model, batch=batch)
    loaded = load_topology(machine)
    space = enumerate_plans(job, gpus, fixed=fixed, choices=choices)
    planner = Planner(loaded, job, gpus, None)
    steps = []
    for entry in range(len(space)):
        try:
            steps.append(planner.simulate(space.plan(entry)).step_s)
        except DoesNotFit:
            continue
    found = search(machine, model, gpus, batch, 2048, top=4, fixed=fixed, choices=choices)
    assert len(steps) >= 10
    assert found.candidates[0].step_s <= min(steps) * 1.01
    alone = best_plan(loaded, job, gpus, fixed=fixed, choices=choices)
    assert planner.simulate(alone.plan).step_s <= min(steps) * 1.03
    # the bound holds for all that were not simulated
    assert min(steps) * (1 + found.unbeaten) >= found.candidates[0].step_s * (1 - 1e-9)


def test_result_tells_the_runner_up_and_why_it_is_slower():
    found = search("dgx-h100", "gpt3-13b", 16, 64, 2048, top=3)
    frame = found.frame()
    assert frame["step_s"].is_monotonic_increasing
    assert found.runner_up == pytest.approx(frame["behind"].iloc[1])
    assert frame["why"].iloc[0] == ""
    assert frame["why"].iloc[1:].str.contains(r"\+.* s").all()
    payload = found.to_dict()
    assert payload["rows"][0]["plan"]["tp"] == frame["tp"].iloc[0]
    assert 0 <= payload["unbeaten_by_more_than"] < 1
    heat = found.heat_map()
    assert heat["mfu"].max() == pytest.approx(found.best.mfu, rel=0.05)


def test_misfit_names_the_nearest_plan():
    with pytest.raises(
        DoesNotFit, match=r"no plan of 'gpt3-175b' fits 8 x h100 .* nearest \(.*needs \d+ GB"
    ):
        search("dgx-h100", "gpt3-175b", 8, 8, 2048)


def test_same_answer_every_time():
    words = [plan_words(best_plan("dgx-h100", job_of(), 16).plan) for _ in range(2)]
    assert words[0] == words[1]


def test_every_plan_of_a_large_space_is_ruled_out_or_timed():
    job = job_of("gpt3-175b", batch=4096)
    planner = Planner(load_topology("dgx-h100"), job, 1024, None)
    space = enumerate_plans(
        job, 1024, choices=Choices(shardings=("none", "zero1", "zero2", "zero3"), all_divisors=True)
    )
    estimates = planner.estimate(space, near=1.5)
    assert len(space) > 3000
    assert np.isfinite(estimates.hbm_bytes).all()
    roomy = estimates.hbm_bytes <= planner.part.hbm_bytes * HBM_MARGIN
    timed = np.isfinite(estimates.step_s)
    assert np.isfinite(estimates.bound_s[roomy]).all()
    assert timed[roomy].any()
    assert not timed[~roomy].any()
    # what was not timed can't be among the best
    best_s = estimates.step_s[timed].min()
    assert (estimates.bound_s[roomy & ~timed] > 1.5 * best_s).all()
    every = planner.estimate(space, near=np.inf)
    assert np.isfinite(every.step_s[roomy]).all()
    assert (every.bound_s[roomy] <= every.step_s[roomy] * (1 + 1e-9)).all()
    assert every.step_s[roomy].min() == best_s
    parts = (every.compute_s, every.exchange_s, every.bubble_s, every.reduce_s, every.gather_s)
    assert np.allclose((sum(parts) + every.optimizer_s)[roomy], every.step_s[roomy], rtol=0.02)
