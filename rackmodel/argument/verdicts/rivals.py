"""Claims about other makers' racks and about generations.

In:  shipped machines.
Out: verdicts on ualink-alternative, tpu-alternative, compute-doubling.
Left out: prices that nobody has printed, software that is not there yet.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rackmodel.argument.scale_up import Work, best_of
from rackmodel.argument.verdicts.verdict import (
    Band,
    Verdict,
    answer,
    decided,
    geometric_mean,
    simulate_line,
    unlike_ratio,
)
from rackmodel.errors import CannotRun
from rackmodel.result.result import Result
from rackmodel.topology import Topology, load_topology

Plans = Sequence[Mapping[str, Any]]

# The same job on both racks; 1,152 accelerators are sixteen racks of 72.
_RACK_JOBS: tuple[tuple[Work, Plans], ...] = (
    (
        Work("deepseek-v3", 1152, 9216, 4096),
        ({"ep": 64, "pp": 3}, {"ep": 16, "pp": 6}, {"ep": 64, "pp": 2}),
    ),
    (
        Work("llama3.1-405b", 1152, 1152, 8192),
        ({"tp": 8, "pp": 3, "vpp": 7}, {"tp": 4, "pp": 6, "vpp": 3}),
    ),
)


_OPEN_RACKS: dict[str, tuple[str, dict[str, Any]]] = {
    "low peak": ("ualink72", {}),
    "printed peak": ("ualink72", {"accelerator": "mi455x-dense"}),
    "UALink over Ethernet": ("helios-ualoe72", {}),
    # The accelerator of the NVLink rack on the open rack's switches, wires and fabric.
    "same accelerator": ("ualink72", {"accelerator": "vr200", "shape.link": "ualink1-x4"}),
}


def ualink(quick: bool = False) -> Verdict:
    """ualink-alternative: a UALink and Ultra Ethernet rack against NVLink and InfiniBand.

    As the racks will be sold, with both readings of the open rack's peak, in FP8 and in bf16 (whose
    peak has one reading), on UALink and on the Ethernet of its first units; and with the same
    accelerator on either wire, so that only the network differs.
    """
    nvlink, rows = load_topology("vr200-nvl72"), []
    sold: dict[tuple[str, str], list[Band]] = {}
    for work, plans in _RACK_JOBS[:1] if quick else _RACK_JOBS:
        for precision in ("fp8-mx",) if quick else ("fp8-mx", "bf16"):
            job = work._replace(precision=precision)
            base = best_of(nvlink, job, plans[:2])
            rows.append(_row(f"NVLink + InfiniBand, {precision}", base))
            for name, (machine, changes) in _OPEN_RACKS.items():
                if precision == "bf16" and name != "low peak":
                    continue
                rack = load_topology(machine, overrides=changes)
                result = best_of(rack, job, plans[:2])
                sold.setdefault((name, precision), []).append(unlike_ratio(result, base))
                rows.append(_row(f"{name}, {precision}", result, ships=not changes))
    means = {case: geometric_mean([ratio[0] for ratio in found]) for case, found in sold.items()}
    fair = means.pop(("same accelerator", "fp8-mx"))
    every = [ratio for case in means for ratio in sold[case]]
    figure = (
        geometric_mean(list(means.values())),
        min(ratio[1] for ratio in every),
        max(ratio[2] for ratio in every),
    )
    # An answer is something that comes within 10% of what it answers, in every reading.
    least, most = min(means.values()), max(means.values())
    text = (
        "The open rack over the NVLink rack of the same year, tokens/s per accelerator: "
        + ", ".join(f"{value:.2f} ({name}, {form})" for (name, form), value in means.items())
        + f"; with the same accelerator on both networks {fair:.2f}. "
        + (
            "What decides is which reading of its peak is right, then its software; not the wire."
            if abs(fair - 1) < 0.05
            else "The wire counts too."
        )
    )
    return answer(
        "ualink-alternative",
        decided(min(least, fair) > 0.9, max(most, fair) < 0.9),
        figure,
        "x tokens/s per accelerator, UALink over NVLink",
        text,
        rows,
        _lines(rows),
    )


def _row(name: str, result: Result, *, ships: bool = True) -> dict[str, Any]:
    """Figures of a result, with the command that gives them where its machine ships."""
    return {
        "what": name,
        "machine": result.topology,
        "accelerator": result.accelerator.name,
        "model": result.step.job.model.name,
        "gpus": result.step.job.gpus,
        "step_s": result.step_s,
        "step_s_low": result.step_s_low,
        "step_s_high": result.step_s_high,
        "tokens_per_s_per_gpu": result.tokens_per_s_per_gpu,
        "mfu": result.mfu,
        "bound_by": result.bound_by,
        "command": simulate_line(result) if ships else None,
    }


def _lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [str(row["command"]) for row in rows if row["command"]]


_TPU_PLANS: Plans = (
    {"tp": 1, "sharding": "zero3"},
    {"tp": 4, "sharding": "zero3"},
    {"tp": 8},
    {"tp": 8, "pp": 2, "vpp": 4},
    {"tp": 4, "pp": 4, "vpp": 5},
)


def tpu(quick: bool = False) -> Verdict:
    """tpu-alternative: the same job on a pod of TPUs and on the GPUs of its year."""
    pairs = (
        (("tpu-v7x-pod", "gb200-nvl72"),)
        if quick
        else (
            ("tpu-v4-pod", "dgx-a100-80"),
            ("tpu-v5p-pod", "dgx-h100"),
            ("tpu-v7x-pod", "gb200-nvl72"),
        )
    )
    work = Work("llama3-70b", 512, 1024, 4096)
    rows: list[dict[str, Any]] = []
    ratios, dollars = [], []
    for pod, racks in pairs:
        ours, theirs = (best_of(load_topology(name), work, _TPU_PLANS) for name in (pod, racks))
        ratios.append(unlike_ratio(ours, theirs))
        costs = [one.assessment["cost"]["usd_per_mtoken"] for one in (ours, theirs)]
        dollars.append(costs[0] / costs[1])
        for result, cost in zip((ours, theirs), costs, strict=True):
            rows.append({**_row("", result), "usd_per_mtoken": cost})
    speed = ratios[-1]
    words = (
        "A TPU chip over the GPU of its year: "
        + ", ".join(
            f"{a.removesuffix('-pod')} / {b} {ratio[0]:.2f} in tokens/s (band {ratio[1]:.2f} to "
            f"{ratio[2]:.2f})"
            for (a, b), ratio in zip(pairs, ratios, strict=True)
        )
        + "; dollars per token "
        + ", ".join(f"{ratio:.2f}" for ratio in dollars)
        + " times, with assumed prices: TPUs are not sold."
    )
    return answer(
        "tpu-alternative",
        decided(speed[0] > 0.9, speed[2] < 0.5),
        speed,
        "x tokens/s per accelerator, TPU v7x over GB200, llama3-70b",
        words,
        rows,
        _lines(rows),
    )


_GENERATIONS = (
    ("dgx-2", "fp16"),
    ("dgx-a100-80", "bf16"),
    ("dgx-h100", "fp8"),
    ("gb200-nvl72", "fp8-mx"),
    ("gb300-nvl72", "fp8-mx"),
    ("vr200-nvl72", "fp8-mx"),
    ("rubin-ultra-nvl144", "fp8-mx"),
)
_SMALL_PLANS: Plans = (
    {"tp": 1},
    {"tp": 2},
    {"tp": 2, "micro_batch": 2},
    {"tp": 4},
    {"tp": 8},
    {"tp": 8, "pp": 2},
)


def doubling(quick: bool = False) -> Verdict:
    """compute-doubling: tokens/s of one rack by generation, and its growth in a year."""
    rows: list[dict[str, Any]] = []
    for name, precision in _GENERATIONS[1:6:2] if quick else _GENERATIONS:
        machine = load_topology(name)
        result = _one_rack(machine, precision, _SMALL_PLANS[::2] if quick else _SMALL_PLANS)
        per_rack = result.tokens_per_s_per_gpu * machine.rack_accelerators
        kilowatts = max(rack["heat_w"] for rack in result.assessment["racks"]) / 1e3
        rows.append(
            {
                "machine": name,
                "year": machine.year,
                "precision": precision,
                "accelerators_per_rack": machine.rack_accelerators,
                "tokens_per_s_per_gpu": result.tokens_per_s_per_gpu,
                "tokens_per_s_per_rack": per_rack,
                "rack_kw": kilowatts,
                "tokens_per_s_per_kw": per_rack / kilowatts,
                "command": simulate_line(result),
            }
        )
    rack = _growth(rows, "tokens_per_s_per_rack")
    chip = _growth(rows, "tokens_per_s_per_gpu")
    frugal = _growth(rows, "tokens_per_s_per_kw")
    demand, moore = (2 ** (12 / 4), 2 ** (12 / 3)), (2 ** (12 / 24), 2 ** (12 / 18))
    words = (
        f"A rack trains {rack[0]:.2f} times faster each year, an accelerator {chip[0]:.2f}, a "
        f"kilowatt {frugal[0]:.2f}; Moore's law gives {moore[0]:.2f} to {moore[1]:.2f}, and demand "
        f"that doubles every 3-4 months {demand[0]:.0f} to {demand[1]:.0f}. "
        + (
            "Racks beat Moore's law, by holding more silicon and fewer bits, "
            if rack[0] > moore[1]
            else "Racks keep to Moore's law "
        )
        + "but no rack follows such a demand: the rest has to come from more racks."
    )
    return answer(
        "compute-doubling",
        decided(rack[2] >= demand[0], rack[0] <= moore[1]),
        rack,
        "x tokens/s per rack and year",
        words,
        rows,
        _lines(rows),
    )


def _one_rack(machine: Topology, precision: str, plans: Plans) -> Result:
    """The best plan for a 13B model that fills one rack; the coarser FP8 where a part has no MX."""
    gpus = machine.rack_accelerators
    for name in dict.fromkeys((precision, "fp8-cs", "bf16")):
        try:
            return best_of(machine, Work("gpt3-13b", gpus, 16 * gpus, 2048, name), plans)
        except CannotRun as error:
            reason = error
    raise reason


def _growth(rows: Sequence[Mapping[str, Any]], name: str) -> Band:
    """Growth in a year by least squares on logarithms, with two standard errors.

    With fewer than three points the line is exact and says nothing about its error.
    """
    years = np.array([float(row["year"]) for row in rows])
    logs = np.log([float(row[name]) for row in rows])
    centred = years - years.mean()
    slope = float((centred * logs).sum() / (centred**2).sum())
    rest = logs - logs.mean() - slope * centred
    spread = math.sqrt(float((rest**2).sum()) / max(1, len(rows) - 2) / float((centred**2).sum()))
    return math.exp(slope), math.exp(slope - 2 * spread), math.exp(slope + 2 * spread)
