"""Tables about the site of a step: power and its swings, money, failures, the whole run.

In:  payloads as `--json` prints them.
Out: things that rich can print.
Left out: computing; heat by tray and everything else about a step (`tables_step`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rackmodel.cli.tables import Payload, RenderableType, filled, grid
from rackmodel.reporting.summary import amount, field_name, spread
from rackmodel.reporting.words import MISSING, known, percent, scaled, seconds, three, whole

WINDOWS = (("1 ms", "1ms"), ("20 ms", "20ms"), ("100 ms", "100ms"), ("1 s", "1s"))


def power_tables(row: Payload) -> Iterator[RenderableType]:
    """Yield how the power of the hottest rack and of the hall swings within a step."""
    power = row["power"]
    hall = power["hall_swing"]
    rack = max(row["racks"], key=lambda one: float(one["heat_w"]))["swing"]
    yield ""
    table = grid("power within a step", "hottest rack", "hall", "at most over mean")
    table.add_row("mean", _watts(rack["mean_w"]), _watts(hall["mean_w"]))
    for words, name in WINDOWS:
        table.add_row(
            f"means over {words}: 99th percentile, peak",
            *(
                f"{_watts(one[f'p99_{name}_w'])}, {_watts(one[f'peak_{name}_w'])}"
                for one in (rack, hall)
            ),
            percent(hall[f"peak_{name}_w"] / hall["mean_w"] - 1),
        )
    table.add_row(
        "computing less communicating (100 ms)", _watts(rack["swing_w"]), _watts(hall["swing_w"])
    )
    table.add_row(
        "steepest ramp (20 ms)", *(f"{_watts(one['ramp_w_per_s'])}/s" for one in (rack, hall))
    )
    table.add_row("strongest beat, 0.1 to 20 Hz", *(_beat(one) for one in (rack, hall)))
    yield table
    facts = [
        f"IT {_watts(power['it_w'])}, of it fabric {_watts(power['fabric_w'])}"
        f" ({percent(power['fabric_w'] / power['it_w'])})",
        f"with cooling {_watts(power['facility_w'])} (PUE {three(power['pue'])})",
    ]
    if known(power["provisioned_facility_w"]):
        facts.append(
            f"provisioned {_watts(power['provisioned_facility_w'])}: "
            f"{three(power['tokens_per_s_per_mw'])} tokens/s per MW"
        )
    yield "  hall: " + "; ".join(facts)


def _watts(value: float) -> str:
    return scaled(value, "W")


def _beat(swing: Payload) -> str:
    if not swing["swing_amplitude_w"]:
        return MISSING
    return f"+-{_watts(swing['swing_amplitude_w'])} at {three(swing['swing_hz'])} Hz"


def money_tables(row: Payload) -> Iterator[RenderableType]:
    """Yield cost, its parts, reliability and the whole run, with low and high where known."""

    named = {"cost": "cost", "reliability": "reliability", "whole run": "run"}
    tables = {title: row.get(key) or {} for title, key in named.items()}
    for title, facts in {**tables, **row.get("assessments", {})}.items():  # users' own come last
        shown = [
            (name, amount(name, value), spread(facts, name))
            for name, value in facts.items()
            if known(value) and not name.endswith(("_low", "_high"))
        ]
        if not shown:
            continue
        yield ""
        bands = any(band for _, _, band in shown)
        table = grid(title, "", "low - high") if bands else grid(title, "")
        for name, value, band in shown:
            table.add_row(field_name(name), value, *([band] if bands else []))
        yield table
        if title == "cost":
            yield from _capital(facts)


def _capital(cost: Payload) -> Iterator[RenderableType]:
    """Yield capital by part, and in one line what an hour is made of."""

    parts = cost["capital_by_part_usd"]
    low, high = (cost[f"capital_by_part_usd_{end}"] for end in ("low", "high"))
    total = sum(parts.values())
    if total > 0:
        yield ""
        yield filled(
            ("capital by part", "", "low - high", "share"),
            [
                (
                    part.replace("_", " "),
                    amount("usd", usd),
                    spread({"usd": usd, "usd_low": low[part], "usd_high": high[part]}, "usd"),
                    percent(usd / total),
                )
                for part, usd in sorted(parts.items(), key=lambda one: -one[1])
                if usd
            ],
        )
    hourly = cost["per_hour_usd"]
    if sum(hourly.values()) > 0:
        whole = sum(hourly.values())
        yield "  an hour: " + ", ".join(
            f"{part} {percent(usd / whole)}"
            for part, usd in sorted(hourly.items(), key=lambda one: -one[1])
        )


def caps_tables(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield the job under each cap, then the best."""
    site = "site_tokens_per_s" in found["rows"][-1]
    heads = ["cap", "step", "speed", "each", "rack", "J/token", "tokens/s per MW"]
    table = grid(*heads, *(["on the site", "tokens/s there"] if site else []))
    for row in found["rows"]:
        if row["reason"]:
            table.add_row(scaled(row["cap_w"], "W"), row["reason"])
            continue
        cells = [
            scaled(row["cap_w"], "W") + ("" if row["fitted"] else " (not measured)"),
            seconds(row["step_s"]),
            percent(row["speed"], 1),
            scaled(row["accelerator_w"], "W"),
            scaled(row["heat_w"], "W"),
            three(row["joule_per_token"]),
            scaled(row["tokens_per_s_per_mw"], ""),
        ]
        if site:
            cells += [whole(row["site_accelerators"]), scaled(row["site_tokens_per_s"], "")]
        table.add_row(*cells)
    yield table
    best, lowest = (scaled(found[key], "W") for key in ("best_cap_w", "fitted_from_w"))
    part = found["accelerator"]
    yield f"most tokens/s per MW at {best}; parts like {part} are measured down to {lowest}"
