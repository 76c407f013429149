"""How often was there a better plan, by the chance that a search told of it?

Run:  python -m benchmarks.search.chance --out chance.csv

Of each search the plans near the best are simulated in the order in which it takes them, up to
`MOST`. After each of the first `LOOKS` the chance that it tells is held against whether one of the
others gains more than `missed.COUNTED`. Then what families of plans are off by in the mean, which
`missed.SPREAD_OF_FAMILIES` is made of. Four minutes of one processor.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.search.spread import Search, machine_of, tell
from rackmodel.argument.scale_up import KIN, MEAN, MOST_TP, NEAR, TRIED, Work
from rackmodel.assess.run import run
from rackmodel.engine.networks import forget_networks
from rackmodel.planning.best import FULL_AT
from rackmodel.planning.candidates import Effort, Queue
from rackmodel.planning.enumeration import enumerate_plans
from rackmodel.planning.missed import COUNTED
from rackmodel.planning.objectives import OBJECTIVES
from rackmodel.planning.planner import Look, Planner
from rackmodel.result.result import Result
from rackmodel.workload import Plan, load_model

MOST, LOOKS = 40, 12
NEAREST = 1.12  # simulated are plans whose estimate, put right, lies no further behind the best
BINS = (-1e-9, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
SEARCHES = (
    Search(8, "llama3-70b", 576, 1152, precision="fp8-mx"),
    Search(8, "llama3-70b", 4608, 9216, precision="fp8-mx"),
    Search(72, "llama3-70b", 576, 1152, 8192, "fp8-mx"),
    Search(8, "llama3.1-405b", 576, 1152, 8192, "fp8-mx"),
    Search(72, "llama3.1-405b", 576, 576, 8192, "fp8-mx"),
    Search(8, "deepseek-v3", 576, 2304, precision="fp8-mx"),
    Search(72, "deepseek-v3", 288, 1152, precision="fp8-mx"),
    Search(8, "kimi-k2", 1152, 4608, precision="fp8-mx"),
    Search(144, "kimi-k2", 576, 2304, precision="fp8-mx"),
    Search(8, "gpt4-moe-1.8t", 576, 1152, precision="fp8-mx"),
    Search(72, "gpt4-moe-1.8t", 576, 1152, precision="fp8-mx"),
    Search("dgx-h100", "gpt3-175b", 128, 256, 2048),
    Search("dgx-b200", "llama3-70b", 128, 256),
    Search("dgx-a100-80", "gpt3-13b", 64, 128, 2048),
    Search("dgx-h100", "llama3.1-405b", 256, 256, 8192),
)


def simulated(number: int, search: Search) -> Iterator[dict[str, Any]]:
    """Simulate the plans near the best of a search, in its order."""
    machine, experts = machine_of(search), load_model(search.model).moe_layers > 0
    sent = "bf16" if search.precision == "bf16" else "fp8"
    plan = Plan(dispatcher="deepep", dispatch_format=sent) if experts else Plan()
    job = Work(*search[1:]).job(plan)
    planner = Planner(machine, job, search.gpus, None)
    space = enumerate_plans(
        planner.job,
        search.gpus,
        domain=machine.domain_accelerators,
        choices=replace(TRIED, ep_overlap=experts, max_tp=MOST_TP if experts else TRIED.max_tp),
        captures=planner.captures,
    )
    look = Look(planner, space, planner.part.hbm_bytes * FULL_AT)
    look.closer(NEAR)

    def simulate(plan: Plan) -> Result:
        return run(machine, job.replace(plan=plan), options=MEAN)

    queue = Queue(look, simulate, OBJECTIVES["tokens"], KIN)
    for most in range(1, MOST + 1):
        effort = Effort(most=most, near=NEAR, sure=NEAREST, events=sys.maxsize, kin=KIN)
        if len(queue.simulated(effort)) < most:
            return
        one = queue.found[-1]
        yield search._asdict() | {
            "search": number,
            "simulated": most,
            "family": queue.families[-1],
            "step_s": one.step_s,
            "off": math.log(one.step_s / one.estimate_s),
            "told": queue.better_chance()[0],
        }


def summary(frame: pd.DataFrame) -> str:
    """Return what was told against what was so, and how families spread."""
    steps = frame.groupby("search")["step_s"]
    better = steps.transform("min") < steps.cummin() * (1.0 - COUNTED)
    looks = frame.assign(better=better)[frame["simulated"] <= LOOKS]
    lines = []
    for told, own in (("all", looks), *looks.groupby(pd.cut(looks["told"], BINS), observed=True)):
        means = own[["told", "better"]].mean()
        lines.append(
            f"told {told}: {len(own)} looks, {means['told']:.1%} told, {means['better']:.1%} so"
        )
    off = frame.groupby(["search", "family"])["off"]
    within = math.sqrt((off.var(ddof=0) * off.size()).sum() / (off.size() - 1).sum())
    means = off.mean().groupby("search")
    apart = means.size() - 1
    between = math.sqrt(float(np.nansum(means.var() * apart)) / float(apart.sum()))
    lines.append(f"plans of a family spread by {within:.2%}, means of families by {between:.2%}")
    return "\n".join(lines)


def looks() -> Iterator[dict[str, Any]]:
    """Simulate all searches, one after the other."""
    for number, search in enumerate(SEARCHES):
        yield from simulated(number, search)
        forget_networks()


if __name__ == "__main__":
    tell(looks(), summary)
