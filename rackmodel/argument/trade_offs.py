"""What flips a verdict, and what the same money or the same watts buy.

In:  the study's frames by name, rows as `scale_up.point` makes them.
Out: `Answer`s: gains of a larger domain under every setting that was varied, by generation of
     accelerators, and the iso-cost table of domains and NICs.
Left out: the other questions (`answers`), pictures (`rackmodel.reporting`).

Money is what an owner pays in an hour for an accelerator in use with all that stands around it:
capital and its interest, hall, energy, maintenance. With the same money a dearer machine has fewer
accelerators, and what each of them does then follows the strong scaling that the study measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import pandas as pd

from rackmodel.argument.ratios import like_ratio, percent
from rackmodel.argument.study_parts import Answer, Frames, Row, banded, models, records

SMALL, RACK, LARGE = 8, 72, 576
#: Cells of the table of generations that the study does not look at, and why.
NOT_RUN = {
    ("llama3.1-405b", "a100-80"): "its best plan keeps 64 of 72 busy, so that 1,728 kinds of ranks"
    " are unlike: 56 M events and 10 GB a step"
}
#: Frame -> what varies in it, beside the domain.
SETTINGS: dict[str, tuple[str, ...]] = {
    "precision": ("precision",),
    "batch": ("global_batch", "seq_len"),
    "strong": ("gpus",),
    "nics": ("nic_gbps",),
    "sequence": ("seq_len",),
    "groups": ("expert_choice",),
    "fabric": ("oversubscription",),
    "micro": ("max_micro_batch",),
    "distance": ("distance_m",),
}
_WORDS: dict[str, Callable[[Row], str]] = {
    "precision": lambda row: str(row["precision"]),
    "batch": lambda row: f"{row['global_batch'] * row['seq_len'] / 1e6:.1f} M tokens a step",
    "strong": lambda row: f"{row['gpus']:,.0f} accelerators",
    "nics": lambda row: f"NICs of {row['nic_gbps']:,.0f} Gb/s",
    "sequence": lambda row: f"sequences of {row['seq_len']:,.0f}",
    "groups": lambda row: (
        "experts of all groups" if row["expert_choice"] == "all" else "experts as trained"
    ),
    "fabric": lambda row: f"leaves {row['oversubscription']:g}:1",
    "micro": lambda row: f"micro-batches of up to {row['max_micro_batch']}",
    "distance": lambda row: f"{row['distance_m'] / 1e3:g} km",
}


def settings(frames: Frames) -> Iterator[Answer]:
    """Does a setting flip what a rack of 72 gains over nodes of 8?"""
    table = [row for name in SETTINGS if name in frames for row in _steps(name, frames[name])]
    sentences = []
    for model in dict.fromkeys(row["model"] for row in table):
        own = [row for row in table if row["model"] == model and row["from"] == SMALL]
        gains = sorted(own, key=lambda row: float(row["gain [%]"]))
        least, most = gains[0], gains[-1]
        words = {str(row["verdict"]) for row in own}
        sentences.append(
            f"{model}, {SMALL} to {RACK}: {least['gain [%]']:+.0f}% ({least['setting']}) to "
            f"{most['gain [%]']:+.0f}% ({most['setting']}) over {len(own)} settings; "
            + (
                f"all of them: {words.pop()}."
                if len(words) == 1
                else "the verdict changes: "
                + "; ".join(
                    f"{word}: {_few([str(r['setting']) for r in own if r['verdict'] == word])}"
                    for word in sorted(words)
                )
                + "."
            )
        )
    yield Answer(
        "settings", "Does a reasonable setting flip the verdict?", tuple(sentences), tuple(table)
    )


def _few(names: list[str]) -> str:
    """The names, or how many where they are more than six."""
    return ", ".join(names) if len(names) <= 6 else f"{len(names)} settings"


def _steps(name: str, frame: pd.DataFrame) -> Iterator[Row]:
    """What each step from one domain to the next gains under each setting of a frame."""
    for model, whole in models(frame):
        for _, part in whole.groupby(list(SETTINGS[name]), sort=True):
            rows = {int(row["domain"]): row for row in records(part)}
            for small, large in ((SMALL, RACK), (RACK, LARGE)):
                if small in rows and large in rows:
                    yield _step(model, _WORDS[name](rows[small]), rows[small], rows[large])


def _step(model: str, setting: str, base: Row, more: Row) -> Row:
    value, low, high = (ratio - 1.0 for ratio in like_ratio(more, base))
    return {
        "model": model,
        "setting": setting,
        "tokens an accelerator and step": base["global_batch"] * base["seq_len"] / base["gpus"],
        "from": int(base["domain"]),
        "to": int(more["domain"]),
        "gain [%]": 100 * value,
        "low [%]": 100 * low,
        "high [%]": 100 * high,
        "$ per token [%]": 100 * (more["usd_per_mtoken"] / base["usd_per_mtoken"] - 1),
        "verdict": verdict_of(low, high),
    }


def verdict_of(low: float, high: float) -> str:
    """What a gain between these ends says; 2% is the least that a doubling has to gain.

    >>> verdict_of(0.03, 0.2), verdict_of(-0.01, 0.3), verdict_of(-0.02, 0.01)
    ('gains', "can't be told apart", 'does not gain')
    """
    if low > 0.02:
        return "gains"
    return "does not gain" if high < 0.02 else "can't be told apart"


def generations(frames: Frames) -> Iterator[Answer]:
    """Does a larger domain gain more with each generation of accelerators?

    Cells of `NOT_RUN` stand in the table, with the reason.
    """
    table: list[Row] = []
    sentences = []
    for model, whole in models(frames["generations"]) if "generations" in frames else ():
        gains = []
        for name, part in whole.groupby("accelerator", sort=False):
            rows = sorted(records(part), key=lambda row: int(row["domain"]))
            if len(rows) < 2:
                continue
            base, more = rows
            value = like_ratio(more, base)[0] - 1.0
            gains.append((str(name), value))
            table.append(
                {
                    "model": model,
                    "accelerator": name,
                    "format": base["precision"],
                    "from": base["domain"],
                    "to": more["domain"],
                    "FLOP per byte in the domain": base["flop_per_scale_up_byte"],
                    "FLOP per byte of the NICs": base["flop_per_nic_byte"],
                    "gain [%]": 100 * value,
                    "gain": banded(more, base),
                    "MFU [%]": 100 * base["mfu"],
                }
            )
        told = ", ".join(f"{name} {percent(gain)}" for name, gain in gains)
        sentences.append(f"{model}, a domain nine times as large: {told}.")
        for (one, name), why in NOT_RUN.items():
            if one == model and name not in set(whole["accelerator"]):
                sentences.append(f"{model} on {name} was not run: {why}.")
                empty = dict.fromkeys(table[-1], math.nan) if table else {}
                table.append({**empty, "model": model, "accelerator": name, "gain": "not run"})
    yield Answer(
        "generations",
        "Does a larger domain gain more with each generation of accelerators?",
        tuple(sentences),
        tuple(table),
    )


def budget(frames: Frames) -> Iterator[Answer]:
    """What does the same money buy, and what the same megawatts: domain, NICs, or more of them?"""
    table: list[Row] = []
    sentences = []
    for model, part in models(frames["budget"]) if "budget" in frames else ():
        cells = iso_cost(part, _elasticity(frames, model))
        table += cells
        best = max(cells, key=lambda row: float(row["same money"]))
        near = [row for row in cells if float(row["high"]) >= float(best["same money"])]
        watts = max(cells, key=lambda row: float(row["same MW"]))
        told = ", ".join(_place(row) for row in near if row is not best)
        sentences.append(
            f"{model}: for the money of {SMALL} and 400 Gb/s most tokens/s come from "
            f"{_place(best)} ({percent(float(best['same money']) - 1)}, "
            f"{percent(float(best['low']) - 1)} to {percent(float(best['high']) - 1)})"
            + (f", not to be told from {told}" if told else "")
            + f"; for the same megawatts from {_place(watts)} "
            f"({percent(float(watts['same MW']) - 1)})."
        )
        sentences += _dearer(model, cells)
    yield Answer(
        "budget",
        "What does the same money buy: domain, NICs, or more accelerators?",
        tuple(sentences),
        tuple(table),
    )


def _place(row: Row) -> str:
    return f"{row['domain']} with {row['Gb/s']:,.0f} Gb/s"


def _dearer(model: str, cells: list[Row]) -> Iterator[str]:
    """NICs stand in the price of a chassis: what faster ones may cost more before they lose."""
    by = {(row["domain"], row["Gb/s"]): row for row in cells}
    for size in (SMALL, RACK):
        base, fast = by.get((size, 400)), by.get((size, 800))
        if base and fast:
            share = float(fast["same money"]) / float(base["same money"]) - 1.0
            yield (
                f"{model}, {size}: NICs of 800 Gb/s in place of 400 are worth "
                f"{share * float(base['$ per accelerator']):+,.0f} $ an accelerator beyond "
                "switches and modules; their own price stands in the chassis and is not counted."
            )


def iso_cost(
    part: pd.DataFrame, elasticity: Mapping[int, float] = MappingProxyType({})
) -> list[Row]:
    """Rows of a model's domains and NIC rates with what the same money and watts give.

    part : rows of one model, all on as many accelerators. elasticity : of tokens/s per accelerator
        to their number, by domain. Ratios are over the smallest domain at 400 Gb/s; the band takes
        30% of exposed communication either way (prices of both move together).
    """
    rows = records(part)
    base = min((row for row in rows if row["nic_gbps"] == 400), key=lambda row: row["domain"])
    table: list[Row] = []
    for row in rows:
        value, low, high = like_ratio(row, base)
        exponent = 1.0 + elasticity.get(int(row["domain"]), 0.0)
        money = (_usd_per_hour(base) / _usd_per_hour(row)) ** exponent
        watts = (base["facility_w_per_gpu"] / row["facility_w_per_gpu"]) ** exponent
        table.append(
            {
                "model": row["model"],
                "domain": int(row["domain"]),
                "Gb/s": row["nic_gbps"],
                "tokens/s [%]": 100 * (value - 1),
                "$ per accelerator": row["capital_usd_per_gpu"],
                "$ per hour [%]": 100 * (_usd_per_hour(row) / _usd_per_hour(base) - 1),
                "W [%]": 100 * (row["facility_w_per_gpu"] / base["facility_w_per_gpu"] - 1),
                "same money": value * money,
                "low": low * money,
                "high": high * money,
                "same MW": value * watts,
            }
        )
    return table


def with_gains(frames: Frames) -> dict[str, pd.DataFrame]:
    """Return frames with those that pictures of gains are drawn from.

    same_money : rows of `iso_cost` of all models. gains : what 72 add to 8, on more and more
    accelerators. generation_gains : the same by generation.
    """
    found = dict(frames)
    if "budget" in frames:
        parts = [
            iso_cost(part, _elasticity(frames, model)) for model, part in models(frames["budget"])
        ]
        found["same_money"] = pd.DataFrame([row for part in parts for row in part])
    if "strong" in frames:
        rows = [row for row in _steps("strong", frames["strong"]) if row["from"] == SMALL]
        found["gains"] = pd.DataFrame(rows)
    if "generations" in frames:
        rows = [row for answer in generations(frames) for row in answer.rows]
        rows = [row for row in rows if row["gain"] != "not run"]
        found["generation_gains"] = pd.DataFrame(rows)
    return found


def _usd_per_hour(row: Row) -> float:
    """What an accelerator costs its owner in an hour, with all around it."""
    return float(row["usd_per_mtoken"]) * float(row["tokens_per_s_per_gpu"]) * 3600 / 1e6


def _elasticity(frames: Frames, model: str) -> dict[int, float]:
    """By how much tokens/s per accelerator fall where their number grows, on the same batch."""
    if "strong" not in frames:
        return {}
    found = {}
    rows = records(frames["strong"].query("model == @model"))
    for size in {int(row["domain"]) for row in rows}:
        own = [row for row in rows if int(row["domain"]) == size]
        by = {int(row["gpus"]): float(row["tokens_per_s_per_gpu"]) for row in own}
        few, many = min(by), sorted(by)[min(2, len(by) - 1)]
        if many > few:
            found[size] = math.log(by[many] / by[few]) / math.log(many / few)
    return found
