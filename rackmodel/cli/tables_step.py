"""Tables about a step: one machine in depth, several side by side, ranked plans, a rack by tray.

In:  payloads as `--json` prints them.
Out: things that rich can print; the answer first, then why.
Left out: computing; `rackmodel.result.records` says what a payload holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from rackmodel.cli.tables import Payload, RenderableType, filled, grid
from rackmodel.cli.tables_site import money_tables, power_tables
from rackmodel.reporting.summary import ROWS, headline, machine_size
from rackmodel.reporting.words import (
    MISSING,
    counted,
    gigabytes,
    known,
    part_name,
    percent,
    plan_choices,
    plan_text,
    scaled,
    seconds,
    signed,
    three,
    whole,
)

if TYPE_CHECKING:
    from rich.table import Table

BAR = 30  # characters of the longest bar
LEAST_LOST = 0.005  # of the peak, to be named
MOST_LINES = 8  # of the table of racks
RACK_WATTS = ("heat_w", "liquid_w", "air_w", "peak_w")


def comparison_tables(payload: Payload) -> Iterator[RenderableType]:
    """Yield the machines side by side; one that can't run has its reason."""
    rows: Sequence[Payload] = payload["rows"]
    good = [row for row in rows if "reason" not in row]
    took = sum(row["simulation"]["wall_s"] for row in good)
    yield headline(good[0], f" simulated in {seconds(took)}")
    yield ""
    table = grid()
    table.add_column("", style="dim", no_wrap=True)
    for row in rows:
        table.add_column(f"{row['topology']} {machine_size(row)}".rstrip(), min_width=14)
    for name, text in ROWS:
        cells = [MISSING if "reason" in row else text(row) for row in rows]
        if any(cell != MISSING for cell in cells):
            table.add_row(name, *cells, style="bold" if name == "step" else "")
    yield table
    for row in rows:
        if "reason" in row:  # too long for a cell
            yield f"{row['topology']}, why not: {row['reason']}"
    yield ""
    yield "In brackets: the band for about 80% of real runs. Details: add --json or --plot FILE."


def simulation_tables(row: Payload) -> Iterator[RenderableType]:
    """Yield one machine in depth: answer, where the time goes, HBM, links, racks, cost."""
    yield headline(row, f" simulated in {seconds(row['simulation']['wall_s'])}")
    yield ""
    table = grid()
    table.add_column("", style="dim", no_wrap=True)
    table.add_column(f"{row['topology']} {machine_size(row)}".rstrip())
    for name, text in ROWS:
        shown = text(row)
        if name == "best plan":
            choices = plan_choices(row["plan"])
            name, shown = "plan", f"{shown}   {choices}".rstrip()
        if name == "MFU":
            shown += f", {whole(row['model_tflops_per_gpu'])} model TFLOP/s"
            shown += f"  (HFU {percent(row['hfu'])})"
        if shown != MISSING:
            table.add_row(name, shown, style="bold" if name == "step" else "")
    yield table
    yield from _breakdown(row)
    yield _waterfall(row)
    yield from _hbm(row)
    yield from _links(row)
    yield from _racks(row)
    yield from power_tables(row)
    yield from money_tables(row)
    yield from _effort(row)


def _breakdown(row: Payload) -> Iterator[RenderableType]:
    parts = {key: value for key, value in row["breakdown_s"].items() if value > 0}
    total, most = sum(parts.values()), max(parts.values())
    table = filled(
        ("where the time goes", "", "share"),
        [
            (
                part_name(key, row["plan"]["pp"]),
                seconds(value),
                percent(value / total),
                "█" * max(1, round(BAR * value / most)),
            )
            for key, value in sorted(parts.items(), key=lambda item: -item[1])
        ],
        "",
    )
    table.columns[3].no_wrap = True
    yield ""
    yield table


def _waterfall(row: Payload) -> str:
    """Say in one line where the peak goes, the largest losses first."""
    losses = sorted(row["waterfall"], key=lambda one: -abs(one["lost"]))
    shown = [one for one in losses if abs(one["lost"]) >= LEAST_LOST]
    rest = sum(one["lost"] for one in losses) - sum(one["lost"] for one in shown)
    words = [f"{part_name(one['part'], row['plan']['pp'])} {signed(-one['lost'])}" for one in shown]
    words += [f"others {signed(-rest)}"] if len(shown) < len(losses) else []
    return f"  of the peak: {', '.join(words)}; MFU {percent(row['mfu'])}"


def _hbm(row: Payload) -> Iterator[RenderableType]:
    used, capacity = row["hbm"]["used_bytes"], row["hbm"]["capacity_bytes"]
    kinds = [(part_name(kind), size) for kind, size in used.items() if size]
    yield ""
    yield filled(
        ("HBM of the fullest rank", "GB", "of capacity"),
        [
            (name, gigabytes(size), percent(size / capacity))
            for name, size in (*kinds, ("in all", sum(used.values())))
        ],
    )


def _links(row: Payload) -> Iterator[RenderableType]:
    if row["links"]:
        yield ""
        yield filled(
            ("links (one direction)", "kind", "busy, mean", "busy, peak", "bytes a step"),
            [
                (
                    link["tier"],
                    link["kind"],
                    percent(link["utilisation_mean"], 1),
                    percent(link["utilisation_peak"], 1),
                    scaled(link["bytes"], "B"),
                )
                for link in row["links"]
            ],
        )


def _racks(row: Payload) -> Iterator[RenderableType]:
    racks = row["racks"]
    alike = merged(racks)
    yield ""
    yield filled(
        ("racks", "heat", "liquid", "air", "peak", "coolant", "supply to return"),
        [_alike_racks(group) for group in alike],
    )
    if len(alike) < len(racks):
        yield (
            f"  {len(racks)} kinds of racks, much alike, in {len(alike)}"
            f" line{'s' * (len(alike) > 1)}; each: add --json."
        )
    parts: dict[str, float] = {}
    for rack in racks:
        for part, watts in rack["by_part_w"].items():
            parts[part] = parts.get(part, 0.0) + watts * rack["count"]
    total = sum(parts.values())
    if total > 0:
        shown = sorted(parts.items(), key=lambda item: -item[1])
        yield "  heat by part: " + ", ".join(
            f"{part.replace('_', ' ')} {percent(watts / total)}"
            for part, watts in shown
            if watts > 0.005 * total
        )
    for line in row["notes"]:
        yield f"  note: {line}"


def _alike_racks(group: Sequence[Payload]) -> list[str]:
    """Return the cells of racks that are shown in one line."""
    flow, warm, cold = (
        [rack["coolant"][key] for rack in group] for key in ("flow_lpm", "return_c", "supply_c")
    )
    return [
        whole(sum(rack["count"] for rack in group)),
        *(
            between([rack[key] for rack in group], lambda watts: scaled(watts, "W"))
            for key in RACK_WATTS
        ),
        between(flow, lambda x: f"{three(x)} L/min") if any(flow) else MISSING,
        f"{between(cold, three)} to {between(warm, three)} degC" if any(warm) else MISSING,
    ]


def merged(racks: Sequence[Payload]) -> list[list[Payload]]:
    """Put racks together that a person would not tell apart, the hottest first.

    Two racks differ if their heat, its parts or their peak differ by more than a few percent: 2%,
    and more where that would still be more than `MOST_LINES` lines.
    """
    order = sorted(racks, key=lambda rack: -float(rack["heat_w"]))
    width = 0.02
    while True:
        groups: list[list[Payload]] = []
        for rack in order:
            near = next((g for g in groups if _alike([*g, rack], width)), None)
            if near is None:
                groups.append([rack])
            else:
                near.append(rack)
        if len(groups) <= MOST_LINES:
            return groups
        width *= 2


def _alike(racks: Sequence[Payload], width: float) -> bool:
    for key in RACK_WATTS:
        values = [float(rack[key]) for rack in racks]
        if max(values) - min(values) > width * max(values):
            return False
    return True


def between(values: Sequence[float | None], text: Callable[[float], str]) -> str:
    """Return the least and the largest of some values, once if they read alike.

    >>> between([79.2e3, 81.7e3], lambda watts: scaled(watts, "W"))
    '79.2 - 81.7 kW'
    """
    found = [value for value in values if known(value)]
    if not found:
        return MISSING
    low, high = text(min(found)), text(max(found))
    if low == high:
        return low
    number, _, unit = low.partition(" ")
    return f"{number} - {high}" if unit == high.partition(" ")[2] else f"{low} - {high}"


def _effort(row: Payload) -> Iterator[RenderableType]:
    work = row["simulation"]
    compiled = " in compiled code" if work.get("engine") == "compiled" else ""
    yield ""
    yield (
        f"Simulated {counted(work['ranks'], 'rank')} in {counted(work['rank_classes'], 'class')}, "
        f"{whole(work['events'])} events{compiled}. Details: add --json, --trace FILE, --plot FILE."
    )


_OBJECTIVES = {
    "tokens": ("step_s", ""),
    "usd": ("usd_per_mtoken", "USD/Mtoken"),
    "watts": ("energy_j_per_token", "J/token"),
}


def search_tables(payload: Payload) -> Iterator[RenderableType]:
    """Yield the ranked plans, and why each is slower than the first; ~ marks what is estimated."""
    rows: Sequence[Payload] = payload["rows"]
    key, head = _OBJECTIVES[payload["objective"]]
    table = grid("", "step", "MFU", "HBM GB", *([head] if head else []), "behind")
    table.add_column("plan")
    table.add_column("against the first" if head else "why slower")
    for index, row in enumerate(rows, 1):
        table.add_row(
            str(index),
            ("" if row["simulated"] else "~") + seconds(row["step_s"]),
            percent(row["mfu"], 1),
            gigabytes(row["hbm_used_bytes"]),
            *([three(row[key]) if known(row[key]) else MISSING] if head else []),
            signed(row["behind"]) if index > 1 and known(row["behind"]) else "",
            "   ".join(part for text in (plan_text, plan_choices) if (part := text(row["plan"]))),
            str(row["why"]),
            style="bold" if index == 1 else "",
        )
    yield from _titled(payload, table)


def heat_tables(payload: Payload) -> Iterator[RenderableType]:
    """Yield a rack from top to bottom: watts and temperatures of each tray."""
    titles = ("tray", "W", "liquid W", "air W", "coolant out degC", "air out degC")
    rows = [
        (
            str(tray["name"]),
            *(whole(tray[key]) for key in ("heat_w", "liquid_w", "air_w")),
            *(
                three(tray[key]) if known(tray[key]) else MISSING
                for key in ("coolant_c", "exhaust_c", "junction_c")
            ),
        )
        for tray in payload["rows"]
    ]
    yield from _titled(payload, filled((*titles, "accelerator degC"), rows))
    if power := payload.get("power"):
        yield from _power_tables(power)
    if samples := payload.get("power_over_time"):
        yield f"{len(samples):,} samples of power: add --csv or --json"


def _power_tables(power: Payload) -> Iterator[RenderableType]:
    """Yield power over windows, as drawn and as the hall sees it, and what that takes."""
    smooth = power["burned_w"] > 0 or power["stored_j"] > 0
    sides = {"hottest rack draws, means over": ""}
    if smooth:
        sides["the hall sees of it, means over"] = "smoothed_"
    for head, begin in sides.items():
        yield ""
        table = grid(head, "lowest", "highest", "swing", "steepest")
        for row in power["windows"]:
            watts = (scaled(row[f"{begin}{key}"], "W") for key in ("min_w", "max_w", "swing_w"))
            ramp = f"{scaled(row[f'{begin}ramp_w_per_s'], 'W')}/s"
            table.add_row(row["window"], *watts, ramp)
        yield table
    if smooth:
        yield (
            f"burned {scaled(power['burned_w'], 'W')} ({power['burned_share']:.1%} more heat); "
            f"storage of {scaled(power['stored_j'], 'J')} a rack leaves the hall a ceiling of "
            f"{scaled(power['ceiling_w'], 'W')}"
        )
    if power["edges"]["stop_burned_j"] > 0:
        edge = power["edges"]
        yield (
            f"a job reaches full power {three(edge['start_s'])} s later, and burns "
            f"{scaled(edge['stop_burned_j'], 'J')} a rack when it stops"
        )
    yield from _limit_tables(power)


def _limit_tables(power: Payload) -> Iterator[RenderableType]:
    """Yield margins, temperatures after a start, and swings of a hall of such jobs."""
    yield ""
    passed = [row for row in power["margins"] if row["share"] > 1.0]
    table = grid("part", "over", "load", "limit", "used")
    for row in power["margins"]:
        over = f"{three(row['window_s'])} s" if row["window_s"] else MISSING
        load, limit = (
            scaled(row[key], "W") if row["unit"] == "W" else f"{whole(row[key])} {row['unit']}"
            for key in ("load", "limit")
        )
        table.add_row(row["part"], over, load, limit, percent(row["share"]))
    yield table
    yield from (f"{row['part']} is passed: {row['remedy']}" for row in passed)
    after = "; ".join(
        f"{whole(row['after_s'])} s: {row['junction_c']:.0f} / {row['return_c']:.0f}"
        for row in power["after_start"]
    )
    first = power["margins"][0]["part"]
    yield f"first to reach its limit: {first}. After a start, junction / return degC: {after}"
    edge, most = (scaled(power[f"accelerator_{key}_w"], "W") for key in ("edge", "limit"))
    yield f"an accelerator as it begins after a wait: {edge} over 20 ms; electrical limit: {most}"
    if hall := power.get("hall"):
        yield ""
        table = grid("jobs in a hall", "mean", "swing of 20 ms means", "std", "all in phase")
        for row in hall:
            shares = (percent(row[f"{key}_share"]) for key in ("swing", "std", "in_phase"))
            table.add_row(whole(row["jobs"]), scaled(row["mean_w"], "W"), *shares)
        yield table


def _titled(payload: Payload, table: Table) -> Iterator[RenderableType]:
    """Yield a table below its title and above its notes."""
    if payload.get("title"):
        yield str(payload["title"])
        yield ""
    yield table
    yield from map(str, payload.get("notes", ()))
