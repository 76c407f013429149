"""How fast searches and sweeps are: plans per second, overhead per job, two workers against one.

Run:  pytest benchmarks/speed/bench_study.py
"""

import itertools
import time

import pytest

from rackmodel.study.enumeration import enumerate_plans
from rackmodel.study.planner import Planner
from rackmodel.study.search import best_plan
from rackmodel.study.space import Choices
from rackmodel.study.spec import read_spec
from rackmodel.study.sweep import sweep
from rackmodel.topology import load_topology
from rackmodel.workload import Job, Plan, load_model

EVERYTHING = Choices(
    shardings=("none", "zero1", "zero2", "zero3"),
    schedules=("1f1b", "interleaved", "gpipe", "zb-h1"),
    all_divisors=True,
    max_pp=128,
    max_vpp=96,
    max_tp=96,
    max_micro_batch=64,
)
FIELDS = {"a": "int", "wait_s": "float"}


def gpt3(batch):
    model = load_model("gpt3-175b")
    return Job(model=model, plan=Plan(), seq_len=2048, global_batch=batch)


def busy(job):
    """Keep a processor busy for a while."""
    end = time.process_time() + job["wait_s"]
    while time.process_time() < end:
        pass
    return {"square": job["a"] ** 2}


@pytest.mark.parametrize("machine", ["dgx-h100", "gb200-nvl72"])
def test_every_plan_of_gpt3_on_4096(benchmark, machine):
    """Bar: 3,000 plans per CPU-second."""
    job, loaded = gpt3(4096), load_topology(machine)
    space = enumerate_plans(job, 4096, domain=loaded.domain_accelerators, choices=EVERYTHING)

    def run():
        start = time.process_time()
        Planner(loaded, job, 4096, None).estimate(space)
        return time.process_time() - start

    cpu_s = benchmark.pedantic(run, rounds=1)
    benchmark.extra_info |= {"plans": len(space), "plans_per_cpu_s": len(space) / cpu_s}
    assert len(space) / cpu_s > 3000


@pytest.mark.parametrize("machine", ["dgx-h100", "gb200-nvl72"])
def test_best_plan_of_gpt3_on_1024(benchmark, machine):
    loaded = load_topology(machine)
    benchmark.pedantic(lambda: best_plan(loaded, gpt3(2048), 1024), rounds=1)


def test_overhead_of_a_job(benchmark, tmp_path):
    """Bar: 5 ms per job."""
    spec = read_spec({"base": {"wait_s": 0.0}, "axes": {"a": list(range(1, 1001))}}, FIELDS)
    fresh = itertools.count()
    benchmark.pedantic(lambda: sweep(spec, tmp_path / str(next(fresh)), busy), rounds=3)
    assert benchmark.stats["mean"] / 1000 < 5e-3


def test_two_workers_against_one(benchmark, tmp_path):
    """Bar: 1.7 times as fast, 1,000 jobs."""
    spec = read_spec({"base": {"wait_s": 0.02}, "axes": {"a": list(range(1, 1001))}}, FIELDS)

    def seconds(workers):
        start = time.perf_counter()
        sweep(spec, tmp_path / str(workers), busy, workers=workers)
        return time.perf_counter() - start

    ratio = benchmark.pedantic(lambda: seconds(1) / seconds(2), rounds=1)
    benchmark.extra_info["ratio"] = ratio
    assert ratio > 1.7
