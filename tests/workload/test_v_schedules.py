"""Schedules with two chunks a rank, there and back, and what holds more or less than 1F1B."""

from dataclasses import replace
from typing import NamedTuple

import pytest
from executor import run
from test_schedule import TINY, split_s, tiny_job

from rackmodel.workload import Collective, Recv, Segment, Send, actions, programs
from rackmodel.workload.schedules.holding import in_flight
from rackmodel.workload.schedules.schedule import schedule_of
from rackmodel.workload.stages import chunks_of

FOLDED = ["zb-v", "v-half", "v-min", "dualpipev"]
SPLIT = [*FOLDED, "zb-2p", "zb-h1"]


class Played(NamedTuple):
    whole: float  # until the last rank is done
    longest: float  # of one rank, from its first to its last pass


def play(name, p, m, lengths=(1, 1, 1)):
    """Run each rank's passes in order, as soon as what they need has ended: free transfers."""
    schedule = schedule_of(name)
    v = schedule.chunks[0]
    stages, last = schedule.placement(p, v), p * v - 1
    seconds = dict(zip("FBW", lengths, strict=True))
    todo = [list(actions(name, p, m, v, rank)) for rank in range(p)]
    total = sum(len(action.passes()) for own in todo for action in own)
    done, begin, clock = {}, {}, [0.0] * p
    moved = True
    while moved:
        moved = False
        for rank, own in enumerate(todo):
            while own:
                ends = []
                for kind, chunk, batch in own[0].passes():
                    stage = stages[rank][chunk]
                    if kind == "F":
                        needs = ("F", stage - 1, batch) if stage else None
                    elif kind == "W":
                        needs = ("B", stage, batch)
                    else:
                        needs = ("B", stage + 1, batch) if stage < last else ("F", stage, batch)
                    ends.append(0.0 if needs is None else done.get(needs))
                if None in ends:
                    break
                moved = True
                action = own.pop(0)
                start = max(clock[rank], *ends)
                begin.setdefault(rank, start)
                whole = action.kind == "FB"
                clock[rank] = start + (sum(lengths) if whole else seconds[action.kind])
                for kind, chunk, batch in action.passes():
                    assert (kind, stages[rank][chunk], batch) not in done
                    done[kind, stages[rank][chunk], batch] = clock[rank]
                    total -= 1
    assert total == 0, "ranks wait for each other"
    return Played(max(clock), max(end - begin[rank] for rank, end in enumerate(clock)))


@pytest.mark.parametrize("name", SPLIT)
@pytest.mark.parametrize("p", [2, 3, 4, 6, 7, 16])
def test_every_pass_comes_once_and_after_what_it_needs(name, p):
    for m in (2 * p, 2 * p + 1, 5 * p):
        v = schedule_of(name).chunks[0]
        assert play(name, p, m).whole / (3 * m * v) - 1 == pytest.approx(
            schedule_of(name).bubble(p, m, 1)
        )
        assert play(name, p, m, lengths=(2, 3, 1)).whole >= 6 * m * v
        weights = {"W": 0, "F": 0, "B": 0}
        for rank in range(p):
            for action in actions(name, p, m, v, rank):
                for kind, _, _ in action.passes():
                    weights[kind] += 1
        whole = sum(a.kind == "FB" for rank in range(p) for a in actions(name, p, m, v, rank))
        assert weights == {"W": p * v * m - whole, "F": p * v * m, "B": p * v * m}


@pytest.mark.parametrize("name", ["zb-v", "v-half", "v-min", "zb-2p"])
@pytest.mark.parametrize("p", [2, 3, 5])
def test_fewer_micro_batches_than_fill_the_pipeline_run_too(name, p):
    for m in range(1, 2 * p):
        v = schedule_of(name).chunks[0]
        assert 3 * m * v <= play(name, p, m).whole <= 3 * v * (m + p)


@pytest.mark.parametrize("p", [2, 3, 4, 6, 8, 16])
def test_zero_bubble_schedules_never_idle_between_first_and_last_pass(p):
    m = 3 * p
    assert play("zb-2p", p, m).longest == 3 * m
    assert play("zb-v", p, m).longest == 6 * m
    assert play("zb-h1", p, m).longest > 3 * m


@pytest.mark.parametrize("p", [4, 6, 8, 9, 16])
def test_published_bubbles(p):
    """1F1B p/m, V-Min 2p/3m, V-Half p/2m, about; DualPipeV as DualPipe of as many stages."""
    m = 4 * p
    assert schedule_of("v-min").bubble(p, m, 1) == pytest.approx(2 * p / (3 * m), abs=1 / m)
    assert schedule_of("v-half").bubble(p, m, 1) == pytest.approx(p / (2 * m), abs=1 / m)
    assert schedule_of("dualpipev").bubble(p, m, 1) == schedule_of("dualpipe").bubble(
        2 * p, 2 * m, 1
    )


@pytest.mark.parametrize("p", [2, 3, 4, 6, 8, 9, 16])
def test_published_memory(p):
    """Micro-batches whose activations wait, of all layers of a rank; 1F1B has p."""
    most = {
        name: max(in_flight(name, p, 4 * p, schedule_of(name).chunks[0], r) for r in range(p))
        for name in (*SPLIT, "1f1b")
    }
    assert most["1f1b"] == most["zb-h1"] == most["zb-v"] == p
    assert most["zb-2p"] == 2 * p - 1
    assert most["v-half"] == (p + 2) // 2
    assert most["v-min"] == (p + 4) // 3
    assert p <= most["dualpipev"] <= p + 1


@pytest.mark.parametrize("name", FOLDED)
@pytest.mark.parametrize("overlap", [None, False])
def test_programs_send_nothing_to_themselves_and_end_as_the_passes_do(name, overlap):
    p, m = 4, 12
    found = programs(tiny_job(p, m, 2, schedule=name, p2p_overlap=overlap))
    for program in found:
        peers = {i.peer for i in program.items if isinstance(i, Send | Recv)}
        rank = program.pipeline_rank
        assert peers == {rank - 1, rank + 1} & set(range(p))
        segments = [i for i in program.items if isinstance(i, Segment)]
        assert len(segments) == len(actions(name, p, m, 2, rank))
    # Two hops of all but the turning point, there and back, for every micro-batch.
    sends = sum(isinstance(i, Send) for program in found for i in program.items)
    assert sends == 4 * (p - 1) * m
    assert max(run(found, split_s)) == play(name, p, m).whole


@pytest.mark.parametrize("name", FOLDED)
def test_embedding_and_head_share_the_first_rank(name):
    job = tiny_job(4, 8, 2, schedule=name)
    chunks = chunks_of(job)
    kinds = [[unit.kind for chunk in own for unit in chunk.units] for own in chunks]
    assert {"embedding", "head"} <= set(kinds[0])
    assert not any({"embedding", "head"} & set(own) for own in kinds[1:])
    last = chunks[-1]
    assert last[0].after == last[1].before == -1
    tied = job.replace(model=replace(TINY, tied=True))
    assert sum(parameters(tied)) == sum(parameters(job)) - TINY.vocab * TINY.hidden
    names = {item.name for item in programs(tied)[0].items if isinstance(item, Collective)}
    assert "tied_embeddings" not in names


def parameters(job):
    return [chunk.parameters[0] for own in chunks_of(job) for chunk in own]
