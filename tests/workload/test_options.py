"""Every option changes the program, the memory or the placement, or is refused."""

from dataclasses import replace
from math import comb

import pytest

from rackmodel.errors import InvalidInput, InvalidPlan, RackModelError
from rackmodel.workload import Job, Plan, Segment, check, load_model, memory, peak_memory, programs
from rackmodel.workload.choices import RECOMPUTE_MODULES
from rackmodel.workload.experts import sent_bytes
from rackmodel.workload.kernels import Local
from rackmodel.workload.models import Model
from rackmodel.workload.placement import axis_members

DENSE = Model(
    name="dense",
    layers=16,
    hidden=512,
    ffn=2048,
    heads=16,
    kv_heads=8,
    head_dim=32,
    vocab=1024,
    dropout=True,
)
MOE = Model(
    name="moe",
    layers=16,
    hidden=512,
    ffn=2048,
    heads=16,
    kv_heads=8,
    head_dim=32,
    vocab=1024,
    experts=16,
    topk=2,
    moe_ffn=256,
    shared_expert_ffn=256,
    dense_layers=1,
)


def base(model=DENSE, **changes):
    plan = Plan(tp=2, pp=2, dp=4, micro_batch=2)
    return Job(model=model, plan=plan, seq_len=512, global_batch=64).replace(**changes)


def operations(job):
    return [
        (
            program.pipeline_rank,
            [
                (item.name, item.operations) if isinstance(item, Segment) else item
                for item in program.items
            ],
        )
        for program in programs(job)
    ]


@pytest.mark.parametrize(
    ("before", "change"),
    [
        ({}, {"tp": 4, "dp": 2}),
        ({}, {"pp": 4, "dp": 2}),
        ({}, {"vpp": 2}),
        ({}, {"cp": 2, "dp": 2}),
        ({}, {"micro_batch": 1}),
        ({}, {"sharding": "none"}),
        ({"pp": 1, "dp": 8}, {"sharding": "zero2"}),
        ({}, {"sharding": "zero3"}),
        ({}, {"sharding": "hsdp", "shard_size": 2}),
        ({"sharding": "hsdp", "shard_size": 2}, {"shard_size": 4}),
        ({}, {"shard_size": 2}),
        ({"sharding": "zero3"}, {"reshard": True}),
        ({"sharding": "zero3", "reshard": True}, {"prefetch": 2}),
        ({}, {"recompute": "full"}),
        ({"recompute": "full"}, {"recompute_layers": 2}),
        ({}, {"schedule": "gpipe"}),
        ({}, {"schedule": "zb-h1"}),
        ({}, {"schedule": "zb-2p"}),
        ({"vpp": 2}, {"schedule": "zb-v"}),
        ({"vpp": 2}, {"schedule": "v-half"}),
        ({"vpp": 2}, {"schedule": "v-min"}),
        ({}, {"schedule": "dualpipe"}),
        ({}, {"sequence_parallel": False}),
        ({}, {"tp_overlap": True}),
        ({}, {"dp_overlap": False}),
        ({}, {"p2p_overlap": True}),
        ({"vpp": 2}, {"p2p_overlap": False}),
        ({"cp": 2, "dp": 2}, {"cp_method": "all-gather"}),
        ({"cp": 2, "dp": 2}, {"cp_method": "all-to-all"}),
        ({}, {"gradients": "bf16"}),
        ({}, {"offload": ("optimizer",)}),
        ({}, {"loss_chunks": 4}),
        ({}, {"offload": ("activations",)}),
        ({"pp": 1, "dp": 8, "sharding": "zero3"}, {"offload": ("parameters",)}),
        ({}, {"stage_layers": (7, 9)}),
        ({}, {"attention": "unfused"}),
        ({}, {"precision": "fp16"}),
        ({}, {"precision": "fp8"}),
        ({"precision": "fp8"}, {"precision": "fp8-cs"}),
        ({"precision": "fp8"}, {"precision": "fp8-mx"}),
        ({"precision": "fp8-mx"}, {"precision": "fp8-block"}),
        ({"precision": "fp8-cs"}, {"precision": "fp8-rowwise"}),
        ({}, {"precision": "nvfp4"}),
        ({}, {"precision": "int8"}),
        ({}, {"seq_len": 1024}),
        ({"model": MOE}, {"ep": 4}),
        ({"model": MOE, "ep": 4}, {"etp": 2}),
        ({"model": MOE, "ep": 4}, {"dispatcher": "deepep"}),
        ({"model": MOE, "ep": 4}, {"dispatcher": "all-gather"}),
        ({"model": MOE, "ep": 4}, {"fused_odds": 0.5}),
        ({"model": MOE, "ep": 4, "dispatcher": "deepep"}, {"dispatch_domain": 2}),
        ({"model": MOE, "ep": 4, "vpp": 2}, {"ep_overlap": True}),
        ({"model": MOE, "ep": 4, "schedule": "dualpipe"}, {"ep_overlap": True}),
        ({"model": MOE, "ep": 4}, {"token_routing": "drop", "capacity_factor": 1.25}),
        ({"model": MOE, "ep": 4}, {"token_routing": "dropless-skewed", "routing_skew": 0.5}),
        (
            {"model": MOE, "ep": 4, "token_routing": "dropless-skewed", "routing_skew": 0.5},
            {"routing_seed": 3},
        ),
    ],
)
def test_an_option_changes_what_ranks_do(before, change):
    one = base(**before)
    assert operations(one) != operations(one.replace(**change))


@pytest.mark.parametrize("module", RECOMPUTE_MODULES)
def test_each_recompute_module_runs_again_and_saves_memory(module):
    model = load_model("deepseek-v3") if module == "mla_up_proj" else MOE
    plan = Plan(dp=4, ep=4)
    one = Job(model=model, plan=plan, seq_len=512, global_batch=4, attention="unfused")
    again = one.replace(recompute="selective", recompute_modules=(module,))
    assert memory(again)["activations"] < memory(one)["activations"]
    assert _flops(again, "recompute") >= 0.0
    assert _bytes(again, "recompute") > _bytes(one, "recompute") == 0.0


def _kernels(job, phase):
    for program in programs(job):
        for item in program.items:
            for operation in item.operations if isinstance(item, Segment) else [item]:
                if getattr(operation, "kernels", None) and operation.phase == phase:
                    yield from operation.kernels


def _flops(job, phase):
    return sum(kernel.flops * kernel.count for kernel in _kernels(job, phase))


def _bytes(job, phase):
    return sum((k.read_bytes + k.write_bytes) * k.count for k in _kernels(job, phase))


def test_rank_order_changes_the_groups():
    one, other = Plan(pp=2, dp=4), Plan(pp=2, dp=4, rank_order="tp-cp-ep-pp-dp")
    assert axis_members(one, "pp", 4).tolist() != axis_members(other, "pp", 4).tolist()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tp": 3}, r"tp 3 does not divide the 16 heads of 'dense'; try tp 1, 2, 4, 8, 16"),
        ({"pp": 5, "vpp": 7}, "35 stages are more than the 16 layers"),
        ({"global_batch": 62}, "dp 4 x micro_batch 2 = 8 sequences do not divide .* 62"),
        ({"vpp": 2, "schedule": "1f1b"}, "vpp 2 needs schedule interleaved"),
        ({"schedule": "interleaved"}, "needs pp and vpp above 1"),
        ({"vpp": 2, "global_batch": 56}, "7 micro-batches are not a multiple"),
        ({"schedule": "dualpipe", "pp": 8}, "at least 16; found pp 8 and 8 micro-batches"),
        ({"schedule": "zb-h1", "pp": 1}, "needs pp above 1"),
        ({"schedule": "zb-v"}, "needs pp above 1 and vpp 2"),
        ({"schedule": "v-min", "vpp": 4}, "vpp 4 needs schedule interleaved"),
        ({"pp": 1, "p2p_overlap": True}, "needs pp above 1"),
        ({"ep": 2}, "'dense' is dense"),
        ({"ep_overlap": True}, "needs experts"),
        ({"dispatcher": "deepep"}, "needs experts"),
        ({"dispatch_domain": 2}, "needs experts"),
        ({"token_routing": "drop"}, "needs experts"),
        ({"capacity_factor": 2.0}, "needs experts"),
        ({"model": MOE, "ep": 3}, "ep 3 does not divide the 16 experts.*try ep 1, 2, 4, 8, 16"),
        ({"model": MOE, "ep": 16}, "does not divide the 8 ranks of a pipeline stage"),
        ({"model": MOE, "ep": 4, "sequence_parallel": False}, "sequence_parallel"),
        ({"model": MOE, "ep": 4, "ep_overlap": True}, "needs dualpipe or dualpipev or interleaved"),
        ({"model": MOE, "ep": 4, "token_routing": "dropless-skewed"}, "routing_skew above 0"),
        ({"model": MOE, "dispatcher": "deepep"}, "needs ep above 1"),
        ({"sharding": "hsdp"}, "shard_size"),
        ({"sharding": "none", "shard_size": 3}, "needs sharding zero1 or hsdp"),
        ({"shard_size": 3}, "divides dp x cp"),
        ({"model": MOE, "ep": 8, "dp": 16, "shard_size": 2}, "each copy has all experts"),
        ({"prefetch": 2}, "needs sharding zero3"),
        ({"reshard": True}, "needs sharding zero3"),
        ({"schedule": "zb-h1", "sharding": "zero3", "reshard": True}, "not modelled"),
        ({"tp": 1, "tp_overlap": True}, "tp_overlap needs tp above 1"),
        ({"recompute_modules": ("norm",)}, "need recompute selective"),
        ({"recompute_layers": 1}, "needs recompute full"),
        ({"recompute": "full", "recompute_layers": 99}, "from 1 to the 8 layers"),
        ({"recompute": "selective", "recompute_modules": ("moe",)}, "need experts"),
        ({"recompute": "selective", "recompute_modules": ("mla_up_proj",)}, "MLA"),
        ({"cp_method": "all-gather"}, "needs cp above 1"),
        ({"cp": 2, "attention": "unfused"}, "needs fused attention"),
        ({"seq_len": 511}, "seq_len 511 is not a multiple"),
        ({"stage_layers": (8, 9)}, "16 layers in all; found 2 with 17"),
        ({"dp": None}, "dp is not set"),
    ],
)
def test_what_does_not_go_together_is_refused_with_its_numbers(change, words):
    with pytest.raises(InvalidPlan, match=words) as caught:
        check(base(**change))
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"precision": "fp9"}, "did you mean 'fp8'"),
        ({"sharding": "zero4"}, "did you mean"),
        ({"recompute": "some"}, "recompute"),
        ({"schedule": "1f2b"}, "did you mean '1f1b'"),
        ({"cp_method": "rings"}, "did you mean 'ring'"),
        ({"offload": ("weights",)}, "offload"),
        ({"tp": 0}, "tp: expected a whole number from 1"),
        ({"seq_len": -1}, "seq_len"),
        ({"micro_batch": 2.5}, "micro_batch"),
        ({"prefetch": -1}, "prefetch"),
        (
            {"prefetch": "two"},
            "prefetch: expected a whole number from 0 to 10,000,000, found 'two'",
        ),
        ({"tp_overlap": 3}, "tp_overlap: expected true or false, found 3"),
        ({"gradients": 2}, "gradients: expected a word"),
        ({"model": MOE, "routing_skew": "some"}, "routing_skew: expected a number"),
        ({"model": MOE, "routing_skew": float("nan")}, "routing_skew"),
        ({"model": MOE, "capacity_factor": float("inf")}, "capacity_factor"),
    ],
)
def test_words_and_numbers_that_no_plan_can_have(change, words):
    with pytest.raises(InvalidInput, match=words) as caught:
        check(base(**change))
    assert caught.value.exit_code == 2


def test_an_unknown_field_is_named():
    with pytest.raises(RackModelError, match="did you mean 'recompute'"):
        base(recompte="full")


def test_complete_fills_dp_or_says_what_is_wrong():
    assert Plan(tp=4, pp=2, cp=2).complete(64, 16).dp == 4
    with pytest.raises(InvalidPlan, match="do not divide 60"):
        Plan(tp=8).complete(60)
    with pytest.raises(InvalidPlan, match="needs 64 accelerators, the job has 32"):
        Plan(tp=8, dp=8).complete(32)
    with pytest.raises(InvalidPlan, match="global batch of 10"):
        Plan(tp=8).complete(32, 10)


def test_checked_jobs_always_have_programs_and_memory():
    for changes in ({}, {"model": MOE, "ep": 4}, {"sharding": "zero3"}, {"vpp": 4}):
        one = base(**changes)
        try:
            check(one)
        except RackModelError:
            pytest.fail("these jobs are fine")
        assert len(programs(one)) == one.plan.pp
        assert sum(peak_memory(one)[1].values()) > 0


def test_deepep_sends_a_token_once_to_every_domain_that_needs_it():
    model = replace(load_model("deepseek-v3"), routing_groups=1, routing_group_limit=1)
    plan = Plan(ep=32, dp=64, dispatcher="deepep")
    job = Job(model=model, plan=plan, seq_len=4096, global_batch=64)
    by_rank = sent_bytes(Local.of(job))
    by_node = sent_bytes(Local.of(job.replace(dispatch_domain=8)))
    per_copy = 4096 * model.hidden * 2
    # 8 of 256 experts drawn without replacement, 64 of them on each of 4 nodes.
    assert by_node / per_copy == pytest.approx(4 * (1 - comb(192, 8) / comb(256, 8)), rel=1e-9)
    assert by_node < 0.6 * by_rank
