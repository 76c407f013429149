"""Questions of public trackers with their answers: what fits, what is held, how fast it is."""

import json

import pytest
from typer.testing import CliRunner

import rackmodel
from rackmodel.cli import app
from rackmodel.errors import CannotRun
from rackmodel.workload import load_model, memory, peak_memory, printed_bytes

GIB = 2**30


# Megatron-LM 525: out of memory on one V100 of 32 GB, which has no kernels of fused attention.
# 5 a s^2 b bytes of scores and 34 s b h of the rest in each of 36 layers are 21.5 GB; weights,
# gradients and Adam's states 16 bytes each (18 with fp32 gradients: 14 GB); bf16 logits and their
# fp32 softmax 1.2 GB.
LARGE = {"model_type": "gpt2", "n_embd": 1280, "n_layer": 36, "n_head": 20, "n_positions": 1024}
V100 = {"gpus": 1, "global_batch": 4, "seq_len": 1024, "precision": "fp16"}
ALONE = {"tp": 1, "pp": 1, "dp": 1, "micro_batch": 4}


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    file = tmp_path_factory.mktemp("gpt2") / "config.json"
    file.write_text(json.dumps(LARGE | {"vocab_size": 50257}))
    return load_model(str(file))


def test_gpt2_large_does_not_fit_a_v100_unless_its_scores_are_computed_again(gpt2):
    plan = ALONE | {"recompute": "none", "offload": ()}
    with pytest.raises(CannotRun, match='recompute="selective"'):
        rackmodel.simulate("dgx-2", model=gpt2, plan=plan, **V100)
    open_plan = rackmodel.simulate("dgx-2", model=gpt2, plan=ALONE, **V100)
    assert open_plan.step.job.plan.recompute == "selective"


@pytest.mark.parametrize(("gradients", "each"), [("", 16.0), ("fp32", 18.0)])
def test_gpt2_large_holds_what_its_layers_say(gpt2, gradients, each):
    plan = rackmodel.Plan(**ALONE, recompute="none", gradients=gradients)
    job = rackmodel.Job(
        model=gpt2, plan=plan, seq_len=1024, global_batch=4, precision="fp16", attention="unfused"
    )
    held = memory(job)
    states = held["weights"] + held["gradients"] + held["optimizer"]
    assert states == pytest.approx(each * gpt2.parameters, rel=0.01)
    tokens = 4 * 1024
    layers = 36 * (34 * tokens * 1280 + 5 * 20 * tokens * 1024)
    assert layers == pytest.approx(21.5e9, rel=0.01)
    logits = (2 + 4) * tokens * 50257
    assert held["activations"] == pytest.approx(layers + logits, rel=0.01)


def told(code, words, **more):
    """What the command line says, lines joined, of a job that ends with `code`."""
    done = CliRunner().invoke(app, [*words.split(), *(f"--{k}={v}" for k, v in more.items())])
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())


ON_V100 = (
    "simulate dgx-2 --gpus 1 --tp 1 --pp 1 --dp 1 --micro-batch 4 --global-batch 4"
    " --seq-len 1024 --precision fp16"
)


def test_the_command_says_what_gpt2_large_needs_on_a_v100_unless_a_plan_spares_it(tmp_path):
    file = tmp_path / "gpt2-774m.json"
    file.write_text(json.dumps(LARGE | {"vocab_size": 50257}))
    words = f"{ON_V100} --model {file}"
    assert "(recompute: selective; without it 37 GB)" in told(0, words)
    kept = f"{words} --recompute none"
    assert "(offload: optimizer; without it 37 GB)" in told(0, kept)
    refused = told(3, f"{kept} --plan offload=none")
    assert "34 GB" in refused
    assert 'recompute="selective"' in refused
    for stack in ("megatron-lm", "torchtitan", "deepspeed"):
        told(3, f"{kept} --plan offload=none", stack=stack)


# torchtitan pull request 996: Llama 3 8B on 8 H100, selective recompute, loss whole and in chunks.
@pytest.mark.parametrize(("chunks", "gibibytes"), [(1, 49.6), (8, 42.3)])
def test_a_loss_in_chunks_holds_what_torchtitan_logs(chunks, gibibytes):
    plan = rackmodel.Plan(dp=8, sharding="zero3", recompute="selective", loss_chunks=chunks)
    job = rackmodel.Job(
        model=load_model("llama3-8b"), plan=plan, seq_len=8192, global_batch=8, stack="torchtitan"
    )
    printed = printed_bytes(job, peak_memory(job)[1])
    assert printed / GIB == pytest.approx(gibibytes, rel=0.05)


@pytest.mark.parametrize("stack", ["default", "torchtitan"])
def test_a_loss_in_chunks_saves_as_much_whatever_the_software(stack):
    held = {}
    for chunks in (1, 8):
        plan = rackmodel.Plan(
            dp=8,
            sharding="zero3",
            recompute="selective",
            recompute_modules=("alternate",),
            loss_chunks=chunks,
        )
        job = rackmodel.Job(
            model=load_model("llama3-8b"), plan=plan, seq_len=8192, global_batch=8, stack=stack
        )
        held[chunks] = sum(peak_memory(job)[1].values()) / GIB
    assert held[1] - held[8] == pytest.approx(49.6 - 42.3, rel=0.06)


# pith-train issue 79: Qwen3-30B-A3B on 8 B200, fully sharded and over two stages.
MOE = {"model": "qwen3-30b-a3b", "gpus": 8, "global_batch": 64, "seq_len": 8192}
SHARDED = {
    "dp": 8,
    "micro_batch": 8,
    "sharding": "zero3",
    "recompute": "selective",
    "recompute_modules": ["alternate", "moe"],
    "loss_chunks": 8,
}


def test_mixtures_are_as_fast_as_pith_train_says_and_full_sharding_is_ahead():
    sharded = rackmodel.simulate("dgx-b200", plan={"tp": 1, "pp": 1, "ep": 1} | SHARDED, **MOE)
    staged = {"tp": 1, "pp": 2, "ep": 4, "dp": 4, "micro_batch": 1}
    staged = rackmodel.simulate("dgx-b200", plan=staged, **MOE)
    speeds = [one.tokens_per_s_per_gpu for one in (sharded, staged)]
    assert speeds == pytest.approx([19_500, 17_500], rel=0.15)
    assert speeds[1] < speeds[0]
    assert max(sum(held.values()) for held in sharded.hbm_used) / 1e9 == pytest.approx(
        152, rel=0.05
    )


ON_B200 = (
    "simulate dgx-b200 --model qwen3-30b-a3b --gpus 8 --tp 1 --pp 1 --ep 1 --dp 8 --micro-batch 8"
    " --global-batch 64 --seq-len 8192 --sharding zero3"
)


@pytest.mark.parametrize(
    ("stack", "remedy"),
    [
        ("default", 'recompute="selective", recompute_modules=["alternate", "moe"], loss_chunks=8'),
        ("torchtitan", 'recompute="full", loss_chunks=8'),
    ],
)
def test_a_mixture_that_does_not_fit_is_told_what_would_and_that_fits(stack, remedy):
    refused = told(3, f"{ON_B200} --recompute selective --stack {stack}")
    assert remedy in refused
    words = [word.replace("=", " ", 1) for word in remedy.split(", ") if "recompute=" in word]
    flags = " ".join(f"--{word}" for word in words).replace('"', "")
    more = " --plan recompute_modules=alternate,moe" if "modules" in remedy else ""
    said = told(0, f"{ON_B200} {flags}{more} --plan loss_chunks=8 --stack {stack}")
    assert "offload" not in said
