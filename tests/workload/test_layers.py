"""Work is neither lost nor made up when it is cut over accelerators."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from rackmodel.errors import InvalidInput
from rackmodel.workload import Collective, Compute, Job, Plan, Segment, load_model, programs
from rackmodel.workload.experts import distinct_ranks, load_imbalance
from rackmodel.workload.kernels import Local
from rackmodel.workload.layers import block_steps
from rackmodel.workload.memory import memory
from rackmodel.workload.models import Model

DENSE = Model(
    name="dense", layers=8, hidden=512, ffn=2048, heads=16, kv_heads=16, head_dim=32, vocab=4096
)
MOE = Model(
    name="moe",
    layers=8,
    hidden=512,
    ffn=2048,
    heads=16,
    kv_heads=16,
    head_dim=32,
    vocab=4096,
    experts=16,
    topk=2,
    moe_ffn=256,
    shared_expert_ffn=512,
    dense_layers=1,
)


def flat(job):
    for program in programs(job):
        for item in program.items:
            yield from item.operations if isinstance(item, Segment) else [item]


def step_flops(job, phases=("forward", "backward", "recompute")):
    """FLOPs of the whole machine in one step."""
    per_replica = sum(
        kernel.flops * kernel.count
        for operation in flat(job)
        if isinstance(operation, Compute) and operation.phase in phases
        for kernel in operation.kernels
    )
    return per_replica * job.plan.tp * job.plan.cp * job.plan.replicas


def axis_bytes(job, axis, op=None):
    return sum(
        operation.bytes
        for operation in flat(job)
        if isinstance(operation, Collective)
        and operation.axis == axis
        and (op is None or operation.op == op)
    )


def job(
    model=DENSE,
    *,
    batch=32,
    seq_len=512,
    precision="bf16",
    token_routing="dropless-balanced",
    **plan,
):
    return Job(
        model=model,
        plan=Plan(**plan),
        seq_len=seq_len,
        global_batch=batch,
        precision=precision,
        token_routing=token_routing,
    )


@pytest.mark.parametrize(
    "plan",
    [
        {"dp": 1},
        {"tp": 4, "dp": 1},
        {"tp": 4, "dp": 2, "sequence_parallel": False},
        {"cp": 4, "dp": 1},
        {"cp": 4, "dp": 1, "cp_method": "all-gather"},
        {"cp": 4, "dp": 1, "cp_method": "all-to-all"},
        {"pp": 4, "dp": 2},
        {"pp": 2, "vpp": 4, "dp": 2},
        {"pp": 4, "dp": 1, "schedule": "zb-h1"},
        {"pp": 4, "dp": 1, "schedule": "dualpipe"},
        {"dp": 8, "sharding": "zero3"},
        {"tp": 2, "dp": 2, "tp_overlap": True},
        {"tp": 2, "cp": 2, "pp": 2, "dp": 2},
    ],
)
def test_flops_do_not_depend_on_the_plan(plan):
    assert step_flops(job(**plan)) == pytest.approx(step_flops(job(dp=1)), rel=1e-9)


def merged_bytes(**plan):
    """Bytes of HBM of one layer that put partial results of attention together, both passes."""
    one = job(dp=1, **plan)
    steps = block_steps(Local.of(one), one.model.blocks[0])
    kernels = [k for step in steps for k in (*step.work.forward, *step.work.backward)]
    moved = [k.read_bytes + k.write_bytes for k in kernels if k.name.startswith("merge_blocks")]
    return sum(moved)


def test_partial_results_of_a_ring_are_merged_once_a_block_after_the_first():
    assert merged_bytes(cp=1) == 0.0 == merged_bytes(cp=4, cp_method="all-to-all")
    assert merged_bytes(cp=4, cp_method="all-gather") == 0.0  # one kernel over all keys
    two, four = merged_bytes(cp=2), merged_bytes(cp=4)
    # A rank has 1/cp of the tokens and cp - 1 merges, three quarters of its outputs each.
    assert four / two == pytest.approx((3 / 4) / (1 / 2))
    outputs = 0.75 * 512 * job(dp=1).seq_len / 2
    assert two == pytest.approx((10 + 10 * 3) * outputs)  # out; dQ, dK and dV


@pytest.mark.parametrize(
    "plan",
    [
        {"dp": 4, "ep": 4},
        {"dp": 4, "ep": 4, "etp": 1, "tp": 2},
        {"dp": 4, "ep": 2, "etp": 2},
        {"dp": 2, "tp": 2, "ep": 2, "etp": 2},
        {"dp": 4, "ep": 4, "dispatcher": "deepep"},
        {"dp": 4, "ep": 4, "dispatcher": "all-gather"},
        {"pp": 2, "vpp": 2, "dp": 2, "ep": 2, "ep_overlap": True},
        {"pp": 2, "schedule": "dualpipe", "dp": 2, "ep": 2, "ep_overlap": True},
    ],
)
def test_flops_of_experts_do_not_depend_on_the_plan(plan):
    assert step_flops(job(MOE, **plan)) == pytest.approx(step_flops(job(MOE, dp=1)), rel=1e-9)


@pytest.mark.parametrize(
    "name",
    [
        "gpt3-13b",
        "llama3-8b",
        "deepseek-v2",
        "qwen3-30b-a3b",
        "gpt-oss-20b",
        "nemotron-h-8b",
        "llama4-scout",
        "bloom-176b",
    ],
)
def test_without_recompute_kernels_do_the_model_flops(name):
    """Plus the fifth attention product of the backward pass, vocabulary padding and scan states."""
    one = Job(model=load_model(name), plan=Plan(dp=1), seq_len=4096, global_batch=2)
    ratio = step_flops(one) / one.model_flops
    # Scores are worked out again: half a forward pass of attention in six.
    assert 1.0 <= ratio < 1.10


def test_full_recompute_costs_a_third_more_and_half_the_layers_half_of_it():
    none, full = job(dp=1), job(dp=1, recompute="full")
    layers = step_flops(full, ("recompute",))
    assert layers == pytest.approx(
        step_flops(none, ("forward",)) - 32 * 512 * 2 * 4096 * 512, rel=1e-9
    )
    half = job(dp=1, recompute="full", recompute_layers=4)
    assert step_flops(half, ("recompute",)) == pytest.approx(layers / 2)


def test_all_to_all_bytes_are_tokens_times_topk_times_hidden():
    ep, tokens, moe_layers = 4, 32 * 512, MOE.moe_layers
    one = job(MOE, dp=4, ep=ep)
    sent = axis_bytes(one, "ep", "all-to-all") * one.plan.dp
    # Dispatch and combine, forward and backward. The collective keeps (1 - 1/ep) of it on the wire.
    assert sent == pytest.approx(4 * moe_layers * tokens * MOE.topk * MOE.hidden * 2)


def test_deepep_sends_a_token_to_a_rank_once():
    plain, once = job(MOE, dp=4, ep=4), job(MOE, dp=4, ep=4, dispatcher="deepep")
    ratio = axis_bytes(once, "ep", "all-to-all") / axis_bytes(plain, "ep", "all-to-all")
    assert ratio == pytest.approx(distinct_ranks(16, 4, 2) / 2)
    # Two of sixteen experts lie on the same of four ranks with probability 3/15.
    assert distinct_ranks(16, 4, 2) == pytest.approx(2 - 3 / 15)


def test_odds_of_fused_dispatch_send_what_is_to_be_expected():
    """Bytes on the wire and rows that are sorted lie between both ways, in proportion."""

    def moved(**plan):
        one = job(MOE, dp=4, ep=4, **plan)
        work = [k for o in flat(one) if isinstance(o, Compute) for k in o.kernels]
        rows = sum(k.count * k.read_bytes for k in work if k.name.startswith("sort_"))
        return axis_bytes(one, "ep", "all-to-all"), rows

    plain, fused = moved(dispatcher="all-to-all"), moved(dispatcher="deepep")
    assert fused[0] < plain[0]
    assert fused[1] == 0.0 < plain[1]
    between = [0.75 * p + 0.25 * f for p, f in zip(plain, fused, strict=True)]
    assert moved(fused_odds=0.25) == pytest.approx(between)


def test_skewed_routing_is_repeatable_and_never_below_balance():
    one = [load_imbalance(64, 8, 0.7, seed) for seed in range(5)]
    assert one == [load_imbalance(64, 8, 0.7, seed) for seed in range(5)]
    assert min(one) > 1.0
    assert len(set(one)) == 5


def test_sequence_parallelism_moves_as_many_bytes_as_all_reduce():
    """A ring all-reduce is a reduce-scatter and an all-gather."""
    ranks = {"tp": 4, "dp": 1}
    with_sp = job(**ranks)
    without = job(**ranks, sequence_parallel=False)
    forward = [o for o in flat(with_sp) if isinstance(o, Collective) and o.phase == "forward"]
    plain = [o for o in flat(without) if isinstance(o, Collective) and o.phase == "forward"]
    sp_bytes = sum(o.bytes for o in forward if o.axis == "tp" and not o.name.startswith("loss"))
    ar_bytes = sum(2 * o.bytes for o in plain if o.axis == "tp" and not o.name.startswith("loss"))
    # Embedding and head have one half each with sequence parallelism; without, the embedding both.
    assert sp_bytes == pytest.approx(ar_bytes)


@pytest.mark.parametrize(
    ("precision", "element"),
    [
        ("fp8", 1.0),
        ("fp8-mx", 1.0 + 1 / 32),
        ("nvfp4", 0.5625),
        ("fp8-rowwise", 2.0),
        ("int8", 2.0),
    ],
)
def test_operands_that_are_cast_are_gathered_as_they_are_cast(precision, element):
    def gathers(precision):
        ops = [o for o in flat(job(tp=4, dp=1, precision=precision)) if isinstance(o, Collective)]
        inside = [o for o in ops if o.op == "all-gather" and o.axis == "tp" and o.name != "head"]
        inside = [o for o in inside if o.name != "embedding"]  # what its gradient is gathered for
        return sum(o.bytes for o in inside), sum(o.bytes for o in ops if o.op == "reduce-scatter")

    wide, narrow = gathers("bf16"), gathers(precision)
    assert wide[0] > 0
    assert narrow[0] == pytest.approx(wide[0] * element / 2.0)
    assert narrow[1] == wide[1]  # sums leave in 16 bits


def test_gathered_operands_are_cast_by_shares_and_transposed_whole():
    def moved(name, **changes):
        one = job(precision="fp8", **changes)
        one = one.replace(transposes=True) if name == "transpose_fp8" else one
        kernels = [k for o in flat(one) if isinstance(o, Compute) for k in o.kernels]
        return sum(k.count * k.read_bytes for k in kernels if k.name == name)

    shares = moved("cast_fp8", tp=4, dp=1) / moved("cast_fp8", tp=4, dp=1, sequence_parallel=False)
    assert 0.25 < shares < 0.75  # two of four operands of a layer are gathered
    assert moved("transpose_fp8", tp=4, dp=1) > 0
    assert moved("transpose_fp8", tp=4, dp=1, sequence_parallel=False) == 0
    blackwell = job(precision="fp8", tp=4, dp=1).replace(transposes=False)
    names = {k.name for o in flat(blackwell) if isinstance(o, Compute) for k in o.kernels}
    assert "transpose_fp8" not in names


def test_gradients_and_weights_travel_once_a_step():
    zero, none = job(dp=4), job(dp=4, sharding="none")
    parameters = DENSE.parameters
    assert axis_bytes(none, "dp_cp", "all-reduce") == pytest.approx(4 * parameters + 8)
    assert axis_bytes(zero, "dp_cp", "reduce-scatter") == pytest.approx(4 * parameters)
    assert axis_bytes(zero, "dp_cp", "all-gather") == pytest.approx(2 * parameters)


def test_full_sharding_gathers_twice_and_reduces_once_a_micro_batch():
    fsdp = job(dp=4, sharding="zero3")
    m, parameters = fsdp.micro_batches, DENSE.parameters
    assert axis_bytes(fsdp, "dp_cp", "all-gather") == pytest.approx(2 * m * 2 * parameters)
    assert axis_bytes(fsdp, "dp_cp", "reduce-scatter") == pytest.approx(m * 4 * parameters)


def test_hybrid_sharding_reduces_shards_over_replicas():
    hybrid = job(dp=8, sharding="hsdp", shard_size=4)
    scattered = axis_bytes(hybrid, "dp_shard", "reduce-scatter")
    assert axis_bytes(hybrid, "dp_replica", "all-reduce") == pytest.approx(scattered / 4)


def test_copies_of_an_optimizer_sum_their_shards():
    copies = job(dp=8, shard_size=4)  # two copies
    scattered = axis_bytes(copies, "dp_shard", "reduce-scatter")
    assert scattered == pytest.approx(4 * DENSE.parameters)
    assert axis_bytes(copies, "dp_replica", "all-reduce") == pytest.approx(scattered / 4)
    assert axis_bytes(copies, "dp_shard", "all-gather") == pytest.approx(2 * DENSE.parameters)
    held = [dict(memory(j)) for j in (job(dp=4), copies, job(dp=8))]
    assert held[0]["optimizer"] == held[1]["optimizer"] == pytest.approx(2 * held[2]["optimizer"])
    assert held[0]["gradients"] == held[1]["gradients"]


@pytest.mark.parametrize(("sharding", "whole"), [("zero1", "zero1"), ("hsdp", "zero3")])
def test_each_copy_has_all_experts(sharding, whole):
    one = job(MOE, dp=8, ep=2, sharding=sharding, shard_size=4)
    scattered = axis_bytes(one, "edp_shard", "reduce-scatter")
    assert axis_bytes(one, "edp_replica", "all-reduce") == pytest.approx(scattered / 2)
    held, four = (dict(memory(j)) for j in (one, job(MOE, dp=4, ep=2, sharding=whole)))
    assert held["optimizer"] == pytest.approx(four["optimizer"])


def test_tied_embeddings_meet_at_the_ends_of_the_pipeline():
    tied = load_model("gpt3-125m")
    one = Job(model=tied, plan=Plan(pp=4, dp=1), seq_len=512, global_batch=8)
    carriers = [
        program.pipeline_rank
        for program in programs(one)
        if any(isinstance(i, Collective) and i.axis == "embedding" for i in program.items)
    ]
    assert carriers == [0, 3]


def test_windows_limit_attention_and_mqa_keeps_one_head():
    model = Model(
        name="narrow",
        layers=2,
        hidden=512,
        ffn=2048,
        heads=8,
        kv_heads=1,
        head_dim=64,
        vocab=512,
        window=128,
        full_attention_every=2,
    )
    local = Local.of(Job(model=model, plan=Plan(tp=4, dp=1), seq_len=4096, global_batch=1))
    cores = [
        kernel
        for block in model.blocks
        for step in block_steps(local, block)
        for kernel in step.work.forward
        if kernel.family == "attention"
    ]
    assert [core.shape[8] for core in cores] == [128, 0]
    assert [core.shape[2] for core in cores] == [1, 1]
    assert cores[0].flops < 0.07 * cores[1].flops


def test_casts_follow_the_precision():
    def casts(precision):
        kernels = [
            kernel
            for operation in flat(job(dp=1, precision=precision))
            if isinstance(operation, Compute)
            for kernel in operation.kernels
        ]
        formats = {k.precision for k in kernels if k.family == "gemm"}
        operands = [k for k in kernels if k.name.startswith("cast_") and k.name != "cast_weights"]
        return formats, sum(k.read_bytes for k in operands)

    assert casts("bf16") == ({"bf16"}, 0)
    assert casts("fp8")[0] == {"bf16", "fp8"}  # the head stays wide
    assert casts("fp8-cs")[1] == 2 * casts("fp8")[1]  # the search for the maximum reads once more
    assert casts("nvfp4")[0] == {"bf16", "nvfp4"}
    assert casts("int8")[0] == {"bf16", "int8"}


@given(
    st.sampled_from([(256, 8, 4), (96, 8, 3), (16, 4, 2), (64, 1, 1)]),
    st.sampled_from([2, 4, 8, 16]),
    st.integers(1, 6),
)
@settings(max_examples=20, deadline=None)
def test_tokens_reach_as_many_ranks_as_draws_of_their_experts(groups, ep, topk):
    experts, count, limit = groups
    topk = min(topk, limit * experts // count)
    draw = random.Random(1)
    size, reached = experts // count, 0
    for _ in range(4000):
        chosen = draw.sample(range(count), limit)
        pool = [group * size + i for group in chosen for i in range(size)]
        reached += len({one * ep // experts for one in draw.sample(pool, topk)})
    expected = distinct_ranks(experts, ep, topk, count, limit)
    assert expected == pytest.approx(reached / 4000, rel=0.03)
    assert expected <= distinct_ranks(experts, ep, topk) * (1 + 1e-9)  # groups never spread more


def test_fp8_dispatch_sends_both_ways_to_experts_in_fp8():
    plain = job(MOE, dp=4, ep=4, dispatcher="deepep")
    narrow = job(MOE, dp=4, ep=4, dispatcher="deepep", dispatch_format="fp8")
    ratio = axis_bytes(narrow, "ep", "all-to-all") / axis_bytes(plain, "ep", "all-to-all")
    assert ratio == pytest.approx((2.0 + 1.0 + 4 / 128) / 4.0)


def test_groups_of_experts_that_cannot_be_are_refused():
    for change in ({"routing_groups": 3}, {"routing_groups": 4, "routing_group_limit": 5}):
        with pytest.raises(InvalidInput, match="routing_groups"):
            replace(MOE, **change)
