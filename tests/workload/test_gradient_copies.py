"""Bytes that eager software moves beside its products: sums, buckets, loops, updates."""

from dataclasses import replace

import pytest

from rackmodel.software import software_of
from rackmodel.workload import Compute, Job
from rackmodel.workload.operations import Kernel
from tests.workload.test_layers import DENSE, flat, job


def kernels(one: Job, name: str) -> list[Kernel]:
    computes = [operation for operation in flat(one) if isinstance(operation, Compute)]
    return [kernel for compute in computes for kernel in compute.kernels if kernel.name == name]


def moved(one: Job, name: str) -> float:
    return sum(
        kernel.count * (kernel.read_bytes + kernel.write_bytes) for kernel in kernels(one, name)
    )


@pytest.mark.parametrize(
    ("stack", "precision", "batches", "bytes_"),
    [
        ("megatron-lm-2021-06", "fp16", 4, 3 * 6),  # the first is kept as it is
        ("megatron-lm-2021-06", "fp16", 1, 0),
        ("megatron-lm-2021-06", "bf16", 4, 4 * 10),  # hooks add all of them to wider ones
        ("megatron-lm-2023-06", "bf16", 4, 0),  # in the product itself
        ("internevo", "bf16", 4, 3 * 6),
    ],
)
def test_gradients_of_micro_batches_are_added_by_a_kernel_or_a_product(
    stack, precision, batches, bytes_
):
    one = job(dp=2, sharding="none").replace(
        stack=stack, precision=precision, global_batch=2 * batches
    )
    assert one.micro_batches == batches
    assert moved(one, "add_gradient") == pytest.approx(bytes_ * DENSE.parameters)


def test_gradients_that_leave_in_each_pass_meet_no_others():
    one = job(dp=2, sharding="zero3").replace(stack="fsdp", global_batch=8)
    assert one.micro_batches == 4
    assert not kernels(one, "add_gradient")
    assert kernels(one.replace(sharding="zero1"), "add_gradient")


def test_buckets_of_whole_tensors_are_copied_there_and_back():
    one = replace(job(dp=8), stack="internevo")
    assert moved(one, "copy_buckets") == pytest.approx(8 * DENSE.parameters)
    assert not kernels(replace(one, stack="megatron-lm-2023-06"), "copy_buckets")


def test_loops_without_double_buffers_copy_what_they_hand_on():
    one = job(batch=8, dp=8, sharding="zero3")
    # gathered forward and backward, reduced: each read and written in 16 bits
    assert moved(replace(one, stack="paxml"), "copy_carried") == pytest.approx(
        12 * DENSE.parameters
    )
    assert not kernels(replace(one, stack="maxtext"), "copy_carried")
    assert software_of("paxml").attention_kernels == "cudnn8"


@pytest.mark.parametrize(
    ("stack", "elements"),
    [("fsdp-2024-06", 22), ("mpt", 24), ("torchtitan-2024-12", 22), ("torchtitan-2025-06", 0)],
)
def test_an_update_of_several_kernels_moves_its_state_several_times(stack, elements):
    one = job(dp=8, sharding="zero3").replace(stack=stack)
    shard = DENSE.parameters / 8
    fused = one.gradient_bytes + 2 * 4 + 2 * 8 + 2
    assert moved(one, "adam") == pytest.approx((4 * elements or fused) * shard)
    assert moved(one.replace(optimizer="lion"), "lion") < 7 * 4 * shard
