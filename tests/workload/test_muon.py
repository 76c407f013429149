"""Muon: the work of its iteration, its state, what it gathers; the closed form knows them."""

from __future__ import annotations

import pytest

import rackmodel
from rackmodel.errors import InvalidPlan
from rackmodel.workload import Job, Plan, check, load_model, memory, programs
from rackmodel.workload.muon import ITERATIONS, matrices, orthogonal_kernels, units_of
from rackmodel.workload.operations import Collective
from rackmodel.workload.stages import chunks_of


def job(model="llama3-8b", optimizer="muon", **plan):
    made = Job(
        model=load_model(model),
        plan=Plan(**{"dp": 8, **plan}),
        seq_len=2048,
        global_batch=16,
        optimizer=optimizer,
    )
    check(made)
    return made


def work(made):
    kernels = orthogonal_kernels(made, units_of(chunks_of(made)[0]))
    return sum(kernel.flops * kernel.count for kernel in kernels)


def test_every_weight_of_the_layers_is_in_a_matrix():
    made = job()
    found = matrices(units_of(chunks_of(made)[0]))
    held = sum(n * k * count for (n, k, _), count in found.items())
    model = made.model
    norms = model.layers * 2 * model.hidden
    outside = 2 * 128256 * model.hidden + model.hidden
    assert held == sum(chunks_of(made)[0][0].parameters) - norms - outside


@pytest.mark.parametrize("batch_tokens", [2**19, 2**22])
def test_the_work_is_at_most_t_m_over_b_of_the_products(batch_tokens):
    """Jordan et al. 2024: T m / B of 6 n m B, for T iterations, n x m matrices and B tokens."""
    made = job(sharding="none")
    found = matrices(units_of(chunks_of(made)[0]))
    products = sum(6.0 * n * k * count * batch_tokens for (n, k, _), count in found.items())
    narrow = max(min(n, k) for n, k, _ in found)
    share = work(made) / products
    assert 0.5 * ITERATIONS * narrow / batch_tokens < share <= ITERATIONS * narrow / batch_tokens


def test_one_square_matrix_by_hand():
    found = orthogonal_kernels(job(sharding="none"), units_of(chunks_of(job())[0])[1:2])
    square = [k for k in found if k.shape[:3] == (4096, 4096, 4096)]
    assert sum(k.flops for k in square[:3]) == 3 * 2 * 4096**3


def test_shards_share_the_work_and_gather_the_momentum():
    whole, shared = job(sharding="none"), job(sharding="zero1")
    assert work(shared) == pytest.approx(work(whole) / 8)
    gathers = {
        made.plan.sharding: sum(
            one.bytes
            for one in programs(made)[0].items
            if isinstance(one, Collective) and "momentum" in one.name
        )
        for made in (whole, shared)
    }
    held = matrices(units_of(chunks_of(shared)[0]))
    assert gathers["none"] == 0.0
    assert gathers["zero1"] == 2.0 * sum(n * k * count for (n, k, _), count in held.items())


def test_layers_keep_one_momentum_and_the_ends_two_moments():
    adam, muon = (memory(job(optimizer=name)) for name in ("adam", "muon"))
    chunk = chunks_of(job())[0][0]
    layers = sum(u.dense_parameters for u in chunk.units if u.is_layer)
    assert adam["optimizer"] - muon["optimizer"] == pytest.approx(4.0 * layers / 8)


def test_experts_have_matrices_of_their_own():
    made = job("mixtral-8x7b", ep=8)
    found = matrices(units_of(chunks_of(made)[0]))
    assert sum(count for (*_, expert), count in found.items() if expert) == 2 * 32


def test_the_search_knows_the_update():
    sizes = {"model": "llama3-8b", "gpus": 16, "global_batch": 32, "seq_len": 2048}
    found = rackmodel.search("dgx-h100", optimizer="muon", **sizes)
    assert found.error < 0.05
    planner, space = found.look.planner, found.look.space
    for entry in range(0, len(space), max(1, len(space) // 20)):
        made = planner.job.replace(plan=space.plan(entry))
        exact = max(sum(memory(made, rank).values()) for rank in range(made.plan.pp))
        assert found.look.estimates.hbm_bytes[entry] == pytest.approx(exact, rel=0.05)


def test_what_is_not_modelled_is_refused():
    with pytest.raises(InvalidPlan, match="not modelled"):
        job(offload=["optimizer"])
