"""Searches and sweeps: plans per second, the best plan of a job, overhead per job, two workers.

Bars, on an idle machine: 50,000 plans per CPU-second over all that divide, 3,000 over the usual
ones; 5 ms of overhead a job; two workers 1.7 times as fast as one. CPU seconds of commands are
scaled to a machine on which SimPy's bare loop runs 872,000 events a CPU-second, timed in the same
run.
"""

from __future__ import annotations

import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import simpy

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


class Command:
    """Whole commands, start-up included: CPU seconds. Bars: 0.2, 0.7, 4, 5."""

    params = (
        "--help",
        "simulate dgx-h100 --model gpt3-13b --gpus 8 --global-batch 32 --seq-len 2048 --tp 8",
        "search dgx-h100 --model gpt3-175b --gpus 4096 --global-batch 2048 --seq-len 2048",
        "compare gb200-nvl72 dgx-h100 dgx-b200 --model gpt3-175b --gpus 1024 --global-batch 2048"
        " --seq-len 2048",
    )
    param_names = ("words",)
    timeout = 600

    def track_cpu_s(self, words: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "rackmodel", *shlex.split(words)]
        subprocess.run(command, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def track_scaled_cpu_s(self, words: str) -> float:
        """CPU seconds on a machine whose bare loop runs 872,000 events a CPU-second."""
        speeds = [events_per_cpu_s()]
        seconds = self.track_cpu_s(words)
        speeds.append(events_per_cpu_s())  # before and after: neighbours come and go
        return seconds * sum(speeds) / 2 / 872_000


def events_per_cpu_s(events: int = 200_000) -> float:
    """SimPy's bare loop: one process that waits again and again."""
    env = simpy.Environment()

    def process() -> Iterator[simpy.Event]:
        while True:
            yield env.timeout(1.0)

    env.process(process())
    started_s = time.process_time()
    env.run(until=events)
    return events / (time.process_time() - started_s)


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
