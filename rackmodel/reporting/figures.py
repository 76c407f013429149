"""The pictures of the report page, small enough to be read on a phone.

In:  the content of a page.
Out: (title, svg, caption) for every picture whose data are there.
Left out: layout of the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rackmodel.reporting import levers, scale_up, study, style, validation
from rackmodel.reporting.network import bandwidth_tiers, busbw_plot, roofline
from rackmodel.reporting.power import limits_w, power_over_steps
from rackmodel.reporting.racks import heat_by_domain, rack_elevation
from rackmodel.reporting.steps import hbm_bars, heat_bars, step_breakdown, throughput_bars

Picture = tuple[str, str, str]
Drawn = tuple[str, Any, str]
TIER_CAPTIONS = {
    "bytes_per_s": "What one accelerator can send at each distance, one direction.",
    "j_per_bit": "Energy of a bit at full load: both ends, cables and switches on its way.",
    "usd_per_gb_per_s": "Price of that bandwidth: cables, modules and switches, where prices are "
    "known. NICs stand in the price of a chassis.",
}


def figures(content: Mapping[str, Any]) -> Iterator[Picture]:
    """Yield every picture that the content has data for."""
    for number, (title, axes, caption) in enumerate(_drawn(content)):
        yield title, style.svg(axes.figure, prefix=f"f{number}-"), caption


def _axes(width: float = 4.7, height: float = 3.7) -> Any:
    return style.new_figure(width, height)[1][0]


def _drawn(content: Mapping[str, Any]) -> Iterator[Drawn]:
    rows = content["rows"]
    yield (
        "Where a step goes",
        step_breakdown(rows, _axes(5.2)),
        "Time of one step by what ranks do, as their mean. The thin line is the band of real runs.",
    )
    yield (
        "Throughput",
        throughput_bars(rows, _axes()),
        "Tokens per second of one accelerator; MFU is against its own dense peak.",
    )
    if any(row.get("racks") for row in rows):
        yield (
            "Heat per rack",
            heat_bars(rows, _axes()),
            "Heat that leaves one rack, mean over a step, by the medium that carries it off.",
        )
    if any((row.get("hbm") or {}).get("used_bytes") for row in rows):
        yield (
            "HBM",
            hbm_bars(rows, _axes(5.2)),
            "HBM of the fullest rank by what fills it; the frame is the capacity.",
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
        )
    yield from _of_machines(content)
    yield from _closer(content)
    yield from _validated(content)


def _of_machines(content: Mapping[str, Any]) -> Iterator[Drawn]:
    """Yield heat against domains, bandwidth tiers and the roofline, where a page has them."""
    if len(heats := content.get("heat_domains") or ()) > 1:
        yield (
            "Heat against domain size",
            heat_by_domain(heats, _axes(5.2, 4.2)),
            "Heat of one rack in training against the size of its scale-up domain. Racks of small "
            "domains stay cool by holding fewer accelerators.",
        )
    if tiers := content.get("tiers"):
        for value, said in TIER_CAPTIONS.items():
            if any(tier.get(value) for tier in tiers):
                yield (
                    "Bandwidth tiers",
                    bandwidth_tiers(tiers, _axes(5.2), value=value),
                    said,
                )
        row = content["rows"][0]
        if points := roofline_points(row, tiers):
            ceilings = {point["ceiling"]: point["bytes_per_s"] for point in points}
            yield (
                "Roofline",
                roofline(
                    points,
                    ceilings,
                    row["peak_flops_per_s"],
                    _axes(5.2, 4.2),
                    title=f"Roofline of the step on {row['topology']}",
                ),
                "The whole step against the bytes that it moves at each tier. The dotted line is "
                "the room up to the ceiling; a tier whose mark touches its ceiling would bind.",
            )


def _closer(content: Mapping[str, Any]) -> Iterator[Drawn]:
    """Yield pictures of the one machine that is looked at more closely."""
    closer = str(content.get("closer") or "")
    if rows := content.get("collectives"):
        yield (
            "Bus bandwidth",
            busbw_plot(rows, _axes(5.2, 4.2)),
            f"{closer}: bus bandwidth as nccl-tests counts it, against message size.",
        )
    if cells := content.get("plan_map"):
        yield (
            "Plans",
            study.mfu_heat_map(cells, _axes(5.2, 4.2)),
            f"{closer}: MFU of the best plan of each pair; ~ is by the closed form that ranks "
            "plans, the others were simulated.",
        )
    if gains := content.get("gains"):
        yield (
            "Sensitivity",
            levers.tornado(gains, style.new_figure(5.2, 1.4 + 0.36 * len(gains))[1][0]),
            f"{closer}: what doubling or halving one resource by itself does to tokens per second.",
        )
    if rack := content.get("rack"):
        yield (
            "Rack",
            rack_elevation(rack["trays"], title=closer or "Rack"),
            "The hottest rack from top to bottom, by the heat of each tray, mean over a step.",
        )
        yield (
            "Power of the rack",
            power_over_steps(
                rack["series"],
                _axes(5.2, 4.2),
                ceiling_w=rack["power"]["ceiling_w"],
                limits=limits_w(rack["power"]),
            ),
            f"{closer}: the hottest rack at its plug over two steps, with limits that are near.",
        )


def _validated(content: Mapping[str, Any]) -> Iterator[Drawn]:
    """Yield predictions of published runs."""
    if runs := (content.get("validation") or {}).get("rows"):
        yield (
            "Predicted against measured",
            validation.validation_scatter(runs, _axes(4.8, 4.6)),
            "Published runs; the band is +-10%.",
        )
        yield (
            "Error by machine",
            validation.error_bars(runs, _axes(5.2, 4.6)),
            "Signed errors: thick the middle half, thin the middle 80%, in brackets the runs.",
        )


def study_figures(content: Mapping[str, Any]) -> Iterator[Picture]:
    """Yield the pictures of the study, if the page holds one."""
    study = content.get("study") or {"frames": {}, "titles": {}}
    drawn = scale_up.pictures(study["frames"], study["titles"], (5.6, 4.2))
    for number, (name, axes, caption) in enumerate(drawn):
        figure: Any = axes.figure
        yield name, style.svg(figure, prefix=f"s{number}-"), caption


def roofline_points(row: Mapping[str, Any], tiers: Any) -> list[dict[str, Any]]:
    """Return the whole step as a point under the ceiling of every tier whose bytes are known.

    Each with name, ceiling, bytes_per_s (of the ceiling), flops, bytes and seconds of one
    accelerator. A byte inside a domain or a fabric passes a link upwards and one downwards.
    """
    own = [tier for tier in tiers if tier.get("machine") == row["topology"]]
    rates = {tier.get("tier", ""): tier["bytes_per_s"] for tier in own}
    used = (row.get("hbm") or {}).get("bandwidth_utilisation")
    step_s, gpus = row["step_s"], row["gpus"]
    moved: dict[str, float] = {}
    if used and "hbm" in rates:
        moved["hbm"] = used * rates["hbm"] * step_s
    for link in row.get("links") or ():
        tier = {"scale-up": "scale-up", "leaf": "scale-out"}.get(str(link["tier"]), "")
        if tier in rates and link["bytes"]:
            moved[tier] = moved.get(tier, 0.0) + link["bytes"] / 2 / gpus
    flops = (row.get("hfu") or row["mfu"]) * row["peak_flops_per_s"] * step_s
    names = {"hbm": "HBM", "scale-up": "scale-up", "scale-out": "scale-out"}
    return [
        {
            "name": f"step / {names[tier]} bytes",
            "ceiling": names[tier],
            "bytes_per_s": rates[tier],
            "flops": flops,
            "bytes": size,
            "seconds": step_s,
        }
        for tier, size in moved.items()
    ]
