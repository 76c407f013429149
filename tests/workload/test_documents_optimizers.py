"""Packed documents and optimizers: exact work, and nothing else moves."""

import pytest

from rackmodel.errors import InvalidPlan
from rackmodel.workload import Job, Plan, check, load_model, memory, programs
from rackmodel.workload.choices import OPTIMIZERS, OUTSIDE_LAYERS
from rackmodel.workload.data_parallel import local_states, outside_states, update_kernels
from rackmodel.workload.operations import Compute, Role, Segment
from rackmodel.workload.stages import chunks_of

LLAMA = load_model("llama3.1-8b")


def job(**changes):
    base = Job(model=LLAMA, plan=Plan(dp=8), seq_len=8192, global_batch=8, transposes=False)
    return base.replace(**changes)


def flops(one):
    """FLOPs of all kernels of the step, by attention and others."""
    found = {True: 0.0, False: 0.0}
    for program in programs(one):
        for item in program.items:
            for operation in item.operations if isinstance(item, Segment) else (item,):
                for kernel in operation.kernels if isinstance(operation, Compute) else ():
                    found[kernel.family == "attention"] += kernel.flops * kernel.count
    return found


@pytest.mark.parametrize("length", [128, 1024, 4096])
@pytest.mark.parametrize(
    "cp", [{}, {"cp": 2, "dp": 4}, {"cp": 4, "dp": 2, "cp_method": "all-gather"}]
)
def test_attention_does_the_work_of_its_documents_and_no_more(length, cp):
    whole, packed = job(**cp), job(document_len=length, **cp)
    before, after = flops(whole), flops(packed)
    # causal: a token of a document of n sees (n + 1) / 2 keys on average
    assert after[True] / before[True] == pytest.approx((length + 1) / (8192 + 1))
    assert after[False] == before[False]
    less = whole.model_flops - packed.model_flops
    heads = LLAMA.heads * LLAMA.head_dim * 2
    each = 3 * 2 * heads * LLAMA.layers * (8192 - length) / 2
    assert less == pytest.approx(each * whole.tokens)


def test_one_document_a_sequence_is_what_is_meant_without():
    kernels = [
        [k for c in u.steps for k in (*c.work.forward, *c.work.backward)]
        for one in (job(), job(document_len=8192))
        for (chunk,) in chunks_of(one)
        for u in chunk.units
    ]
    half = len(kernels) // 2
    assert kernels[:half] == kernels[half:]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"document_len": 3000}, "whole documents"),
        ({"document_len": 16384}, "whole documents"),
        ({"document_len": 2, "cp": 2, "dp": 4}, "two parts"),
        ({"document_len": 1024, "attention": "unfused"}, "fused"),
    ],
)
def test_documents_that_can_not_be_packed_are_refused(changes, why):
    with pytest.raises(InvalidPlan, match=why):
        check(job(**changes))


@pytest.mark.parametrize("sharding", ["none", "zero1", "zero3"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_keeps_and_moves_its_state(name, sharding):
    adam, other = job(sharding=sharding), job(sharding=sharding, optimizer=name)
    chunks = chunks_of(other)[0]
    states, saved = local_states(other, chunks), 8.0 - OPTIMIZERS[name]
    if name in OUTSIDE_LAYERS:  # embedding and head are updated by AdamW
        states -= outside_states(other, chunks)
    kinds = memory(adam), memory(other)
    assert kinds[0]["optimizer"] - kinds[1]["optimizer"] == pytest.approx(saved * states)
    assert {k: v for k, v in kinds[0].items() if k != "optimizer"} == {
        k: v for k, v in kinds[1].items() if k != "optimizer"
    }
    moved = [
        sum(
            k.read_bytes + k.write_bytes
            for k in update_kernels(one, chunks)
            if k.role == Role.UPDATE
        )
        for one in (adam, other)
    ]
    assert moved[0] - moved[1] == pytest.approx(2 * saved * states)
