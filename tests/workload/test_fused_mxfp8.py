"""What recipes that capture mixtures in MXFP8 whole turn on with it, and where nothing has it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rackmodel.workload import Job, Plan, load_model
from rackmodel.workload.kernels import Local
from rackmodel.workload.layers import block_steps
from rackmodel.workload.operations import Kernel, Role

QWEN = load_model("qwen3-30b-a3b")


def kernels(stack: str, **changes: object) -> list[Kernel]:
    """All kernels of the first layer."""
    words = {"model": QWEN, "plan": Plan(tp=1, pp=1, ep=8, dp=8), "seq_len": 4096}
    one = Job(stack=stack, precision="fp8-mx", global_batch=64, **words).replace(**changes)
    works = [s.work for s in block_steps(Local.of(one), one.model.blocks[0]) if s.work]
    return [k for w in works for k in (*w.forward, *w.backward, *w.weight)]


def test_mixtures_in_mxfp8_that_are_captured_whole_go_from_product_to_product():
    """SwiGLU and casts end the product before them; attention is in FP8; FLOPs are the same."""

    def grouped_casts(found: list[Kernel]) -> int:
        return sum(k.role == Role.CAST and k.turns > 0 for k in found)

    new, old = kernels("megatron-bridge-26.06"), kernels("megatron-bridge-26.04")
    assert sum(k.flops for k in new) == pytest.approx(sum(k.flops for k in old))
    assert (grouped_casts(old), grouped_casts(new)) == (4, 2)
    assert any("weighted_swiglu" in k.name for k in old)
    assert not any("weighted_swiglu" in k.name for k in new)
    assert {k.precision for k in new if k.family == "attention"} == {"fp8"}
    assert {k.precision for k in old if k.family == "attention"} == {"bf16"}
    moved = [sum(k.read_bytes + k.write_bytes for k in found) for found in (new, old)]
    assert 0.5 < moved[0] / moved[1] < 1.0
    unlike = [{"cuda_graphs": False}, {"sharding": "zero3"}, {"precision": "fp8"}]
    for changes in unlike:
        found = kernels("megatron-bridge-26.06", **changes)
        assert any("weighted_swiglu" in k.name for k in found), changes


@pytest.mark.parametrize("other", [{"window": 128}, {"attention_sinks": True}])
def test_attention_in_fp8_has_neither_windows_nor_sinks(other):
    found = kernels("megatron-bridge-26.06", model=replace(QWEN, **other))
    assert {k.precision for k in found if k.family == "attention"} == {"bf16"}
    assert not any("weighted_swiglu" in k.name for k in found)


@pytest.mark.parametrize(("width", "whole"), [(768, True), (2880, False)])
def test_products_go_on_to_the_next_only_with_sides_of_whole_tiles(width, whole):
    """GPT-OSS's of 2,880 are no multiple of 256."""
    found = kernels("megatron-bridge-26.06", model=replace(QWEN, moe_ffn=width))
    assert whole is not any("weighted_swiglu" in k.name for k in found)
