"""The table of speed: what each kind of work takes, beside SimPy's bare loop in the same run.

In:  the names of works; all of them if left out.
Out: `python -m benchmarks.speed.table [NAME ...] [--runs N] [--profile]`: CPU seconds of user and
     system, the best of N processes (and warm, in the same process), memory, the same scaled to a
     machine whose SimPy does 872,000 events a CPU second; --profile: where each work spends them.
Left out: cliffs between neighbours (`cliffs`).

Each work is a process of its own: what a user waits for begins with loading.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import io
import json
import os
import pstats
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from rackmodel.cli.output import render

LONG_S = 5.0  # a first run of this much is repeated once
CLOSED_FORMS = 100  # of one plan: a clock is too coarse for one
EVENTS_PER_S = 872_000  # of SimPy's bare loop on the machine that the bars were set on
SIMULATE = "simulate dgx-h100 --model gpt3-13b --gpus 8 --global-batch 32 --seq-len 2048"
COMPARE = (
    "compare gb200-nvl72 dgx-h100 dgx-b200 --model gpt3-175b --gpus 1024 "
    "--global-batch 2048 --seq-len 2048"
)
SEARCH = "search dgx-h100 --model gpt3-175b --gpus 4096 --global-batch 4096 --seq-len 2048"
#: Whole commands, each with the bar of its CPU seconds.
COMMANDS: dict[str, tuple[str, float]] = {
    "help": ("--help", 0.2),
    "simulate": (SIMULATE, 0.7),
    "compare": (COMPARE, 5.0),
    "search": (SEARCH, 4.0),
}
#: Flows of `bench_network`, whole processes.
FLOWS = {"at once": 1.5, "poisson-5000": 1.1, "poisson-20000": 1.8, "permutation": 7.0}


def bare_loop() -> float:
    """Return the events a CPU second of SimPy's loop with a thousand processes, best of three."""
    import simpy

    def ticks(env: simpy.Environment) -> Any:
        for _ in range(100):
            yield env.timeout(1.0)

    best = 0.0
    for _ in range(3):
        env = simpy.Environment()
        for _ in range(1000):
            env.process(ticks(env))
        start = time.process_time()
        env.run()
        best = max(best, 100_000 / (time.process_time() - start))
    return best


def step(accelerators: int) -> Callable[[], Any]:
    """Return a step of GPT-3 175B, tp 8 x pp 8, 64 micro-batches."""
    from benchmarks.speed.bench_step import DenseStep

    one = DenseStep()
    one.setup(accelerators, 64)
    return one.run


def giant() -> Callable[[], Any]:
    """Return a step of a mixture of 67T parameters on 983,040 accelerators."""
    from benchmarks.speed.bench_step import GiantStep

    one = GiantStep()
    one.setup(983_040)
    return one.run


def unfolded() -> Callable[[], Any]:
    """Return a step of GPT-3 175B on 512 accelerators of which each is simulated, compiled."""
    from dataclasses import replace

    from benchmarks.speed.bench_step import HashedStep

    one = HashedStep()
    one.setup(512, "compiled")
    one.options = replace(one.options, fold=False, routing="spray")
    return one.run


def hashed() -> Callable[[], Any]:
    """Return a step of GPT-3 175B on 512 accelerators on hashed paths, by compiled code."""
    from benchmarks.speed.bench_step import HashedStep

    one = HashedStep()
    one.setup(512, "compiled")
    return one.run


def hashed_4096() -> Callable[[], Any]:
    """Return the same on 4,096 accelerators."""
    from benchmarks.speed.bench_step import HashedStep
    from rackmodel.engine.options import EngineOptions

    one = HashedStep()
    one.prepare_dense(4096, 64)
    one.options = EngineOptions(routing="ecmp", engine="compiled")
    return one.run


def closed_form() -> Callable[[], Any]:
    """Return the closed form of one plan of GPT-3 175B on 512 accelerators, its planner kept."""
    from rackmodel.planning.enumeration import enumerate_plans
    from rackmodel.planning.planner import Planner
    from rackmodel.topology import load_topology
    from rackmodel.workload import Job, Plan, load_model

    machine = load_topology("dgx-h100")
    job = Job(model=load_model("gpt3-175b"), plan=Plan(), seq_len=2048, global_batch=512)
    fixed = {"tp": 8, "pp": 8, "vpp": 1, "cp": 1, "micro_batch": 1, "dp": 8}
    fixed |= {"sharding": "zero1", "recompute": "full", "schedule": "1f1b"}
    planner = Planner(machine, job, 512, None)
    space = enumerate_plans(planner.job, 512, domain=8, fixed=fixed, captures=planner.captures)
    assert len(space) == 1

    def many() -> None:
        for _ in range(CLOSED_FORMS):
            planner.estimate(space)

    planner.estimate(space)
    return many


def one_plan() -> Callable[[], Any]:
    """Return a plan of GPT-3 175B on 512 accelerators, from names to the seconds of a step."""
    import rackmodel

    plan = {"tp": 8, "pp": 8, "dp": 8, "micro_batch": 1, "sharding": "zero1", "recompute": "full"}
    job = {"model": "gpt3-175b", "gpus": 512, "global_batch": 512, "seq_len": 2048, "plan": plan}
    return lambda: rackmodel.simulate("dgx-h100", **job, default_plan=True).step_s


def sweep_job() -> Callable[[], Any]:
    """Return a job of a sweep: a plan on eight accelerators and every figure of it."""
    import rackmodel

    plan = {"tp": 8, "pp": 1, "dp": 1, "micro_batch": 1}
    job = {"model": "gpt3-13b", "gpus": 8, "global_batch": 32, "seq_len": 2048, "plan": plan}
    return lambda: rackmodel.simulate("dgx-h100", **job).to_dict()


def validated_rows() -> Callable[[], Any]:
    """Return sixteen published runs to predict, spread over all that ship."""
    from rackmodel.validation.accuracy import RUNS
    from rackmodel.validation.errors import predict, read_runs

    rows = read_runs(RUNS).to_dict("records")
    some = [{str(k): v for k, v in row.items()} for row in rows[:: len(rows) // 16][:16]]
    return lambda: [predict(row) for row in some]


#: Work in Python, with the bars of the first run and of a later one. [CPU s]
WORKS: dict[str, tuple[Callable[[], Callable[[], Any]], float, float]] = {
    "step-4096": (lambda: step(4096), 0.15, 0.05),
    "step-98304": (lambda: step(98304), 0.5, 0.5),
    "step-1572864": (lambda: step(1572864), 0.5, 0.5),
    "step-67T": (giant, 1.5, 1.5),
    "ecmp-512": (hashed, 1.0, 1.0),
    "ecmp-4096": (hashed_4096, 15.0, 15.0),
    "unfolded-512": (unfolded, 1.0, 1.0),
    "gpt3-plan": (one_plan, 0.03, 0.03),
    "closed-form-x100": (closed_form, 0.1, 0.1),
    "sweep-job": (sweep_job, 0.035, 0.035),
    "validate-16": (validated_rows, 16 / 15, 16 / 15),
}


def work_out(name: str) -> dict[str, float]:
    """Return seconds of the first and of a later run of a work, and its memory."""
    run = WORKS[name][0]()
    begin = time.process_time()
    run()
    first = time.process_time() - begin
    later = []
    for _ in range(3 if first < LONG_S else 1):
        begin = time.process_time()
        run()
        later.append(time.process_time() - begin)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"first": first, "later": min(later), "mb": most}


def _process(words: list[str], *, told: bool) -> tuple[float, str]:
    """Run a process; its CPU seconds, and what it prints."""
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "COLUMNS": "200"}  # as an installed package is
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *words],
        check=True,
        stdout=subprocess.PIPE,
        stderr=None if told else subprocess.DEVNULL,
        text=True,
        env=os.environ | compiled,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent, done.stdout


def row_of(name: str, runs: int) -> list[str]:
    """Return the row of a work: name, CPU seconds raw and scaled, bar, memory.

    The quickest run and the quicker loop, before or after: a shared machine is not always as fast.
    """
    before = bare_loop()
    if name in COMMANDS or name in FLOWS:
        words, bar = COMMANDS.get(name, ("", FLOWS.get(name, 0.0)))
        own = ["-m", "rackmodel", *words.split()]
        if name in FLOWS:
            own = ["-m", "benchmarks.speed.bench_network", name]
        best = min(_process(own, told=False)[0] for _ in range(runs))
        scale = max(before, bare_loop()) / EVENTS_PER_S
        return [name, f"{best:.2f}", f"{best * scale:.2f}", f"{bar:g}", ""]
    own = ["-m", "benchmarks.speed.table", "--one", name]
    found = [json.loads(_process(own, told=True)[1]) for _ in range(runs)]
    scale = max(before, bare_loop()) / EVENTS_PER_S
    first, later = (min(one[key] for one in found) for key in ("first", "later"))
    _, bar, later_bar = WORKS[name]
    return [
        name,
        f"{first:.3f} / {later:.3f}",
        f"{first * scale:.3f} / {later * scale:.3f}",
        f"{bar:.3g} / {later_bar:.3g}",
        f"{max(one['mb'] for one in found):.0f}",
    ]


def profile(name: str) -> str:
    """Return where a work spends its time, imports included for commands."""
    out, told = io.StringIO(), cProfile.Profile()
    if name in COMMANDS:
        from rackmodel.cli import main

        sys.argv = ["rackmodel", *COMMANDS[name][0].split()]
        with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
            told.runcall(main)
    else:
        told.runcall(WORKS[name][0]())
    pstats.Stats(told, stream=out).sort_stats("cumtime").print_stats("rackmodel", 30)
    return out.getvalue()


def main() -> None:
    """Print the table, or profiles."""
    known = [*COMMANDS, *WORKS, *FLOWS]
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    words.add_argument("--runs", type=int, default=3)
    words.add_argument("--profile", action="store_true")
    words.add_argument("--one", choices=list(WORKS), help=argparse.SUPPRESS)
    asked = words.parse_args()
    if asked.one:
        print(json.dumps(work_out(asked.one)))
        return
    if unknown := [name for name in asked.names if name not in known]:
        words.error(f"no work {unknown[0]!r} (known: {', '.join(known)})")
    names = asked.names or known
    if asked.profile:
        for name in names:
            print(f"== {name}\n{profile(name)}")
        return
    from rich.table import Table

    table = Table("work", "CPU s (first / later)", "scaled", "bar", "MB", box=None)
    for name in names:
        table.add_row(*row_of(name, asked.runs))
    print(render([table], terminal=False))
    print(f"SimPy's bare loop: {bare_loop():,.0f} events a CPU second; scaled to {EVENTS_PER_S:,}")


if __name__ == "__main__":
    main()
