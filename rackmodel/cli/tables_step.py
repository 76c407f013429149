"""Tables about a step: one machine in depth, several side by side, ranked plans, a rack by tray.

In:  payloads as `--json` prints them.
Out: things that rich can print; the answer first, then why.
Left out: computing; a value that the payload lacks is shown as a dash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rackmodel.cli.tables import grid
from rackmodel.cli.tables_site import money_tables, power_tables
from rackmodel.reporting.summary import ROWS, headline, machine_size
from rackmodel.reporting.words import (
    MISSING,
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
    from rich.console import RenderableType

Payload = Mapping[str, Any]
BAR = 30  # characters of the longest bar
MOST_LINES = 8  # of the table of racks
RACK_WATTS = ("heat_w", "liquid_w", "air_w", "peak_w")


def comparison_tables(payload: Payload) -> Iterator[RenderableType]:
    """Yield the machines side by side; one that can't run has its reason."""
    rows: Sequence[Payload] = payload["rows"]
    good = [row for row in rows if "reason" not in row]
    walls = [(row.get("simulation") or {}).get("wall_s") for row in good]
    took = sum(wall for wall in walls if known(wall))
    yield headline(good[0], f" simulated in {seconds(took)}" if took else "")
    yield ""
    table = grid()
    table.add_column("", style="dim", no_wrap=True)
    for row in rows:
        table.add_column(f"{row.get('topology')} {machine_size(row)}".rstrip(), min_width=14)
    for name, text in ROWS:
        cells = [MISSING if "reason" in row else text(row) for row in rows]
        if any(cell != MISSING for cell in cells):
            table.add_row(name, *cells, style="bold" if name == "step" else "")
    if len(good) < len(rows):
        table.add_row("why not", *[str(row.get("reason", "")) for row in rows])
    yield table
    yield ""
    yield "In brackets: the band for about 80% of real runs. Details: add --json or --plot FILE."


def simulation_tables(row: Payload) -> Iterator[RenderableType]:
    """Yield one machine in depth: answer, where the time goes, HBM, links, racks, cost."""
    wall = (row.get("simulation") or {}).get("wall_s")
    yield headline(row, f" simulated in {seconds(wall)}" if known(wall) else "")
    yield ""
    table = grid()
    table.add_column("", style="dim", no_wrap=True)
    table.add_column(f"{row.get('topology')} {machine_size(row)}".rstrip())
    for name, text in ROWS:
        shown = text(row)
        if name == "best plan":
            choices = plan_choices(row.get("plan") or {})
            name, shown = "plan", f"{shown}   {choices}".rstrip()
        if name == "MFU":
            shown += f", {whole(row.get('model_tflops_per_gpu'))} model TFLOP/s"
            shown += f"  (HFU {percent(row.get('hfu'))})"
        if shown != MISSING:
            table.add_row(name, shown, style="bold" if name == "step" else "")
    yield table
    yield from _breakdown(row)
    yield from _hbm(row)
    yield from _links(row)
    yield from _racks(row)
    yield from power_tables(row)
    yield from money_tables(row)
    yield from _effort(row)


def _breakdown(row: Payload) -> Iterator[RenderableType]:
    parts = {key: value for key, value in (row.get("breakdown_s") or {}).items() if known(value)}
    total = sum(parts.values())
    if not total:
        return
    yield ""
    table = grid("where the time goes", "s", "share")
    table.add_column("", no_wrap=True)
    for key, value in sorted(parts.items(), key=lambda item: -item[1]):
        if value > 0:
            bar = "█" * max(1, round(BAR * value / max(parts.values())))
            table.add_row(part_name(key), three(value), percent(value / total), bar)
    yield table


def _hbm(row: Payload) -> Iterator[RenderableType]:
    hbm = row.get("hbm") or {}
    used = hbm.get("used_bytes") or {}
    if not used:
        return
    yield ""
    table = grid("HBM of the fullest rank", "GB", "of capacity")
    capacity = hbm.get("capacity_bytes") or 0.0
    for kind, size in used.items():
        if size:
            table.add_row(
                part_name(kind), gigabytes(size), percent(size / capacity) if capacity else MISSING
            )
    total = sum(used.values())
    table.add_row("in all", gigabytes(total), percent(total / capacity) if capacity else MISSING)
    yield table


def _links(row: Payload) -> Iterator[RenderableType]:
    links = row.get("links") or ()
    if not links:
        return
    yield ""
    table = grid("links (one direction)", "kind", "busy, mean", "busy, peak", "bytes a step")
    for link in links:
        table.add_row(
            str(link.get("tier")),
            str(link.get("kind")),
            percent(link.get("utilisation_mean"), 1),
            percent(link.get("utilisation_peak"), 1),
            scaled(link.get("bytes"), "B"),
        )
    yield table


def _racks(row: Payload) -> Iterator[RenderableType]:
    racks = row.get("racks") or ()
    if not racks:
        return
    yield ""
    alike = merged(racks)
    table = grid("racks", "heat", "liquid", "air", "peak", "coolant", "supply to return")
    for group in alike:
        flow, warm, cold = (
            [(rack.get("coolant") or {}).get(key) for rack in group]
            for key in ("flow_lpm", "return_c", "supply_c")
        )
        table.add_row(
            whole(sum(rack.get("count", 1) for rack in group)),
            *(
                between([rack.get(key) for rack in group], lambda watts: scaled(watts, "W"))
                for key in RACK_WATTS
            ),
            between(flow, lambda x: f"{three(x)} L/min") if any(flow) else MISSING,
            f"{between(cold, three)} to {between(warm, three)} degC" if any(warm) else MISSING,
        )
    yield table
    if len(alike) < len(racks):
        yield f"  {len(racks)} kinds of racks, much alike, in {len(alike)} lines; each: add --json."
    parts: dict[str, float] = {}
    for rack in racks:
        for part, watts in (rack.get("by_part_w") or {}).items():
            parts[part] = parts.get(part, 0.0) + watts * rack.get("count", 1)
    total = sum(parts.values())
    if total > 0:
        shown = sorted(parts.items(), key=lambda item: -item[1])
        yield "  heat by part: " + ", ".join(
            f"{part.replace('_', ' ')} {percent(watts / total)}"
            for part, watts in shown
            if watts > 0.005 * total
        )
    for line in row.get("notes") or ():
        yield f"  note: {line}"


def merged(racks: Sequence[Payload]) -> list[list[Payload]]:
    """Put racks together that a person would not tell apart, the hottest first.

    Two racks differ if their heat, its parts or their peak differ by more than a few percent: 2%,
    and more where that would still be more than `MOST_LINES` lines.
    """
    order = sorted(racks, key=lambda rack: -float(rack.get("heat_w") or 0.0))
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
        values = [float(rack.get(key) or 0.0) for rack in racks]
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
    work = row.get("simulation") or {}
    if work:
        yield ""
        yield (
            f"Simulated {whole(work.get('ranks'))} ranks "
            f"in {whole(work.get('rank_classes'))} classes, "
            f"{whole(work.get('events'))} events. Details: add --json, --trace FILE, --plot FILE."
        )


def search_tables(payload: Payload) -> Iterator[RenderableType]:
    """Yield the ranked plans, and why each is slower than the first."""
    rows: Sequence[Payload] = payload["rows"]
    if payload.get("title"):
        yield str(payload["title"])
        yield ""
    table = grid("", "step", "MFU", "HBM GB", "behind")
    table.add_column("plan")
    table.add_column("why slower")
    best = rows[0].get("step_s") if rows else None
    for index, row in enumerate(rows, 1):
        step = row.get("step_s")
        behind = signed(step / best - 1) if index > 1 and known(step) and known(best) else ""
        used = row.get("hbm_used_bytes")
        plan = row.get("plan") or {}
        words = "   ".join(part for part in (plan_text(plan), plan_choices(plan)) if part)
        table.add_row(
            str(index),
            seconds(step),
            percent(row.get("mfu"), 1),
            gigabytes(used),
            behind,
            words,
            str(row.get("why", "")),
            style="bold" if index == 1 else "",
        )
    yield table
    for line in payload.get("notes") or ():
        yield str(line)


def heat_tables(payload: Payload) -> Iterator[RenderableType]:
    """Yield a rack from top to bottom: watts and temperatures of each tray."""
    if payload.get("title"):
        yield str(payload["title"])
        yield ""
    table = grid(
        "tray", "W", "liquid W", "air W", "coolant out degC", "air out degC", "accelerator degC"
    )
    for tray in payload["rows"]:
        table.add_row(
            str(tray.get("name")),
            *(whole(tray.get(key)) for key in ("heat_w", "liquid_w", "air_w")),
            *(
                three(tray[key]) if known(tray.get(key)) else MISSING
                for key in ("coolant_c", "exhaust_c", "junction_c")
            ),
        )
    yield table
    for line in payload.get("notes") or ():
        yield str(line)
