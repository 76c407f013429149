"""Every collective against its physical bound. `python -m benchmarks.validation.bounds`.

In:  names of topologies (all that are shipped, if left out), how many accelerators.
Out: one line per topology: how many collectives ran, the least time over bound, the largest bus
     bandwidth over what an accelerator's links allow; every violation in a line of its own, and
     exit code 1 if there is one.
Left out: how near the times are to measured ones; see `collectives`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from rackmodel.errors import CannotRun, InvalidInput
from rackmodel.network import ALGORITHMS, Network, run_collective
from rackmodel.topology import load_topology, topology_names

BYTES = (1e3, 1e6, 1e9)
SIZES = (2, 3, 7, 8, 9, 63, 64, 72, 100, 144, 150)
ROUNDING = 1 + 1e-9


def links_allow(name: str, op: str, gpus: int) -> float:
    """Return the bus bandwidth that one accelerator's own links allow. [bytes/s]

    A sum that switches form passes each link once, where a ring sends 2 (n - 1) / n of it.
    """
    network = Network.from_graph(load_topology(name).graph(gpus, bundled=True))
    nodes = network.accelerator_nodes[:gpus]
    most = max(
        float(np.bincount(ends, network.nominal, minlength=len(network.nodes))[nodes].max())
        for ends in (network.tail, network.head)
    )
    summed = op in ("all-reduce", "all-gather", "reduce-scatter")
    reduces = network.reduction or network.fabric_reduction
    return most * (2 * (gpus - 1) / gpus if summed and reduces else 1.0)


def sizes_for(name: str) -> list[int]:
    """Return numbers of accelerators below, at and above a domain, as far as the machine goes."""
    machine = load_topology(name)
    domain, most = machine.domain_accelerators, machine.max_accelerators or 10**9
    wanted = {*SIZES, domain - 1, domain, domain + 1, 2 * domain} if domain <= 600 else set(SIZES)
    return sorted(n for n in wanted if 2 <= n <= most)


def collectives(name: str, sizes: list[int]) -> Iterator[dict[str, Any]]:
    """Yield the rows of every operation and algorithm that runs, with `allowed` busbw."""
    for op, algorithms in ALGORITHMS.items():
        for gpus in sizes:
            allowed = links_allow(name, op, gpus)
            for algorithm in (None, *algorithms) if len(algorithms) > 1 else algorithms:
                try:
                    rows = run_collective(load_topology(name), op, BYTES, gpus, algorithm)
                except (InvalidInput, CannotRun):
                    continue  # not on this machine
                for row in rows:
                    yield {**row, "allowed": allowed}


def violations(rows: list[dict[str, Any]]) -> list[str]:
    """Return what is quicker than physics, one line each."""
    return [
        f"{row['op']} {row['algorithm']} {row['gpus']} x {row['bytes']:g} B:"
        f" {row['time_s']:g} s below {row['bound_s']:g} s, or busbw"
        f" {row['busbw_bytes_per_s']:g} above {row['allowed']:g}"
        for row in rows
        if not 0 < row["bound_s"] <= row["time_s"] * ROUNDING
        or row["busbw_bytes_per_s"] > row["allowed"] * ROUNDING
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Collectives against their physical bounds.")
    parser.add_argument("topology", nargs="*")
    parser.add_argument("--gpus", type=int, action="append")
    asked = parser.parse_args()
    wrong = 0
    print(f"{'topology':<24} {'runs':>6} {'least time/bound':>17} {'most busbw/links':>17}")
    for name in asked.topology or topology_names():
        rows = list(collectives(name, asked.gpus or sizes_for(name)))
        least = min((row["time_s"] / row["bound_s"] for row in rows), default=0.0)
        most = max((row["busbw_bytes_per_s"] / row["allowed"] for row in rows), default=0.0)
        print(f"{name:<24} {len(rows):>6} {least:>17.3f} {most:>17.3f}", flush=True)
        found = violations(rows)
        wrong += len(found)
        for line in found:
            print(f"    {line}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
