"""Launch files of frameworks: a job written reads back equal; public recipes read as they are."""

from dataclasses import replace

import pytest

from rackmodel.errors import InvalidInput, RackModelError
from rackmodel.workload import Job, Plan, check, load_model
from rackmodel.workload.launch import FRAMEWORKS, emit, read_launch

ENDINGS = {
    "megatron": "sh",
    "nemo": "py",
    "torchtitan": "toml",
    "deepspeed": "json",
    "maxtext": "yml",
}
DENSE = load_model("llama3-8b")
EXPERTS = load_model("deepseek-v3")
PLANS = {
    "megatron": [
        (DENSE, Plan(tp=8, pp=4, vpp=2, dp=4, sharding="zero1", tp_overlap=True)),
        (DENSE, Plan(tp=2, cp=2, dp=8, cp_method="all-gather", recompute="full")),
        (DENSE, Plan(pp=2, dp=8, recompute="full", recompute_layers=4, dp_overlap=False)),
        (DENSE, Plan(dp=16, sharding="zero3", micro_batch=2)),
        (DENSE, Plan(dp=16, sharding="none", offload=("optimizer",))),
        (DENSE, Plan(dp=16, sharding="zero1", gradients="bf16")),
        (DENSE, Plan(tp=2, dp=8, recompute="selective", recompute_modules=("norm", "core_attn"))),
        (EXPERTS, Plan(tp=2, pp=4, ep=8, dp=16, etp=1, dispatcher="deepep")),
        (EXPERTS, Plan(pp=4, ep=8, dp=16, rank_order="tp-cp-ep-pp-dp")),
    ],
    "torchtitan": [
        (DENSE, Plan(tp=8, dp=8, sharding="zero3", recompute="full")),
        (DENSE, Plan(pp=4, dp=8, sharding="zero3", micro_batch=1)),
        (DENSE, Plan(pp=4, vpp=2, dp=8, sharding="zero3")),
        (DENSE, Plan(pp=4, vpp=2, dp=8, sharding="zero3", schedule="zb-v")),
        (DENSE, Plan(pp=4, vpp=2, dp=8, sharding="zero3", schedule="dualpipev")),
        (DENSE, Plan(dp=16, sharding="hsdp", shard_size=8, recompute="none")),
        (DENSE, Plan(dp=16, sharding="none", micro_batch=2)),
        (DENSE, Plan(tp=8, dp=8, sharding="zero3", tp_overlap=True)),
        (DENSE, Plan(dp=16, sharding="zero3", offload=("optimizer", "parameters"))),
        (
            DENSE,
            Plan(dp=8, sharding="zero3", recompute="selective", recompute_modules=("alternate",)),
        ),
    ],
    "deepspeed": [
        (DENSE, Plan(dp=16, sharding="zero3", micro_batch=2, recompute="full")),
        (DENSE, Plan(dp=8, sharding="zero2", offload=("optimizer",), dp_overlap=False)),
        (DENSE, Plan(tp=2, dp=8, sharding="zero1")),
        (DENSE, Plan(dp=8, sharding="zero3", offload=("optimizer", "parameters"))),
        (DENSE, Plan(cp=2, dp=8, sharding="zero1", cp_method="all-to-all")),
    ],
    "maxtext": [
        (DENSE, Plan(tp=4, dp=8, sharding="zero3", recompute="full")),
        (DENSE, Plan(dp=32, sharding="hsdp", shard_size=8, micro_batch=2, recompute="full")),
        (DENSE, Plan(pp=4, vpp=2, dp=8, sharding="zero3", recompute="full")),
        (DENSE, Plan(dp=8, sharding="none", recompute="none")),
        (
            DENSE,
            Plan(
                dp=8,
                sharding="zero3",
                recompute="selective",
                recompute_modules=("norm", "mlp", "core_attn"),
            ),
        ),
    ],
}
PLANS["nemo"] = PLANS["megatron"]
CASES = [(name, *case) for name in FRAMEWORKS for case in PLANS[name]]


def job_of(model, plan, **more):
    batch = 8 * plan.replicas * plan.micro_batch
    return Job(model=model, plan=plan, seq_len=8192, global_batch=batch, **more)


def read_back(job, framework, tmp_path):
    path = tmp_path / f"launch.{ENDINGS[framework]}"
    path.write_text(emit(job, framework))
    found = read_launch(path)
    plan = Plan.of({**found.plan}).complete(found.words.get("gpus", job.gpus))
    return found, plan


def told(plan):
    """A plan as files have it: they say what a silent plan leaves to recipes."""
    return replace(plan, tp_overlap=bool(plan.tp_overlap), ep_overlap=bool(plan.ep_overlap))


@pytest.mark.parametrize("stack", ["megatron-bridge", "default"])
def test_files_say_what_recipes_of_the_software_do_where_a_plan_is_silent(stack):
    job = replace(job_of(DENSE, Plan(tp=8, dp=2)), stack=stack)
    assert ("--tp-comm-overlap" in emit(job, "megatron")) == (stack != "default")


@pytest.mark.parametrize(("framework", "model", "plan"), CASES)
def test_what_is_emitted_reads_back_equal(framework, model, plan, tmp_path):
    job = job_of(model, plan)
    check(job)
    found, again = read_back(job, framework, tmp_path)
    alike = {"sequence_parallel": plan.sequence_parallel} if framework not in ENDINGS else {}
    said = plan.dispatcher or again.dispatcher  # which a file of a mixture has to say
    assert told(replace(again, **alike)) == told(replace(plan, dispatcher=said))
    assert found.words["global_batch"] == job.global_batch
    if framework != "deepspeed":  # says no length
        assert found.words["seq_len"] == job.seq_len
    assert found.words["precision"] == "bf16"


@pytest.mark.parametrize("precision", ["fp16", "fp8", "fp8-cs", "mxfp8", "fp8-block", "nvfp4"])
def test_megatron_says_every_precision(precision, tmp_path):
    job = job_of(DENSE, Plan(dp=8), precision=precision)
    assert read_back(job, "megatron", tmp_path)[0].words["precision"] == precision


@pytest.mark.parametrize("name", ["llama3-8b", "gpt3-13b", "mixtral-8x7b", "deepseek-v3"])
def test_megatrons_arguments_are_a_model(name, tmp_path):
    model = load_model(name)
    path = tmp_path / "launch.sh"
    path.write_text(emit(job_of(model, Plan(dp=8)), "megatron"))
    read = read_launch(path).words["model"]
    assert read.parameters == pytest.approx(model.parameters, rel=1e-4)
    assert read.model_flops(4096) == pytest.approx(model.model_flops(4096), rel=1e-4)
    assert load_model(path).parameters == read.parameters


# As examples/gpt3/train_gpt3_175b_distributed.sh of Megatron-LM has it, paths left out.
GPT3 = """#!/bin/bash
# Runs the "175B" parameter model
export CUDA_DEVICE_MAX_CONNECTIONS=1
GPUS_PER_NODE=8
NUM_NODES=16
WORLD_SIZE=$(($GPUS_PER_NODE*$NUM_NODES))
CHECKPOINT_PATH=$1 #<Specify path>
DISTRIBUTED_ARGS=(
    --nproc_per_node $GPUS_PER_NODE
    --nnodes $NUM_NODES
    --master_addr $MASTER_ADDR
)
GPT_MODEL_ARGS=(
    --num-layers 96
    --hidden-size 12288
    --num-attention-heads 96
    --seq-length 2048
    --max-position-embeddings 2048
    --attention-backend auto # Can use (flash/fused/unfused/local)
)
TRAINING_ARGS=(
    --micro-batch-size 1
    --global-batch-size 1536
    --rampup-batch-size 16 16 5859375
    --train-iters 500000
    --weight-decay 0.1
    --adam-beta1 0.9
    --init-method-std 0.006
    --fp16
    --lr 6.0e-5
)
MODEL_PARALLEL_ARGS=(
\t--tensor-model-parallel-size 8
\t--pipeline-model-parallel-size 16
)
torchrun ${DISTRIBUTED_ARGS[@]} pretrain_gpt.py \\
    ${GPT_MODEL_ARGS[@]} \\
    ${TRAINING_ARGS[@]} \\
    ${MODEL_PARALLEL_ARGS[@]}
"""
# As examples/mixtral/train_mixtral_8x7b_distributed.sh of Megatron-LM has it.
MIXTRAL = """GPUS_PER_NODE=8
NNODES=${SLURM_NNODES:-"1"}
DISTRIBUTED_ARGS=(
    --nproc_per_node $GPUS_PER_NODE
    --nnodes $NNODES
)
MODEL_ARGS=(
    --use-mcore-models
    --disable-bias-linear
    --seq-length 4096
    --max-position-embeddings 32768
    --num-layers 32
    --hidden-size 4096
    --ffn-hidden-size 14336
    --num-attention-heads 32
    --init-method-std 0.01
    --attention-dropout 0.0
    --hidden-dropout 0.0
    --normalization RMSNorm
    --position-embedding-type rope
    --swiglu
    --untie-embeddings-and-output-weights
    --group-query-attention
    --num-query-groups 8
    --no-masked-softmax-fusion
)
MOE_ARGS=(
    --num-experts 8
    --moe-router-topk 2
    --moe-router-load-balancing-type aux_loss
    --moe-aux-loss-coeff 1e-2
    --moe-grouped-gemm
    --moe-token-dispatcher-type alltoall
    --overlap-param-gather
    --overlap-grad-reduce
)
DATA_ARGS=(--tokenizer-type Llama2Tokenizer --split 99990,8,2)
TRAINING_ARGS="--micro-batch-size 1 --global-batch-size 256 --bf16"
MODEL_PARALLEL_ARGS=(
    --tensor-model-parallel-size 1
    --pipeline-model-parallel-size 4
    --expert-model-parallel-size 2
    --use-distributed-optimizer
    --sequence-parallel
)
"""


def test_a_public_script_of_megatron_reads_as_it_is(tmp_path):
    path = tmp_path / "train_gpt3_175b_distributed.sh"
    path.write_text(GPT3)
    found = read_launch(path)
    assert found.words["gpus"] == 128
    assert found.words["model"].parameters / 1e9 == pytest.approx(174.6, rel=0.005)
    assert found.words["precision"] == "fp16"
    assert (found.words["seq_len"], found.words["global_batch"]) == (2048, 1536)
    assert {found.plan[name] for name in ("vpp", "cp", "ep", "micro_batch")} == {1}
    assert (found.plan["tp"], found.plan["pp"], found.plan["sharding"]) == (8, 16, "none")
    check(Job(**job_words(found)))
    path.write_text(MIXTRAL)
    found = read_launch(path)
    assert found.words["model"].parameters / 1e9 == pytest.approx(46.7, rel=0.005)
    assert (found.words["gpus"], found.plan["ep"], found.plan["pp"]) == (8, 2, 4)
    assert (found.plan["sharding"], found.plan["dispatcher"]) == ("zero1", "all-to-all")


def job_words(found):
    plan = Plan.of(found.plan).complete(found.words["gpus"])
    words = {name: value for name, value in found.words.items() if name not in ("gpus",)}
    return {**words, "plan": plan}


BRIDGE = """
def llama3_70b_pretrain_config(**kwargs):
    cfg = _common()
    cfg.model.tensor_model_parallel_size = 4
    cfg.model.pipeline_model_parallel_size = 4
    cfg.model.virtual_pipeline_model_parallel_size = 5
    cfg.model.context_parallel_size = 2
    cfg.model.sequence_parallel = True
    cfg.model.seq_length = 8192
    cfg.train.global_batch_size = 512
    cfg.train.micro_batch_size = 1
    cfg.ddp.use_distributed_optimizer = True
    cfg.ddp.overlap_grad_reduce = True
    cfg.mixed_precision = "bf16_mixed"
    return cfg
"""
TITAN = """
[model]
name = "llama3"
flavor = "8B"
[training]
local_batch_size = 2
seq_len = 8192
[parallelism]
data_parallel_replicate_degree = 1
data_parallel_shard_degree = -1
tensor_parallel_degree = 1
[activation_checkpoint]
mode = "selective"
selective_ac_option = "2"
"""
MAXTEXT = """
model_name: llama3-8b
per_device_batch_size: 4
max_target_length: 8192
ici_fsdp_parallelism: 16
dcn_data_parallelism: 2
remat_policy: full
"""


def test_recipes_of_other_frameworks_read(tmp_path):
    for name, text in (("r.py", BRIDGE), ("t.toml", TITAN), ("m.yml", MAXTEXT)):
        (tmp_path / name).write_text(text)
    bridge, titan, maxtext = (read_launch(tmp_path / one) for one in ("r.py", "t.toml", "m.yml"))
    assert [bridge.plan[name] for name in ("tp", "pp", "vpp", "cp")] == [4, 4, 5, 2]
    assert bridge.words["precision"] == "bf16"
    assert load_model(titan.words["model"]) == DENSE
    assert titan.plan["recompute_modules"] == ["alternate"]
    assert "gpus" not in titan.words  # -1 takes what there is
    assert maxtext.words["gpus"] == 32
    assert maxtext.words["global_batch"] == 128
    assert (maxtext.plan["sharding"], maxtext.plan["shard_size"]) == ("hsdp", 16)


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("a.sh", "docker run --ipc=host bash train.sh", "no arguments of Megatron"),
        (
            "a.sh",
            "--num-layers 4 --hidden-size 8 --num-attention-heads 2 --hybrid-mlp-ratio 0.5",
            "hybrid-mlp-ratio",
        ),
        ("a.sh", "echo hello\n", "no --flags"),
        ("a.py", "def f(:", "not valid Python"),
        ("a.py", "x = y\n", "no constant"),
        ("a.yml", "a: [", "not valid YAML"),
        ("a.yml", "a: &x 1\nb: *x\n", "references"),
        ("a.yml", "a: 1\n", "expected keys of a launch file"),
        ("a.json", "[]", "expected a table"),
        ("a.json", '{"train_batch_size": 7, "zero_optimization": {"stage": 9}}', "0 to 3"),
        ("a.sh", "--tensor-model-parallel-size many", "whole number"),
        (
            "a.sh",
            "--num-layers 4 --hidden-size 8 --num-attention-heads 2 --window-size 1",
            "window",
        ),
        ("a.sh", "--recompute-granularity some", "recompute_granularity"),
        ("a.toml", '[activation_checkpoint]\nmode = "magic"\n', "mode"),
        (
            "a.yml",
            "ici_fsdp_parallelism: 4\nremat_policy: magic\n",
            "remat_policy.*write one of none",
        ),
    ],
)
def test_a_launch_file_that_cannot_be_read_says_why(name, text, word, tmp_path):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InvalidInput, match=word) as caught:
        read_launch(path)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("framework", "plan", "word"),
    [
        ("megatron", Plan(pp=4, dp=2, schedule="gpipe"), "schedule"),
        ("torchtitan", Plan(dp=8, sharding="zero1"), "sharding.*give --sharding zero3"),
        ("torchtitan", Plan(dp=8, sharding="zero3", offload=("optimizer",)), "offload"),
        ("deepspeed", Plan(dp=8, sharding="zero3", offload=("activations",)), "offload"),
        ("torchtitan", Plan(dp=8, sharding="zero3", dp_overlap=False), "dp_overlap"),
        ("deepspeed", Plan(pp=2, vpp=2, dp=2, sharding="zero1"), "vpp"),
        ("deepspeed", Plan(dp=2, sharding="zero1", recompute="selective"), "recompute"),
        ("maxtext", Plan(dp=8, sharding="zero2"), "sharding.*give --sharding zero3"),
        ("maxtext", Plan(dp=8, sharding="zero3", recompute="selective"), "recompute"),
    ],
)
def test_a_choice_that_a_framework_cannot_say_is_refused(framework, plan, word):
    with pytest.raises(RackModelError, match=f"{framework}.*{word}"):
        emit(job_of(DENSE, plan), framework)


def test_the_program_of_a_launcher_ends_its_flags(tmp_path):
    file = tmp_path / "run.sh"
    file.write_text(
        "torchrun --nproc_per_node 8 --nnodes 8 ./pretrain_gpt.py --num-layers 40 "
        "--hidden-size 5120 --num-attention-heads 40 --vocab-size 50257 --seq-length 2048 "
        "--max-position-embeddings 2048 --micro-batch-size 1 --global-batch-size 256 --bf16\n"
    )
    assert read_launch(file).words["gpus"] == 64


def test_a_maxtext_file_without_axes_has_those_of_its_base_file(tmp_path):
    path = tmp_path / "llama3_8b.yml"
    path.write_text(
        'base_config: "base.yml"\nmodel_name: "llama3-8b"\nper_device_batch_size: 12\n'
        'max_target_length: 8192\nremat_policy: "minimal_with_context"\n'
    )
    found = read_launch(path)
    assert found.plan["sharding"] == "zero3"  # ici_fsdp_parallelism: -1
    assert found.plan["micro_batch"] == 12
    assert found.on(8)["global_batch"] == 96


@pytest.mark.parametrize(
    ("policy", "modules"),
    [
        ("minimal_with_context", ["norm", "act"]),
        ("minimal", ["norm", "act", "core_attn"]),
        ("save_dot_except_mlp", ["norm", "mlp", "core_attn"]),
        ("custom\ncontext: device\nquery_proj: device", ["norm", "mlp"]),
    ],
)
def test_maxtexts_policies_keep_products_and_run_the_rest_again(tmp_path, policy, modules):
    path = tmp_path / "m.yml"
    path.write_text(
        "base_config: base.yml\nmodel_name: llama3-8b\nper_device_batch_size: 2\n"
        f"max_target_length: 8192\nremat_policy: {policy}\n"
    )
    plan = read_launch(path).plan
    assert (plan["recompute"], plan["recompute_modules"]) == ("selective", modules)
    # Tensors of experts have the names of dense ones.
    mixture = job_of(load_model("mixtral-8x7b"), Plan(dp=8, **plan | {"micro_batch": 1}))
    experts = {"norm": "norm", "act": "moe_act", "mlp": "moe", "core_attn": "core_attn"}
    assert {experts[module] for module in modules} <= mixture.replace(stack="maxtext").modules
