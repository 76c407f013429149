"""What software does where a plan is silent, as programs and bytes: laws from its documentation."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rackmodel.errors import DoesNotFit
from rackmodel.hardware import accelerator
from rackmodel.kernels.kernel_time import KernelTimes
from rackmodel.validation.published_runs import Run, filled_in
from rackmodel.workload import Job, Plan, load_model, programs, send_bytes, settled, transfer_bytes
from rackmodel.workload.activations import states_beside, states_kept, unit_bytes
from rackmodel.workload.data_parallel import held_gradients
from rackmodel.workload.kernels import Local
from rackmodel.workload.layers import block_steps
from rackmodel.workload.memory import (
    least_recompute,
    memory,
    more_layers,
    printed_bytes,
    recompute_that_fits,
)
from rackmodel.workload.operations import Collective, Compute, Kernel, Role, Segment
from rackmodel.workload.stages import chunks_of


def job(stack: str = "default", model: str = "gpt3-13b", **changes: object) -> Job:
    plan = Plan(tp=4, pp=4, dp=2)
    made = Job(model=load_model(model), plan=plan, seq_len=2048, global_batch=32, stack=stack)
    return made.replace(**changes)


def collectives(one: Job, name: str) -> list[Collective]:
    items = [item for program in programs(one) for item in program.items]
    flat = [
        op for item in items for op in (item.operations if isinstance(item, Segment) else [item])
    ]
    return [op for op in flat if isinstance(op, Collective) and op.name == name]


def test_ranks_that_hold_the_same_activations_send_a_share_each():
    old = job("megatron-lm-2020", sequence_parallel=False)
    new = job("megatron-lm-2021-06", sequence_parallel=False)
    assert send_bytes(old) == transfer_bytes(old) == 4 * send_bytes(new)
    assert not collectives(old, "gather received")
    gathered = collectives(new, "gather received")
    assert gathered
    assert {one.bytes for one in gathered} == {transfer_bytes(new)}
    # With sequence parallelism each rank has a share only, and there is nothing to gather.
    whole = job("megatron-lm-2021-06")
    assert send_bytes(whole) == send_bytes(new)
    assert not collectives(whole, "gather received")


def test_zero2_under_a_pipeline_reduces_once():
    one, deep = job(sharding="zero2", pp=1, dp=8), job(sharding="zero2")
    assert one.plan.reduces_each_pass
    assert not deep.plan.reduces_each_pass
    chunks = chunks_of(deep)[0]
    assert held_gradients(deep, chunks) == held_gradients(deep.replace(sharding="zero1"), chunks)
    assert len(collectives(deep, "reduce dp_cp")) == len(
        collectives(deep.replace(sharding="zero1"), "reduce dp_cp")
    )


@pytest.mark.parametrize(("precision", "size"), [("fp16", 2), ("bf16", 4)])
def test_fp16_runs_reduce_fp16(precision, size):
    assert job("megatron-lm-2021", precision=precision).gradient_bytes == size
    assert job("megatron-lm-2021", precision=precision, gradients="fp32").gradient_bytes == 4


def moe(stack: str, **changes: object) -> Job:
    plan = Plan(dp=8, sharding="zero3")
    made = Job(
        model=load_model("mixtral-8x7b"), plan=plan, seq_len=4096, global_batch=8, stack=stack
    )
    return replace(made, **changes)


def kernels_of(one: Job) -> list[str]:
    steps = block_steps(Local.of(one), one.model.blocks[-1])
    return [kernel.name for step in steps for kernel in step.work.forward]


def test_a_capacity_is_a_product_with_masks_under_xla_and_rows_elsewhere():
    names = kernels_of(moe("maxtext", token_routing="drop", capacity_factor=1.25))
    assert "dispatch_mask" in names
    assert "permute" not in names
    assert "permute" in kernels_of(moe("maxtext"))
    assert "permute" in kernels_of(moe("megatron-lm-2025", token_routing="drop"))


def test_chunks_are_sorted_at_the_rate_of_copies_and_only_where_tokens_come_by_sender():
    def sorts(stack: str = "megatron-lm-2025", **plan: object) -> list[Kernel]:
        one = replace(moe(stack), plan=Plan(dp=8, **plan))
        steps = block_steps(Local.of(one), one.model.blocks[-1])
        kernels = [k for s in steps for k in (*s.work.forward, *s.work.backward)]
        return [kernel for kernel in kernels if kernel.name.startswith("sort_by")]

    found, part = sorts(ep=4, dispatcher="all-to-all"), accelerator("h100")
    assert len(found) == 4  # to experts and back, and their gradients
    size = 2.0 * 4096 * 2 * 4096  # bytes of tokens of 4,096 columns, to two experts each
    for kernel in found:
        assert kernel.read_bytes == kernel.write_bytes == size
        seconds = KernelTimes(part, "megatron-lm-2025").kernel_s(kernel)
        assert 2 * size / part.hbm_bytes_per_s < seconds < 1.25 * 2 * size / part.hbm_bytes_per_s
    assert sum(k.read_bytes for k in sorts(ep=4, fused_odds=0.25)) == pytest.approx(3.0 * size)
    for other in ({}, {"ep": 8}, {"ep": 4, "dispatcher": "deepep"}, {"ep": 4, "fused_odds": 1.0}):
        assert not sorts(**other)
    for stack in ("torchtitan", "maxtext"):  # go row by row
        rows = sorts(stack, ep=4, dispatcher="all-to-all")
        assert {kernel.family for kernel in rows} == {"permute"}
        assert sum(k.read_bytes + k.write_bytes for k in rows) == 8.0 * size


def test_xla_runs_an_mlp_again_before_it_runs_everything_again():
    part = accelerator("h100")
    one = Job(
        model=load_model("llama2-70b"),
        plan=Plan(dp=64, sharding="zero3", micro_batch=2),
        seq_len=4096,
        global_batch=128,
        stack="maxtext-2024-12",
    )
    chosen = least_recompute(one, part.hbm_bytes).plan
    assert chosen.recompute == "selective"
    assert "mlp" in chosen.recompute_modules
    torch = least_recompute(replace(one, stack="fsdp"), part.hbm_bytes).plan
    assert torch.recompute == "full"  # of whole layers


def test_a_loss_in_chunks_holds_less_and_does_the_same():
    plan = Plan(dp=8, sharding="zero3", recompute="selective")
    one = Job(
        model=load_model("llama3.1-8b"), plan=plan, seq_len=8192, global_batch=8, stack="titan"
    )
    many = one.replace(loss_chunks=8)
    flops = [
        sum(
            kernel.flops * kernel.count
            for unit in chunks_of(job)[0][0].units
            for step in unit.steps
            for kernel in (*step.work.forward, *step.work.backward, *step.work.weight)
        )
        for job in (one, many)
    ]
    assert flops[0] == pytest.approx(flops[1])
    used = [printed_bytes(job, memory(job)) / 2**30 for job in (one, many)]
    assert used == pytest.approx([49.58, 42.26], rel=0.05)  # torchtitan 996
    logits = 8192 * one.model.vocab
    assert used[0] - used[1] == pytest.approx(7.5 * logits * 1.03 / 2**30, rel=0.01)
    # From April 2026 the head is in the chunks too, and one part's logits are held.
    later = many.replace(stack="torchtitan-2026-05")
    beside = printed_bytes(later, memory(later)) / 2**30
    assert used[1] - beside > 0.9 * 2 * logits / 2**30


def test_an_accelerator_without_fused_kernels_keeps_its_scores():
    v100 = accelerator("v100")
    one = settled(moe("default", model=load_model("gpt3-1.3b")), v100)
    assert not one.fused_attention
    assert settled(replace(one, attention="fused"), v100).fused_attention


def test_megatrons_loss_works_in_place_and_pytorchs_makes_its_gradient_anew():
    plan = Plan(tp=1, pp=4, dp=2)
    job = Job(model=load_model("llama3.1-8b"), plan=plan, seq_len=8192, global_batch=8)
    logits = 8192 * job.model.vocab

    def held(job: Job) -> float:
        part = unit_bytes(job, chunks_of(job)[-1][-1].units[-1], recomputed=False)
        return part.kept_bytes + part.working_bytes

    # bf16 logits and fp32 softmax, and the gradient's copy in two bytes; torchtitan 14 bytes.
    assert held(job) == pytest.approx(8 * logits, rel=0.03)
    assert held(job.replace(stack="titan")) == pytest.approx(14 * logits, rel=0.03)
    # flash-attn's, MosaicML's default: logits and their gradient in two bytes.
    assert held(job.replace(stack="mpt")) == pytest.approx(4 * logits, rel=0.06)


def test_pytorchs_pipeline_keeps_what_it_sent_and_gathers_whole_units_through_flat_buffers():
    plan = Plan(tp=8, pp=8, dp=8, sharding="zero3", recompute="full")
    torch = Job(
        model=load_model("llama3.1-405b"),
        plan=plan,
        seq_len=32768,
        global_batch=64,
        stack="titan",
    )
    sends, ends = chunks_of(torch)[1][0], chunks_of(torch)[-1][-1]
    assert states_kept(torch, sends) == 3
    assert states_kept(torch, ends) == 1
    assert states_kept(torch.replace(stack="megatron"), sends) == 1
    # Units that stay whole pass the same buffers as units that are dropped after use.
    kinds = [memory(torch.replace(reshard=reshard), 1) for reshard in (False, True)]
    assert kinds[0]["buffers"] == kinds[1]["buffers"] > 0


@pytest.mark.parametrize(("precision", "gathered"), [("bf16", 2.0), ("fp8", 1.0)])
def test_products_by_themselves_hold_their_gathered_inputs(precision, gathered):
    whole = job("titan", precision=precision, recompute="full", pp=1, dp=8)
    fused = whole.replace(stack="megatron")
    states = transfer_bytes(whole) * 4  # of all tokens
    more = states_beside(whole, 4) - states_beside(fused, 4)
    assert more * transfer_bytes(whole) == pytest.approx(0.75 * states * (1 + gathered))
    assert states_beside(whole, 1) == states_beside(fused, 1)


@pytest.mark.parametrize("overlap", [False, True])
def test_pytorchs_tp_copies_sequences_and_hands_gradients_on_after_its_products(overlap):
    plan = {"pp": 1, "dp": 8, "recompute": "none", "tp_overlap": overlap}
    torch, fused = job("titan", **plan), job("megatron", **plan)
    layers, gathered = torch.model.layers, transfer_bytes(torch) * 4
    copied, back = {}, {}
    for one in (torch, fused):
        items = programs(one)[0].items
        flat = [o for i in items for o in (i.operations if isinstance(i, Segment) else [i])]
        kernels = [k for o in flat if isinstance(o, Compute) for k in o.kernels]
        copies = [k for k in kernels if k.name in ("qkv_copy", "proj_copy", "fc1_copy", "fc2_copy")]
        copied[one.stack] = sum(k.count * k.read_bytes for k in copies) / one.micro_batches
        back[one.stack] = [
            o.stream
            for o in flat
            if isinstance(o, Collective) and (o.name, o.op) == ("qkv", "reduce-scatter")
        ]
    # Four there and four back; pipelined products copy nothing, but two sums stay by themselves.
    times = 2 if overlap else 8
    assert copied == {"titan": times * layers * gathered, "megatron": 0}
    assert set(back["titan"]) == {"compute"}
    assert set(back["megatron"]) == {"tp"}
    assert len(collectives(torch, "qkv")) < len(collectives(fused, "qkv"))  # nothing comes again


def test_what_recompute_would_fit_is_said_of_sharded_mixtures():
    plan = Plan(dp=8, micro_batch=8, sharding="zero3", recompute="selective")
    job = Job(model=load_model("qwen3-30b-a3b"), plan=plan, seq_len=8192, global_batch=64)
    by_operations = 'recompute="selective", recompute_modules=["alternate", "moe"], loss_chunks=8'
    assert recompute_that_fits(job, 180e9) == f'recompute="full" (or {by_operations})'
    assert "alternate" not in recompute_that_fits(job.replace(sharding="zero1"), 500e9)
    assert recompute_that_fits(job, 100e9) == 'recompute="full", loss_chunks=8'
    assert recompute_that_fits(job, 60e9) == ""
    # pith-train 79: every second product kept, experts run again, the loss in eight parts: 152 GB.
    said = job.replace(recompute_modules=("alternate", "moe"), loss_chunks=8)
    assert sum(memory(said).values()) == pytest.approx(152e9, rel=0.15)


def test_weights_stored_in_two_bytes_have_no_master_and_narrow_moments():
    # 2 a weight, 2 + 2 a pair of moments, 2 a gradient: all of FSDP without fp32 masters.
    shape = {"tp": 1, "pp": 1, "dp": 8, "sharding": "zero3"}
    narrow, wide = (memory(job(stack, **shape)) for stack in ("automodel", "torchtitan"))
    own = narrow["weights"] / 2
    assert narrow["gradients"] == pytest.approx(2 * own)
    assert narrow["optimizer"] == pytest.approx(4 * own)
    for kind, bytes_each in (("weights", 4), ("gradients", 4), ("optimizer", 8)):
        assert wide[kind] == pytest.approx(bytes_each * own)


def test_experts_that_nobody_shares_are_not_copied():
    # Kept whole, only what is gathered stands beside its shards, and is summed in fp32.
    shape = {"tp": 1, "pp": 1, "dp": 8, "sharding": "zero3", "reshard": False}
    held = [memory(job("automodel", "mixtral-8x7b", ep=ep, **shape))["gradients"] for ep in (4, 8)]
    model = load_model("mixtral-8x7b")
    experts = sum(
        u.expert_parameters for c in chunks_of(job(**shape, model=model))[0] for u in c.units
    )
    dense = model.parameters - experts
    assert held[1] == pytest.approx(4 * dense + 2 * (dense + experts) / 8, rel=0.01)
    assert held[0] == pytest.approx(4 * (dense + experts / 4) + 2 * (dense + experts) / 8, rel=0.01)


def test_selective_by_layers_runs_half_of_them_again_or_as_many_more_as_it_takes():
    h100 = accelerator("h100")
    shape = {"tp": 1, "pp": 1, "dp": 8, "sharding": "zero3", "recompute": "selective"}
    half = settled(job("fms", "llama2-70b", **shape), h100)
    assert (half.plan.recompute, half.plan.recompute_layers) == ("full", 40)
    assert settled(half, h100) == half

    def need(one: Job) -> float:
        return sum(memory(one).values())

    for room in (0.97, 0.9):
        more = more_layers(half, room * need(half))
        assert need(more) <= room * need(half)
        fewer = more.replace(recompute_layers=(more.plan.recompute_layers or 80) - 1)
        assert need(fewer) > room * need(half)
    assert more_layers(half, need(half)) == half


def test_recompute_that_all_recipes_have_is_taken_where_a_run_is_silent():
    part = accelerator("b300")
    for stack, plan in (("automodel", "full"), ("torchtitan", "none")):
        one = job(stack, tp=1, pp=1, dp=8, sharding="zero3")
        run = Run(topology="", jobs=(one,), open_recompute=True, offload="no", filled=())
        assert filled_in(run, one, part).plan.recompute == plan


def test_copies_that_no_domain_has_room_for_are_sharded_over_all():
    part = accelerator("tpu-v6e")
    whole = job(
        "trillium",
        "llama3.1-70b",
        tp=1,
        pp=1,
        dp=64,
        sharding="hsdp",
        shard_size=16,
        global_batch=64,
    )
    run = Run(
        topology="", jobs=(whole, whole), open_recompute=True, offload="last", filled=("sharding",)
    )
    assert filled_in(run, whole, part).plan.sharding == "zero3"
    roomy = whole.replace(model=load_model("llama3-8b"))
    assert filled_in(run, roomy, part).plan.sharding == "hsdp"
    said = replace(run, filled=(), offload="no")
    with pytest.raises(DoesNotFit):
        filled_in(said, whole, part)


def test_logits_in_mxfp8_are_the_same_products_on_cast_operands_in_every_head():
    """Of the MTP layers too: the matrix is one. What leaves is in 16 bits, FLOPs stay."""

    def heads(fp8: bool) -> list[Kernel]:
        plan = Plan(tp=1, pp=1, ep=8, dp=8, fp8_head=fp8)
        words = {"model": load_model("deepseek-v3"), "plan": plan, "seq_len": 4096}
        one = Job(stack="megatron-bridge-26.06", precision="fp8-mx", global_batch=64, **words)
        units = [u for c in chunks_of(one)[0] for u in c.units if u.kind in ("head", "mtp_head")]
        works = [s.work for u in units for s in u.steps if s.name == "head"]
        assert len(works) == 1 + one.model.mtp_layers == 2
        return [k for w in works for k in (*w.forward, *w.backward, *w.weight)]

    wide, narrow = heads(False), heads(True)
    assert {k.precision for k in wide} == {"bf16"}
    products = [k for k in narrow if k.family == "gemm"]
    assert {k.precision for k in products} == {"fp8"}
    assert sum(k.role == Role.CAST for k in narrow) == 4  # the input and the gradient of each
    assert sum(k.flops for k in narrow) == sum(k.flops for k in wide)
    assert products[0].write_bytes == wide[0].write_bytes
    assert sum(k.read_bytes for k in products) < sum(k.read_bytes for k in wide)


@pytest.mark.parametrize(
    ("stack", "tp", "hides"),
    [("megatron-bridge", 4, True), ("megatron-bridge", 1, False), ("default", 4, False)],
)
def test_recipes_hide_collectives_of_tp_where_a_plan_is_silent(stack, tp, hides):
    h100 = accelerator("h100")
    silent = job(stack, tp=tp, pp=1, dp=8)
    assert settled(silent, h100, 8).plan.tp_overlap == hides
    for told in (True, False):
        assert settled(silent.replace(tp_overlap=told), h100, 8).plan.tp_overlap == told


@pytest.mark.parametrize(
    ("stack", "domain", "vpp", "hides"),
    [
        ("megatron-bridge-26.06", 72, 2, True),
        ("megatron-bridge-26.06", 72, 1, False),  # no two passes side by side
        ("megatron-bridge-25.11", 72, 2, False),
        ("megatron-bridge-25.11", 8, 2, True),  # between domains
        ("default", 72, 2, False),
    ],
)
def test_recipes_hide_all_to_alls_of_interleaved_pipelines_where_a_plan_is_silent(
    stack, domain, vpp, hides
):
    silent = moe(stack).replace(sharding="zero1", ep=16, dp=16, pp=2, vpp=vpp)
    assert settled(silent, accelerator("b200"), domain).plan.ep_overlap == hides
    assert settled(silent, accelerator("b200")).plan.ep_overlap is None  # hangs on the domain
