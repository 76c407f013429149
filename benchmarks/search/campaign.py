"""Does the search find the best plan? Random jobs whose plans can all be simulated.

Run:  python -m benchmarks.search.campaign --cases 200 --workers 2 --out campaign.csv

Every plan of a case is simulated; then the search, which simulates a few, has to come within 1% of
the fastest. One row a case: plans, simulated ones, how far the search's winner and the closed
form's own choice are behind the true best, and whether the bound on the rest holds.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pandas as pd

from rackmodel.errors import CannotRun, InvalidPlan
from rackmodel.planning.best import FULL_AT, search_job
from rackmodel.planning.enumeration import enumerate_plans
from rackmodel.planning.planner import Planner
from rackmodel.planning.space import FULL, OFFLOADS, RECOMPUTES, Choices, Space
from rackmodel.topology import load_topology
from rackmodel.workload import Job, Plan, load_model

MACHINES = ("dgx-h100", "dgx-a100-80", "gb200-nvl72", "dgx-b200", "mi300x-platform", "tpu-v5p-pod")
MODELS = ("gpt3-6.7b", "gpt3-13b", "llama3-8b", "llama2-70b", "mixtral-8x7b")
FEWEST, MOST = 6, 16  # plans of a case
GOOD = 0.01


def case(seed: int) -> tuple[str, Job, int, dict[str, Any], Choices, Space]:
    """A random job with between `FEWEST` and `MOST` plans."""
    rng = random.Random(seed)
    while True:
        machine, model = rng.choice(MACHINES), rng.choice(MODELS)
        gpus, batch = rng.choice((4, 8, 16, 24)), rng.choice((16, 24, 32))
        job = Job(
            model=load_model(model),
            plan=Plan(),
            seq_len=rng.choice((2048, 4096)),
            global_batch=batch,
        )
        choices = Choices(
            shardings=tuple(sorted(rng.sample(FULL.shardings, 2))),
            recomputes=tuple(rng.sample(RECOMPUTES, 2)),
            schedules=tuple(rng.sample(FULL.schedule_names(), 3)),
            offloads=rng.choice((OFFLOADS[:1], OFFLOADS)),
            max_micro_batch=rng.choice((2, 4)),
            max_vpp=rng.choice((2, 4)),
            uneven=rng.random() < 0.3,
            switches=rng.random() < 0.3,
        )
        fixed: dict[str, Any] = {}
        try:
            space = enumerate_plans(job, gpus, fixed=fixed, choices=choices)
            while len(space) > MOST:
                plan = space.plan(rng.randrange(len(space)))
                name = rng.choice(
                    (
                        "tp",
                        "pp",
                        "vpp",
                        "micro_batch",
                        "recompute",
                        "sharding",
                        "cp",
                        "ep",
                        "offload",
                        "dp_overlap",
                        "sequence_parallel",
                        "tp_overlap",
                        "rank_order",
                        "p2p_overlap",
                    )
                )
                fixed[name] = getattr(plan, name)
                space = enumerate_plans(job, gpus, fixed=fixed, choices=choices)
        except InvalidPlan:
            continue
        if len(space) >= FEWEST:
            return machine, job, gpus, fixed, choices, space


def judge(seed: int) -> dict[str, Any] | None:
    """One row, or None where nothing fits."""
    name, job, gpus, fixed, choices, space = case(seed)
    machine = load_topology(name)
    planner = Planner(machine, job, gpus, None)
    room = planner.part.hbm_bytes * FULL_AT
    results: dict[Plan, Any] = {}
    for entry in range(len(space)):
        plan = space.plan(entry)
        if planner.fits(job.replace(plan=plan), room):
            results[plan] = planner.simulate(plan)
    if len(results) < 2:
        return None
    best_s = min(result.step_s for result in results.values())
    try:
        found = search_job(
            machine,
            job,
            gpus,
            fixed=fixed,
            choices=choices,
            simulate=lambda plan: results[plan],
        )
    except CannotRun:
        return None
    own_s = found.candidates[0].step_s
    guess = min(found.candidates, key=lambda candidate: candidate.estimate_s)
    return {
        "seed": seed,
        "topology": name,
        "model": job.model.name,
        "gpus": gpus,
        "plans": len(results),
        "simulated": len(found.candidates),
        "behind": own_s / best_s - 1.0,
        "estimate_behind": guess.step_s / best_s - 1.0,
        "estimate_error": found.error,
        "unbeaten": found.unbeaten,
        "bound_holds": best_s * (1.0 + found.unbeaten) >= own_s * (1.0 - 1e-9),
    }


def rows(cases: int, workers: int, first: int = 0) -> Iterator[dict[str, Any]]:
    """Rows of so many cases that have something to choose, in the order of their seeds."""
    done = 0
    with ProcessPoolExecutor(workers) as crew:
        seeds = range(first, first + 4 * cases)
        for row in crew.map(judge, seeds):
            if row is None:
                continue
            yield row
            done += 1
            if done == cases:
                crew.shutdown(wait=False, cancel_futures=True)
                return


def summary(frame: pd.DataFrame) -> str:
    """What the campaign says, in a few lines."""
    good = (frame["behind"] <= GOOD).mean()
    alone = (frame["estimate_behind"] <= GOOD).mean()
    return (
        f"{len(frame)} cases, {frame['plans'].sum():,} plans simulated\n"
        f"search within 1% of the true best: {good:.1%} (worst {frame['behind'].max():.2%}), "
        f"after {frame['simulated'].mean():.1f} of {frame['plans'].mean():.1f} plans\n"
        f"closed form alone within 1%: {alone:.1%} (worst {frame['estimate_behind'].max():.2%})\n"
        f"bound on what was not simulated holds: {frame['bound_holds'].mean():.1%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", default="")
    given = parser.parse_args()
    found = []
    for row in rows(given.cases, given.workers):
        found.append(row)
        sys.stderr.write(f"\r{len(found)} of {given.cases}, {row['behind']:.2%} behind ")
        if given.out:
            pd.DataFrame(found).to_csv(given.out, index=False)
    sys.stderr.write("\n")
    print(summary(pd.DataFrame(found)))


if __name__ == "__main__":
    main()
