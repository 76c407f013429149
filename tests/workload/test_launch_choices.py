"""What launch files choose between: branches of scripts, one of several recipes, open replicas."""

import pytest
from typer.testing import CliRunner

from rackmodel.cli.app import app
from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.workload import load_model
from rackmodel.workload.launch import read_launch

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
