"""Searches and sweeps: plans per second, the best plan of a job, overhead per job, two workers.

Bars, on an idle machine: 3,000 plans per CPU-second; 5 ms of overhead a job; two workers 1.7 times
as fast as one.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

from rackmodel.planning.best import best_plan
from rackmodel.planning.enumeration import enumerate_plans
from rackmodel.planning.planner import Planner
from rackmodel.planning.space import SPACES
from rackmodel.sweeps.api import sweep
from rackmodel.sweeps.filters import Value
from rackmodel.sweeps.spec import FlatJob, SweepSpec, read_spec
from rackmodel.topology import load_topology
from rackmodel.workload import Job, Plan, load_model

FIELDS = {"a": "int", "wait_s": "float"}


def gpt3(batch: int) -> Job:
    return Job(model=load_model("gpt3-175b"), plan=Plan(), seq_len=2048, global_batch=batch)


def busy(job: FlatJob) -> dict[str, Value]:
    """Keep a processor busy for a while."""
    end = time.process_time() + float(str(job["wait_s"]))
    while time.process_time() < end:
        pass
    return {"square": int(str(job["a"])) ** 2}


def jobs_of(count: int, wait_s: float) -> SweepSpec:
    axis = {"from": 1, "to": count, "step": 1}
    return read_spec({"base": {"wait_s": wait_s}, "axes": {"a": axis}}, FIELDS)


class EveryPlan:
    """All plans of GPT-3 175B: a batch of one sequence per accelerator."""

    params = (["sensible", "full-without-offload"], [512, 4096], ["dgx-a100-80", "gb200-nvl72"])
    param_names = ("space", "accelerators", "machine")
    timeout = 600

    def setup(self, space: str, accelerators: int, machine: str) -> None:
        self.machine, self.job = load_topology(machine), gpt3(accelerators)
        self.accelerators = accelerators
        self.plans = enumerate_plans(
            self.job, accelerators, domain=self.machine.domain_accelerators, choices=SPACES[space]
        )

    def time_estimate(self, space: str, accelerators: int, machine: str) -> None:
        Planner(self.machine, self.job, accelerators, None).estimate(self.plans)

    def track_plans_per_cpu_s(self, space: str, accelerators: int, machine: str) -> float:
        started_s = time.process_time()
        self.time_estimate(space, accelerators, machine)
        return len(self.plans) / (time.process_time() - started_s)

    def track_plans_per_cpu_s_nothing_ruled_out(
        self, space: str, accelerators: int, machine: str
    ) -> float:
        """Every plan that may fit is timed to the end, whatever its bounds say."""
        started_s = time.process_time()
        Planner(self.machine, self.job, accelerators, None).estimate(self.plans, near=float("inf"))
        return len(self.plans) / (time.process_time() - started_s)


class BestPlan:
    """What `simulate` and `compare` ask for each machine."""

    params = ([256, 1024], ["dgx-h100", "gb200-nvl72"])
    param_names = ("accelerators", "machine")

    def setup(self, accelerators: int, machine: str) -> None:
        self.machine = load_topology(machine)

    def time_best_plan(self, accelerators: int, machine: str) -> None:
        best_plan(self.machine, gpt3(2 * accelerators), accelerators)


class Sweep:
    """Jobs that do nothing: what is left is the sweep's own work."""

    params = (100, 1000)
    param_names = ("jobs",)
    timeout = 600

    def setup(self, jobs: int) -> None:
        self.spec = jobs_of(jobs, 0.0)
        self.folder = Path(tempfile.mkdtemp())

    def teardown(self, jobs: int) -> None:
        shutil.rmtree(self.folder)

    def time_overhead(self, jobs: int) -> None:
        sweep(self.spec, Path(tempfile.mkdtemp(dir=self.folder)), busy)

    def track_two_workers_over_one(self, jobs: int) -> float:
        spec, seconds = jobs_of(jobs, 0.02), []
        for workers in (1, 2):
            started_s = time.perf_counter()
            sweep(spec, Path(tempfile.mkdtemp(dir=self.folder)), busy, workers=workers)
            seconds.append(time.perf_counter() - started_s)
        return seconds[0] / seconds[1]
