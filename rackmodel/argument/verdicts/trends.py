"""Claims about prices by generation, optics by generation, the rack as a unit of failure, budgets.

In:  the catalog's prices, shipped machines, points of the study that `domain_claims` keeps.
Out: verdicts on hbm-price, optics-per-gpu, rack-failure-unit, latency-by-distance, budget-split,
     gpt6-compute.
Left out: what these do to one model's step (`domain_claims`), whole runs (`training_runs`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from rackmodel.argument.trade_offs import iso_cost
from rackmodel.argument.verdicts.domain_claims import BOTH, WORTH, look
from rackmodel.argument.verdicts.verdict import (
    Band,
    Verdict,
    answer,
    as_claimed,
    claimed,
    decided,
    drawn,
    like_ratio,
    percent,
)
from rackmodel.assess.availability import availability
from rackmodel.assess.media import end_usd, end_watts, media_rows
from rackmodel.assess.stops import Stops
from rackmodel.errors import InvalidInput
from rackmodel.hardware import load_catalog
from rackmodel.topology import load_topology
from rackmodel.workload import load_model

_HBM = ("hbm2e", "hbm3", "hbm3e", "hbm4")


def hbm_price(quick: bool = False) -> Verdict:
    """hbm-price: what a terabyte a second of HBM costs, generation by generation."""
    prices = load_catalog().prices
    rows: list[dict[str, Any]] = []
    for name in _HBM:
        rate, room = prices[name]["usd_per_tb_s"], prices[name]["usd_per_gb"]
        rows.append(
            {
                "generation": name,
                "usd_per_tb_s": rate.value,
                "usd_per_tb_s_low": rate.low,
                "usd_per_tb_s_high": rate.high,
                "usd_per_gb": room.value,
                "assumed": rate.grade == "assumed",
            }
        )
    ends = [[row[f"usd_per_tb_s{e}"] for e in ("", "_low", "_high")] for row in rows]
    first, last = ends[0], ends[-1]
    figure = drawn(lambda new, old: new / old, (*last,), (*first,))
    words = (
        "A TB/s of HBM costs "
        + ", ".join(f"{row['usd_per_tb_s']:.0f} $ ({row['generation']})" for row in rows)
        + f": {figure[0]:.2f} times from first to last, and a gigabyte "
        f"{rows[0]['usd_per_gb']:.0f} to {rows[-1]['usd_per_gb']:.0f} $. It falls more slowly than "
        "bandwidth grows, and HBM3E rose against it: no price that tends to zero. Most of these "
        "prices are assumed or derived, none is a contract."
    )
    return answer(
        "hbm-price",
        decided(figure[2] < 0.25, figure[1] > 0.25),
        figure,
        "x $ per TB/s, HBM4 over HBM2E",
        words,
        rows,
        ("rackmodel show vr200",),
    )


_OPTICS = (
    ("dgx-a100-80", 2020),
    ("dgx-h100", 2022),
    ("gb200-nvl72-ib400", 2024),
    ("gb300-nvl72", 2025),
    ("vr200-nvl72", 2026),
    ("gb300-nvl72-cpo", 2025),
    ("vr200-nvl72-cpo", 2026),
)


def optics(quick: bool = False) -> Verdict:
    """optics-per-gpu: optical ends and their watts an accelerator, generation by generation."""
    catalog = load_catalog()
    rows: list[dict[str, Any]] = []
    for name, year in _OPTICS:
        links = media_rows(load_topology(name).parts(4608), catalog)
        lit = [catalog.media[medium].kind == "optical" for medium in links["medium"]]
        light = {key: links[key][np.array(lit, dtype=bool)] for key in ("ends", "watts", "usd")}
        rows.append(
            {
                "machine": name,
                "year": year,
                "optical_ends_per_gpu": float(light["ends"].sum()) / 4608,
                "watts_per_gpu": float(light["watts"].sum()) / 4608,
                "usd_per_gpu": float(light["usd"].sum()) / 4608,
            }
        )
    plain = [row for row in rows if not row["machine"].endswith("-cpo")]
    first, newest = plain[0]["watts_per_gpu"], plain[-1]["watts_per_gpu"]
    least = rows[-1]["watts_per_gpu"] / first  # the newest with co-packaged optics
    figure = newest / first
    cpo = {row["machine"].removesuffix("-cpo"): row for row in rows if row not in plain}
    words = (
        "Optics of the fabric, 4,608 accelerators: "
        + ", ".join(
            f"{row['machine']} {row['optical_ends_per_gpu']:.1f} ends and "
            f"{row['watts_per_gpu']:.0f} W a GPU"
            + (
                f" ({cpo[row['machine']]['watts_per_gpu']:.0f} W co-packaged)"
                if row["machine"] in cpo
                else ""
            )
            for row in plain
        )
        + f". Copper took the rack, and the watts of light outside of it grew {figure:.1f} "
        f"times, {least:.1f} times with co-packaged optics."
    )
    return answer(
        "optics-per-gpu",
        decided(figure < 0.9, least > 1.1),
        (figure, least, figure),
        "x watts of optics an accelerator, newest over first (low: co-packaged)",
        words,
        rows,
        ("rackmodel show vr200-nvl72", "rackmodel show vr200-nvl72-cpo"),
    )


_FAILING = (("nodes of 8", "dgx-b200", 8, 0), ("racks of 72", "gb200-nvl72", 72, 0))


def failure_unit(quick: bool = False) -> Verdict:
    """rack-failure-unit: what a job of 9,216 keeps in racks of 72, with 8 spare in each, in nodes.

    Spares of a rack keep its NVLink whole; without them every broken part takes 72 out.
    """
    catalog = load_catalog()
    rows: list[dict[str, Any]] = []
    for what, name, domain, spares in (*_FAILING, ("racks of 64 + 8", "gb200-nvl72", 72, 8)):
        found = availability(
            catalog,
            load_topology(name).parts(9216),
            accelerators=9216,
            domain=domain,
            stops=Stops(runs=0),
            spares=[spares],
        )
        best = max(found["domains"], key=lambda one: one["useful"])
        kept = ("useful", "all_available", "idle_domains", "outages_per_day")
        rows.append(
            {"what": what, "machine": name, "spares": spares, "goodput": found["goodput"]}
            | {key: best[key] for key in kept}
        )
    nodes, whole, spared = (float(row["useful"]) for row in rows)
    figure = max(whole, spared) / nodes
    words = (
        "Of what is bought, a job of 9,216 turns to use: "
        + ", ".join(
            f"{row['what']} {row['useful']:.1%} ({row['idle_domains']:.0f} more of them idle)"
            for row in rows
        )
        + ". Spares inside the rack cost a ninth of it and spare "
        f"{rows[1]['outages_per_day']:.1f} outages of a rack a day; idle racks do the same for "
        "less, if they are to be had."
    )
    return answer(
        "rack-failure-unit",
        decided(figure < 0.95, figure > 0.98),
        (figure, min(whole, spared) / nodes, figure),
        "x useful share, racks (64 + 8 or whole) over nodes",
        words,
        rows,
        ("rackmodel goodput gb200-nvl72 --gpus 9216 --spares 0 --spares 8",),
    )


def distance(quick: bool = False) -> Verdict:
    """latency-by-distance: pods 10 and 100 km apart, at the rate of one hall."""
    rows: list[dict[str, Any]] = []
    for model in BOTH:
        base = look(model, quick, domain=72)
        for metres in (10_000, 100_000):
            far = look(model, quick, domain=72, distance_m=metres)
            lost = [1.0 - ratio for ratio in like_ratio(far, base)]
            told = dict(zip(("lost", "lost_high", "lost_low"), lost, strict=True))
            rows.append(
                {"model": model, "domain": 72, "km": metres / 1e3, **told, **modules(metres)}
            )
    campus = [row["lost"] for row in rows if row["km"] == 10]
    land = [row["lost"] for row in rows if row["km"] == 100]
    ends = [row[end] for row in rows if row["km"] == 100 for end in ("lost_low", "lost_high")]
    words = (
        "Latency alone takes, at 10 and 100 km: "
        + "; ".join(
            f"{model} in racks of 72 "
            + " and ".join(f"{100 * row['lost']:.1f}%" for row in rows if row["model"] == model)
            for model in dict.fromkeys(str(row["model"]) for row in rows)
        )
        + ". The rate of long fibres, what operators pay for, is held at that of one hall: "
        + ", ".join(
            f"{row['medium']} in place of short modules is {row['more_w_per_gpu']:+.0f} W and "
            f"{row['more_usd_per_gpu']:+,.0f} $ an accelerator at {row['km']:g} km"
            for row in rows[:2]
        )
        + ", fibres and amplifiers not counted."
    )
    return answer(
        "latency-by-distance",
        decided(min(campus) > 0.1, max(land) < 0.1),
        (100 * max(land), 100 * min(ends), 100 * max(ends)),
        "% of throughput lost at 100 km, at most (band: models, exposed communication)",
        words,
        rows,
        ("rackmodel study --only distance --out runs/distance",) * (not quick),
    )


def modules(metres: float) -> dict[str, Any]:
    """Return what optics for that far are, and draw and cost more than those of one hall.

    metres : of fibre between two pods; half of it on either side of the spine. Of an accelerator
    with 400 Gb/s of its own on the way, which are two ends. [W, USD]
    """
    media = load_catalog().media
    near = media["pluggable-400g"]
    reaching = [one for one in media.values() if one.kind == "optical"]
    reaching = [one for one in reaching if one.reach_m >= metres / 2]
    if not reaching:
        raise InvalidInput(
            f"{metres:g} m of fibre: no medium of the catalog reaches half of it; add one that does"
        )
    far = min(reaching, key=lambda one: one.usd_per_gbps)
    rate = near.port_bytes_per_s
    return {
        "medium": far.name,
        "more_w_per_gpu": 2.0 * (end_watts(far, rate) - end_watts(near, rate)),
        "more_usd_per_gpu": 2.0 * (end_usd(far, rate) - end_usd(near, rate)),
    }


def budget(quick: bool = False) -> Verdict:
    """budget-split: domain, NICs or more accelerators, for the same money.

    A rack that gives no more tokens but is cheaper pays by its price, not by its domain: that does
    not support the claim.
    """
    rows: list[dict[str, Any]] = []
    for model in BOTH:
        points = [
            look(model, quick, domain=domain, nic_gbps=rate)
            for domain in (8, 72, 576)
            for rate in ((400, 800) if quick or domain == 576 else (400, 800, 1600))
        ]
        rows += [dict(row) for row in iso_cost(pd.DataFrame([dict(one) for one in points]))]
    best = {
        model: max((r for r in rows if r["model"] == model), key=lambda row: row["same money"])
        for model in dict.fromkeys(row["model"] for row in rows)
    }
    by = {(row["model"], row["domain"], row["Gb/s"]): row for row in rows}
    found = {model: each_at_its_best([r for r in rows if r["model"] == model]) for model in best}
    pays = [min(money) > 1 + WORTH and tokens > WORTH for money, tokens in found.values()]
    none = [max(money) < 1 - WORTH or tokens <= WORTH for money, tokens in found.values()]
    ratios = [money for money, _ in found.values()]
    words = (
        "For the money of nodes of 8 with 400 Gb/s: "
        + "; ".join(
            f"{model}: racks of 72 {percent(by[model, 72, 400]['same money'] - 1)} tokens/s, NICs "
            f"of 800 Gb/s {percent(by[model, 8, 800]['same money'] - 1)}, best {row['domain']} "
            f"with {row['Gb/s']:.0f} Gb/s {percent(row['same money'] - 1)}"
            for model, row in best.items()
        )
        + " (more accelerators of the same kind are the measure: 0%). Racks over nodes, each with "
        "the NICs that serve it best: "
        + ", ".join(
            f"{model} {percent(money[0] - 1)} for the money with {percent(tokens)} tokens/s"
            + ", by the price alone" * (tokens <= WORTH)
            for model, (money, tokens) in found.items()
        )
        + ". NICs' own prices stand in the chassis and are not counted; prices of racks and "
        "modules are assumed or derived."
    )
    return answer(
        "budget-split",
        decided(all(pays), all(none)),
        (
            sum(money[0] for money in ratios) / len(ratios),
            min(map(min, ratios)),
            max(map(max, ratios)),
        ),
        "x tokens/s for the same money, racks of 72 over nodes of 8, each with its best NICs",
        words,
        rows,
        ("rackmodel study --only budget --out runs/budget",) * (not quick),
    )


def each_at_its_best(rows: list[dict[str, Any]]) -> tuple[Band, float]:
    """Tokens/s for the same money, racks of 72 over nodes of 8, with any NICs; what tokens/s gain.

    rows : of `iso_cost`, of one model; the errors of both sides are common.
    """
    node, rack = (
        max(
            (row for row in rows if row["domain"] == size), key=lambda row: float(row["same money"])
        )
        for size in (8, 72)
    )
    value, low, high = (rack[end] / node[end] for end in ("same money", "low", "high"))
    tokens = (100 + rack["tokens/s [%]"]) / (100 + node["tokens/s [%]"]) - 1.0
    return (value, low, high), tokens


def gpt6_compute(quick: bool = False) -> Verdict:
    """gpt6-compute: 67 to 130 T parameters on 494 to 960 T tokens as multiples of GPT-4."""
    old, old_tokens = load_model("gpt4-moe-1.8t"), 13e12
    rows: list[dict[str, Any]] = []
    for name, tokens in (("moe-67t", 494e12), ("moe-130t", 960e12)):
        model = load_model(name)
        total = model.parameters * tokens / (old.parameters * old_tokens)
        active = model.active_parameters * tokens / (old.active_parameters * old_tokens)
        rows.append({"model": name, "tokens": tokens, "total": total, "active": active})
    low, high = claimed("gpt6-compute")
    figure = (rows[0]["active"], rows[0]["active"], rows[-1]["active"])
    agrees = abs(rows[0]["total"] / low - 1) < 0.1 and abs(rows[-1]["total"] / high - 1) < 0.1
    words = (
        f"{low:,.0f} to {high:,.0f} times GPT-4 is what all parameters times tokens give "
        f"({rows[0]['total']:,.0f} to {rows[-1]['total']:,.0f})"
        + (": the arithmetic is right" if agrees else "")
        + ". A mixture computes with the experts that a token meets: with four of 256 to 512 "
        f"experts (assumed) it is {rows[0]['active']:,.0f} to {rows[-1]['active']:,.0f} times."
    )
    word = as_claimed("gpt6-compute", figure)
    return answer(
        "gpt6-compute",
        "depends" if word == "refuted" and agrees else word,
        figure,
        "x compute of GPT-4, by active parameters",
        words,
        rows,
    )
