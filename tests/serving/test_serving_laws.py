"""Laws of serving: what must hold whatever the constants are."""

import itertools
from dataclasses import replace

import pytest

import rackmodel
from rackmodel.cli.tables_serving import serving_rows
from rackmodel.hardware import accelerator, load_catalog
from rackmodel.kernels.serving_time import ServingTimes
from rackmodel.workload.operations import Compute, Kernel
from rackmodel.workload.serving.job import ServingJob, Worker
from rackmodel.workload.serving.load import Load, busiest_share, touched
from rackmodel.workload.serving.memory import sequence_bytes, weight_bytes
from rackmodel.workload.serving.programs import serving_programs

DENSE = {"model": "llama3.1-70b", "isl": 1024, "osl": 1024, "tp": 4, "gpus": 4}
WIDE = {
    "model": "deepseek-v3",
    "weights": "fp8",
    "users": 1024,
    "isl": 1024,
    "osl": 1024,
    "tp": 16,
    "ep": 16,
    "dp_attention": True,
    "gpus": 16,
}


def served(topology="dgx-h100", **words):
    return rackmodel.serve(topology, **words)


def with_part(key, value):
    return load_catalog(overrides={key: value})


@pytest.mark.parametrize("users", [1, 16, 128])
def test_more_hbm_bandwidth_is_never_slower(users):
    slow = served(**DENSE, users=users)
    fast = served(
        **DENSE, users=users, catalog=with_part("accelerators.h100.hbm_bytes_per_s", "6.7 TB/s")
    )
    assert fast.tpot_s < slow.tpot_s
    assert fast.steady.ttft_s <= slow.steady.ttft_s


@pytest.mark.parametrize("users", [1, 8, 64, 256])
def test_no_token_is_quicker_than_its_weights_are_read(users):
    found = served(**DENSE, users=users)
    part = found.accelerator
    ends = found.job.model.embedding_parameters * 2.0 / 4  # the embedding is looked up, not read
    assert found.tpot_s > (found.hbm["weights"] - ends) / part.hbm_bytes_per_s


def test_users_times_tokens_is_the_throughput():
    """Little's law: requests in flight are their rate times the time that each one takes."""
    found = served(**DENSE, users=96)
    each_s = found.steady.ttft_s + found.job.osl * found.tpot_s
    assert found.steady.requests_per_s * each_s == pytest.approx(96, rel=0.03)


def test_more_users_make_more_tokens_and_each_one_waits_longer():
    runs = [served(**DENSE, users=users) for users in (1, 4, 16, 64, 256)]
    for fewer, more in itertools.pairwise(runs):
        assert more.tpot_s > fewer.tpot_s
        assert more.output_tokens_per_s > fewer.output_tokens_per_s


def test_every_rank_for_itself_is_the_folded_answer():
    folded, whole = (served(**DENSE, users=64, fold=fold) for fold in (True, False))
    assert whole.tpot_s == pytest.approx(folded.tpot_s, rel=1e-12)
    assert whole.steady.ttft_s == pytest.approx(folded.steady.ttft_s, rel=1e-12)
    mine, other = folded.to_dict(), whole.to_dict()
    for key in ("energy_j_per_token", "tokens_per_s_per_mw", "tokens_per_s_per_gpu"):
        # power is cut into bins of time, which round where classes are told apart
        assert other[key] == pytest.approx(mine[key], rel=1e-5)


def graph_of(name, gpus, *, scale_up=1.0, fabric=1.0, without=()):
    """The graph of a machine with slower links, or without some nodes."""
    graph = rackmodel.load_topology(name).graph(gpus).copy()
    graph.remove_nodes_from([node for node in graph if str(node).endswith(tuple(without))])
    for tail, head, link in graph.edges(data=True):
        ends = {graph.nodes[tail]["kind"], graph.nodes[head]["kind"]}
        inside = ends <= {"accelerator", "scale_up_switch"}
        link["bytes_per_s"] *= scale_up if inside else fabric
    graph.graph.setdefault("accelerator", "h100")
    return graph


def test_halved_nvlink_slows_tokens():
    base, slow = (served(graph_of("dgx-h100", 8, scale_up=x), **DENSE, users=256) for x in (1, 0.5))
    assert slow.tpot_s > 1.02 * base.tpot_s


def test_halved_nics_slow_experts_that_span_nodes():
    base, slow = (served(graph_of("dgx-h100", 16, fabric=x), **WIDE) for x in (1, 0.5))
    assert slow.tpot_s > 1.1 * base.tpot_s


def test_a_broken_switch_plane_slows_tokens():
    whole = graph_of("dgx-h100", 8)
    chips = [str(n) for n, kind in whole.nodes(data="kind") if kind == "scale_up_switch"]
    broken = graph_of("dgx-h100", 8, without=chips[:2])
    assert served(broken, **DENSE, users=256).tpot_s > served(whole, **DENSE, users=256).tpot_s


def test_a_slow_rank_holds_up_its_worker():
    base = served(**DENSE, users=64)
    held = served(**DENSE, users=64, slow={2: 1.5})
    assert held.tpot_s > 1.2 * base.tpot_s


def test_breakdown_adds_up_to_the_time_per_token():
    found = served(**DENSE, users=64)
    assert sum(found.breakdown_s.values()) == pytest.approx(found.tpot_s, rel=1e-6)


def test_touched_experts_go_from_topk_to_all():
    model = rackmodel.load_model("deepseek-v3")
    assert touched(model, 1) == pytest.approx(8 / 256)
    assert touched(model, 1e4) == pytest.approx(1.0)


def test_copies_of_busy_experts_level_the_ranks():
    even = busiest_share(256, 32, 0, 0.0, 1)
    skewed = busiest_share(256, 32, 0, 0.8, 1)
    levelled = busiest_share(256, 32, 32, 0.8, 1)
    assert even == 1.0 < levelled < skewed


def test_a_latent_cache_stands_on_every_rank():
    model = rackmodel.load_model("deepseek-v3")
    job = ServingJob(model=model, worker=Worker(tp=8), gpus=8, users=1, isl=1, osl=1)
    # arXiv:2412.19437, table 1: 512 + 64 elements in 61 layers
    assert sequence_bytes(job, job.worker, 1.0) == 61 * 576
    wide = replace(job, model=rackmodel.load_model("llama3.1-70b"))
    assert sequence_bytes(wide, Worker(tp=8), 1.0) == 80 * 2 * 128
    assert sequence_bytes(wide, Worker(tp=16), 1.0) == 80 * 2 * 128  # fewer heads than ranks


def test_weights_of_all_ranks_are_those_of_the_model():
    model = rackmodel.load_model("llama3.1-70b")
    job = ServingJob(
        model=model, worker=Worker(tp=8), gpus=8, users=1, isl=1, osl=1, weights="bf16"
    )
    assert 8 * weight_bytes(job, job.worker) == pytest.approx(2 * model.parameters, rel=1e-3)


def test_drafted_tokens_save_time_while_weights_bind():
    words = {"model": "deepseek-v3", "isl": 1024, "osl": 1024, "tp": 8, "gpus": 8, "ep": 1}
    words |= {"dp_attention": False, "users": 4}
    plain = served("dgx-b200", **words)
    drafted = served("dgx-b200", **words, mtp=1, acceptance=0.8)
    assert drafted.tpot_s < plain.tpot_s
    useless = served("dgx-b200", **words, mtp=1, acceptance=0.0)
    assert useless.tpot_s > plain.tpot_s


def test_layers_that_draft_stay_in_the_format_they_were_published_in():
    """In nvfp4 checkpoints they are bf16; the first draft sees all that was checked."""
    job = ServingJob(
        model=rackmodel.load_model("deepseek-v3"),
        worker=Worker(tp=8),
        gpus=8,
        users=1,
        isl=1,
        osl=4,
        weights="nvfp4",
        mtp=3,
    )
    load = Load(sequences=32, context=1000, drafted=4)
    (program,) = serving_programs(job, job.worker, load)
    drafts = [item for item in program.items if item.name == "draft"]
    read = [
        sum(
            kernel.read_bytes
            for one in draft.operations
            if isinstance(one, Compute)
            for kernel in one.kernels
            if kernel.family == "grouped_gemm"
        )
        for draft in drafts
    ]
    expert = 3 * 7168 * 2048 / 8 * 2.0
    hit = [256 * touched(job.model, tokens, job.routing_skew) for tokens in (128, 32, 32)]
    assert read == pytest.approx([expert * (experts + 1) for experts in hit], rel=0.01)  # 1 shared
    layer = job.model.mtp_blocks[0]
    more = weight_bytes(job, job.worker) - weight_bytes(job.replace(mtp=0), job.worker)
    parameters = job.model.mixer_parameters(layer) + job.model.feed_parameters(layer)
    assert more == pytest.approx(2.0 * parameters / 8, rel=1e-3)


def test_prompts_on_workers_of_their_own_leave_decode_alone():
    words = {"model": "llama3.1-70b", "isl": 8192, "osl": 256, "users": 16, "tp": 4}
    together = served(**words, gpus=4)
    apart = served(**words, gpus=8, prefill_gpus=4, prefill={"tp": 4})
    assert apart.tpot_s < together.tpot_s
    assert apart.breakdown_s["prompts"] == 0.0


def test_racks_hold_workers_of_both_kinds_as_they_stand():
    """Two racks of prompts, four that decode, three of each stage's; the same without folding."""
    words = {"model": "llama3.1-8b", "isl": 1024, "osl": 1024, "users": 64}
    words |= {"gpus": 96, "prefill_gpus": 32, "tp": 8, "pp": 2, "prefill": {"tp": 4}}
    folded, unfolded = (served("dgx-b200", **words, fold=fold).to_dict() for fold in (True, False))
    for found in (folded, unfolded):
        assert sum(rack["count"] * rack["accelerators"] for rack in found["racks"]) == 96
        assert not any("racks hold" in note for note in found["notes"])
    for name in ("energy_j_per_token", "tokens_per_s_per_mw"):
        assert folded[name] == pytest.approx(unfolded[name], rel=1e-9)
    heats = [
        sorted(heat for rack in found["racks"] for heat in [rack["heat_w"]] * round(rack["count"]))
        for found in (folded, unfolded)
    ]
    assert heats[0] == pytest.approx(heats[1], rel=1e-9)
    assert heats[0][0] < 0.99 * heats[0][-1]  # prompts and answers draw unlike watts


@pytest.mark.parametrize(("model", "weights"), [("llama3.1-70b", "fp8"), ("gpt-oss-120b", "mxfp4")])
def test_a_newer_generation_is_never_slower(model, weights):
    words = {"model": model, "weights": weights, "isl": 1024, "osl": 1024, "tp": 4, "gpus": 4}
    parts = ("dgx-a100-80", "dgx-h100", "dgx-h200", "dgx-b200", "dgx-b300")
    for users in (1, 64):
        found = [served(part, **words, ep=1, dp_attention=False, users=users) for part in parts]
        each = [one.tpot_s for one in found]
        assert each == sorted(each, reverse=True)


@pytest.mark.parametrize(
    ("name", "share"),
    [("h100", 0.94), ("mi300x", 0.94 * 0.60 / 0.82), ("ascend-910c", 0.94), ("rubin-hgx", 0.80)],
)
def test_parts_without_kernel_tables_lack_what_their_long_products_do(name, share):
    """Hopper's shares, or those of a vendor's part before, less as training shows."""
    part = accelerator(name)
    long = Kernel(
        family="gemm", name="", flops=1e15, read_bytes=1.0, write_bytes=1.0, precision="bf16"
    )
    arithmetic_s = ServingTimes(part).limits_s(long)[2]
    assert arithmetic_s == pytest.approx(1e15 / part.flops_per_s["bf16"] / share)


def test_few_tokens_on_whole_experts_are_no_slower_than_fewer():
    words = {"model": "mixtral-8x7b", "isl": 1024, "osl": 1024, "tp": 8, "ep": 8, "gpus": 8}
    each = [served("dgx-b300", **words, users=users).tpot_s for users in (1, 2, 3, 4, 6)]
    assert each == sorted(each)


def test_states_of_short_answers_are_found():
    """All users are somewhere, where a prompt is longer than an answer takes."""
    words = {"model": "minimax-m2.5", "weights": "nvfp4", "kv": "bf16", "stack": "sglang"}
    words |= {"tp": 8, "ep": 8, "dp_attention": True, "gpus": 8, "chunk": 2048}
    state = served("dgx-b300", **words, isl=8192, osl=4, users=32).steady
    assert state.requests_per_s * (state.ttft_s + 3 * state.tpot_s) == pytest.approx(32, rel=0.01)
    words = {"model": "gpt3-13b", "tp": 8, "gpus": 8, "stack": "sglang"}
    state = served("dgx-b300", **words, isl=65536, osl=4, users=8).steady
    assert state.requests_per_s * (state.ttft_s + 3 * state.tpot_s) == pytest.approx(8, rel=0.01)


@pytest.mark.parametrize("stack", ["vllm", "sglang"])
def test_nobody_waits_for_a_prompt_of_one_s_own(stack):
    """One user alone sees the seconds of decode steps, two each other's prompts."""
    words = {**DENSE, "isl": 8192, "osl": 256, "stack": stack}
    alone, pair = (served(**words, users=users) for users in (1, 2))
    assert alone.tpot_s == pytest.approx(alone.steady.decode_s, rel=1e-9)
    assert alone.breakdown_s["prompts"] == 0.0
    assert pair.tpot_s > 1.05 * pair.steady.decode_s


def test_workers_busy_with_prompts_give_more_with_more_of_anything():
    words = {"model": "llama3.1-70b", "weights": "nvfp4", "stack": "tensorrt-llm", "cached": 0.5}
    words |= {"isl": 8192, "osl": 4, "tp": 2, "gpus": 2}
    fast = with_part("accelerators.h200.hbm_bytes_per_s", "9.6 TB/s")
    few, more, faster = (
        served("dgx-h200", **words, **other).steady
        for other in ({"users": 3}, {"users": 6}, {"users": 3, "catalog": fast})
    )
    for state in (few, more, faster):
        each_s = (state.mixed_s - state.decode_s) / state.prompt.prompts
        assert 0.75 < state.requests_per_s * each_s < 1.01
    assert few.requests_per_s < 1.05 * more.requests_per_s  # both are all that it can
    assert few.requests_per_s < faster.requests_per_s
    assert not few.queued


def test_stages_of_a_pipeline_run_as_many_prompts_at_once():
    """Short answers: two stages of tp 4 give as many as tp 8, or nearly; apart from decode too."""
    words = {"model": "llama3.1-70b", "isl": 8192, "osl": 64, "stack": "vllm", "users": 48}
    wide, deep = (served(**words, gpus=8, tp=8 // pp, pp=pp).steady for pp in (1, 2))
    assert deep.requests_per_s > 0.8 * wide.requests_per_s
    prompts = {"gpus": 16, "prefill_gpus": 8, "tp": 8}
    wide, deep = (
        served(**words, **prompts, prefill={"tp": 8 // pp, "pp": pp}).steady for pp in (1, 2)
    )
    assert wide.queued
    assert deep.queued
    assert deep.requests_per_s > 0.8 * wide.requests_per_s


@pytest.mark.parametrize("stages", [1, 2])
def test_a_user_alone_waits_for_nobody_where_prompts_run_apart(stages):
    words = {"model": "llama3.1-70b", "isl": 8192, "osl": 256, "tp": 4, "users": 1}
    found = served(
        **words, gpus=4 + 4 * stages, prefill_gpus=4 * stages, prefill={"tp": 4, "pp": stages}
    )
    request_s = 0.05  # of software that nobody knows
    moved_s = found.steady.ttft_s - request_s - found.steady.prompt_s
    assert 0.0 < moved_s < 0.01
    assert not found.steady.queued


def test_two_batches_hide_exchanges_under_compute():
    plain, overlapped = (served(**WIDE, two_batch=both) for both in (False, True))
    assert overlapped.breakdown_s["links"] < 0.7 * plain.breakdown_s["links"]
    with pytest.raises(rackmodel.InvalidPlan, match="two_batch"):
        served(**DENSE, users=4, two_batch=True)


def test_few_users_draw_what_padded_tiles_do():
    """H100, gpt-oss-120b, tp 8, 4 and 64 users: 273 and 440 W a GPU in the busiest second, by
    nvidia-smi (InferenceX, issue 828; its means of 159 and 171 W hold start and idle)."""
    words = {"model": "gpt-oss-120b", "isl": 922, "osl": 922, "gpus": 8, "tp": 8, "ep": 1}
    found = [served(**words, users=n, dp_attention=False, stack="vllm") for n in (4, 64)]
    few, many = (one.assessment["power"]["accelerator_w"] for one in found)
    assert few == pytest.approx(273, rel=0.1)
    assert many == pytest.approx(440, rel=0.1)


def test_idle_neighbours_are_no_watts_of_an_accelerator_that_serves():
    two = served(model="llama3.1-8b", isl=500, osl=500, gpus=2, tp=2, users=8).assessment["power"]
    assert two["accelerator_w"] == pytest.approx(sum(two["accelerator_by_cause_w"].values()))
    assert two["accelerators_w"] > 2.0 * two["accelerator_w"]  # six idle ones stand beside them


@pytest.mark.parametrize(("prompts", "idle"), [(0, 64), (8, 56)])
def test_idle_neighbours_in_a_rack_are_told_beside_their_energy(prompts, idle):
    words = {"model": "llama3.1-70b", "isl": 500, "osl": 500, "tp": 8, "users": 8}
    found = served("gb200-nvl72", **words, gpus=8 + prompts, prefill_gpus=prompts).to_dict()
    assert found["placement"]["idle_accelerators"] == idle
    told = list(dict(serving_rows(found)).items())
    assert told[-2][0] == "energy, cost"
    assert told[-1][1].startswith(f"{72 - idle} of 72; {idle} idle ({idle / 72:.0%}), counted in")


def test_no_point_of_a_front_is_beaten_by_another():
    words = {"model": "llama3.1-70b", "isl": 1024, "osl": 1024, "gpus": 8, "users": [1, 8, 64, 512]}
    rows = rackmodel.front(["dgx-h100"], **words).rows
    assert len(rows) >= 3
    for quick, busy in itertools.pairwise(rows):
        assert quick["tokens_per_s_per_user"] > busy["tokens_per_s_per_user"]
        assert quick["tokens_per_s_per_gpu"] < busy["tokens_per_s_per_gpu"]


@pytest.mark.parametrize(
    ("words", "kind", "says"),
    [
        ({"users": 100_000}, rackmodel.DoesNotFit, "do$"),
        ({"users": 4, "osl": 0}, rackmodel.InvalidInput, "osl"),
        ({"users": 4, "mtp": 1}, rackmodel.InvalidInput, "mtp"),
        ({"users": 4, "ep": 3}, rackmodel.InvalidPlan, "ep 3"),
        ({"users": 4, "acceptance": 0.5}, rackmodel.InvalidInput, "give mtp too"),
        ({"users": 4, "routing_skew": 0.9}, rackmodel.InvalidInput, "no experts"),
        ({"users": 4, "tp": 1, "weights": "bf16"}, rackmodel.DoesNotFit, "weights of"),
        ({"users": 4, "stack": "no-such"}, rackmodel.UnknownName, "no-such"),
    ],
)
def test_what_can_not_be_served_is_refused(words, kind, says):
    with pytest.raises(kind, match=says):
        served(**{**DENSE, **words})


def test_a_front_is_quicker_where_tokens_choose_alike():
    words = {"model": "deepseek-v3", "weights": "nvfp4", "isl": 1024, "osl": 256, "users": [8]}
    words |= {"tp": 8, "ep": 8, "dp_attention": False, "gpus": 8}
    spread, alike = (
        rackmodel.front(["dgx-b200"], **words, routing_skew=skew).rows for skew in (0.0, 1.5)
    )
    assert alike[0]["tpot_s"] < spread[0]["tpot_s"]


def test_a_front_says_what_it_was_made_with():
    words = {"model": "llama3.1-70b", "isl": 1024, "osl": 128, "tp": 8, "users": [1]}
    found = rackmodel.front(["dgx-h100"], **words).to_dict()
    assert found["version"] == rackmodel.__version__
    assert found["catalog"]["digest"]
