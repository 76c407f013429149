"""Racks against nodes in print and predicted: `python -m benchmarks.validation.pairs [MODEL ...]`.

In:  the published training runs that ship.
Out: for each model, software and batch that was printed for a rack and for nodes of eight on as
     many accelerators: throughput of the rack over that of the nodes, in print and predicted.
Left out: pairs that differ in precision, batch or sequence; judging.
"""

from __future__ import annotations

import argparse
import math
from itertools import product

import pandas as pd

from rackmodel.topology import load_topology
from rackmodel.validation.accuracy import RUNS
from rackmodel.validation.errors import validate

ALIKE = ["stack", "gpus", "model", "seq_len", "global_batch", "precision"]
NODE = 8  # accelerators of a node's domain


def pairs(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """Return ids of runs that differ in their machine, a rack and nodes, and in the plan only."""
    domain = {
        name: load_topology(name).domain_accelerators for name in runs["topology"].unique().tolist()
    }
    found = []
    for _, alike in runs.groupby(ALIKE, sort=False):
        racks = alike[alike["topology"].map(domain) > NODE]
        nodes = alike[alike["topology"].map(domain) == NODE]
        found += list(product(racks["id"].tolist(), nodes["id"].tolist()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Racks against nodes in print and predicted")
    parser.add_argument("models", nargs="*", default=["DeepSeekV3", "Qwen3_235B_a22B"])
    parser.add_argument("--least", type=int, default=256, help="accelerators at least")
    asked = parser.parse_args()
    runs = pd.read_csv(RUNS, low_memory=False)
    runs = runs[runs["model"].isin(asked.models) & (runs["gpus"] >= asked.least)]
    found = pairs(runs)
    wanted = runs[runs["id"].isin({one for pair in found for one in pair})]
    rows = {row["id"]: row for row in validate(wanted)["rows"]}
    off = []
    for pair in found:
        rack, nodes = (rows[one] for one in pair)
        printed = nodes["measured_step_s"] / rack["measured_step_s"]
        ours = nodes["predicted_step_s"] / rack["predicted_step_s"]
        off.append(ours / printed - 1)
        what = wanted[wanted["id"] == pair[0]].iloc[0]
        print(
            f"{what['model']:<16} {what['stack']:<22} {what['precision']:<7} "
            f"{rack['topology']:<12} / {nodes['topology']:<9} "
            f"print {printed:5.2f} ours {ours:5.2f} {off[-1]:+6.1%}   "
            f"levels {rack['error']:+6.1%} {nodes['error']:+6.1%}"
        )
    spread = math.exp(sum(abs(math.log1p(one)) for one in off) / max(1, len(off))) - 1
    print(f"{len(off)} pairs: mean {spread:.1%} off, worst {max(map(abs, off), default=0):.1%}")


if __name__ == "__main__":
    main()
