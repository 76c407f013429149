import pytest
from hypothesis import given, settings, strategies as st

from rackmodel.errors import DoesNotFit
from rackmodel.software import software_of
from rackmodel.workload import (
    Job,
    Plan,
    check,
    check_fits,
    fits,
    least_recompute,
    load_model,
    memory,
    memory_timeline,
    peak_memory,
    rank_actions,
)
from rackmodel.workload.activations import chunk_bytes, states_beside, unit_bytes
from rackmodel.workload.communicators import fixed_bytes, groups_of
from rackmodel.workload.schedules.holding import in_flight
from rackmodel.workload.stages import chunks_of, transfer_bytes


def gpt(**plan):
    plan = {"tp": 8, "pp": 8, "dp": 1, **plan}
    return Job(model=load_model("gpt3-175b"), plan=Plan(**plan), seq_len=2048, global_batch=64)


def test_stages_keep_as_many_micro_batches_as_their_schedule_holds():
    assert [in_flight("1f1b", 8, 64, 1, rank) for rank in range(8)] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert in_flight("gpipe", 8, 64, 1, 0) == 64.0
    assert in_flight("zb-h1", 8, 64, 1, 0) == 8.0
    # Narayanan et al. 2021: interleaving keeps 1 + (p-1)/(p v) times as many.
    assert in_flight("interleaved", 8, 64, 4, 0) == pytest.approx(8 * (1 + 7 / (8 * 4)))


def test_does_not_fit_names_the_largest_kinds_and_a_plan_that_fits():
    job = gpt(tp=4, pp=4, dp=4)
    with pytest.raises(DoesNotFit, match=r"needs \d+ GB \(.*gradients \d+.*has 80 GB") as caught:
        check_fits(job, 80e9)
    assert caught.value.exit_code == 3
    assert "This would fit: " in str(caught.value)
    with pytest.raises(DoesNotFit, match="No plan with these accelerators"):
        check_fits(gpt(tp=1, pp=1, dp=1), 16e9)


@pytest.mark.parametrize(
    ("name", "plan"),
    [
        ("llama3-70b", {"tp": 2, "dp": 32, "micro_batch": 2}),
        ("llama3.1-405b", {"tp": 8, "pp": 2, "dp": 32, "micro_batch": 2}),
        ("deepseek-v3", {"pp": 4, "ep": 16, "dp": 64, "micro_batch": 2}),
        ("mixtral-8x7b", {"ep": 8, "dp": 16}),
        ("gpt3-13b", {"dp": 8}),
    ],
)
def test_the_plan_that_is_advised_does_fit(name, plan):
    job = Job(model=load_model(name), plan=Plan(**plan), seq_len=8192, global_batch=512)
    with pytest.raises(DoesNotFit, match="This would fit: ") as caught:
        check_fits(job, 80e9)
    words = str(caught.value).split("This would fit: ")[1]
    changed = job.replace(**eval(f"dict({words.split(' (')[0]})"))
    check(changed)
    assert fits(changed, 80e9)
    assert changed.gpus == job.gpus


def test_least_recompute_adds_no_more_than_is_needed():
    job = gpt(dp=2, micro_batch=2)
    need = sum(peak_memory(job)[1].values())
    assert least_recompute(job, need).plan.recompute == "none"
    smaller = least_recompute(job, need * 0.97)
    assert smaller.plan.recompute == "selective"
    assert fits(smaller, need * 0.97)
    floor = sum(peak_memory(job.replace(recompute="full"))[1].values())
    assert least_recompute(job, floor).plan.recompute == "full"
    with pytest.raises(DoesNotFit):
        least_recompute(job, floor * 0.9)


def test_there_was_nothing_between_none_and_all_before_may_2022():
    for date, chosen in (("2022-03", "full"), ("2022-08", "selective")):
        job = gpt(dp=2, micro_batch=2).replace(stack=f"megatron-{date}")
        need = sum(peak_memory(job)[1].values())
        assert least_recompute(job, need).plan.recompute == "none"
        assert least_recompute(job, need * 0.97).plan.recompute == chosen


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from(["1f1b", "gpipe"]),
    st.sampled_from(["none", "zero1", "zero2"]),
)
def test_recompute_and_sharding_never_need_more(tp, pp, schedule, sharding):
    job = gpt(tp=tp, pp=pp, dp=4, schedule=schedule if pp > 1 else "", sharding=sharding)
    total = sum(peak_memory(job)[1].values())
    assert sum(peak_memory(job.replace(recompute="full"))[1].values()) <= total
    if sharding != "zero2":
        more = {"none": "zero1", "zero1": "zero2"}[sharding]
        assert sum(peak_memory(job.replace(sharding=more))[1].values()) <= total


def test_offload_empties_hbm():
    job = gpt(dp=2)
    assert memory(job.replace(offload=("optimizer",)))["optimizer"] == 0.0
    less = memory(job.replace(offload=("activations",)))["activations"]
    assert less < 0.5 * memory(job)["activations"]


def test_timeline_rises_and_falls_with_the_passes():
    job = Job(model=load_model("gpt3-13b"), plan=Plan(pp=2, dp=1), seq_len=2048, global_batch=3)
    passes = [(action, i, i + 0.9) for i, action in enumerate(rank_actions(job, 0))]
    frame = memory_timeline(job, passes, 0)
    need = memory(job, 0)
    assert frame["activations"].max() == pytest.approx(need["activations"])
    assert frame["total"].max() == pytest.approx(sum(need.values()))
    one = need["activations"] / 2  # F F B F B B on the first of two ranks
    assert (frame["activations"] / one).round(9).tolist() == pytest.approx(
        [1, 1, 2, 2, 2, 1, 2, 2, 2, 1, 1, 0]
    )
    assert frame["time_s"].is_monotonic_increasing
    working = frame["working"].to_numpy()
    assert (working[1::2] == 0).all()
    assert (working[::2] > 0).all()


def test_every_group_that_communicates_has_buffers_of_its_own():
    alone = {"tp": 1, "pp": 1, "cp": 1, "ep": 1, "dp_cp": 1, "edp": 1}

    def count(**axes: int) -> tuple[int, int]:
        return groups_of(alone | axes, tied=False, all_to_all=True)

    assert count() == (0, 0)
    assert count(dp_cp=8, edp=8) == (1, 0)  # the norm of gradients goes where gradients go
    assert count(tp=8, dp_cp=2, edp=16) == (3, 0)  # it goes over all ranks
    assert count(tp=8, pp=4, dp_cp=2, edp=16) == (4, 0)
    assert groups_of(alone | {"pp": 4}, tied=True, all_to_all=False) == (2, 0)
    # Experts have peers of their own, those of a node one by one, and replicas where any are left.
    assert count(ep=4, dp_cp=8, edp=2) == (4, 3)
    assert count(ep=64, dp_cp=64) == (3, 7)


def test_communicators_take_what_was_measured():
    # github.com/NVIDIA/nccl: 688 MB a group on A100 (964), 3.28 GB an all-to-all of 8 H100 (1685)
    one = software_of("default")
    assert fixed_bytes(one, 2, 0) - fixed_bytes(one, 1, 0) == pytest.approx(688e6, rel=0.01)
    assert fixed_bytes(one, 0, 7) - fixed_bytes(one, 0, 0) == pytest.approx(3.28e9, rel=0.01)
    assert fixed_bytes(software_of("maxtext"), 5, 7) == 1e9  # planned ahead, nothing beside it


@pytest.mark.parametrize("recompute", ["none", "full"])
def test_the_peak_of_a_pass_is_that_of_its_backward_walk(recompute):
    plan = Plan(dp=8, micro_batch=4, sharding="zero3", recompute=recompute)
    job = Job(model=load_model("llama3-8b"), plan=plan, seq_len=8192, global_batch=32)
    (chunk,) = chunks_of(job)[0]
    parts = [unit_bytes(job, u, recomputed=u.is_layer and recompute == "full") for u in chunk.units]
    held, walk = sum(part.kept_bytes for part in parts), []
    for part in reversed(parts):
        walk.append(held + part.working_bytes)
        held -= part.kept_bytes
    whole = chunk_bytes(job, chunk)
    beside = transfer_bytes(job) * states_beside(job, plan.sp)
    assert whole.kept_bytes + whole.working_bytes - beside == pytest.approx(max(walk))
    # Weight passes that come later keep what they need: nothing is freed on the way.
    split = job.replace(schedule="zb-h1", sharding="zero1")
    assert chunk_bytes(split, chunk).working_bytes >= whole.working_bytes
