"""Kernel times: laws that hold for any shape, and the measured best products of real parts."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given, settings, strategies as st

from rackmodel.errors import InvalidInput
from rackmodel.hardware import accelerator
from rackmodel.kernels.attention_time import fused_efficiency, keys_per_query
from rackmodel.kernels.kernel_constants import kernel_constants
from rackmodel.kernels.kernel_time import KernelTimes, graphs_by_default
from rackmodel.workload import Job, Plan, load_model
from rackmodel.workload.choices import SHARDED, SHARDINGS
from rackmodel.workload.ends import head_steps
from rackmodel.workload.kernels import Local, linear
from rackmodel.workload.operations import Compute, Kernel, Role

H100 = SimpleNamespace(
    name="h100",
    family="nvidia-hopper",
    flops_per_s={"bf16": 989.4e12, "fp8": 1978.9e12},
    hbm_bytes_per_s=3.35e12,
    l2_bytes=50e6,
    compute_units=132,
    power_w=700.0,
    host_link="PCIe5 x16",
)
A100 = SimpleNamespace(
    name="a100-80",
    family="nvidia-ampere",
    flops_per_s={"bf16": 312e12, "fp16": 312e12},
    hbm_bytes_per_s=2.039e12,
    l2_bytes=40e6,
    compute_units=108,
    power_w=400.0,
    host_link="PCIe4 x16",
)


def product(m: int, n: int, k: int, groups: int = 1, precision: str = "bf16") -> Kernel:
    size = 1 if precision == "fp8" else 2
    return Kernel(
        family="grouped_gemm" if groups > 1 else "gemm",
        name="product",
        flops=2.0 * m * n * k,
        read_bytes=float(size * (m * k + groups * n * k)),
        write_bytes=2.0 * m * n,
        shape=(m, n, k, groups),
        precision=precision,
    )


def attention(length: int, heads: int = 16, dim: int = 128, backward: bool = False) -> Kernel:
    flops = 2.0 * heads * length * (length + 1) / 2 * 2 * dim * (2.5 if backward else 1.0)
    return Kernel(
        family="attention",
        name="attention",
        role=Role.BACKWARD if backward else Role.FORWARD,
        flops=flops,
        read_bytes=6.0 * heads * length * dim,
        write_bytes=2.0 * heads * length * dim,
        shape=(1, heads, heads, length, length, dim, dim, 1, 0),
    )


# Best or square products, random data: AZURE and MLE-ACC rows of the efficiency table, all of 2024.
@pytest.mark.parametrize(
    ("part", "shape", "precision", "tflops"),
    [
        (A100, (8192, 8192, 8192), "fp16", 253.7),
        (A100, (4096, 4096, 4096), "fp16", 228.0),
        (H100, (2048, 2048, 13312), "bf16", 794.5),
        (H100, (8192, 8192, 8192), "fp8", 1290.1),
        (H100, (16384, 16384, 16384), "fp8", 1377.3),
        (H100, (4096, 7168, 16384), "fp8", 1358.0),
    ],
)
def test_matrix_products_run_as_measured(part, shape, precision, tflops):
    kernel = product(*shape, precision=precision)
    times = KernelTimes(part, "megatron-2024-06", in_training=False)
    assert kernel.flops / times.kernel_s(kernel) / 1e12 == pytest.approx(tflops, rel=0.12)


# FlashAttention-3 paper, H100, forward, causal, head dimension 128 (read off its figure).
@pytest.mark.parametrize(
    ("length", "tflops"), [(1024, 423), (2048, 521), (4096, 579), (8192, 602), (16384, 616)]
)
def test_attention_gets_faster_with_length_as_measured(length, tflops):
    kernel = attention(length, heads=16 * 16384 // length)
    times = KernelTimes(H100, "megatron-bridge-25.04", in_training=False)
    assert kernel.flops / times.kernel_s(kernel) / 1e12 == pytest.approx(tflops, rel=0.15)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 16384), st.integers(1, 16384), st.integers(1, 16384))
def test_no_product_beats_the_peak_and_none_gets_faster_by_growing(m, n, k):
    times = KernelTimes(H100)
    small, large = product(m, n, k), product(2 * m, n, k)
    assert times.kernel_s(small) > small.flops / 989.4e12
    assert times.kernel_s(large) >= times.kernel_s(small) * 0.999


def test_backward_attention_costs_more_per_flop_than_forward():
    times = KernelTimes(H100)
    forward, backward = attention(4096), attention(4096, backward=True)
    assert times.kernel_s(backward) > 2.5 * times.kernel_s(forward)


def test_unfused_attention_of_2020_is_far_slower_than_fused():
    kernel = attention(2048)
    assert KernelTimes(A100, "mlm-2020").kernel_s(kernel) > 2.5 * KernelTimes(A100).kernel_s(kernel)


def test_many_small_experts_are_slower_than_one_product_of_the_same_size():
    times = KernelTimes(H100)
    assert times.kernel_s(product(4096, 2048, 4096, groups=64)) > times.kernel_s(
        product(4096, 2048, 4096)
    )


def test_the_host_sets_the_pace_of_tiny_kernels_and_graphs_help():
    tiny = Kernel(family="elementwise", name="tiny", read_bytes=1e3, write_bytes=1e3, count=100)
    work = Compute(name="w", phase="forward", kernels=(tiny,))
    slow, fast = KernelTimes(H100, "mpt"), KernelTimes(H100, "mpt", cuda_graphs=True)
    assert slow.host_s(work) > slow.device_s(work)
    assert slow.compute_s(work) >= slow.host_s(work)
    assert fast.compute_s(work) < slow.compute_s(work)


def expert_products(precision: str, experts: int) -> Compute:
    """Both products of the experts that a rank holds, forward and backward."""
    model, plan = load_model("qwen3-30b-a3b"), Plan(dp=1)
    job = Job(model=model, plan=plan, seq_len=4096, global_batch=64, precision=precision)
    local, rows = Local.of(job), 4096.0 * experts
    up, down = (rows, 1536.0, 2048.0), (rows, 2048.0, 768.0)
    work = [linear(local, "fc", shape, groups=experts) for shape in (up, down)]
    kernels = [k for w in work for k in (*w.forward, *w.backward, *w.weight)]
    return Compute(name="experts", phase="forward", kernels=tuple(kernels))


def test_experts_cost_the_host_a_turn_of_the_librarys_loop_each_and_casts_a_longer_one():
    """A grouped product is one call, in which the library goes round the experts of the rank."""
    times, host = KernelTimes(accelerator("b200")), kernel_constants()["host"]
    few, many = (times.host_s(expert_products("bf16", n)) for n in (8, 16))
    assert many - few == pytest.approx(6 * 8 * host["expert_s"])  # forward, dgrad, wgrad of two
    assert few - (many - few) == pytest.approx(6 * times.software.launch_s)
    narrow = [times.host_s(expert_products("fp8-mx", n)) for n in (8, 16)]
    turns = 6 * host["expert_s"] + 4 * host["expert_cast_s"]  # inputs, gradients of outputs
    assert narrow[1] - narrow[0] == pytest.approx(8 * turns)
    captured = KernelTimes(accelerator("b200"), cuda_graphs=True)
    assert captured.host_s(expert_products("fp8-mx", 16)) < 0.1 * narrow[1]
    early = KernelTimes(accelerator("b200"), "megatron-2025-06")
    assert early.host_s(expert_products("bf16", 16)) > 1.2 * many  # Transformer Engine got lighter


def test_a_slower_clock_slows_arithmetic_but_not_bytes():
    gemm = product(8192, 8192, 8192)
    norm = Kernel(family="elementwise", name="norm", read_bytes=1e9, write_bytes=1e9)
    full, half = KernelTimes(H100), KernelTimes(H100, clock=0.5)
    assert half.kernel_s(gemm) > 1.8 * full.kernel_s(gemm)
    assert half.kernel_s(norm) == full.kernel_s(norm)


def test_norms_and_activations_leave_more_of_hopper_s_bandwidth_than_of_ampere_s():
    norm = Kernel(family="elementwise", name="norm", read_bytes=1e9, write_bytes=1e9)
    rate = {part.name: 2e9 / KernelTimes(part).kernel_s(norm) for part in (H100, A100)}
    # Published on H100: 1.24 TB/s (llm.c, LayerNorm) to 2.55 (PyTorch, gelu); a tuned one has 2.9.
    assert 1.24e12 < rate["h100"] < 2.55e12
    assert rate["h100"] / H100.hbm_bytes_per_s < 0.7 * rate["a100-80"] / A100.hbm_bytes_per_s
    assert 2e9 / KernelTimes(H100, in_training=False).kernel_s(norm) > 2.7e12


def test_norms_and_activations_of_hopper_take_as_long_whatever_the_hbm():
    norm = Kernel(family="elementwise", name="norm", read_bytes=1e9, write_bytes=1e9)
    cast = Kernel(family="elementwise", name="cast", role=Role.CAST, read_bytes=1e9)
    h100, h200 = KernelTimes(accelerator("h100")), KernelTimes(accelerator("h200"))
    # PyTorch's RMSNorm: 0.615 ms at 3.35 TB/s, 0.609 at 3.9 (Liger-Kernel, benchmark/data)
    assert h200.kernel_s(norm) == h100.kernel_s(norm)
    # casts fill it: 3.0 and 4.4 TB/s (aiconfigurator-core 0.12, quantize)
    assert h200.kernel_s(cast) == pytest.approx(h100.kernel_s(cast) * 3.35 / 4.8, rel=0.01)
    slow = replace(accelerator("h100"), hbm_bytes_per_s=1e12)
    assert KernelTimes(slow).kernel_s(norm) > h100.kernel_s(norm)


def test_a_grouped_product_of_one_group_is_a_plain_one():
    def experts(groups: int) -> Kernel:
        return product(8192, 8192, 8192, groups)._replace(family="grouped_gemm")

    times = KernelTimes(H100)
    assert times.kernel_s(experts(1)) == times.kernel_s(product(8192, 8192, 8192))
    assert times.kernel_s(experts(2)) > 1.05 * times.kernel_s(experts(1))


@pytest.mark.parametrize(
    ("q", "kv", "causal", "window"), [(16, 16, True, 0), (16, 16, True, 5), (8, 16, True, 6)]
)
def test_keys_per_query_counts_the_mask(q, kv, causal, window):
    seen = [
        sum(1 for j in range(kv) if j <= i + kv - q and (not window or j > i + kv - q - window))
        for i in range(q)
    ]
    assert keys_per_query(q, kv, causal, window) == pytest.approx(sum(seen) / q)


def test_a_format_that_the_part_lacks_runs_in_the_next_wider_one():
    kernel8, kernel16 = product(4096, 4096, 4096, precision="fp8"), product(4096, 4096, 4096)
    times = KernelTimes(A100)
    assert times.kernel_s(kernel8) == pytest.approx(times.kernel_s(kernel16), rel=0.02)


def test_a_part_without_any_16_bit_peak_is_refused():
    part = SimpleNamespace(**{**vars(H100), "flops_per_s": {"fp64": 60e12}})
    with pytest.raises(InvalidInput, match="no peak"):
        KernelTimes(part).kernel_s(product(64, 64, 64))


def test_attention_with_few_blocks_of_queries_leaves_units_idle():
    times = KernelTimes(H100)
    many, few = attention(4096, heads=64), attention(4096, heads=4)
    speed = [kernel.flops / times.kernel_s(kernel) for kernel in (many, few)]
    assert speed[0] > 1.2 * speed[1]
    long = attention(131072, heads=4)
    assert long.flops / times.kernel_s(long) > 0.97 * speed[0]  # no slowdown that stays


def test_casts_under_xla_read_more_often():
    cast = Kernel(
        family="elementwise", name="cast", read_bytes=2e9, write_bytes=2e9, role=Role.CAST
    )
    assert KernelTimes(H100, "maxtext").kernel_s(cast) == pytest.approx(
        1.75 * KernelTimes(H100).kernel_s(cast), rel=0.01
    )


def test_sharded_weights_are_gathered_anew_so_that_no_graph_replays_their_launches():
    mixture = Job(
        model=load_model("qwen3-30b-a3b"),
        plan=Plan(dp=8),
        seq_len=4096,
        global_batch=64,
        stack="megatron-bridge-26.06",
    )
    part = accelerator("b200")
    captured = {name: graphs_by_default(mixture.replace(sharding=name), part) for name in SHARDINGS}
    assert captured == {name: name not in SHARDED for name in SHARDINGS}
    assert graphs_by_default(mixture.replace(sharding="zero3", cuda_graphs=True), part)


def test_the_second_flash_attention_gains_more_backward_than_forward():
    def speed(generation, backward):
        constants = kernel_constants()
        shape = (8.0, 16.0, 16.0, 16384.0, 16384.0, 128.0, 128.0, True, 0.0)
        long = constants.attention_efficiency(generation, A100.family)
        return fused_efficiency(shape, long, constants["attention"], backward, generation)

    forward, backward = (speed("flash2", way) / speed("flash1", way) for way in (False, True))
    assert 1.3 < forward < 1.6 < backward < 2.0  # Dao, arXiv:2307.08691: 73 over 50, 63 over 35%


def test_rows_of_whole_words_are_fetched_quickest() -> None:
    """The longer the words that rows are multiples of, the quicker; tokens align nothing."""
    for part in (A100, H100):
        times = KernelTimes(part)
        odd, even, whole = (times.kernel_s(product(8192, n, 2048)) for n in (50257, 50260, 50264))
        assert odd > even > whole
        assert 2.0 < odd / whole < 4.5
        assert times.kernel_s(product(8191, 50264, 2048)) == pytest.approx(whole, rel=0.01)


def test_batched_products_of_broken_words_run_on_the_units_of_fp32() -> None:
    """Heads of 108 columns are 8-byte words: scores of 128 of them at 19.5 TFLOP/s at best."""

    def rate(dim: int) -> float:
        scores = product(2048, 2048, dim)._replace(shape=(2048, 2048, dim, 128))
        return 128 * scores.flops / KernelTimes(A100, in_training=False).kernel_s(scores)

    assert rate(112) > 5 * rate(108)
    assert 0.3 * 19.5e12 < rate(108) < 19.5e12 * 1.05


def test_a_head_of_odd_columns_is_slow_in_all_its_products() -> None:
    """Megatron pads 50,257 columns at no cost; elsewhere all three products slow down."""

    def head_s(stack: str, vocab: int) -> float:
        model = replace(load_model("gpt3-350m"), vocab=vocab)
        job = Job(model=model, plan=Plan(micro_batch=8), seq_len=2048, global_batch=8, stack=stack)
        steps = {step.name: step for step in head_steps(Local.of(job), own_matrix=True)}
        times, work = KernelTimes(A100, stack), steps["head"].work
        return sum(times.kernel_s(k) for k in (*work.forward, *work.backward, *work.weight))

    assert head_s("megatron", 50257) == pytest.approx(head_s("megatron", 50304))
    assert head_s("fsdp", 50257) / head_s("fsdp", 50264) == pytest.approx(1 / 0.4, rel=0.05)


def test_libraries_of_2024_are_slower_in_8_bits_on_hopper_alone() -> None:
    """A product slows down by what `products` of stacks.toml says, but for its start."""

    def later(part, form: str) -> float:
        one = product(16384, 16384, 16384)._replace(precision=form)
        first, last = (KernelTimes(part, f"megatron-{when}") for when in ("2024-06", "2025-06"))
        return first.kernel_s(one) / last.kernel_s(one)

    assert later(H100, "fp8") == pytest.approx(1.125, rel=0.01)
    assert later(H100, "bf16") == later(accelerator("b200"), "fp8") == 1.0
