"""Which kernels a step of serving runs: experts that it reads, sums with norms, shared experts."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

import rackmodel
from rackmodel.hardware import accelerator
from rackmodel.kernels.serving_time import ServingTimes
from rackmodel.serving.run import steps_of
from rackmodel.topology import load_topology
from rackmodel.workload.kernels import elementwise
from rackmodel.workload.operations import Compute
from rackmodel.workload.serving.job import ServingJob, Worker
from rackmodel.workload.serving.load import PLAIN, Load, Ways, touched, touched_most
from rackmodel.workload.serving.programs import serving_programs

LATENT = {
    "model": rackmodel.load_model("deepseek-v3"),
    "gpus": 8,
    "users": 1,
    "isl": 1,
    "osl": 1,
}
WAYS = (PLAIN, Ways(fused=True))


@pytest.mark.parametrize("tokens", [1, 8, 64, 2048])
def test_steps_wait_for_the_rank_that_reads_most_experts(tokens):
    """Against tokens that choose one by one; never fewer than the mean, never more than all."""
    model, ranks, here = rackmodel.load_model("deepseek-v3"), 8, 32
    most = touched_most(256, 8, ranks, 0, tokens, 0.0, 0)
    assert here * touched(model, tokens) <= most + 1e-6 <= here + 1e-5
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(100):
        hit = np.zeros(256, dtype=bool)
        for _ in range(tokens):
            hit[rng.choice(256, 8, replace=False)] = True
        drawn.append(hit.reshape(ranks, here).sum(axis=1).max())
    assert most == pytest.approx(np.mean(drawn), rel=0.07)


def test_copies_of_experts_are_touched_less_often():
    plain, copied = (touched_most(256, 8, 32, copies, 16, 0.8, 0) for copies in (0, 32))
    assert copied < plain * 9 / 8  # 9 of 8 experts on a rank


def names_of(program):
    return Counter(
        kernel.name
        for item in program.items
        for one in item.operations
        if isinstance(one, Compute)
        for kernel in one.kernels
    )


def test_sums_take_norms_along_where_no_prompts_run():
    job = ServingJob(**{**LATENT, "worker": Worker(tp=8)})
    answers, both = (
        Load(sequences=8, context=1000),
        Load(sequences=8, context=1000, prompts=1, piece=512),
    )
    plain, fused = (
        names_of(serving_programs(job, job.worker, answers, 1, ways)[0]) for ways in WAYS
    )
    assert plain["norm"] - fused["norm"] == 2 * 61
    with_prompts = [names_of(serving_programs(job, job.worker, both, 1, ways)[0]) for ways in WAYS]
    assert with_prompts[0] == with_prompts[1]
    spread = Worker(tp=8, ep=8, dp_attention=True)  # no sums, none to take along
    apart = [names_of(serving_programs(job, spread, answers, 1, ways)[0]) for ways in WAYS]
    assert apart[0] == apart[1]


def test_the_shared_expert_hides_its_floors_beside_the_others():
    job = ServingJob(**{**LATENT, "worker": Worker(tp=8)})
    without = job.replace(model=replace(job.model, shared_expert_ffn=0))
    times = ServingTimes(accelerator("b200"))
    load = Load(sequences=8, context=1000)
    both, routed = (
        sum(
            times.compute_s(one)
            for item in serving_programs(some, job.worker, load)[0].items
            for one in item.operations
            if isinstance(one, Compute)
        )
        for some in (job, without)
    )
    read_s = 58 * 3 * 7168 * 2048 / 8 / accelerator("b200").hbm_bytes_per_s  # fp8
    added_s = 58 * times.kernel_s(elementwise("sum", 16 * 7168 * 2, 8 * 7168 * 2))
    floors_s = 58 * 2 * times.constants["gemm"]["nvidia-blackwell"]["floor_s"]["fp8"]
    assert 0.5 * read_s < both - routed - added_s < min(2.0 * read_s, floors_s)


def test_kernels_of_one_software_sum_over_the_hosts_of_a_rack():
    words = {"model": "llama3.1-70b", "isl": 1024, "osl": 1024, "users": 4, "tp": 8, "gpus": 8}
    ours, library = (
        rackmodel.serve("gb200-nvl72", **words, stack=stack).tpot_s
        for stack in ("tensorrt-llm", "sglang")
    )
    node, other = (
        rackmodel.serve("dgx-b200", **words, stack=stack).tpot_s
        for stack in ("tensorrt-llm", "sglang")
    )
    assert library - ours > (other - node) + 160 * 5e-6


@pytest.mark.parametrize(
    ("machine", "stack", "weights", "tokens", "own"),
    [
        ("dgx-b200", "tensorrt-llm", "nvfp4", 128, 0),
        ("dgx-b200", "tensorrt-llm", "nvfp4", 129, 58),
        ("dgx-b200", "tensorrt-llm", "fp8", 8, 58),
        ("dgx-b200", "sglang", "nvfp4", 8, 58),
        ("gb200-nvl72", "tensorrt-llm", "nvfp4", 8, 58),  # two hosts
    ],
)
def test_sums_of_few_tokens_in_one_host_finish_experts(machine, stack, weights, tokens, own):
    """TensorRT-LLM's MoEAllReduce; elsewhere two kernels do what it takes along."""
    worker = Worker(tp=8)
    job = ServingJob(**{**LATENT, "worker": worker, "weights": weights, "stack": stack})
    steps = steps_of(load_topology(machine))
    names = names_of(steps.programs(job, worker, Load(sequences=tokens, context=1000), 1)[0])
    assert (names["unpermute"], names["shared_sum"], names["permute"]) == (own, own, 58)


def kernels_of(worker, load, **changes):
    job = ServingJob(**{**LATENT, "worker": worker, **changes})
    (program,) = serving_programs(job, worker, load)
    return kernels_in(program)


def kernels_in(program):
    return [
        kernel
        for item in program.items
        for one in item.operations
        if isinstance(one, Compute)
        for kernel in one.kernels
    ]


@pytest.mark.parametrize("ep", [1, 8])
def test_tokens_are_read_once_each_and_their_rows_written_narrow(ep):
    """However experts lie: a token that comes is read once, its rows are as wide as weights are."""
    worker, load = Worker(tp=8, ep=ep, dp_attention=True), Load(prompts=8, piece=4096)
    hidden, tokens = 7168, 8 * 4096
    found = {kernel.name: kernel for kernel in kernels_of(worker, load, routing_skew=0.0)}
    rows = tokens * 8 / ep
    came = tokens * (1 - (1 - 1 / ep) ** 8)
    assert found["permute"].read_bytes == pytest.approx(came * hidden * 2)
    assert found["permute"].write_bytes == pytest.approx(rows * hidden)
    assert found["unpermute"].read_bytes == pytest.approx(rows * hidden * 2)
    assert found["unpermute"].write_bytes == pytest.approx(came * hidden * 2)


def test_whole_experts_cost_prompts_little_more_than_parts_of_all():
    """Every rank with a part of every expert moves more rows, not times as many bytes."""
    times = ServingTimes(accelerator("b200"))
    load = Load(prompts=8, piece=8192)
    cut, spread = (
        sum(map(times.kernel_s, kernels_of(Worker(tp=8, ep=ep, dp_attention=True), load)))
        for ep in (1, 8)
    )
    assert spread < cut < 1.3 * spread


@pytest.mark.parametrize(("part", "quicker"), [("b200", True), ("h100", False)])
def test_experts_beside_data_parallel_attention_run_in_kernels_of_their_own(part, quicker):
    """On Blackwell those of fp8 reach twice the share of the peak; other formats are the same."""
    times, load = ServingTimes(accelerator(part)), Load(prompts=8, piece=8192)
    for weights in ("fp8", "bf16"):
        plain, spread = (
            next(
                kernel
                for kernel in kernels_of(
                    Worker(tp=8, ep=8, dp_attention=apart), load, weights=weights
                )
                if kernel.name == "expert_up"
            )
            for apart in (False, True)
        )
        plain_s, spread_s = (times.limits_s(kernel)[2] / kernel.flops for kernel in (plain, spread))
        share = 0.5 if quicker and weights == "fp8" else 1.0
        assert spread_s == pytest.approx(share * plain_s, rel=0.1)


@pytest.mark.parametrize(
    ("machine", "stack", "two", "eight"),
    [
        ("dgx-b200", "vllm", 1536, 512),
        ("dgx-b200", "tensorrt-llm", 1536, 384),
        ("dgx-h100", "vllm", 1472, 384),
    ],
)
def test_parts_of_experts_in_mxfp4_are_padded_to_whole_tiles(machine, stack, two, eight):
    """gpt-oss on tp 8 has 360 columns of an expert on a rank; on tp 2 1,440."""
    model, steps = rackmodel.load_model("gpt-oss-120b"), steps_of(rackmodel.load_topology(machine))
    for tp, columns in ((2, two), (8, eight)):
        worker = Worker(tp=tp)
        words = {**LATENT, "model": model, "weights": "mxfp4", "stack": stack, "worker": worker}
        job = ServingJob(**words)
        (program,) = steps.programs(job, worker, Load(sequences=8, context=1000), 1)
        (down,) = {
            kernel.shape[2] for kernel in kernels_in(program) if kernel.name == "expert_down"
        }
        assert down == columns
