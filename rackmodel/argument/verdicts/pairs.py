"""Published pairs: the same model on racks of 72 and on nodes of 8, with the recipes that ran.

In:  pairs.csv, rows as `rackmodel validate` reads them.
Out: `published_pairs`: ours beside print; `pair_words`.
Left out: what a recipe leaves open: `published_runs` fills it in, here as in validation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from rackmodel.assess.run import run
from rackmodel.hardware import accelerator, load_catalog
from rackmodel.topology import load_topology
from rackmodel.validation.published_runs import filled_in, read_run

HERE = Path(__file__).parent


def published_pairs() -> list[dict[str, Any]]:
    """Published runs on 256 accelerators in MXFP8, a rack and a node of each model, beside ours.

    measured_step_s or measured_tflops (model TFLOP/s per accelerator) is what was printed;
    `off` is ours over print, in throughput, less one.
    """
    rows: list[dict[str, Any]] = []
    for cells in pd.read_csv(HERE / "pairs.csv").to_dict("records"):
        row = {str(name): value for name, value in cells.items()}
        machine = load_topology(str(row["topology"]))
        part = accelerator(machine.accelerator, load_catalog())
        case = read_run(row, machine.domain_accelerators, part.family, part.host_link)
        job = filled_in(case, case.jobs[0], part)
        result = run(machine, job, check_memory=False)  # it ran, so it fitted
        tflops, seconds = float(row["measured_tflops"]), float(row["measured_step_s"])
        printed = tflops == tflops
        rows.append(
            {
                "model": f"{row['model']} (published run)",
                "machine": row["topology"],
                "gpus": job.gpus,
                "domain": machine.domain_accelerators,
                "step_s": result.step_s,
                "step_s_low": result.step_s_low,
                "step_s_high": result.step_s_high,
                "published_step_s": None if printed else seconds,
                "model_tflops_per_gpu": result.model_tflops_per_gpu,
                "published_tflops_per_gpu": tflops if printed else None,
                "tokens_per_s_per_gpu": result.tokens_per_s_per_gpu,
                "off": result.model_tflops_per_gpu / tflops - 1.0
                if printed
                else seconds / result.step_s - 1.0,
            }
        )
    return rows


def pair_ratios(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, float, float]]:
    """(model, ours, published): throughput on racks over that on nodes, of each pair."""
    found = []
    for rack, node in zip(rows[::2], rows[1::2], strict=True):
        ours = node["step_s"] / rack["step_s"]
        name = str(rack["model"]).removesuffix(" (published run)")
        found.append((name, ours, ours * (1 + node["off"]) / (1 + rack["off"])))
    return found


def pair_words(rows: Sequence[Mapping[str, Any]]) -> str:
    """The ratios, and how far each level is off, in words."""
    told = ", ".join(
        f"{name} {ours:.2f} times, published {theirs:.2f}"
        for name, ours, theirs in pair_ratios(rows)
    )
    worst = max(abs(row["off"]) for row in rows)
    return f"{told} (each level within {worst:.0%} of print)"
