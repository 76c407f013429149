"""Search: nothing that divides is missed, closed form and simulation agree, the winner wins."""

import numpy as np
import pytest

import rackmodel
from benchmarks.search.campaign import GOOD, judge
from rackmodel.errors import DoesNotFit, InvalidInput, InvalidPlan, UnknownName
from rackmodel.hardware import accelerator
from rackmodel.planning.best import FULL_AT, best_plan, search_job
from rackmodel.planning.candidates import EVENTS, Effort, plan_words
from rackmodel.planning.enumeration import divisors, enumerate_plans
from rackmodel.planning.frames import search_rows
from rackmodel.planning.objectives import OBJECTIVES, Scale
from rackmodel.planning.planner import Planner
from rackmodel.planning.space import OFFLOADS, SPACES, Choices
from rackmodel.topology import load_topology
from rackmodel.workload import Job, Plan, check, load_model, peak_memory, settled


def job_of(model="gpt3-13b", batch=64, seq_len=2048, **fields):
    return Job(model=load_model(model), plan=Plan(), seq_len=seq_len, global_batch=batch, **fields)


def search(machine, model, gpus, batch, seq_len, *, top=5, fixed=None, choices=None):
    found = load_topology(machine), job_of(model, batch, seq_len), gpus
    return search_job(*found, fixed=fixed, choices=choices, effort=Effort(top=top))


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
    choices = Choices(shardings=("zero1",), recomputes=("none",))
    space = enumerate_plans(job, gpus, fixed={"cp": 1}, choices=choices)
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


@pytest.mark.parametrize("model", ["gpt3-13b", "deepseek-v3"])
@pytest.mark.parametrize("stack", ["megatron-bridge-26.06", "megatron-bridge-25.11", "default"])
def test_searched_plans_overlap_as_recipes_of_their_software_do(model, stack):
    job = job_of(model, batch=128, seq_len=4096, stack=stack)
    space = enumerate_plans(job, 64, domain=8)
    for entry in range(0, len(space), max(1, len(space) // 300)):
        plan = space.plan(entry)
        check(told := job.replace(plan=plan))
        silent = told.replace(tp_overlap=None, ep_overlap=None)
        again = settled(silent, accelerator("b200"), 8).plan
        assert (again.tp_overlap, again.ep_overlap) == (plan.tp_overlap, plan.ep_overlap)


def test_fixed_axes_stay_and_wrong_ones_are_told():
    job = job_of()
    space = enumerate_plans(job, 16, fixed={"tp": 4, "vpp": 1, "tp_overlap": True})
    assert set(space.column("tp").tolist()) == {4}
    assert space.plan(0).tp_overlap
    with pytest.raises(UnknownName, match="did you mean 'micro_batch'"):
        enumerate_plans(job, 16, fixed={"micro_batches": 2})
    with pytest.raises(InvalidInput, match="tp: expected a whole number from 1 to"):
        enumerate_plans(job, 16, fixed={"tp": 0})
    with pytest.raises(InvalidPlan, match="no plan with tp 7 divides 16"):
        enumerate_plans(job, 16, fixed={"tp": 7})


def test_divisors():
    assert divisors(36) == [d for d in range(1, 37) if 36 % d == 0]


def test_a_searched_plan_leaves_room_and_a_given_one_may_fill_it():
    job = job_of("llama2-70b", batch=64, seq_len=4096)
    machine = load_topology("dgx-h100")
    found = search_job(machine, job, 64, effort=Effort(top=3))
    room_bytes = FULL_AT * found.look.planner.part.hbm_bytes
    assert found.look.room_bytes == room_bytes
    assert len(found.to_dict()["rows"]) == 3
    for row in found.to_dict()["rows"]:
        assert row["hbm_used_bytes"] <= room_bytes
    assert any("left free" in note for note in found.to_dict()["notes"])
    used = sum(peak_memory(best_plan(machine, job, 64).job)[1].values())
    assert used <= room_bytes


def test_offloading_lets_run_what_does_not_fit_otherwise():
    job = job_of("gpt3-6.7b", batch=8)
    choices = Choices(offloads=OFFLOADS)
    fixed = {"tp": 2, "pp": 1}
    with pytest.raises(DoesNotFit):
        search("dgx-a100-40", "gpt3-6.7b", 2, 8, 2048, fixed=fixed)
    found = search("dgx-a100-40", "gpt3-6.7b", 2, 8, 2048, fixed=fixed, choices=choices, top=1)
    assert "optimizer" in found.job.plan.offload
    assert peak_memory(job.replace(plan=found.job.plan))[1]["optimizer"] == 0.0


def test_spaces_by_name():
    sizes = {
        name: len(enumerate_plans(job_of("gpt3-175b", 512), 512, choices=choices))
        for name, choices in SPACES.items()
    }
    assert sizes["sensible"] < sizes["offload"] < sizes["full-without-offload"] < sizes["full"]
    with pytest.raises(UnknownName, match="did you mean 'full'"):
        rackmodel.search(
            "dgx-h100", model="gpt3-13b", gpus=8, global_batch=64, seq_len=2048, choices="ful"
        )


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
        plan = space.plan(entry)
        if planner.fits(job.replace(plan=plan), FULL_AT * planner.part.hbm_bytes):
            steps.append(planner.simulate(plan).step_s)
    found = search(machine, model, gpus, batch, 2048, top=4, fixed=fixed, choices=choices)
    assert len(steps) >= 10
    assert found.candidates[0].step_s <= min(steps) * 1.01
    alone = best_plan(loaded, job, gpus, fixed=fixed, choices=choices).job
    assert planner.simulate(alone.plan).step_s <= min(steps) * 1.03
    # the bound holds for all that were not simulated
    assert min(steps) * (1 + found.unbeaten) >= found.candidates[0].step_s * (1 - 1e-9)


def test_result_tells_the_runner_up_and_why_it_is_slower():
    found = search("dgx-h100", "gpt3-13b", 16, 64, 2048, top=3)
    frame = found.frame
    assert frame["step_s"].iloc[1:].is_monotonic_increasing  # an estimate may be below the best
    assert frame["step_s"][frame["simulated"]].min() == frame["step_s"].iloc[0]
    assert frame["simulated"].sum() == len(found.candidates)
    simulated = frame["behind"][frame["simulated"]].tolist()
    assert found.runner_up == (pytest.approx(simulated[1]) if simulated[1:] else None)
    assert frame["why"].iloc[0] == ""
    assert frame["why"].iloc[1:].str.contains(r"\+.* s").all()
    payload = found.to_dict()
    assert payload["rows"][0]["plan"]["tp"] == frame["tp"].iloc[0]
    assert 0 <= payload["unbeaten_by_more_than"] < 1
    heat = found.heat_map()
    assert heat["mfu"].max() == pytest.approx(found.best.mfu, rel=0.05)


def test_differences_of_closed_form_and_simulation_are_explained():
    found = search("dgx-h100", "gpt3-13b", 32, 32, 2048, top=4, fixed={"pp": 4})
    rows = search_rows(found)
    assert rows
    for row in rows:
        assert row["simulated"] == (row["estimate_error"] is not None)
        assert bool(row["estimate_why"]) == (abs(row["estimate_error"] or 0.0) > 0.02)
    for candidate in found.candidates:
        assert sum(candidate.parts_s.values()) == pytest.approx(candidate.estimate_s, rel=0.02)


def test_a_few_cases_of_the_campaign():
    """The whole one: python -m benchmarks.search.campaign."""
    found = [row for row in map(judge, (3, 5, 8)) if row is not None]
    assert len(found) >= 2
    assert all(row["behind"] <= GOOD for row in found)
    assert all(row["bound_holds"] for row in found)


def test_misfit_names_the_nearest_plan():
    with pytest.raises(
        DoesNotFit, match=r"no plan of 'gpt3-175b' fits 8 x h100 .* nearest \(.*needs \d+ GB"
    ):
        search("dgx-h100", "gpt3-175b", 8, 8, 2048)


def test_same_answer_every_time():
    words = [
        plan_words(best_plan(load_topology("dgx-h100"), job_of(), 16).job.plan) for _ in range(2)
    ]
    assert words[0] == words[1]


def test_the_winner_is_the_same_however_many_plans_are_listed():
    """A few plans are simulated, and they decide; how many are listed comes after."""
    found = [search("dgx-h100", "gpt3-13b", 16, 64, 2048, top=top) for top in (1, 4, 60)]
    simulated = [[one.job.plan for one in each.candidates] for each in found]
    assert simulated[0] == simulated[1] == simulated[2]
    listed = [[row["plan"] for row in search_rows(each)] for each in found]
    assert [len(each) for each in listed[1:]] == [4, 60]
    assert listed[1] == listed[2][:4]


def test_nothing_is_left_out_that_its_bound_would_let_win():
    """However few plans are timed: those that are not cannot beat the best simulated step."""
    found = search("dgx-h100", "gpt3-13b", 16, 64, 2048, top=1)
    look = found.look
    untimed = look.live[~np.isfinite(look.every["step_s"][look.live])]
    assert len(untimed)
    assert look.every["bound_s"][untimed].min() >= found.best.step.step_s
    assert sum(one.result.step.events for one in found.candidates[:-1]) <= EVENTS


def test_all_to_alls_under_other_passes_are_tried_where_the_schedule_allows():
    job = job_of("mixtral-8x7b", batch=64, seq_len=4096)
    space = enumerate_plans(job, 64, choices=Choices(ep_overlap=True))
    hidden = space.ep_overlap == 1
    assert 0 < hidden.sum() < len(space)
    assert (space.column("ep")[hidden] > 1).all()
    assert ((space.vpp > 1) | (space.pp == 1))[hidden].all()
    for entry in np.flatnonzero(hidden)[:: max(1, int(hidden.sum()) // 50)]:
        plan = space.plan(int(entry))
        assert plan.ep_overlap
        check(job.replace(plan=plan))
    assert not enumerate_plans(job, 64, choices=Choices()).ep_overlap.any()


def test_the_best_by_an_objective_is_no_worse_by_it_than_the_best_by_any_other():
    words = {"model": "gpt3-13b", "gpus": 16, "global_batch": 64, "seq_len": 2048}
    found = {name: rackmodel.search("dgx-a100-40", objective=name, **words) for name in OBJECTIVES}
    for name, objective in OBJECTIVES.items():
        own = objective.of(found[name].best)
        # Steps: what the search by tokens didn't simulate is slower by its estimate only.
        least = min(objective.of(one.best) for one in found.values())
        assert own <= least * (1.005 if name == "tokens" else 1.0), name
        order = [objective.of(one.result) for one in found[name].candidates]
        assert order == sorted(order)
    # Here they are two plans: the one that draws less power is slower.
    watts, tokens = found["watts"], found["tokens"]
    assert watts.best.step_s > tokens.best.step_s
    first, *rest = watts.to_dict()["rows"]
    assert first["energy_j_per_token"] == watts.best.assessment["energy_j_per_token"]
    assert all(row["energy_j_per_token"] > 0 for row in rest)
    assert any("on the scale of the quickest plan" in note for note in watts.to_dict()["notes"])
    assert all(0.0 <= one.better_chance <= 1.0 for one in found.values())
    assert "usd_per_mtoken" not in tokens.to_dict()["rows"][0]  # nothing is assessed in vain
    with pytest.raises(UnknownName, match="did you mean 'watts'"):
        rackmodel.search("dgx-h100", objective="watt", **words)


def test_a_slow_plan_that_spends_less_is_worth_a_look():
    scale = Scale(value=10.0, active=0.4, step_s=2.0, compute_s=1.0, slots=8.0)
    step_s, compute_s = np.array([2.0, 2.4, 3.34]), np.array([1.0, 0.1, 0.0])
    same, cooler, edge = scale.of(step_s, compute_s, np.full(3, 8.0))
    assert same == pytest.approx(10.0)
    assert cooler < same < edge
    assert 3.34 > 2.0 * scale.reach > 2.4
    assert scale.of(step_s, compute_s, np.full(3, 16.0))[0] == pytest.approx(16.0)


def test_a_search_of_one_plan_is_sure_and_says_so():
    whole = {"tp": 4, "pp": 1, "vpp": 1, "cp": 1, "micro_batch": 1, "sharding": "zero1"}
    words = {"model": "gpt3-13b", "gpus": 8, "global_batch": 64, "seq_len": 2048}
    found = rackmodel.search("dgx-h100", plan={**whole, "recompute": "full"}, **words).to_dict()
    assert found["plans"] == 1
    assert found["better_chance"] == 0.0
    assert found["version"] == rackmodel.__version__
    assert found["catalog"]["changed"] == {}
    assert any("chance that one of these is better" in note for note in found["notes"])


def test_power_that_costs_much_turns_dollars_into_watts():
    words = {"model": "gpt3-13b", "gpus": 16, "global_batch": 64, "seq_len": 2048}
    dear = {"usd_per_kwh": 1000.0}
    by_dollars = rackmodel.search("dgx-h100", objective="usd", site=dear, **words)
    by_joules = rackmodel.search("dgx-h100", objective="watts", **words)
    assert by_dollars.job.plan == by_joules.job.plan


def test_cuts_with_more_experts_than_ranks_of_their_own_are_looked_at():
    """Without its pipeline a cut may have fewer ranks than its ep has members."""
    words = {"model": "deepseek-v3", "gpus": 64, "global_batch": 64, "precision": "fp8-mx"}
    found = rackmodel.search("gb200-nvl72", plan={"tp": 4, "cp": 4}, seq_len=8192, **words)
    assert found.best.step_s > 0


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        ({"tp": 8, "sharding": "zero1", "shard_size": 8}, "multiple of cp 1 .* dp x cp 2$"),
        ({"sharding": "zero2", "shard_size": 8}, "shard_size 8 needs sharding zero1 or hsdp$"),
        ({"tp": 1, "pp": 3, "ep": 8}, "^no plan with tp 1, pp 3, ep 8 divides 16"),
        ({"tp": 1, "pp": 1, "ep": 12}, "^ep 12 does not divide the 8 experts"),
        ({"ep": 8, "dispatcher": "deepep", "fused_odds": 0.5}, "^fused_odds needs .* no odds$"),
    ],
)
def test_what_is_wrong_with_a_plan_is_told_of_the_ranks_that_it_has(plan, told):
    """An open dp is no rank of one, and host memory helps no plan that can't be."""
    words = {"model": "mixtral-8x7b", "gpus": 16, "global_batch": 32}
    with pytest.raises(InvalidPlan, match=told):
        rackmodel.simulate("dgx-h100", **words, plan=plan)
