"""Tables about failures: how often a job stops, and what spares buy.

In:  payloads as `goodput --json` prints them.
Out: things that rich can print; the answer first, then why.
Left out: computing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rackmodel.cli.tables import RenderableType, grid
from rackmodel.reporting.words import counted, duration, percent, three, whole


def goodput_tables(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield the answer, then interruptions by part, then what spares buy."""
    yield (
        f"{found['topology']}  {counted(found['accelerators'], 'accelerator')}: "
        f"{percent(found['goodput'], 1)} of the time advances the job "
        f"({percent(found['goodput_low'], 1)} to {percent(found['goodput_high'], 1)})"
    )
    yield ""
    table = grid("", "")
    table.show_header = False
    rows = [
        ("mean time between interruptions", duration(found["mtbf_s"])),
        (f"interruptions in {three(found['days'])} days", three(found["expected_interruptions"])),
        ("planned stops a day", three(found["planned_per_day"])),
        (
            "checkpoint stall, restart",
            f"{duration(found['stall_s'])}, {duration(found['restart_s'])}",
        ),
        ("checkpoint interval", duration(found["interval_s"])),
        (
            "  best (Daly), first order (Young)",
            f"{duration(found['best_interval_s'])}, {duration(found['young_interval_s'])}",
        ),
    ]
    if played := found.get("played"):
        rows.append(
            (
                f"played out {whole(played['runs'])} times, without planned stops",
                f"{percent(played['goodput'], 2)} +- {percent(played['goodput_error'], 2)} with "
                f"{three(played['interruptions'])} interruptions; closed form "
                f"{percent(found['played_closed_form'], 2)}",
            )
        )
    for name, text in rows:
        table.add_row(name, text)
    yield table
    yield ""
    table = grid("stopped by", "a day", f"in {three(found['days'])} days", "share")
    for row in found["rows"]:
        table.add_row(
            row["part"],
            _seldom(row["interruptions_per_day"]),
            _seldom(row["interruptions"]),
            percent(row["share"], 1),
        )
    yield table
    if found["domains"]:
        yield from _spares(found)


def _seldom(number: float) -> str:
    """Return a number with three figures; what is next to nothing as that.

    >>> _seldom(0.326), _seldom(7.98e-6), _seldom(0.0)
    ('0.326', '<0.001', '0')
    """
    return "<0.001" if 0.0 < number < 1e-3 else three(number)


def _spares(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield what idle accelerators in each domain buy."""
    yield ""
    yield (
        f"Spares: idle accelerators in each domain of {whole(found['domain_accelerators'])}, or"
        " idle domains. How often one domain is whole, enough of them are, how often a day they"
        " are not:"
    )
    table = grid("spares", "domains", "idle ones", "whole", "enough", "short a day", "useful")
    for row in found["domains"]:
        table.add_row(
            whole(row["spares"]),
            whole(row["domains"]),
            whole(row["idle_domains"]),
            "all but 1e-5" if row["available"] > 0.99999 else percent(row["available"], 3),
            percent(row["all_available"], 1),
            _seldom(row["outages_per_day"]),
            percent(row["useful"], 1),
        )
    yield table
    yield (
        f"A broken accelerator is replaced after {duration(found['repair_s'])}; until then its "
        "domain needs one of its idle ones, or the job an idle domain, or it waits. "
        "Useful: accelerators at work over those bought, times the time that counts."
    )
