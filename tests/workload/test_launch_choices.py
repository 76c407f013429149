"""What launch files choose between: branches of scripts, one of several recipes, open replicas."""

import pytest
from typer.testing import CliRunner

from rackmodel.cli.app import app
from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.workload import Job, Plan, load_model
from rackmodel.workload.launch import emit, read_launch

DENSE = load_model("llama3-8b")

# As scripts of Megatron-LM's examples choose: by a case, by comparisons, in arrays that grow.
BRANCHES = """SCALE="8B" # or "800M"
DTYPE=${DTYPE:-"fp8"}
case "${SCALE}" in
    "800M")
        TP=1
        LAYERS=48
        ;;
    "8B"|"9B")
        TP=4
        LAYERS=32
        ;;
    *)
        echo "Invalid"
        exit 1
        ;;
esac
ARGS=(--tensor-model-parallel-size $TP --num-layers ${LAYERS} --micro-batch-size 1 --bf16)
if [[ "$DTYPE" == "fp8" ]]; then
    ARGS+=("--fp8-format hybrid" "--fp8-recipe delayed")
    BATCH=256
elif [ "$DTYPE" = "bf16" ] || [[ -n "$DTYPE" ]]; then
    BATCH=512
else
    ARGS+=(--fp16)
fi
if [ -z "${TOKENIZER}" ]; then
    ARGS+=("--vocab-size 128256")
fi
if [ -f "data.bin" ]; then
    SEQ=4096
else
    SEQ=8192
fi
torchrun --nproc_per_node 8 pretrain_gpt.py ${ARGS[@]} --global-batch-size $BATCH \\
    --hidden-size 4096 --num-attention-heads 32 --seq-length $SEQ
"""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ("4", 32, "fp8", 256, 128256)),
        ({'SCALE="8B"': 'SCALE="800M"'}, ("1", 48, "fp8", 256, 128256)),
        ({'DTYPE:-"fp8"': 'DTYPE:-"bf16"'}, ("4", 32, "bf16", 512, 128256)),
    ],
)
def test_branches_of_a_script_are_followed(change, words, tmp_path):
    text = BRANCHES
    for old, new in change.items():
        text = text.replace(old, new)
    path = tmp_path / "train.sh"
    path.write_text(text)
    found = read_launch(path)
    tp, layers, precision, batch, vocab = words
    assert found.plan["tp"] == int(tp)
    assert (found.words["model"].layers, found.words["model"].vocab) == (layers, vocab)
    assert (found.words["precision"], found.words["global_batch"]) == (precision, batch)
    assert found.words["gpus"] == 8  # one node, as torchrun has it
    assert found.words["seq_len"] == 4096  # a file may be there or not: what stands first


RECIPES = """
def tiny_config():
    cfg = _common()
    cfg.model = AutoBridge.from_hf_pretrained("meta-llama/Meta-Llama-3-8B").to_provider()
    cfg.model.tensor_model_parallel_size = 1
    cfg.train.global_batch_size = 64
    cfg.model.seq_length = 8192

def large_config():
    cfg = tiny_config()
    cfg.model.tensor_model_parallel_size = 8
    cfg.model.pipeline_model_parallel_size = 2
"""


def test_of_a_file_with_several_recipes_one_is_named(tmp_path):
    path = tmp_path / "llama3.py"
    path.write_text(RECIPES)
    with pytest.raises(InvalidInput, match=r"2 recipes; give .*llama3.py:tiny_config"):
        read_launch(path)
    found = read_launch(tmp_path / "llama3.py:tiny_config")
    assert load_model(found.words["model"]) == DENSE
    assert (found.plan["tp"], found.words["global_batch"]) == (1, 64)
    assert read_launch(path, "large_config").plan["pp"] == 2
    with pytest.raises(UnknownName, match="did you mean 'large_config'"):
        read_launch(path, "larg_config")


def test_a_batch_follows_from_the_replicas_where_a_file_leaves_them_open(tmp_path):
    """torchtitan's llama3_405b.toml, a preset for 128 H100: 16 replicas of 2 sequences."""
    path = tmp_path / "llama3_405b.toml"
    path.write_text(
        '[model]\nname = "llama3"\nflavor = "405B"\nconverters = "float8"\n'
        "[training]\nbatch_size = 2\nseq_len = 8192\n"
        "[parallelism]\ndata_parallel_shard_degree = -1\ntensor_parallel_degree = 8\n"
        "enable_async_tensor_parallel = true\n[activation_checkpoint]\nmode = 'full'\n"
    )
    found = read_launch(path)
    assert found.on(128)["global_batch"] == 32
    assert load_model(found.words["model"]).parameters / 1e9 == pytest.approx(405.9, abs=0.1)
    assert (found.words["precision"], found.plan["tp_overlap"]) == ("fp8", True)
    done = CliRunner().invoke(app, ["simulate", "dgx-h100", "--from", str(path), "--gpus", "128"])
    assert done.exit_code == 0, done.stderr


ONE_LINE = """
SIZE=${1:-7}; MICRO=${MICRO:-2} # one line; GLOBAL=1
case $SIZE in
  7) HIDDEN=4096; LAYERS=32;;
  13) HIDDEN=5120; LAYERS=40;;
esac
if [[ $SIZE == 13 ]]; then TP=2; else TP=1; fi
python -m torch.distributed.run --nproc_per_node=8 pretrain_gpt.py --num-layers $LAYERS \\
  --hidden-size $HIDDEN --num-attention-heads 32 --tensor-model-parallel-size $TP --zero-stage 2 \\
  --seq-length 4096 --micro-batch-size $MICRO --global-batch-size 64 --vocab-size 32000 --fp16
"""


@pytest.mark.parametrize(("word", "found"), [("", (1, 4096, 32)), ("13", (2, 5120, 40))])
def test_statements_on_one_line_are_read_one_by_one(word, found, tmp_path):
    path = tmp_path / "run.sh"
    path.write_text(ONE_LINE)
    launch = read_launch(f"{path} {word}".strip())
    model = launch.words["model"]
    assert (launch.plan["tp"], model.hidden, model.layers) == found
    assert (launch.plan["micro_batch"], launch.plan["sharding"]) == (2, "zero2")


@pytest.mark.parametrize(
    ("flags", "optimizer", "gradients"),
    [
        (
            "--exp-avg-dtype bf16 --exp-avg-sq-dtype bf16 --main-grads-dtype bf16",
            "adam-bf16",
            "bf16",
        ),
        ("--exp-avg-dtype fp8 --exp-avg-sq-dtype fp8", "adam-8bit", None),
        ("--main-params-dtype fp32", None, None),
    ],
)
def test_widths_of_moments_are_read(flags, optimizer, gradients, tmp_path):
    path = tmp_path / "a.args"
    path.write_text(f"--tensor-model-parallel-size 2 --use-precision-aware-optimizer {flags}")
    launch = read_launch(path)
    assert launch.words.get("optimizer") == optimizer
    assert launch.plan.get("gradients") == gradients


_COPIES = "--micro-batch-size 1 --use-distributed-optimizer --num-distributed-optimizer-instances"
_FSDP = "--use-megatron-fsdp --data-parallel-sharding-strategy"


def test_copies_of_the_optimizer_are_shards_of_so_many_ranks(tmp_path):
    path = tmp_path / "a.args"
    path.write_text(f"{_COPIES} 4 --tensor-model-parallel-size 2 --context-parallel-size 2")
    plan = read_launch(path, gpus=64).plan
    assert (plan["sharding"], plan["shard_size"]) == ("zero1", 8)  # 32 ranks of dp x cp
    path.write_text(f"{_COPIES} 4 --world-size 64 {_FSDP} optim_grads_params")
    plan = read_launch(path).plan
    assert (plan["sharding"], plan["shard_size"]) == ("hsdp", 16)
    assert read_launch(path, gpus=128).plan["shard_size"] == 32  # on more than the file says


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("--tensor-model-parallel-size 2 --exp-avg-dtype fp8 --exp-avg-sq-dtype bf16", "same"),
        ("--tensor-model-parallel-size 2 --main-params-dtype fp16", "main_params_dtype"),
        (f"{_COPIES} 2", "follows from the accelerators; give --gpus"),
        (f"{_COPIES} 3 --world-size 8", "does not divide the 8 ranks"),
        (f"{_COPIES} 2 --world-size 8 {_FSDP} optim_grads", "beside optim_grads"),
        (
            f"{_COPIES} 2 --world-size 8 {_FSDP} optim_grads_params"
            " --outer-dp-sharding-strategy optim",
            "outer_dp_sharding_strategy optim is not modelled",
        ),
    ],
)
def test_states_that_no_plan_has_are_refused(text, told, tmp_path):
    path = tmp_path / "a.args"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=told):
        read_launch(path)


def test_auto_of_deepspeed_is_left_open(tmp_path):
    path = tmp_path / "ds.json"
    path.write_text(
        '{"train_batch_size": "auto", "train_micro_batch_size_per_gpu": "auto",'
        ' "bf16": {"enabled": "auto"}, "zero_optimization": {"stage": 3}}'
    )
    launch = read_launch(path)
    assert "micro_batch" not in launch.plan
    assert launch.plan["sharding"] == "zero3"
    path.write_text('{"train_batch_size": 8, "zero_optimization": {"mics_shard_size": 8}}')
    with pytest.raises(InvalidInput, match="mics_shard_size is not read"):
        read_launch(path)


BEGUN = """
from megatron.bridge.recipes.llama import llama3_8b_pretrain_config
def recipe():
    cfg = llama3_8b_pretrain_config()
    cfg.model.tensor_model_parallel_size = 2
    cfg.model.pipeline_model_parallel_size = 1
    cfg.mixed_precision = "bf16_with_mxfp8_mixed"
    cfg.optimizer.exp_avg_dtype = torch.bfloat16
    cfg.optimizer.exp_avg_sq_dtype = torch.bfloat16
"""


def test_a_recipe_that_begins_elsewhere_has_its_model_but_no_default_degrees(tmp_path):
    path = tmp_path / "recipe.py"
    path.write_text(BEGUN)
    with pytest.raises(InvalidInput, match=r"context_parallel_size is that of llama3_8b_pretrain"):
        read_launch(path)
    path.write_text(BEGUN + "    cfg.model.context_parallel_size = 1\n")
    launch = read_launch(path)
    assert launch.words["model"] == "llama3-8b"
    assert launch.words["precision"] == "mxfp8"
    assert launch.words["optimizer"] == "adam-bf16"
    assert (launch.plan["sharding"], launch.plan["dp_overlap"]) == ("zero1", True)


@pytest.mark.parametrize("framework", ["megatron", "nemo"])
@pytest.mark.parametrize("optimizer", ["adam-bf16", "adam-8bit", "sgd", "muon"])
def test_megatron_says_the_optimizer(optimizer, framework, tmp_path):
    job = Job(model=DENSE, plan=Plan(dp=8), seq_len=8192, global_batch=64, optimizer=optimizer)
    path = tmp_path / ("launch.sh" if framework == "megatron" else "launch.py")
    path.write_text(emit(job, framework))
    assert read_launch(path).words["optimizer"] == optimizer


def test_lines_for_a_recipe_leave_none_of_its_own_values(tmp_path):
    """They stand behind a recipe, whose degrees, sharding and recomputation would stay."""
    job = Job(model=DENSE, plan=Plan(dp=8, sharding="none"), seq_len=8192, global_batch=64)
    text = emit(job, "nemo")
    for word in ("tensor", "pipeline"):
        assert f"cfg.model.{word}_model_parallel_size = 1" in text
    for line in (
        "model.virtual_pipeline_model_parallel_size = None",
        "model.recompute_granularity = None",
        "ddp.use_distributed_optimizer = False",
    ):
        assert f"cfg.{line}" in text


def test_a_flavor_that_nothing_is_called_asks_for_the_model(tmp_path):
    path = tmp_path / "titan.toml"
    path.write_text(
        '[model]\nname = "llama3"\nflavor = "33B"\n[training]\nlocal_batch_size = 1\n'
        "seq_len = 2048\n[parallelism]\ntensor_parallel_degree = 2\n"
    )
    words = ["simulate", "dgx-h100", "--from", str(path), "--gpus", "8"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert "titan.toml: no model 'llama3-33B'" in done.output
    assert "give --model" in done.output
    assert CliRunner().invoke(app, [*words, "--model", "llama3-8b"]).exit_code == 0


def test_maxtexts_own_policy_offloads_the_input_of_a_layer_or_is_refused(tmp_path):
    path = tmp_path / "m.yml"
    text = (
        "base_config: base.yml\nmodel_name: llama3-8b\nper_device_batch_size: 2\n"
        "max_target_length: 8192\nremat_policy: custom\ndecoder_layer_input: offload\n"
    )
    path.write_text(text)
    plan = read_launch(path).plan
    assert (plan["recompute"], plan["offload"]) == ("full", ["activations"])
    path.write_text(f"{text}context: device\n")
    with pytest.raises(InvalidInput, match="write remat for decoder_layer_input, or for context"):
        read_launch(path)
    path.write_text(f"{text}context: offload\n")
    with pytest.raises(InvalidInput, match=r"offloads products.*write remat for context"):
        read_launch(path)
