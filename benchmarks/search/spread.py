"""How far is the closed form off from one plan to the next? What `missed.SPREAD` is made of.

Run:  python -m benchmarks.search.spread --out spread.csv

Of the best `BEST` plans of each search `PLANS` are simulated, evenly spread over their ranks; the
standard deviation of ln(simulated over estimated step) within a search, pooled over searches behind
switches and over those on a torus, is what a plan that was not simulated may be off by; mixtures
under ZeRO-3 without a pipeline, all slower than estimated, are told apart. Three minutes of one
processor.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from rackmodel.argument.scale_up import TRIED
from rackmodel.argument.sold_domains import sold
from rackmodel.planning.best import FULL_AT
from rackmodel.planning.enumeration import enumerate_plans
from rackmodel.planning.planner import Look, Planner
from rackmodel.topology import Topology, load_topology
from rackmodel.topology.shapes import Torus
from rackmodel.workload import Job, Plan, load_model

BEST, PLANS = 300, 27


class Search(NamedTuple):
    """A job whose plans are sampled; machine : a shipped one, or domains of GB200 by their size."""

    machine: str | int
    model: str
    gpus: int
    global_batch: int
    seq_len: int = 4096
    precision: str = "bf16"


SEARCHES = (
    Search("dgx-h100", "gpt3-13b", 64, 128, 2048),
    Search("dgx-b200", "llama3-70b", 128, 128),
    Search("tpu-v5p-pod", "llama3-70b", 128, 128),
    Search("gb200-nvl72", "mixtral-8x7b", 72, 144),
    Search(8, "deepseek-v3", 512, 1024, precision="fp8-mx"),
    Search(72, "deepseek-v3", 512, 1024, precision="fp8-mx"),
    Search(8, "llama3.1-405b", 576, 576, 8192, "fp8-mx"),
    Search("dgx-h100", "mixtral-8x7b", 64, 256),
    Search(16, "kimi-k2", 1152, 2304, precision="fp8-mx"),
    Search(576, "deepseek-v3", 1152, 2304, precision="fp8-mx"),
)


def machine_of(search: Search) -> Topology:
    """Return what a search runs on."""
    named = search.machine
    return sold("gb200", named) if isinstance(named, int) else load_topology(named)


def sampled(search: Search) -> Iterator[dict[str, Any]]:
    """Simulate so many of a search's best plans."""
    machine = machine_of(search)
    model = load_model(search.model)
    plan = Plan(dispatcher="deepep") if model.moe_layers else Plan()
    job = Job(
        model=model,
        plan=plan,
        seq_len=search.seq_len,
        global_batch=search.global_batch,
        precision=search.precision,
    )
    planner = Planner(machine, job, search.gpus, None)
    space = enumerate_plans(
        planner.job, search.gpus, domain=machine.domain_accelerators, choices=TRIED
    )
    look = Look(planner, space, planner.part.hbm_bytes * FULL_AT)
    look.closer(2.0)
    step_s = look.estimates.step_s
    order = [
        int(entry) for entry in np.argsort(step_s, kind="stable") if np.isfinite(step_s[entry])
    ]
    fitting = [
        entry
        for entry in order[: 2 * BEST]
        if planner.fits(planner.job.replace(plan=space.plan(entry)), look.room_bytes)
    ][:BEST]
    ranks = np.unique(np.linspace(0, len(fitting) - 1, PLANS).round().astype(int))
    for rank in ranks.tolist():
        own = space.plan(fitting[rank])
        estimate_s = planner.lost_s(float(step_s[fitting[rank]]))
        told = planner.simulate(own).step_s
        yield search._asdict() | {
            "rank": rank,
            "plan": str(own),
            "estimate_s": estimate_s,
            "step_s": told,
            "off": math.log(told / estimate_s),
        }


def summary(frame: pd.DataFrame) -> str:
    """Spread within each search, pooled over those behind switches and over those on a torus."""
    lines = []
    apart = frame["plan"].str.contains("zero3") & frame["model"].map(_mixture)
    for name, own in frame[~apart].groupby(["machine", "model"], sort=False):
        off = own["off"]
        lines.append(f"{name}: mean {off.mean():+.1%}, spread {off.std():.1%}, {len(own)} plans")
    torus = frame["machine"].map(_on_torus)
    for place, which in (("switches", ~torus), ("torus", torus)):
        by = frame[which & ~apart].groupby(["machine", "model"])["off"]
        squares, free = float((by.var() * (by.size() - 1)).sum()), int((by.size() - 1).sum())
        lines.append(f"{place}: pooled spread {math.sqrt(squares / free):.2%}")
    told = ", ".join(f"{off:+.1%}" for off in frame[apart]["off"])
    return "\n".join([*lines, f"mixtures under ZeRO-3: {told or 'none'}"])


def _mixture(name: str) -> bool:
    return load_model(name).moe_layers > 0


def _on_torus(name: str | int) -> bool:
    return isinstance(name, str) and isinstance(load_topology(name).scale_up, Torus)


def tell(rows: Iterable[dict[str, Any]], summary: Callable[[pd.DataFrame], str]) -> None:
    """Gather the rows of a benchmark that simulates plans, keep them if asked, and sum them up."""
    parser = argparse.ArgumentParser(description="Simulate plans of searches; see the module.")
    parser.add_argument("--out", default="", help="CSV of all plans")
    given = parser.parse_args()
    found: list[dict[str, Any]] = []
    for row in rows:
        found.append(row)
        sys.stderr.write(f"\r{len(found)} plans, {row['off']:+.1%} ")
    sys.stderr.write("\n")
    frame = pd.DataFrame(found)
    if given.out:
        frame.to_csv(given.out, index=False)
    print(summary(frame))


if __name__ == "__main__":
    tell((row for search in SEARCHES for row in sampled(search)), summary)
