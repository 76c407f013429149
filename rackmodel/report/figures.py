"""The pictures of the report page, small enough to be read on a phone.

In:  the content of a page.
Out: (title, svg, caption, wide) for every picture whose data are there.
Left out: layout of the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rackmodel.report import study, style
from rackmodel.report.network import bandwidth_tiers
from rackmodel.report.racks import power_over_time, rack_elevation
from rackmodel.report.steps import hbm_bars, heat_bars, step_breakdown, throughput_bars

Picture = tuple[str, str, str, bool]


def figures(content: Mapping[str, Any]) -> Iterator[Picture]:
    """Yield every picture that the content has data for."""
    for number, (title, axes, caption, wide) in enumerate(_drawn(content)):
        yield title, style.svg(axes.figure, prefix=f"f{number}-"), caption, wide


def _axes(width: float = 4.7, height: float = 3.7) -> Any:
    return style.new_figure(width, height)[1][0]


def _drawn(content: Mapping[str, Any]) -> Iterator[tuple[str, Any, str, bool]]:
    rows = content["rows"]
    yield (
        "Where a step goes",
        step_breakdown(rows, _axes(5.2)),
        "Time of one step by what ranks do, as their mean. The thin line is the band of real runs.",
        False,
    )
    yield (
        "Throughput",
        throughput_bars(rows, _axes()),
        "Tokens per second of one accelerator; MFU is against its own dense peak.",
        False,
    )
    if any(row.get("racks") for row in rows):
        yield (
            "Heat per rack",
            heat_bars(rows, _axes()),
            "Heat that leaves one rack, mean over a step, by the medium that carries it off.",
            False,
        )
    if any((row.get("hbm") or {}).get("used_bytes") for row in rows):
        yield (
            "HBM",
            hbm_bars(rows, _axes(5.2)),
            "HBM of the fullest rank by what fills it; the frame is the capacity.",
            False,
        )
    priced = [
        {
            "topology": row["topology"],
            "energy_j_per_token": row.get("energy_j_per_token"),
            "usd_per_mtoken": (row.get("cost") or {}).get("usd_per_mtoken"),
        }
        for row in rows
    ]
    if sum(row["usd_per_mtoken"] is not None for row in priced) > 1:
        yield (
            "Cost against energy",
            study.pareto(priced, _axes()),
            "Dollars of a million tokens against joules of one; down and left is better.",
            False,
        )
    yield from _extras(content)


def _extras(content: Mapping[str, Any]) -> Iterator[tuple[str, Any, str, bool]]:
    """Yield pictures of data that only some pages have."""
    if tiers := content.get("tiers"):
        yield (
            "Bandwidth tiers",
            bandwidth_tiers(tiers, _axes(5.2)),
            "What one accelerator can send at each distance, with energy and price where known.",
            False,
        )
    if domains := content.get("domains"):
        yield (
            "Domain size",
            study.domain_plot(domains, _axes(5.2)),
            "Tokens per second per accelerator as only the scale-up domain grows.",
            False,
        )
    if scaling := content.get("scaling"):
        yield (
            "Scaling",
            study.scaling(scaling, _axes(5.2), edges=content.get("edges")),
            "Throughput per accelerator as the machine grows; dotted: edges of domains.",
            False,
        )
    if gains := content.get("gains"):
        yield (
            "Sensitivity",
            study.tornado(gains, style.new_figure(5.2, 1.4 + 0.4 * len(gains))[1][0]),
            "What doubling or halving one resource does to tokens per second.",
            False,
        )
    if power := content.get("power_over_time"):
        yield (
            "Power over time",
            power_over_time(
                power["time_s"], power["power_w"], _axes(5.4), limit_w=power.get("limit_w")
            ),
            "Power of one rack over a step, by part.",
            False,
        )
    if trays := content.get("trays"):
        yield (
            "Rack",
            rack_elevation(trays, title=str(content.get("rack_title") or "Rack")),
            "A rack from top to bottom, by the heat of each tray.",
            False,
        )
    runs = (content.get("validation") or {}).get("rows")
    if runs:
        yield (
            "Predicted against measured",
            study.validation_scatter(runs, _axes(4.8, 4.6)),
            "Published runs; the band is +-10%.",
            False,
        )
        yield (
            "Error by machine",
            study.error_bars(runs, _axes(5.2, 4.6)),
            "Signed errors: thick the middle half, thin the middle 80%, in brackets the runs.",
            False,
        )
