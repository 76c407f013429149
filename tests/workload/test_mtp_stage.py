"""MTP layers on a stage of their own: counted in stage_layers after the model's layers."""

from dataclasses import replace

import pytest
from executor import run
from test_schedule import MOE, tiny_job, unit_s

import rackmodel
from rackmodel.errors import InvalidPlan
from rackmodel.workload import Send, check, peak_memory, programs
from rackmodel.workload.stages import chunks_of, send_bytes, spread_layers

DRAFTS = replace(MOE, layers=6, mtp_layers=1)


def job(*layers, model=DRAFTS, **plan):
    return tiny_job(4, 8, model=model, stage_layers=layers, **plan)


def kinds(one):
    return [[unit.kind for chunk in own for unit in chunk.units] for own in chunks_of(one)]


def total(one):
    return sum(sum(chunk.parameters) for own in chunks_of(one) for chunk in own)


def test_they_stand_where_they_are_counted_and_their_heads_at_the_loss():
    beside, own = kinds(job(2, 2, 2, 0)), kinds(job(3, 3, 1, 0))
    assert beside[3] == ["head", "mtp_entry", "layer", "mtp_head"]
    assert own[2:] == [["mtp_entry", "layer"], ["head", "mtp_head"]]
    assert total(job(2, 2, 2, 0)) == total(job(3, 3, 1, 0)) == total(job(3, 2, 2, 0))
    assert kinds(job(3, 2, 2, 0))[2] == ["layer", "mtp_entry", "layer"]
    assert kinds(job(2, 2, 2, 1))[3] == ["mtp_entry", "layer", "head", "mtp_head"]


def test_stages_after_them_get_their_hidden_states_too():
    one = job(3, 2, 2, 0, model=replace(DRAFTS, mtp_layers=1))
    two = job(3, 3, 1, 1, model=replace(DRAFTS, mtp_layers=2))
    for made, states in ((one, [1, 1, 2]), (two, [1, 1, 2])):
        found = programs(made)
        assert max(run(found, unit_s)) > 0
        for program, ahead in zip(found, states, strict=False):
            sent = {
                item.bytes / send_bytes(made)
                for item in program.items
                if isinstance(item, Send) and item.peer > program.pipeline_rank
            }
            assert sent == {ahead}


@pytest.mark.parametrize("layers", [(3, 3, 2, 0), (3, 3, 1), (7, 1, 0, 0, 0)])
def test_other_sums_are_refused_with_both_that_are_right(layers):
    with pytest.raises(InvalidPlan, match=r"with 6 layers in all \(or 7 with its MTP layers"):
        check(job(*layers))


@pytest.mark.parametrize("mtp", [0, 1, 3])
def test_no_stage_has_less_than_nothing(mtp):
    """All layers stand somewhere, also where there are as many stages as could ever be filled."""
    for layers in (1, 2, 6, 61):
        for stages in range(1, layers + 2 + mtp + 1):
            sizes = spread_layers(layers, stages, mtp=mtp)
            assert (len(sizes), sum(sizes)) == (stages, layers)
            assert min(sizes) >= 0


@pytest.mark.parametrize(
    ("stages", "first", "between", "last"),
    [(4, 16, 16, 13), (8, 8, 8, 5), (16, 4, 4, 1), (32, 1, 2, 0)],
)
def test_deepseek_v3_is_cut_as_its_published_layouts_say(stages, first, between, last):
    """Layout_map of Megatron-Bridge's deepseek_v3.py; "Et|(tt|)*30mL" of its recipes for H100."""
    assert spread_layers(61, stages, mtp=1) == (first, *[between] * (stages - 2), last)


def test_the_head_stands_on_the_last_of_as_many_stages_as_there_may_be():
    """One stage before it may be empty; closed form and simulation place all alike."""
    model = replace(DRAFTS, hidden=1024, ffn=4096, head_dim=128, heads=8, kv_heads=8, moe_ffn=512)
    plan = {"tp": 1, "pp": 3, "vpp": 3, "cp": 1, "ep": 1, "etp": 1, "micro_batch": 1}
    plan |= {"sharding": "none", "recompute": "none"}
    words = {"gpus": 3, "global_batch": 24, "seq_len": 2048, "plan": plan, "model": model}
    found = rackmodel.search("gb200-nvl72", **words)
    units = kinds(found.job)
    assert found.error < 0.03
    assert [unit.count("head") for unit in units] == [0, 0, 1]
    assert {chunk.received for own in chunks_of(found.job) for chunk in own} == {1}


def test_the_search_holds_and_times_them_as_the_simulation_does():
    model = replace(DRAFTS, hidden=1024, ffn=4096, head_dim=128, heads=8, kv_heads=8, moe_ffn=512)
    words = {"gpus": 8, "global_batch": 32, "seq_len": 2048}
    plan = {"tp": 1, "pp": 4, "vpp": 1, "cp": 1, "ep": 1, "etp": 1, "micro_batch": 1}
    plan |= {"sharding": "zero1", "recompute": "none", "stage_layers": [3, 3, 1, 0]}
    found = rackmodel.search("dgx-h100", model=model, plan=plan, **words)
    assert found.error < 0.05
    assert found.job.plan.stage_layers == (3, 3, 1, 0)
    used = sum(peak_memory(found.job)[1].values())
    assert float(found.look.estimates.hbm_bytes.max()) == pytest.approx(used, rel=1e-3)
