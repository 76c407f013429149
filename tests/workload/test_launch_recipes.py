"""Launch files as users have them: recipes in Python, dumps in YAML, scripts with arguments."""

import pytest

from rackmodel.errors import InvalidInput
from rackmodel.workload import Plan, load_model
from rackmodel.workload.launch import emit, read_launch
from tests.workload.test_launch import DENSE, EXPERTS, job_of, read_back

# Shaped as nemo/collections/llm/recipes of NeMo 2: degrees are defaults of another function.
NEMO = """
NAME = "llama31_405b"

@run.cli.factory(name=NAME)
def model():
    conf = run.Config(Llama31Config405B)
    conf.seq_length = 8192
    return run.Config(LlamaModel, config=conf)

def trainer(tensor_parallelism: int = 8, pipeline_parallelism: int = 9, virtual: int | None = 2,
            context_parallelism: int = 4, num_nodes: int = 72, num_gpus_per_node: int = 8):
    strategy = run.Config(
        nl.MegatronStrategy,
        tensor_model_parallel_size=tensor_parallelism,
        pipeline_model_parallel_size=pipeline_parallelism,
        virtual_pipeline_model_parallel_size=virtual,
        context_parallel_size=context_parallelism,
        sequence_parallel=tensor_parallelism > 1,
        ddp=run.Config(DistributedDataParallelConfig, overlap_grad_reduce=True),
    )
    return run.Config(nl.Trainer, devices=num_gpus_per_node, num_nodes=num_nodes,
                      plugins=bf16_mixed(), strategy=strategy)

@run.cli.factory(target=pretrain, name=NAME)
def pretrain_recipe(dir=None, num_nodes: int = 72, num_gpus_per_node: int = 8, fast=False):
    recipe = run.Partial(
        pretrain,
        model=model(),
        trainer=trainer(num_nodes=num_nodes, num_gpus_per_node=num_gpus_per_node),
        data=run.Config(MockDataModule, seq_length=8192, global_batch_size=512, micro_batch_size=1),
        optim=distributed_fused_adam_with_cosine_annealing(max_lr=3e-4),
    )
    if fast:
        recipe = faster(recipe)
    return recipe

def faster(recipe):
    recipe.trainer.callbacks.append(run.Config(Overlap, tp_comm_overlap=True))
    return recipe

@run.cli.factory(target=finetune, name=NAME)
def finetune_recipe(dir=None, num_nodes: int = 3, peft_scheme="lora", seq_length=None):
    if seq_length is None:
        seq_length = 2048
    recipe = pretrain_recipe(dir=dir, num_nodes=num_nodes)
    if peft_scheme is None or peft_scheme.lower() == "none":
        recipe.trainer.strategy.tensor_model_parallel_size = 2
    elif peft_scheme.lower() == "lora":
        recipe.peft = run.Config(LoRA)
        recipe.peft.dim = 16
        recipe.peft.target_modules = ["linear_qkv"]
        recipe.trainer.strategy.tensor_model_parallel_size = 4
        recipe.trainer.strategy.context_parallel_size = 1
        recipe.trainer.strategy.pipeline_model_parallel_size = 6
    recipe.data.global_batch_size = 6
    recipe.model.config.seq_length = seq_length
    return recipe
"""


def test_a_recipe_of_nemo_2_says_what_its_functions_hand_on(tmp_path):
    path = tmp_path / "llama31_405b.py"
    path.write_text(NEMO)
    with pytest.raises(InvalidInput, match=r"2 recipes; give .*py:pretrain_recipe"):
        read_launch(path)
    found = read_launch(f"{path}:pretrain_recipe")
    degrees = {"tp": 8, "pp": 9, "vpp": 2, "cp": 4, "sharding": "zero1", "dp_overlap": True}
    assert found.plan.items() >= {**degrees, "tp_overlap": False}.items()
    words = {"gpus": 576, "global_batch": 512, "seq_len": 8192, "precision": "bf16"}
    assert found.words.items() >= words.items()
    assert found.words["model"] == "llama3.1-405b"
    found = read_launch(path, "finetune_recipe")
    assert found.plan.items() >= {"tp": 4, "pp": 6, "cp": 1}.items()
    tuned = {"lora": 16, "lora_targets": ["attention"], "global_batch": 6, "seq_len": 2048}
    assert found.words.items() >= {**tuned, "gpus": 24}.items()


def test_what_a_recipe_takes_from_elsewhere_is_refused(tmp_path):
    path = tmp_path / "r.py"
    path.write_text("from sizes import TP\ncfg.model.tensor_model_parallel_size = TP\n")
    with pytest.raises(InvalidInput, match="tensor_model_parallel_size follows from what does not"):
        read_launch(path)
    path.write_text(
        "cfg.model.tensor_model_parallel_size = 2\n"
        "if torch.cuda.device_count() > 8:\n    cfg.model.tensor_model_parallel_size = 8\n"
    )
    with pytest.raises(InvalidInput, match="tensor_model_parallel_size follows from what does not"):
        read_launch(path)


# As Megatron-Bridge writes a run's whole configuration: nulls of one table after values of another.
DUMP = """
comm_overlap: {tp_comm_overlap: true, overlap_grad_reduce: null}
ddp: {use_distributed_optimizer: true, overlap_grad_reduce: true, grad_reduce_in_fp32: false}
mixed_precision: {bf16: true, fp8: hybrid, fp8_recipe: blockwise, fp4: null, fp4_recipe: nvfp4}
model:
  add_bias_linear: false
  attention_dropout: 0.0
  ffn_hidden_size: 14336
  fp8: null
  fp8_recipe: delayed
  gated_linear_unit: true
  hf_model_id: meta-llama/Meta-Llama-3-8B
  hidden_dropout: 0.0
  hidden_size: 4096
  normalization: RMSNorm
  num_attention_heads: 32
  num_layers: 32
  num_moe_experts: null
  num_query_groups: 8
  pipeline_model_parallel_layout: Ettt|(tttt|)*7tL
  pipeline_model_parallel_size: 3
  position_embedding_type: rope
  share_embeddings_and_output_weights: false
  tensor_model_parallel_size: 4
  tp_comm_overlap: false
dataset: {sequence_length: 8192}
train: {global_batch_size: 128, micro_batch_size: 1}
"""


def test_a_dump_of_a_bridge_configuration_reads_as_what_ran(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(DUMP)
    found = read_launch(path)
    assert found.words["precision"] == "fp8-block"
    assert found.words["seq_len"] == 8192
    assert found.words["model"].parameters == DENSE.parameters
    assert found.plan["vpp"] == 3
    assert found.plan["stage_layers"] == [3, *([4] * 7), 1]
    assert (found.plan["tp_overlap"], found.plan["dp_overlap"]) == (True, True)
    path.write_text(f"ConfigContainer: {{{DUMP.strip().splitlines()[1]}, train: {{}}}}")
    with pytest.raises(InvalidInput, match="expected keys of a launch file"):
        read_launch(path)


ENDS = "--num-layers 32 --hidden-size 4096 --num-attention-heads 32 --vocab-size 9 --seq-length 64 "


@pytest.mark.parametrize(
    ("more", "stages"),
    [
        (
            "--decoder-first-pipeline-num-layers 7 --decoder-last-pipeline-num-layers 9",
            (7, 8, 8, 9),
        ),
        ("--decoder-last-pipeline-num-layers 2", (10, 10, 10, 2)),
        (
            "--account-for-embedding-in-pipeline-split --account-for-loss-in-pipeline-split "
            "--num-layers 30",
            (7, 8, 8, 7),
        ),
        ("--pipeline-model-parallel-layout 'Et*8|t*9,|(t)*14|tL'", (8, 9, 14, 1)),
        ("--num-layers-per-virtual-pipeline-stage 8", ()),
    ],
)
def test_megatron_says_the_layers_of_stages(more, stages, tmp_path):
    path = tmp_path / "run.sh"
    path.write_text(f"{ENDS} --pipeline-model-parallel-size 4 {more}")
    assert tuple(read_launch(path).plan.get("stage_layers", ())) == stages


@pytest.mark.parametrize(
    "more",
    [
        "--pipeline-model-parallel-layout Et|x",
        "--pipeline-model-parallel-layout 'Et|t|tL'",
        "--decoder-first-pipeline-num-layers 3",
        "--cpu-offloading --cpu-offloading-num-layers 2",
    ],
)
def test_layers_that_do_not_spread_are_refused(more, tmp_path):
    path = tmp_path / "run.sh"
    path.write_text(f"{ENDS} --pipeline-model-parallel-size 4 {more}")
    with pytest.raises(InvalidInput, match=r"layout|spread|offload"):
        read_launch(path)


@pytest.mark.parametrize("framework", ["megatron", "nemo"])
@pytest.mark.parametrize(
    ("model", "plan"),
    [
        (DENSE, Plan(pp=4, dp=2, stage_layers=(7, 9, 9, 7))),
        (DENSE, Plan(pp=4, dp=2, stage_layers=(0, 16, 16, 0))),
        (DENSE, Plan(pp=2, vpp=2, dp=2, stage_layers=(7, 9, 9, 7))),
        (EXPERTS, Plan(pp=4, ep=8, dp=8, stage_layers=(15, 16, 16, 14))),
        (EXPERTS, Plan(pp=4, ep=8, dp=8, stage_layers=(20, 21, 21, 0))),
    ],
)
def test_stages_that_are_emitted_read_back(framework, model, plan, tmp_path):
    again = read_back(job_of(model, plan), framework, tmp_path)[1]
    assert again.stage_layers == plan.stage_layers
    assert (again.pp, again.vpp) == (plan.pp, plan.vpp)


SCRIPT = """#!/bin/bash
GPUS_PER_NODE=`python3 -c "import torch; print(torch.cuda.device_count())"`
SIZE=$1
TP=${2}
PP="${PP:-1}"
SEQ="${SEQ:-2048}"
if [ $TP -gt 1 ] && [ "$SEQ" -le 8192 ]; then
    tp_option=" \\
        --tp-comm-overlap"
fi
if [ $SIZE = 8B ]; then
LAYERS=32
fi
HALF=$(( ($TP > 4) ? 2 : 1 ))
ARGS="
    --tokenizer-type HuggingFaceTokenizer --tokenizer-model NousResearch/Meta-Llama-3-8B \\
    --num-layers $LAYERS --hidden-size 4096 --num-attention-heads 32 \\
    --tensor-model-parallel-size ${TP} --pipeline-model-parallel-size ${PP} \\
    --sequence-parallel \\
    --micro-batch-size $HALF --global-batch-size 64 --seq-length $SEQ \\
"
torchrun --nproc_per_node $GPUS_PER_NODE --nnodes ${SLURM_NNODES:-2} run.py $ARGS ${tp_option}
"""


def test_a_script_stands_with_what_it_is_run_with(tmp_path):
    path = tmp_path / "run.sh"
    path.write_text(SCRIPT)
    found = read_launch(f"PP=2 {path} 8B 8 SEQ=4096")
    assert found.plan.items() >= {"tp": 8, "pp": 2, "micro_batch": 2, "tp_overlap": True}.items()
    assert found.words["model"].vocab == load_model("llama3-8b").vocab
    assert found.words["model"].layers == 32
    assert found.words["seq_len"] == 4096
    assert "gpus" not in found.words  # a command says them
    found = read_launch(f"{path} 8B 1")
    assert found.plan.items() >= {"tp": 1, "pp": 1, "micro_batch": 1, "tp_overlap": False}.items()
    with pytest.raises(InvalidInput, match=r"argument 2 of the script.*run.sh ARGUMENT"):
        read_launch(path)


def test_a_tokenizer_without_a_known_vocabulary_is_refused(tmp_path):
    path = tmp_path / "run.sh"
    path.write_text(ENDS.replace("--vocab-size 9", "--patch-tokenizer-type Qwen2Tokenizer"))
    with pytest.raises(InvalidInput, match=r"vocab_size.*or give --model"):
        read_launch(path)


NEMO_1 = """trainer:
  num_nodes: 4
  devices: 8
model:
  micro_batch_size: 1
  global_batch_size: 64
  tensor_model_parallel_size: 4
  encoder_seq_length: 2048
  hidden_size: 4096
  num_layers: 32
  num_attention_heads: 32
  tokenizer:
    library: megatron
    type: GPT2BPETokenizer
"""


@pytest.mark.parametrize(
    ("tokenizer", "words"),
    [("GPT2BPETokenizer", 50257), ("meta-llama/Meta-Llama-3-8B", 128256), ("Other", 0)],
)
def test_the_table_of_a_tokenizer_says_the_vocabulary(tokenizer, words, tmp_path):
    path = tmp_path / "nemo.yaml"
    path.write_text(NEMO_1.replace("GPT2BPETokenizer", tokenizer))
    if words:
        assert read_launch(path).words["model"].vocab == words
    else:
        with pytest.raises(InvalidInput, match=r"vocab_size.*or give --model"):
            read_launch(path)
    # With the model beside it nothing of it has to be read.
    assert read_launch(path, with_model=False).plan["tp"] == 4


def test_emitted_arguments_are_safe_in_a_shell():
    text = emit(job_of(DENSE, Plan(pp=4, dp=2, stage_layers=(7, 9, 9, 7))), "megatron")
    assert '--pipeline-model-parallel-layout "Ettttttt|' in text
