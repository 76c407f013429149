"""Claims about the size of the scale-up domain, HBM and cut links.

In:  the GB200 machines of `scale_up`, A100 and A800 nodes.
Out: verdicts on nvl-sizes, scale-out-not-the-extension, hbm-more-is-better, a800-links.
Left out: racks of other makers (`rivals`), whole runs (`clusters`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from rackmodel.argument.ratios import dollars_by_links
from rackmodel.argument.scale_up import Work, best_of, point
from rackmodel.argument.study_parts import banded
from rackmodel.argument.study_points import known_points, point_key
from rackmodel.argument.verdicts.pairs import pair_words, published_pairs
from rackmodel.argument.verdicts.verdict import (
    Verdict,
    answer,
    decided,
    like_ratio,
    over_cases,
    percent,
    simulate_line,
)
from rackmodel.sweeps.filters import Value
from rackmodel.topology import load_topology

# 37.7 M tokens a step in FP8, as the study's points where they say nothing else.
JOBS: dict[str, dict[str, Value]] = {
    "llama3.1-405b": {"gpus": 4608, "global_batch": 4608, "seq_len": 8192},
    "deepseek-v3": {"gpus": 4608, "global_batch": 9216, "seq_len": 4096},
    "gpt4-moe-1.8t": {"gpus": 4608, "global_batch": 4608, "seq_len": 8192},
}
BOTH = ("llama3.1-405b", "deepseek-v3")  # what every spec of the study asks
WORTH = 0.02  # a doubling that gains less does not pay


def look(model: str, quick: bool, **changes: Value) -> Mapping[str, Value]:
    """One point of the study for a model, with what differs from GB200 NVL72 racks at 400 Gb/s."""
    job = {
        "model": model,
        **JOBS[model],
        **changes,
        **({"simulated": 1, "max_tp": 2} if quick else {}),
    }
    return cached_point(tuple(sorted(job.items())))


@lru_cache(maxsize=256)
def cached_point(job: tuple[tuple[str, Value], ...]) -> Mapping[str, Value]:
    """A point, of the study that was taken or looked at once."""
    known = _STUDY.get(point_key(dict(job))) if _STUDY else None
    return {**dict(job), **(known or point(dict(job)))}


_STUDY: dict[str, Mapping[str, Value]] = {}  # points that a run of the study has looked at


def take_points(study: Path) -> None:
    """Look at the points that a directory of the study holds no second time.

    Raises
    ------
    InvalidInput
        As `known_points` does.
    """
    _STUDY.update(known_points(study))


def sizes(quick: bool = False) -> Verdict:
    """nvl-sizes: the same job with domains of 8 to 576 accelerators."""
    domains = (8, 72, 576) if quick else (8, 72, 144, 576)
    models = BOTH if quick else tuple(JOBS)
    rows = [dict(look(model, quick, domain=size)) for model in models for size in domains]
    found: dict[tuple[str, int], Mapping[str, Any]] = {
        (str(row["model"]), int(row["domain"] or 0)): row for row in rows
    }
    last: dict[str, int] = {}
    for model in models:
        paying = [8]
        for small, large in pairwise(domains):
            if like_ratio(found[model, large], found[model, small])[0] > 1 + WORTH:
                paying.append(large)
        last[model] = paying[-1]
    whole = {model: like_ratio(found[model, 576], found[model, 8]) for model in models}
    rack = {model: like_ratio(found[model, 72], found[model, 8])[0] - 1 for model in models}
    best = max(models, key=lambda model: whole[model][0])
    words = (
        "From 8 to 72 accelerators a domain: "
        + ", ".join(f"{model} {percent(rack[model])}" for model in models)
        + "; to 576: "
        + ", ".join(f"{model} {percent(whole[model][0] - 1)}" for model in models)
        + ". The last step that gains over 2%: "
        + ", ".join(f"{model} {last[model]}" for model in models)
        + ". Dollars per token: "
        + ", ".join(
            f"{model} {percent(_cost(found, model, 72))} at 72, {percent(_cost(found, model, 576))}"
            f" at 576 ({dollars_by_links(found[model, 576], found[model, 8])} by what links cost)"
            for model in models
        )
        + "."
    )
    if not quick:
        rows += (pairs := published_pairs())
        words += f" Beside print, 256 accelerators in FP8, racks over nodes: {pair_words(pairs)}."
    return answer(
        "nvl-sizes",
        decided(set(last.values()) == {576}, set(last.values()) == {8}),
        whole[best],
        f"x tokens/s/GPU, 576 over 8, {best}",
        words,
        rows,
        ("rackmodel study --only domain --out runs/domain",) * (not quick),
    )


def _cost(found: Mapping[tuple[str, int], Mapping[str, Any]], model: str, size: int) -> float:
    mine, base = found[model, size], found[model, 8]
    return float(mine["usd_per_mtoken"]) / float(base["usd_per_mtoken"]) - 1.0


def extension(quick: bool = False) -> Verdict:
    """scale-out-not-the-extension: the step into the rack, 8 to 72, against faster NICs."""
    return _step("scale-out-not-the-extension", 8, 72, quick)


def above(quick: bool = False) -> Verdict:
    """scale-out-above-the-rack: the step beyond the rack, 72 to 576, against faster NICs."""
    return _step("scale-out-above-the-rack", 72, 576, quick)


def _step(name: str, small: int, large: int, quick: bool) -> Verdict:
    """Judge a step of the domain against NICs of twice and four times the rate."""
    rows: list[dict[str, Any]] = []
    for model in BOTH:
        base, larger = (look(model, quick, domain=size) for size in (small, large))
        row = {"model": model, "from": small, "to": large, **_gains("domain", larger, base)}
        row["told"] = banded(larger, base)
        row["domain_usd_per_gpu"] = _change(larger, base, "capital_usd_per_gpu")
        row["domain_w_per_gpu"] = _change(larger, base, "it_w_per_gpu")
        for rate in (800,) if quick else (800, 1600):
            nics = look(model, quick, domain=small, nic_gbps=rate)
            row |= _gains(f"nics_{rate}", nics, base)
            row[f"nics_{rate}_usd_per_gpu"] = _change(nics, base, "capital_usd_per_gpu")
            row[f"nics_{rate}_w_per_gpu"] = _change(nics, base, "it_w_per_gpu")
        rows.append(row)
    # For the claim the domain has to gain, and more than NICs of twice the rate do.
    wins = [row["domain"] > max(row["nics_800"], WORTH) for row in rows]
    ends = ("", "_low", "_high")
    leads = [tuple(row[f"domain{e}"] - row[f"nics_800{e}"] for e in ends) for row in rows]
    words = (
        f"From {small} to {large} accelerators a domain: "
        + "; ".join(
            f"{row['model']} {row['told']} tokens/s, against "
            + " and ".join(
                f"{percent(row[f'nics_{rate}'])} of NICs of {rate} Gb/s"
                for rate in (800, 1600)
                if f"nics_{rate}" in row
            )
            for row in rows
        )
        + f" at {small}. The larger domain wins {sum(wins)} of {len(rows)}."
    )
    return answer(
        name,
        decided(all(wins), not any(wins)),
        over_cases([(lead[0], min(lead), max(lead)) for lead in leads]),
        f"points of tokens/s, {large} for {small} less NICs of 800 for 400 Gb/s (band: models, "
        "exposed communication)",
        words,
        rows,
        (
            f"rackmodel domains --model deepseek-v3 --accelerator gb200 --gpus 4608 "
            f"--global-batch 9216 --seq-len 4096 --precision fp8-mx --domains {small},{large}",
            "rackmodel study --only domain --only nics --out runs/nics",
        )
        * (not quick),
    )


def _gains(name: str, ours: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, float]:
    ends = ("", "_low", "_high")
    return {f"{name}{e}": r - 1 for e, r in zip(ends, like_ratio(ours, base), strict=True)}


def _change(ours: Mapping[str, Any], base: Mapping[str, Any], name: str) -> float:
    return float(ours[name]) - float(base[name])


def hbm(quick: bool = False) -> Verdict:
    """hbm-more-is-better: what HBM bandwidth and capacity add, per model."""
    rows: list[dict[str, Any]] = []
    for model in BOTH:
        base = look(model, quick)
        row: dict[str, Any] = {
            "model": model,
            "bandwidth_used": base["hbm_bandwidth_utilisation"],
        }
        for name, factor in (("bandwidth", 2), ("bandwidth", 4), ("capacity", 2)):
            more = look(model, quick, **{f"hbm_{name}": factor})
            row |= _gains(f"{name}_x{factor}", more, base)
        rows.append(row)
    first = [
        (row["bandwidth_x2"], row["bandwidth_x2_low"], row["bandwidth_x2_high"]) for row in rows
    ]
    room = [row["capacity_x2"] for row in rows]
    last = [(1 + row["bandwidth_x4"]) / (1 + row["bandwidth_x2"]) - 1 for row in rows]
    words = (
        "Twice the bandwidth gives "
        + ", ".join(f"{row['model']} {percent(row['bandwidth_x2'])}" for row in rows)
        + f" tokens/s, the next doubling {percent(min(last))} to {percent(max(last))}; twice the "
        "capacity "
        + ", ".join(f"{row['model']} {percent(row['capacity_x2'])}" for row in rows)
        + ". In training the first doubling is worth something, more of it less and less: "
        f"GB200 moves {percent(min(float(r['bandwidth_used']) for r in rows))[1:]} to "
        f"{percent(max(float(r['bandwidth_used']) for r in rows))[1:]} of what its HBM could."
    )
    return answer(
        "hbm-more-is-better",
        decided(min(last) > 0.05 and min(room) > 0.05, max(last) < 0.05 and max(room) < 0.05),
        over_cases(first),
        "% tokens/s for twice the HBM bandwidth (band: models, exposed communication)",
        words,
        rows,
        ("rackmodel study --only hbm --out runs/hbm",) * (not quick),
    )


# Where tp or ep crosses NVLink, and where only data parallelism crosses the NICs.
_A800_JOBS: tuple[tuple[Work, dict[str, int]], ...] = (
    (Work("gpt3-175b", 512, 512, 2048), {"tp": 8, "pp": 8, "vpp": 3}),
    (Work("llama2-70b", 256, 512, 4096), {"tp": 8, "pp": 4}),
    (Work("llama2-70b", 256, 512, 4096), {"tp": 4, "pp": 8}),
    (Work("mixtral-8x7b", 128, 512, 4096), {"ep": 8, "pp": 4}),
    (Work("llama2-13b", 64, 256, 4096), {"tp": 2, "pp": 2}),
    (Work("llama2-7b", 64, 256, 4096), {"tp": 1}),
)


def a800(quick: bool = False) -> Verdict:
    """a800-links: the same nodes with the NVLink of an A100 and of an A800."""
    full = load_topology(
        "hgx-a800-80", overrides={"accelerator": "a100-80", "shape.links": 2}
    )  # the same fabric and NICs, only the links differ
    cut = load_topology("hgx-a800-80")
    rows: list[dict[str, Any]] = []
    for work, plan in _A800_JOBS[1::4] if quick else _A800_JOBS:
        a, b = (best_of(one, work, [plan]) for one in (full, cut))
        rows.append(
            {
                "model": work.model,
                "gpus": work.gpus,
                **plan,
                "step_a100_s": a.step_s,
                "step_a800_s": b.step_s,
                "lost": 1.0 - b.tokens_per_s / a.tokens_per_s,
                "command": simulate_line(b),
            }
        )
    losses = [row["lost"] for row in rows]
    worst = max(rows, key=lambda row: row["lost"])
    best = min(rows, key=lambda row: row["lost"])
    words = (
        f"A third less NVLink costs {100 * worst['lost']:.1f}% at most ({worst['model']}, "
        f"{_plan_words(worst)}), and {100 * best['lost']:.1f}% where nothing but gradients crosses "
        f"it ({best['model']}, {_plan_words(best)}); nowhere near a third."
    )
    return answer(
        "a800-links",
        # A third of the bandwidth that cost a third of the speed would support the plain reading.
        decided(min(losses) > 0.05, max(losses) < 0.01),
        over_cases([(lost, lost, lost) for lost in losses]),
        "% of throughput lost (band: over jobs)",
        words,
        rows,
        [row["command"] for row in rows],
    )


def _plan_words(row: Mapping[str, Any]) -> str:
    names = ("tp", "ep", "pp")
    return " ".join(f"{n} {row[n]:.0f}" for n in names if row.get(n) and row[n] == row[n])
