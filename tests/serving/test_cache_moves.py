"""Laws of caches that move between workers."""

import math
from dataclasses import replace

import pytest

import rackmodel
from rackmodel.serving.cache_moves import MOST, CacheMoves
from rackmodel.serving.run import steps_of
from rackmodel.topology import load_topology
from rackmodel.workload import load_model
from rackmodel.workload.serving.job import ServingJob, Worker

WORKER = Worker(tp=4)
JOB = ServingJob(
    model=load_model("llama3.1-70b"),
    worker=WORKER,
    gpus=16,
    users=64,
    isl=4096,
    osl=256,
    prefill=WORKER,
    prefill_gpus=8,
)


def moves(topology="dgx-h100"):
    return CacheMoves(JOB, steps_of(load_topology(topology)))


def test_more_moves_at_once_are_never_quicker():
    times = [moves().together_s(number) for number in (1, 2, 4, 16, MOST)]
    assert times == sorted(times)
    assert times[-1] > 2 * times[0]


def test_more_requests_never_wait_less_and_as_many_move_as_their_rate_says():
    all_moves = moves()
    most = all_moves.most_per_s
    times = [all_moves.seconds(share * most) for share in (0.01, 0.1, 0.5, 0.9)]
    assert times == sorted(times)
    assert times[0] == all_moves.together_s(1)
    assert math.isinf(all_moves.seconds(1.01 * most))


def test_a_scale_up_domain_moves_caches_quicker_than_nics():
    assert moves("gb200-nvl72").together_s(1) < moves().together_s(1) / 4


@pytest.mark.parametrize(("prefill", "decode"), [(4, 8), (8, 4), (2, 4), (8, 8)])
def test_no_worker_that_fits_into_a_node_is_torn_apart(prefill, decode):
    sizes = prefill, 4 * decode  # one worker for prompts, four that decode
    workers = {"prefill": Worker(tp=prefill), "worker": Worker(tp=decode)}
    job = replace(JOB, **workers, prefill_gpus=prefill, gpus=sum(sizes))
    taken = []
    for begin, length, size in zip(job.begins, sizes, (prefill, decode), strict=True):
        taken += range(begin, begin + length)
        for first in range(begin, begin + length, size):
            assert first // 8 == (first + size - 1) // 8
    assert sorted(taken) == list(range(job.gpus))


def test_links_that_are_full_hold_up_requests():
    from rackmodel.serving.habits import Habits
    from rackmodel.serving.steady import steady_state

    class Slow:
        most_per_s = 1.0

        def seconds(self, rate):
            return math.inf if rate > 1.0 else 1.0

        def together_s(self, number):
            return float(number)

    def step_s(worker, gpus, load):
        return 0.01

    held = steady_state(replace(JOB, osl=16), step_s, Habits(), most=64, transfers=Slow())
    assert held.queued
    assert held.requests_per_s == pytest.approx(1.0)


@pytest.mark.parametrize(("tp", "gpus"), [(64, 144), (32, 80)])
def test_no_rack_holds_more_than_its_accelerators(tp, gpus):
    """Workers of 64 leave 8 spares in racks of 72: those that run prompts stand there."""
    served = rackmodel.serve(
        "gb200-nvl72",
        **{"model": "deepseek-v3", "weights": "nvfp4", "users": 256, "isl": 256, "osl": 256},
        **{"tp": tp, "ep": tp, "dp_attention": True, "gpus": gpus, "prefill_gpus": 16},
        prefill={"tp": 8, "ep": 8, "dp_attention": True},
    ).to_dict()
    racks = served["racks"]
    assert all(rack["accelerators"] <= 72 for rack in racks)
    assert sum(rack["count"] * rack["accelerators"] for rack in racks) == gpus
