"""Weights in host memory: less HBM, and no step shorter than their copies over the host link."""

import pytest

import rackmodel
from rackmodel.errors import CannotRun, DoesNotFit, InvalidInput
from rackmodel.serving.phases import prefill_phase
from rackmodel.serving.quick_steps import QuickSteps
from rackmodel.serving.run import steps_of
from rackmodel.topology import load_topology
from rackmodel.workload import load_model
from rackmodel.workload.serving.job import ServingJob, Worker
from rackmodel.workload.serving.memory import STAGED, host_bytes, weight_bytes

DENSE = {
    **{"model": "llama3.1-70b", "isl": 1024, "osl": 256, "users": 16},
    **{"weights": "fp8", "tp": 2, "gpus": 2},
}


def served(topology="dgx-h100", **words):
    return rackmodel.serve(topology, **{**DENSE, **words})


def linked(rate):
    """A node whose accelerators reach host memory at so many bytes a second."""
    return load_topology("dgx-h100", overrides={"host.link_bytes_per_s": rate})


def copies_s(found, machine):
    wire = machine.host.wire
    moved = host_bytes(found.job, found.job.worker)
    return moved / (wire.bytes_per_s * wire.payload_efficiency)


def job(share, **changes):
    return ServingJob(
        model=load_model("deepseek-v3"),
        worker=Worker(tp=2, ep=2, dp_attention=True, weights_offload=share),
        **{"gpus": 2, "users": 1, "isl": 2000, "osl": 1, "weights": "nvfp4", **changes},
    )


def test_nothing_in_host_memory_is_the_same_job():
    plain, none = served(), served(weights_offload=0.0)
    assert none.tpot_s == plain.tpot_s
    assert none.hbm == plain.hbm


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_what_leaves_hbm_stands_in_host_memory_but_for_two_layers(share):
    plain, away = (served(weights_offload=x) for x in (0.0, share))
    moved = host_bytes(away.job, away.job.worker)
    layers = away.job.model.layers
    staged = STAGED * moved / share / layers
    assert away.hbm["weights"] == pytest.approx(plain.hbm["weights"] - moved + staged)
    assert away.users_most > plain.users_most


def test_of_a_mixture_only_experts_leave():
    whole, away = job(0.0), job(1.0)
    experts = host_bytes(away, away.worker)
    rest = weight_bytes(whole, whole.worker) - experts
    moe = sum(block.feed == "moe" for block in whole.model.blocks)
    assert weight_bytes(away, away.worker) == pytest.approx(rest + STAGED * experts / moe)
    assert experts == pytest.approx(256 * 3 * 7168 * 2048 * moe / 2 * 0.5625)


@pytest.mark.parametrize("share", [0.02, 0.2, 1.0])
def test_no_step_is_shorter_than_its_copies(share):
    found, machine = served(weights_offload=share), load_topology("dgx-h100")
    assert found.steady.decode_s >= copies_s(found, machine)
    assert found.tpot_s >= served().tpot_s


def test_half_of_the_host_links_rate_doubles_what_they_bind():
    fast, slow = linked("60 GB/s"), linked("30 GB/s")
    quick, late = (served(machine, weights_offload=0.5) for machine in (fast, slow))
    assert quick.bound_by == late.bound_by == "host link"
    assert late.steady.decode_s - late.host_s == pytest.approx(copies_s(late, slow))
    assert late.steady.decode_s - late.host_s == pytest.approx(
        2.0 * (quick.steady.decode_s - quick.host_s)
    )
    assert served(fast).tpot_s == served(slow).tpot_s


@pytest.mark.parametrize("share", [0.02, 0.5])  # hidden by the step, and as long as its copies
def test_copies_draw_what_their_bytes_do(share):
    words = {"isl": 16, "osl": 30_000, "users": 1}  # hardly any prompts
    plain, away = served(**words), served(**words, weights_offload=share)
    power = away.accelerator.power
    drawn = [
        sum(found.assessment["power"]["accelerator_by_cause_w"][part] for part in ("hbm", "link"))
        * found.steady.decode_s
        for found in (plain, away)
    ]
    each = power.e_hbm_j_per_byte + power.e_link_j_per_byte * (1.0 - power.link_always_on)
    copied_j = host_bytes(away.job, away.job.worker) * each
    assert drawn[1] - drawn[0] == pytest.approx(copied_j, rel=0.02)


def test_copies_under_long_prompts_cost_nothing():
    steps = QuickSteps.of(steps_of(load_topology("gb200-nvl72")))
    none, half = (prefill_phase(job(share), steps, 65536.0) for share in (0.0, 0.5))
    short, bare = (prefill_phase(job(share), steps, 2000.0) for share in (0.5, 0.0))
    assert half == none
    assert short < 0.5 * bare


def test_searches_and_unfolded_ranks_see_the_same_step():
    words = {"weights_offload": 0.3, "tp": 4, "gpus": 8}
    folded, whole = (served(**words, fold=fold) for fold in (True, False))
    assert whole.tpot_s == pytest.approx(folded.tpot_s, rel=1e-12)
    steps = steps_of(load_topology("dgx-h100"))
    one = folded.job
    exact, quick = (
        kind.seconds(one, one.worker, one.gpus, folded.steady.decode)
        for kind in (steps, QuickSteps.of(steps))
    )
    assert quick == pytest.approx(exact, rel=1e-3)


def test_stages_of_a_pipeline_copy_their_own():
    flat, staged = (served(tp=1, pp=pp, gpus=2, weights_offload=1.0) for pp in (1, 2))
    moved = [host_bytes(one.job, one.job.worker) for one in (flat, staged)]
    assert moved[0] == pytest.approx(2.0 * moved[1])
    machine = load_topology("dgx-h100")
    assert staged.steady.decode_s - staged.host_s == pytest.approx(2.0 * copies_s(staged, machine))


def test_a_search_keeps_the_share():
    found = served(tp=None, gpus=4, weights_offload=0.25)
    assert found.job.worker.weights_offload == 0.25
    assert found.to_dict()["plan"]["weights_offload"] == 0.25


def test_what_cannot_be_is_refused():
    small = load_topology("dgx-h100", overrides={"host.memory": "200 GB"})
    with pytest.raises(DoesNotFit, match="34 GB of each rank into host memory"):
        served(small, weights_offload=1.0)
    with pytest.raises(InvalidInput, match="from 0 to 1"):
        served(weights_offload=1.5)
    bare = load_topology("dgx-h100", overrides={"host.cpus": 0})
    with pytest.raises(CannotRun, match="names no CPUs"):
        served(bare, weights_offload=0.5)


def test_workers_for_prompts_have_their_own_share():
    words = {"gpus": 4, "prefill_gpus": 2, "model": "llama3.1-70b"}
    plain, away = (
        served(**words, prefill={"tp": 2, "weights_offload": share}) for share in (0.0, 1.0)
    )
    assert away.hbm["weights"] == plain.hbm["weights"]
    assert away.steady.ttft_s > plain.steady.ttft_s


def test_prompts_that_wait_for_copies_compute_no_more():
    words = {"gpus": 4, "prefill_gpus": 2}
    per_request = []
    for share in (0.0, 0.3):
        found = served(**words, prefill={"tp": 2, "weights_offload": share})
        drawn = found.assessment["power"]["accelerator_by_cause_w"]["flops"]
        per_request.append(drawn / found.steady.requests_per_s)
    assert found.prompt_copied_s > 1.5 * found.prompt.step_s
    assert per_request[1] == pytest.approx(per_request[0], rel=0.05)
