"""Claims about whole runs: days and dollars, months.

In:  shipped machines, the catalog's prices.
Out: verdicts on gpt4-run, gpt35-cluster, llama3-70b, gpt5-run; `whole_run`.
Left out: salaries, failed experiments, the price that a cloud asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rackmodel.argument.scale_up import Work, best_of
from rackmodel.argument.verdicts.verdict import (
    Verdict,
    answer,
    as_claimed,
    banded,
    claimed,
    drawn,
    overlaps,
    percent,
    simulate_line,
)
from rackmodel.assess.availability import availability
from rackmodel.assess.cost import training_run
from rackmodel.assess.stops import Stops
from rackmodel.hardware import load_catalog
from rackmodel.topology import load_topology

MONTH_DAYS = 30.44
RUN_DAYS = 100  # of GPT-4's training, as is usually told (assumed: the claim names none)
Plans = Sequence[Mapping[str, Any]]


def goodput_of(machine: str, accelerators: float) -> float:
    """Share of the time that advances a run on so many accelerators, every stop restarting all.

    The one rule of all claims: at the size of the whole machine, planned stops included.
    """
    whole, shape = round(accelerators), load_topology(machine)
    found = availability(
        load_catalog(),
        shape.inventory(whole),
        accelerators=whole,
        domain=0,
        stops=Stops(runs=0),
    )
    return float(found["goodput"])


def whole_run(
    machine: str, work: Work, tokens: float, plans: Plans, owned: float | None = None
) -> dict[str, Any]:
    """Days, GPU-hours, dollars and gigawatts of a run, each with its band.

    Dollars are those of an owner: depreciation, maintenance, hall and energy. Their band is where
    80% of draws of the step and of prices lie, one independent of the other; stops for failures are
    in (goodput), at the size of the whole machine of `owned` accelerators, of which `work` may be a
    slice.
    """
    result = best_of(load_topology(machine), work, plans)
    done = result.assessment
    row: dict[str, Any] = {
        "machine": machine,
        "model": work.model,
        "gpus": work.gpus,
        "tokens": tokens,
        "mfu": result.mfu,
        "step_s": result.step_s,
        "goodput": goodput_of(machine, owned or work.gpus),
        "facility_mw": done["power"]["facility_w"] / 1e6,
        "capital_usd": done["cost"]["capital_usd"],
        "command": simulate_line(result),
    }
    cost = done["cost"]
    for end, step_s, usd_per_hour in (
        ("", result.step_s, cost["usd_per_hour"]),
        ("_low", result.step_s_low, cost["usd_per_hour_low"]),
        ("_high", result.step_s_high, cost["usd_per_hour_high"]),
    ):
        run = training_run(
            tokens,
            tokens_per_s=result.step.job.tokens / step_s,
            accelerators=work.gpus,
            facility_w=done["power"]["facility_w"],
            usd_per_hour=usd_per_hour,
            goodput=row["goodput"],
        )
        row |= {f"{name}{end}": run[name] for name in ("days", "gpu_hours", "usd")}
    value, low, high = banded(cost, "usd_per_hour")
    dollars = drawn(
        lambda hours, dearer: hours * dearer,
        banded(row, "gpu_hours"),
        (1.0, low / value, high / value),
    )
    row |= {
        f"usd_{e}": row["usd"] * usd / dollars[0]
        for e, usd in zip(("low", "high"), dollars[1:], strict=True)
    }
    return row


def gpt4(quick: bool = False) -> Verdict:
    """gpt4-run: 13 T tokens of a 1.8 T mixture of experts on 24,960 A100.

    Interleaved plans are tried beside the plain pipeline.
    """
    chunks = (1,) if quick else (1, 4)
    plans = [{"tp": 8, "pp": 15, "ep": 16, "vpp": vpp} for vpp in chunks]
    row = whole_run("hgx-a100-80", Work("gpt4-moe-1.8t", 24960, 6240, 8192), 13e12, plans)
    said, _ = claimed("gpt4-run")
    words = (
        f"{row['days']:.0f} days ({row['days_low']:.0f} to {row['days_high']:.0f}) on 24,960 A100 "
        f"at an MFU of {row['mfu']:.0%}: {row['gpu_hours'] / 1e6:.0f} M GPU-hours, "
        f"{row['usd'] / 1e6:.0f} M USD to an owner ({row['usd'] / row['gpu_hours']:.2f} USD an "
        f"hour); 63 M USD would be {said / row['gpu_hours']:.2f} USD an hour. About "
        f"{RUN_DAYS} days, as is usually told, are "
        f"{overlaps(banded(row, 'days'), RUN_DAYS, RUN_DAYS)}, if nothing but parts fails."
    )
    return answer(
        "gpt4-run",
        as_claimed("gpt4-run", banded(row, "usd")),
        banded(row, "usd", 1e6),
        "M USD",
        words,
        [row],
        (str(row["command"]),),
    )


def gpt35(quick: bool = False) -> Verdict:
    """gpt35-cluster: 300 G tokens of a 175 B model on 10,240 A100."""
    plans = ({"tp": 8, "pp": 4}, {"tp": 8, "pp": 8}, {"tp": 4, "pp": 8})
    work = Work("gpt3-175b", 10240, 1600, 2048)
    row = whole_run("hgx-a100-80", work, 300e9, plans[:1] if quick else plans)
    said, _ = claimed("gpt35-cluster")
    words = (
        f"One training on 300 G tokens takes {row['days']:.1f} days and "
        f"{row['gpu_hours'] / 1e6:.2f} M GPU-hours: "
        f"{row['usd'] / 1e6:.1f} M USD to an owner. 12 M USD would be "
        f"{said / row['gpu_hours']:.0f} USD a GPU-hour, or {said / row['usd']:.0f} "
        "trainings; 10,000 A100 are no threshold for this model but a matter of days."
    )
    return answer(
        "gpt35-cluster",
        as_claimed("gpt35-cluster", banded(row, "usd")),
        banded(row, "usd", 1e6),
        "M USD per training run",
        words,
        [row],
        (str(row["command"]),),
    )


def llama3(quick: bool = False) -> Verdict:
    """llama3-70b: GPU-hours of 15 T tokens on H100 with 400 Gb/s Ethernet."""
    plans = ({"tp": 4, "pp": 4, "vpp": 5}, {"tp": 8, "pp": 2, "vpp": 4}, {"tp": 8, "pp": 4})
    work = Work("llama3-70b", 8192, 2048, 8192)
    row = whole_run("h100-100k", work, 15e12, plans[:1] if quick else plans)
    said, _ = claimed("llama3-70b")
    figure = banded(row, "gpu_hours", 1e6)
    words = (
        f"15 T tokens take {figure[0]:.1f} M H100-hours ({figure[1]:.1f} to {figure[2]:.1f}) at an "
        f"MFU of {row['mfu']:.0%}, stops included; Meta printed {said / 1e6:.1f} M, an MFU of "
        f"{row['mfu'] * row['gpu_hours'] / said:.0%} if nothing but this run was counted: "
        + (
            "too few hours for it."
            if said < row["gpu_hours_low"]
            else f"enough for it, {percent(said / row['gpu_hours'] - 1)}."
        )
    )
    # More hours than needed may have gone elsewhere; fewer would be impossible.
    word = as_claimed("llama3-70b", figure, 1e6)
    if word == "refuted" and said > row["gpu_hours_high"]:
        word = "consistent"
    return answer(
        "llama3-70b",
        word,
        figure,
        "M H100-hours",
        words,
        [row],
        (str(row["command"]),),
    )


_GPT5_PLAN = {"tp": 8, "pp": 12, "vpp": 2, "etp": 4}


def gpt5(quick: bool = False) -> Verdict:
    """gpt5-run: months of the two ends of the claim, on two sizes of cluster."""
    cases = (("moe-8.8t", 65e12, 196608, 32), ("moe-17.6t", 130e12, 294912, 64))
    rows: list[dict[str, Any]] = []
    share = 16 if quick else 1
    for model, tokens, gpus, experts in cases:
        dp = gpus // 96 // share
        work = Work(model, gpus // share, 24 * dp, 8192)
        plan = {**_GPT5_PLAN, "ep": experts}
        rows.append(whole_run("h100-100k", work, tokens / share, [plan], owned=gpus))
    months = [banded(row, "days", MONTH_DAYS) for row in rows]
    # The claim's own multiples of GPT-4's compute, at the MFU found here.
    peak = 989e12 * sum(row["mfu"] for row in rows) / len(rows) * rows[0]["goodput"]
    gpt4_flops = 6 * 280e9 * 13e12
    dense = [
        times * gpt4_flops / (gpus * peak) / 86400 / MONTH_DAYS
        for times, gpus in ((25, 200e3), (100, 300e3))
    ]
    low, high = claimed("gpt5-run")
    value = sum(month[0] for month in months) / len(months)
    figure = (value, min(month[1] for month in months), max(month[2] for month in months))
    word = as_claimed("gpt5-run", figure)
    if word == "refuted" and dense[0] <= high and dense[1] >= low:
        word = "depends"
    words = (
        "; ".join(
            f"{row['model']} on {row['tokens'] * share / 1e12:.0f} T tokens takes {month[0]:.1f} "
            f"months on {row['gpus'] * share:,} H100 at an MFU of {row['mfu']:.0%}, "
            f"{row['goodput']:.0%} of the time between stops that restart all"
            for row, month in zip(rows, months, strict=True)
        )
        + f". With the claim's 25-100 times the compute of GPT-4 it would be {dense[0]:.1f} to "
        f"{dense[1]:.1f} months: a mixture of experts with two experts a token needs less compute "
        "than those multiples say."
    )
    return answer(
        "gpt5-run",
        word,
        figure,
        "months",
        words,
        rows,
        [str(row["command"]) for row in rows],
    )
