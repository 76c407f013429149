import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from rackmodel.errors import InvalidPlan, UnknownName
from rackmodel.workload import Plan
from rackmodel.workload.placement import (
    AXES,
    axis_members,
    axis_true_size,
    dp_block,
    rank_grid,
    replica_stride,
)

SIZES = st.sampled_from([1, 2, 4])


@st.composite
def plans(draw):
    tp, pp, cp, ep, etp = (draw(SIZES) for _ in range(5))
    order = draw(st.sampled_from(["tp-cp-ep-dp-pp", "tp-cp-ep-pp-dp"]))
    plan = Plan(tp=tp, pp=pp, cp=cp, ep=ep, etp=etp, dp=1, rank_order=order)
    return Plan(
        tp=tp, pp=pp, cp=cp, ep=ep, etp=etp, rank_order=order, dp=dp_block(plan) * draw(SIZES)
    )


@settings(max_examples=40, deadline=None)
@given(plans())
def test_groups_of_an_axis_part_the_machine(plan):
    for axis in AXES:
        groups = axis_members(plan, axis, plan.dp)
        assert groups.shape[1] == axis_true_size(plan, axis)
        ranks = np.sort(groups.ravel())
        if axis == "embedding" and plan.pp > 2:
            assert len(np.unique(ranks)) == len(ranks)
        else:
            assert (ranks == np.arange(plan.gpus)).all()


@settings(max_examples=40, deadline=None)
@given(plans())
def test_groups_stay_in_their_pipeline_rank(plan):
    stage = np.empty(plan.gpus, dtype=int)
    for pipeline_rank, ranks in enumerate(rank_grid(plan, plan.dp)):
        stage[ranks] = pipeline_rank
    for axis in ("tp", "cp", "ep", "etp", "dp", "dp_cp", "edp", "stage"):
        of_members = stage[axis_members(plan, axis, plan.dp)]
        assert (of_members == of_members[:, :1]).all()
    for group in axis_members(plan, "pp", plan.dp):
        assert stage[group].tolist() == list(range(plan.pp))


@settings(max_examples=40, deadline=None)
@given(plans())
def test_one_more_block_of_replicas_shifts_the_ranks(plan):
    """What the stand-in relies on: replicas repeat with a constant stride of ranks."""
    if plan.rank_order == "tp-cp-ep-dp-pp":
        grid = rank_grid(plan, plan.dp)
        assert (np.diff(grid, axis=1) == replica_stride(plan)).all()
    else:
        block = dp_block(plan)
        grid = rank_grid(plan, 2 * block)
        assert (grid[:, block:] - grid[:, :block] == replica_stride(plan) * block).all()


def test_default_order_is_megatrons():
    plan = Plan(tp=2, pp=2, cp=1, dp=2)
    assert axis_members(plan, "tp", 2).tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert axis_members(plan, "pp", 2).tolist() == [[0, 4], [1, 5], [2, 6], [3, 7]]
    inner = Plan(tp=2, pp=2, cp=1, dp=2, rank_order="tp-cp-ep-pp-dp")
    assert axis_members(inner, "pp", 2).tolist() == [[0, 2], [1, 3], [4, 6], [5, 7]]


def test_experts_fold_onto_the_mesh_of_attention():
    # Megatron: etp x ep x edp over the same ranks as tp x cp x dp.
    plan = Plan(tp=2, cp=1, dp=4, ep=4, etp=1)
    assert axis_members(plan, "ep", 4).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert axis_members(plan, "edp", 4).tolist() == [[0, 4], [1, 5], [2, 6], [3, 7]]


def test_hybrid_sharding_has_two_levels():
    plan = Plan(dp=8, sharding="hsdp", shard_size=4)
    assert axis_members(plan, "dp_shard", 8).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert axis_members(plan, "dp_replica", 8).tolist() == [[0, 4], [1, 5], [2, 6], [3, 7]]


def test_each_copy_has_its_experts_in_two_levels():
    plan = Plan(tp=2, dp=8, ep=2, sharding="zero1", shard_size=4)  # edp 8 in 2 copies
    shards, replicas = axis_members(plan, "edp_shard", 8), axis_members(plan, "edp_replica", 8)
    assert shards.tolist() == [[0, 2, 4, 6], [1, 3, 5, 7], [8, 10, 12, 14], [9, 11, 13, 15]]
    assert replicas.tolist() == [[n, n + 8] for n in (0, 1, 2, 3, 4, 5, 6, 7)]
    for axis, groups in (("edp_shard", shards), ("edp_replica", replicas)):
        assert axis_true_size(plan, axis) == groups.shape[1]
    for four in axis_members(plan, "dp_shard", 8):  # which stand where the dense weights' do
        assert {int(rank) // 8 for rank in four} in ({0}, {1})


def test_wrong_axes_and_stand_ins_are_refused():
    with pytest.raises(UnknownName, match="did you mean 'dp_cp'"):
        axis_members(Plan(dp=2), "dpcp", 2)
    with pytest.raises(InvalidPlan, match="multiple of the 8 replicas"):
        axis_members(Plan(ep=8, dp=16), "ep", 12)
