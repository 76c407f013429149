import pytest
from executor import run

from rackmodel.workload import Job, Plan, Segment, actions, programs
from rackmodel.workload.models import Model
from rackmodel.workload.schedules.schedule import schedule_of

TINY = Model(
    name="tiny", layers=64, hidden=64, ffn=256, heads=4, kv_heads=4, head_dim=16, vocab=128
)
MOE = Model(
    name="tiny-moe",
    layers=64,
    hidden=64,
    ffn=256,
    heads=4,
    kv_heads=4,
    head_dim=16,
    vocab=128,
    experts=8,
    topk=2,
    moe_ffn=64,
)


def tiny_job(p, m, v=1, *, model=TINY, **plan):
    plan = {"dp": 1, "pp": p, "vpp": v, "sharding": "none", **plan}
    return Job(model=model, plan=Plan(**plan), seq_len=32, global_batch=m * plan["dp"])


def unit_s(segment: Segment) -> float:
    """Forward 1, input gradient 1, weight gradient 1; a merged pair costs the sum."""
    if " + " in segment.name:
        return 3.0
    if segment.name.startswith("weight"):
        return 1.0
    if segment.name.startswith("forward"):
        return 1.0
    return 2.0


def split_s(segment: Segment) -> float:
    return (
        1.0
        if segment.name.startswith("backward") and " + " not in segment.name
        else unit_s(segment)
    )


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
@pytest.mark.parametrize(("p", "m"), [(2, 1), (2, 8), (4, 2), (4, 16), (8, 8), (8, 32), (16, 64)])
@pytest.mark.parametrize("overlap", [None, True])
def test_plain_schedules_complete_with_the_published_bubble(schedule, p, m, overlap):
    job = tiny_job(p, m, schedule=schedule, p2p_overlap=overlap)
    ends = run(programs(job), unit_s)
    assert max(ends) / (3 * m) - 1 == pytest.approx(schedule_of(schedule).bubble(p, m, 1))


@pytest.mark.parametrize(("p", "m", "v"), [(2, 2, 2), (2, 8, 4), (4, 8, 2), (4, 16, 4), (8, 16, 3)])
@pytest.mark.parametrize("overlap", [None, False])
def test_interleaving_divides_the_bubble_by_its_chunks(p, m, v, overlap):
    ends = run(programs(tiny_job(p, m, v, p2p_overlap=overlap)), unit_s)
    assert max(ends) / (3 * m * v) - 1 == pytest.approx(schedule_of("interleaved").bubble(p, m, v))


@pytest.mark.parametrize(("p", "m"), [(2, 4), (4, 8), (4, 16), (8, 16), (8, 32)])
def test_zero_bubble_h1_has_a_third_of_the_bubble(p, m):
    ends = run(programs(tiny_job(p, m, schedule="zb-h1", p2p_overlap=True)), split_s)
    assert max(ends) / (3 * m) - 1 == pytest.approx(schedule_of("zb-h1").bubble(p, m, 1))


@pytest.mark.parametrize(("p", "m"), [(2, 4), (4, 8), (4, 20), (8, 16), (8, 32)])
def test_dualpipe_completes_with_its_published_bubble(p, m):
    ends = run(programs(tiny_job(p, m, schedule="dualpipe")), split_s)
    assert max(ends) / (3 * m) - 1 == pytest.approx(schedule_of("dualpipe").bubble(p, m, 1))


@pytest.mark.parametrize(("p", "m", "v"), [(1, 4, 1), (2, 4, 2), (4, 8, 2), (4, 16, 4)])
def test_all_to_all_overlap_pairs_passes_and_completes(p, m, v):
    job = tiny_job(p, m, v, model=MOE, dp=2, ep=2, ep_overlap=True)
    ends = run(programs(job), unit_s)
    assert max(ends) >= 3 * m * v
    assert any(" + " in item.name for item in programs(job)[0].items if isinstance(item, Segment))


@pytest.mark.parametrize("schedule", ["1f1b", "gpipe", "zb-h1", "dualpipe"])
def test_every_pass_runs_once(schedule):
    p, m = 4, 16
    for rank in range(p):
        seen = set()
        for action in actions(schedule, p, m, 1, rank):
            passes = [(action.kind, action.chunk, action.batch)]
            if action.kind == "FB":
                passes = [("F", action.chunk, action.batch), ("B", action.chunk_b, action.batch_b)]
            for one in passes:
                assert one not in seen
                seen.add(one)
        assert sum(kind == "F" for kind, *_ in seen) == m
        assert sum(kind == "B" for kind, *_ in seen) == m


def test_one_stage_has_no_bubble():
    assert max(run(programs(tiny_job(1, 8)), unit_s)) == 24.0


def test_micro_batches_share_their_segment():
    program = programs(tiny_job(4, 32, dp=2, sharding="zero1"))[1]
    segments = [item for item in program.items if isinstance(item, Segment)]
    assert len(segments) == 64
    assert len(set(map(id, segments))) == 4  # first and other forwards, other and last backwards
