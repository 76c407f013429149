"""How fast searches and sweeps are: plans, best plans, overhead of a job, two workers (asv style).

What is wanted of them stands in the docstrings; nothing here fails for being slow.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from pathlib import Path
from typing import Any

from rackmodel.study.planner import Planner
from rackmodel.study.search import best_plan
from rackmodel.study.space import Choices, enumerate_plans
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
MACHINES = ("dgx-h100", "gb200-nvl72")
FIELDS: dict[str, Any] = {"a": "int", "wait_s": "float"}


def gpt3(batch: int) -> Job:
    model = load_model("gpt3-175b")
    return Job(model=model, plan=Plan(), seq_len=2048, global_batch=batch)


def busy(job: Any) -> dict[str, int]:
    """Keep a processor busy for a while."""
    end = time.process_time() + job["wait_s"]
    while time.process_time() < end:
        pass
    return {"square": job["a"] ** 2}


class EveryPlan:
    """Closed form of every plan of GPT-3 175B; 3,000 plans a CPU-second are wanted."""

    params = ([256, 4096], MACHINES)
    param_names = ("accelerators", "machine")
    timeout = 120

    def setup(self, accelerators: int, machine: str) -> None:
        self.job, self.machine = gpt3(accelerators), load_topology(machine)
        self.space = enumerate_plans(
            self.job, accelerators, domain=self.machine.domain_accelerators, choices=EVERYTHING
        )

    def time_estimates(self, accelerators: int, machine: str) -> None:
        Planner(self.machine, self.job, accelerators, None).estimate(self.space)

    def track_plans_per_cpu_s(self, accelerators: int, machine: str) -> float:
        start_s = time.process_time()
        self.time_estimates(accelerators, machine)
        return len(self.space) / (time.process_time() - start_s)


class BestPlan:
    """The plan that the search would take for GPT-3 175B, by the closed form."""

    params = ([64, 1024], MACHINES)
    param_names = ("accelerators", "machine")
    timeout = 120

    def setup(self, accelerators: int, machine: str) -> None:
        self.machine = load_topology(machine)

    def time_best_plan(self, accelerators: int, machine: str) -> None:
        best_plan(self.machine, gpt3(2 * accelerators), accelerators)


class Sweep:
    """Jobs that do nothing: 5 ms of overhead each at most are wanted."""

    params = (50, 1000)
    param_names = ("jobs",)
    timeout = 120

    def setup(self, jobs: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.fresh = itertools.count()
        self.spec = read_spec(
            {"base": {"wait_s": 0.0}, "axes": {"a": list(range(1, jobs + 1))}}, FIELDS
        )

    def teardown(self, jobs: int) -> None:
        self.folder.cleanup()

    def time_overhead(self, jobs: int) -> None:
        sweep(self.spec, Path(self.folder.name) / str(next(self.fresh)), busy)


class TwoWorkers:
    """Jobs of 20 ms on one worker and on two; 1.7 times as fast is wanted of 1,000 on two cores."""

    params = (20, 1000)
    param_names = ("jobs",)
    timeout = 240

    def setup(self, jobs: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.fresh = itertools.count()
        self.spec = read_spec(
            {"base": {"wait_s": 0.02}, "axes": {"a": list(range(1, jobs + 1))}}, FIELDS
        )

    def teardown(self, jobs: int) -> None:
        self.folder.cleanup()

    def run(self, workers: int) -> float:
        out = Path(self.folder.name) / str(next(self.fresh))
        start_s = time.perf_counter()
        sweep(self.spec, out, busy, workers=workers)
        return time.perf_counter() - start_s

    def time_two_workers(self, jobs: int) -> None:
        self.run(2)

    def track_ratio(self, jobs: int) -> float:
        return self.run(1) / self.run(2)
