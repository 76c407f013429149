"""Every option of a plan or job changes what is simulated, or is refused with the reason."""

import json
from dataclasses import fields, replace

import pytest
from typer.testing import CliRunner

import rackmodel
from rackmodel.cli import app
from rackmodel.errors import RackModelError
from rackmodel.workload import Job, Plan
from rackmodel.workload.attention_kinds import Mla
from rackmodel.workload.models import Model

DENSE = Model(
    name="dense",
    layers=8,
    hidden=1024,
    ffn=4096,
    heads=16,
    kv_heads=8,
    head_dim=64,
    vocab=8192,
    dropout=True,
)
MOE = replace(
    DENSE,
    name="moe",
    experts=16,
    topk=2,
    moe_ffn=512,
    shared_expert_ffn=512,
    dense_layers=1,
    mla=Mla(q_lora=256, kv_lora=128, qk_nope=64, qk_rope=32, v_dim=64),
)
HSDP = {"sharding": "hsdp", "shard_size": 2}
FSDP = {"sharding": "zero3", "reshard": True}
EP = {"model": MOE, "ep": 4}
SKEW = {"token_routing": "dropless-skewed", "routing_skew": 0.5}

DEEPEP_OVER_NODES = {"model": MOE, "pp": 1, "dp": 8, "ep": 16, "dispatcher": "deepep"}


def selective(*modules):
    return {"recompute": "selective", "recompute_modules": modules}


# (what the job has, what is changed, where it must show: parts of the step or kinds of HBM)
CASES = [
    ({}, {"model": MOE}, {"compute", "weights"}),
    ({}, {"seq_len": 1024}, {"compute", "activations"}),
    ({}, {"global_batch": 64}, {"compute"}),
    ({}, {"micro_batch": 1}, {"compute", "activations"}),
    ({}, {"document_len": 256}, {"compute"}),
    ({}, {"optimizer": "adam-8bit"}, {"optimizer"}),
    ({}, {"freeze": ("embedding", "layers:0-1")}, {"compute", "gradients", "optimizer"}),
    ({}, {"lora": 16}, {"compute", "gradients", "optimizer"}),
    ({"lora": 16}, {"lora_targets": ("attention",)}, {"compute", "gradients", "optimizer"}),
    ({}, {"tp": 4, "dp": 2}, {"tp", "weights"}),
    ({}, {"pp": 4, "dp": 2}, {"bubble", "weights"}),
    ({}, {"dp": 2}, {"dp", "optimizer"}),
    ({}, {"vpp": 2}, {"bubble", "activations"}),
    ({"cuda_graphs": True}, {"cp": 2, "dp": 2}, {"cp", "activations"}),  # else the host hides it
    ({"cp": 2, "dp": 2}, {"cp_method": "all-gather"}, {"cp"}),
    ({"cp": 2, "dp": 2}, {"cp_method": "all-to-all"}, {"cp"}),
    ({}, {"sharding": "none"}, {"optimizer"}),
    (
        {"pp": 1, "dp": 8},
        {"sharding": "zero2"},
        {"compute", "gradients"},
    ),  # in a pipeline: as zero1
    ({}, {"sharding": "zero3"}, {"weights", "gradients"}),
    ({}, HSDP, {"dp", "weights"}),
    (HSDP, {"shard_size": 4}, {"dp", "weights"}),
    ({}, {"shard_size": 2}, {"dp", "optimizer"}),
    (EP | {"etp": 1, "pp": 1, "dp": 8}, {"shard_size": 4}, {"dp", "optimizer"}),
    ({"sharding": "zero3"}, {"reshard": True}, {"dp", "weights"}),
    (FSDP, {"prefetch": 2}, {"compute", "buffers"}),
    (FSDP, {"prefetch": 0}, {"dp", "buffers"}),
    ({}, {"recompute": "selective"}, {"recompute"}),
    ({}, selective("norm"), {"recompute", "activations"}),
    ({}, selective("layernorm"), {"recompute", "activations"}),
    ({}, selective("act"), {"recompute", "activations"}),
    ({}, selective("mlp"), {"recompute", "activations"}),
    ({}, selective("alternate"), {"recompute", "activations"}),
    ({"attention": "unfused"}, selective("core_attn"), {"recompute", "activations"}),
    (EP, selective("moe"), {"recompute", "activations"}),
    (EP, selective("moe_act"), {"recompute", "activations"}),
    (EP, selective("mla_up_proj"), {"recompute", "activations"}),
    ({}, {"recompute": "full"}, {"recompute", "activations"}),
    ({"recompute": "full"}, {"recompute_layers": 2}, {"recompute", "activations"}),
    ({}, {"schedule": "gpipe"}, {"activations"}),
    ({}, {"schedule": "zb-h1"}, {"bubble"}),
    ({}, {"schedule": "dualpipe"}, {"bubble", "weights"}),
    ({}, {"schedule": "zb-2p"}, {"activations"}),
    ({"vpp": 2}, {"schedule": "zb-v"}, {"bubble", "activations"}),
    ({}, {"sequence_parallel": False}, {"tp", "activations"}),
    ({}, {"tp_overlap": True}, {"tp", "compute"}),
    ({}, {"dp_overlap": False}, {"dp"}),
    ({}, {"p2p_overlap": True}, {"pp"}),
    ({"vpp": 2}, {"p2p_overlap": False}, {"pp"}),
    ({}, {"gradients": "bf16"}, {"dp", "gradients"}),
    ({}, {"offload": ("optimizer",)}, {"optimizer"}),
    ({"pp": 1, "dp": 8}, {"loss_chunks": 4}, {"activations"}),
    ({}, {"offload": ("activations",)}, {"compute", "activations"}),
    (
        {"pp": 1, "dp": 8, "sharding": "zero3"},
        {"offload": ("parameters",)},
        {"weights"},
    ),
    ({}, {"stage_layers": (3, 5)}, {"bubble", "weights"}),
    ({}, {"rank_order": "tp-cp-ep-pp-dp"}, {"dp"}),
    ({}, {"attention": "unfused"}, {"compute", "activations"}),
    ({}, {"cuda_graphs": True}, {"compute"}),
    ({}, {"stack": "megatron-bridge-26.04"}, {"gradients"}),
    ({}, {"precision": "fp16"}, {"optimizer"}),
    ({}, {"precision": "fp8"}, {"compute", "activations"}),
    ({"precision": "fp8"}, {"precision": "fp8-cs"}, {"compute"}),
    ({"precision": "fp8"}, {"precision": "fp8-rowwise"}, {"dp"}),
    ({"precision": "fp8"}, {"precision": "fp8-block"}, {"weights", "activations"}),
    ({"precision": "fp8"}, {"transposes": False}, {"weights"}),
    ({"precision": "fp8-mx"}, {"fp8_head": True}, {"compute"}),
    ({"model": MOE}, {"ep": 4}, {"ep", "weights"}),
    (EP, {"etp": 2}, {"etp"}),
    (EP, {"dispatcher": "deepep"}, {"ep"}),
    (EP, {"dispatcher": "all-gather"}, {"ep"}),
    (EP, {"fused_odds": 0.5}, {"ep"}),
    (EP | {"dispatcher": "deepep"}, {"dispatch_domain": 2}, {"ep"}),
    (EP | {"dispatcher": "deepep"}, {"dispatch_format": "fp8"}, {"ep"}),
    (DEEPEP_OVER_NODES, {"dispatch_domain": 1}, {"ep"}),
    (EP | {"vpp": 2}, {"ep_overlap": True}, {"ep"}),
    (EP | {"schedule": "dualpipe"}, {"ep_overlap": True}, {"ep"}),
    (EP, {"token_routing": "drop", "capacity_factor": 1.25}, {"compute", "activations"}),
    (EP, {"token_routing": "drop"}, {"ep"}),
    (EP, SKEW, {"compute", "activations"}),
    (EP | SKEW, {"routing_seed": 3}, {"compute", "activations"}),
]
OUTCOMES: dict[Job, dict[str, float]] = {}


def job_of(changes):
    plan = Plan(tp=2, pp=2, dp=4, micro_batch=2)
    return Job(model=DENSE, plan=plan, seq_len=512, global_batch=32).replace(**changes)


def outcome(job):
    if job not in OUTCOMES:
        result = rackmodel.simulate("dgx-h100", job, check_memory=False)
        used = max(result.hbm_used, key=lambda kinds: sum(kinds.values()))
        OUTCOMES[job] = {
            **{f"{name} s": value for name, value in result.breakdown_s.items()},
            **{f"{kind} bytes": value for kind, value in used.items()},
        }
    return OUTCOMES[job]


@pytest.mark.parametrize(("before", "change", "where"), CASES)
def test_an_option_changes_the_result_where_it_should(before, change, where):
    one, other = outcome(job_of(before)), outcome(job_of({**before, **change}))
    changed = {
        name.split()[0]
        for name in one.keys() | other.keys()
        if one.get(name, 0.0) != pytest.approx(other.get(name, 0.0), rel=1e-9, abs=1e-12)
    }
    assert where <= changed


def test_deepep_goes_to_each_domain_once_without_being_told():
    told = outcome(job_of(DEEPEP_OVER_NODES | {"dispatch_domain": 8}))
    assert outcome(job_of(DEEPEP_OVER_NODES)) == told


def test_no_option_is_left_out():
    walked = {name for before, change, _ in CASES for name in {**before, **change}}
    options = {f.name for kind in (Plan, Job) for f in fields(kind)} - {"plan"}
    assert options - walked == set()


# Where an option could have no effect, it is refused and says what it needs.
@pytest.mark.parametrize(
    ("before", "change", "needs"),
    [
        ({}, {"prefetch": 2}, "zero3 or hsdp"),
        ({"sharding": "zero3"}, {"prefetch": 2}, "reshard=true"),
        (FSDP | {"dp_overlap": False}, {"prefetch": 2}, "dp_overlap"),
        ({}, {"reshard": True}, "zero3 or hsdp"),
        ({"sharding": "zero2", "pp": 1, "dp": 8}, {"shard_size": 2}, "zero1 or hsdp"),
        ({"pp": 1, "dp": 8}, {"p2p_overlap": True}, "pp above 1"),
        ({"pp": 1, "dp": 8}, {"schedule": "zb-h1"}, "pp above 1"),
        ({"pp": 1, "dp": 8}, {"vpp": 2}, "pp and vpp above 1"),
        ({}, {"recompute_layers": 2}, "recompute full"),
        ({}, {"document_len": 300}, "whole documents"),
        ({}, {"document_len": 256, "attention": "unfused"}, "fused attention"),
        ({}, {"recompute_modules": ("norm",)}, "recompute selective"),
        ({}, selective("mla_up_proj"), "MLA"),
        ({}, selective("moe"), "experts"),
        ({"tp": 1, "dp": 8}, {"tp_overlap": True}, "tp above 1"),
        ({}, {"cp_method": "all-gather"}, "cp above 1"),
        ({"precision": "fp8"}, {"fp8_head": True}, "fp8-mx"),
        ({}, {"ep": 2}, "dense"),
        ({}, {"etp": 2}, "dense"),
        ({}, {"token_routing": "drop"}, "experts"),
        ({}, {"dispatcher": "deepep"}, "experts"),
        ({}, {"dispatch_domain": 2}, "experts"),
        ({}, {"ep_overlap": True}, "experts"),
        ({"model": MOE}, {"dispatcher": "deepep"}, "ep above 1"),
        ({"model": MOE}, {"ep_overlap": True}, "ep above 1"),
        ({"model": MOE}, SKEW, "ep above 1"),
        (EP, {"routing_seed": 1}, "dropless-skewed"),
        (EP, {"capacity_factor": 2.0}, "token_routing drop"),
        (EP, {"dispatch_domain": 2}, "deepep"),
        (EP | {"dispatcher": "deepep"}, {"fused_odds": 0.5}, "no dispatcher"),
        ({"model": MOE}, {"fused_odds": 0.5}, "ep above 1"),
        ({}, {"fused_odds": 0.5}, "experts"),
    ],
)
def test_an_option_without_effect_is_refused(before, change, needs):
    with pytest.raises(RackModelError, match=needs):
        rackmodel.simulate("dgx-h100", job_of({**before, **change}))


# The command line reaches all of them: options of their own, and --plan for the others.
COMMAND = ["simulate", "dgx-h100", "--gpus", "16", "--global-batch", "64"]
COMMAND += ["--default-plan", "--json"]
FIXED = {
    "--model": "gpt3-1.3b",
    "--seq-len": "1024",
    "--tp": "2",
    "--pp": "2",
    "--dp": "4",
    "--micro-batch": "2",
}
WORDS = [
    ({"--tp": "4", "--dp": "2"}, {"tp"}),
    ({"--pp": "4", "--dp": "2"}, {"bubble"}),
    ({"--vpp": "2"}, {"bubble"}),
    ({"--cp": "2", "--dp": "2"}, {"activations"}),
    ({"--micro-batch": "1"}, {"compute"}),
    ({"--sharding": "zero3"}, {"gradients"}),
    ({"--recompute": "full"}, {"recompute"}),
    ({"--schedule": "gpipe"}, {"activations"}),
    ({"--precision": "fp8"}, {"compute"}),
    ({"--stack": "megatron-bridge-26.04"}, {"gradients"}),
    ({"--cuda-graphs": None}, {"compute"}),
    ({"--plan": "tp_overlap=true"}, {"tp"}),
    ({"--plan": "attention=unfused"}, {"activations"}),
    ({"--plan": "stage_layers=10,14"}, {"bubble"}),
    ({"--model": "mixtral-8x7b", "--ep": "4"}, {"ep"}),
    ({"--model": "mixtral-8x7b", "--ep": "4", "--etp": "2"}, {"ep", "etp"}),
    ({"--model": "mixtral-8x7b", "--ep": "4", "--plan": "token_routing=drop"}, {"ep"}),
]
MOE_WORDS = {"--model": "mixtral-8x7b", "--ep": "4", "--plan": "dispatcher=deepep"}


def parts_of(words):
    options = {**FIXED, **words}
    extra = [w for name, value in options.items() for w in (name, value) if w is not None]
    found = CliRunner().invoke(app, [*COMMAND, *extra, "--set", "accelerators.h100.hbm_bytes=1TB"])
    assert found.exit_code == 0, found.stderr
    result = json.loads(found.stdout)
    return {**result["breakdown_s"], **result["hbm"]["used_bytes"]}


@pytest.mark.parametrize(("words", "where"), WORDS)
def test_a_word_of_the_command_line_changes_the_result(words, where):
    before = parts_of(MOE_WORDS if len(words) > 2 else {})
    after = parts_of(words)
    changed = {
        name
        for name in before.keys() | after.keys()
        if before.get(name, 0.0) != pytest.approx(after.get(name, 0.0), rel=1e-9, abs=1e-12)
    }
    assert where <= changed
