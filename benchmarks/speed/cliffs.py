"""Cliffs: small changes of a job or a machine that make its simulation much dearer.

In:  walks over numbers of accelerators, expert and pipeline groups, and sizes of scale-up domains,
     on trees, a torus, a dragonfly and hashed paths.
Out: `python -m benchmarks.speed.cliffs [WALK ...]`: for each walk the worst ratio between
     neighbours of events, rank classes and CPU seconds, and what it took; exit code 1 where one is
     above `STEEPEST`. `--quick` takes every tenth point with its neighbour and judges no seconds
     (CI's form).
Left out: how fast the simulation is (`bench_step`).

On hashed paths no two ranks are alike but where no path is hashed (in one pod, along rails): these
walks are judged by seconds alone, and `--quick` leaves them out.

Neighbours differ by 2% in the numbers of accelerators, or are the next value that divides. A count
that differs by more than that may cost more in proportion.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rackmodel import simulate
from rackmodel.engine.networks import clear_caches
from rackmodel.errors import RackModelError
from rackmodel.topology import Topology, load_topology
from rackmodel.topology.names import changed
from rackmodel.workload import Job, Plan, load_model

STEEPEST = 3.0
SHORTEST_S = 0.3  # of CPU: below this, seconds are mostly noise and the first compilation
FEWEST = {"events": 3000, "classes": 8}  # less than this is cheap, whatever the ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One simulation of a walk; `at` is the value that is walked over."""

    at: float
    machine: Topology
    job: Job
    routing: str = "spray"


def _dense(gpus: int, tp: int, pp: int = 1, **more: Any) -> Job:
    dp = gpus // (tp * pp)
    plan = Plan(tp=tp, pp=pp, dp=dp, **more)
    return Job(model=load_model("gpt3-1.3b"), plan=plan, seq_len=1024, global_batch=dp * 8)


def _experts(gpus: int, ep: int, pp: int = 1, vpp: int = 1) -> Job:
    dp = gpus // pp
    plan = Plan(pp=pp, vpp=vpp, ep=ep, dp=dp)
    return Job(model=load_model("qwen3-30b-a3b"), plan=plan, seq_len=1024, global_batch=dp * 8)


def _counts(first: int, last: int, block: int) -> Iterator[int]:
    """Yield multiples of a block, each 2% above the one before, or the next."""
    here = first // block * block
    while here <= last:
        yield here
        here = max(here + block, round(here * 1.02 / block) * block)


def walks() -> Iterator[tuple[str, list[Point]]]:
    """Yield every walk with its points: some 640 in all."""
    for name, tp, pp, last, routing in (
        ("dgx-h100", 4, 2, 4096, "spray"),
        ("gb200-nvl72", 8, 2, 4608, "spray"),
        ("ualink72", 8, 1, 2304, "spray"),
        ("nvl576", 8, 2, 4608, "spray"),
        ("tpu-v5p-pod", 4, 1, 512, "spray"),
        ("dgx-h100-dragonfly", 4, 2, 1024, "spray"),
        ("dgx-h100", 4, 2, 1024, "ecmp"),
        ("gb200-nvl72", 8, 2, 1152, "ecmp"),
    ):
        machine = load_topology(name)
        yield (
            f"{name}, accelerators" + (f", {routing}" if routing != "spray" else ""),
            [
                Point(at=n, machine=machine, job=_dense(n, tp, pp), routing=routing)
                for n in _counts(last // 4, last, tp * pp)
            ],
        )
    for name in ("dgx-h100", "gb200-nvl72", "ualink72", "nvl576"):
        machine = load_topology(name)
        sizes = (1, 2, 4, 8, 16, 32, 64, 128)
        points = [Point(at=ep, machine=machine, job=_experts(512, ep)) for ep in sizes]
        yield f"{name}, ep", points
        deep = [pp for pp in range(1, 25) if 24 % pp == 0]
        points = [Point(at=pp, machine=machine, job=_dense(32 * 4 * pp, 4, pp)) for pp in deep]
        yield f"{name}, pp", points
        points = [
            Point(at=vpp, machine=machine, job=_dense(512, 4, 4, vpp=vpp)) for vpp in (1, 2, 3, 6)
        ]
        yield f"{name}, vpp", points
    rack = load_topology("gb200-nvl72")
    points = [
        Point(at=n, machine=_domain(rack, n), job=_dense(1152, 4, 2)) for n in range(8, 73, 4)
    ]
    yield "gb200-nvl72, accelerators of a domain", points


def _domain(rack: Topology, accelerators: int) -> Topology:
    """Return the rack with another number of accelerators, four to a host and leaf."""
    return changed(rack, {"shape.accelerators": accelerators, "fabric.rails": accelerators // 4})


def measured(point: Point) -> dict[str, float]:
    """Return events, classes and CPU seconds of a point."""
    clear_caches()
    began = time.process_time()
    step = simulate(point.machine, point.job, check_memory=False, routing=point.routing).step
    seconds = time.process_time() - began
    return {"events": step.events, "classes": len(step.rank_count), "seconds": seconds}


def steepness(
    before: dict[str, float], after: dict[str, float], allowed: float
) -> dict[str, float]:
    """Return the ratio of each figure between neighbours, over what their values allow."""
    floors = {**FEWEST, "seconds": SHORTEST_S}
    found = {}
    for name, floor in floors.items():
        low, high = sorted((before[name], after[name]))
        found[name] = max(1.0, high / max(low, floor)) / allowed
    return found


def main(arguments: list[str] | None = None) -> int:
    """Walk; print the worst neighbours of each walk."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="every tenth point, no seconds")
    parser.add_argument("walk", nargs="*", help="words in the names of walks; all if left out")
    asked = parser.parse_args(arguments)
    quick, words = asked.quick, asked.walk
    failed = 0
    for name, points in walks():
        hashed = points[0].routing == "ecmp"
        if not all(word in name for word in words) or (quick and hashed):
            continue
        judged = ("events", "classes", "seconds")[2 * hashed : 2 if quick else 3]
        began = time.process_time()
        if quick:
            points = [p for i, p in enumerate(points) if i % 10 < 2][:6]
        known: list[tuple[Point, dict[str, float]]] = []
        refused = 0
        for point in points:
            try:
                known.append((point, measured(point)))
            except RackModelError:  # a size that this machine or model does not have
                refused += 1
        worst = dict.fromkeys((*FEWEST, "seconds"), (1.0, 0.0, 0.0))
        for (one, before), (other, after) in pairwise(known):
            if quick and points.index(other) - points.index(one) > 1:
                continue
            ratio = other.at / one.at
            allowed = ratio if ratio > 1.1 else 1.0
            for figure, steep in steepness(before, after, allowed).items():
                if steep > worst[figure][0]:
                    worst[figure] = steep, one.at, other.at
        told = "  ".join(
            f"{figure} x{steep:.1f}" + (f" ({one:g} to {other:g})" if steep > 1 else "")
            for figure, (steep, one, other) in worst.items()
        )
        failed += any(worst[figure][0] > STEEPEST for figure in judged)
        took = f"{time.process_time() - began:.0f} CPU s"
        print(f"{name:<40} {len(known):>3} points, {refused} refused, {took}: {told}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
