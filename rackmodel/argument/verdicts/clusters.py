"""Claims about whole clusters: what they cost and draw.

In:  shipped machines, the catalog's prices.
Out: verdicts on gpt6-run, grok3-cluster, a800-cluster-cost.
Left out: as in `training_runs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rackmodel.argument.scale_up import Work, best_of
from rackmodel.argument.verdicts.training_runs import whole_run
from rackmodel.argument.verdicts.verdict import (
    Band,
    Verdict,
    answer,
    as_claimed,
    banded,
    drawn,
    simulate_line,
)
from rackmodel.assess.chassis import Level, chassis_of
from rackmodel.assess.cost import Bought, capital
from rackmodel.assess.media import fabric_power, media_rows
from rackmodel.hardware import load_catalog
from rackmodel.topology import load_topology

LEVELS: tuple[Level, ...] = ("mid", "low", "high")
CNY_PER_USD = (7.2, 6.9, 7.3)  # 2023: middle, low, high
_GPT6_WORK = Work("moe-67t", 8192, 2048, 8192, "fp8-mx")
_GPT6_PLAN = {"tp": 8, "pp": 16, "ep": 256, "etp": 2}


def gpt6(quick: bool = False) -> Verdict:
    """gpt6-run: gigawatts and days of a cluster of 1.58 M Blackwell or 0.96 M of a later part.

    Gigawatts are the rated power of all racks, with fabric and cooling. A slice of 8,192 (not
    quickly) is simulated and its mean power and speed taken times the number; stops are those of
    the whole cluster.
    """
    wet = load_catalog().prices["hall"]["pue_liquid"]
    rows: list[dict[str, Any]] = []
    for machine, owned in (("gb200-nvl72", 1.58e6), ("rubin-ultra-nvl144", 0.96e6)):
        rated = _rated_gw(machine, owned)
        row: dict[str, Any] = {
            "machine": machine,
            "accelerators": owned,
        }
        cooled = drawn(lambda it, pue: it * pue, rated, (wet.value, wet.low, wet.high))
        ends = ("", "_low", "_high")
        row |= {f"provisioned_gw{e}": gw for e, gw in zip(ends, cooled, strict=True)}
        if not quick:
            tokens = 494e12 * 8192 / owned
            row |= whole_run(machine, _GPT6_WORK, tokens, [_GPT6_PLAN], owned=owned)
            row["facility_gw"] = row["facility_mw"] * owned / 8192 / 1e3
        rows.append(row)
    figure = banded(rows[0], "provisioned_gw")
    words = (
        "; ".join(
            f"{row['accelerators'] / 1e6:.2f} M accelerators in {row['machine']} need "
            f"{row['provisioned_gw']:.1f} GW ({row['provisioned_gw_low']:.1f} to "
            f"{row['provisioned_gw_high']:.1f}) with cooling" + _days_words(row)
            for row in rows
        )
        + "."
    )
    return answer(
        "gpt6-run",
        as_claimed("gpt6-run", figure),
        figure,
        "GW for 1.58 M Blackwell",
        words,
        rows,
        [str(row["command"]) for row in rows if "command" in row],
    )


def _days_words(row: Mapping[str, Any]) -> str:
    if "days" not in row:
        return ""
    return (
        f", draw {row['facility_gw']:.1f} GW in training and take {row['days']:.0f} days for 67 T "
        f"parameters on 494 T tokens at an MFU of {row['mfu']:.0%}, if every failure restarts all: "
        f"{row['goodput']:.1%} of the time counts then"
    )


def _rated_gw(machine: str, accelerators: float) -> Band:
    """Rated IT power of the racks and the mean draw of their fabric: middle, low, high. [GW]"""
    catalog, topology = load_catalog(), load_topology(machine)
    part = topology.domain_accelerators * 512
    inventory = topology.inventory(part)
    fabric = fabric_power(inventory, catalog, media_rows(inventory, catalog))
    each = sum(fabric.outside_w.values()) / part
    racks = accelerators / topology.chassis_accelerators
    mid, low, high = (
        (racks * chassis_of(catalog, topology.chassis, level).rated_w + accelerators * each) / 1e9
        for level in LEVELS
    )
    return mid, low, high


def grok3(quick: bool = False) -> Verdict:
    """grok3-cluster: price and power of 100,000 H100, and a trillion-parameter step."""
    gpus = 12288 if quick else 98304
    plans = ({"tp": 8, "pp": 16, "vpp": 1 if quick else 4},)
    work = Work("megatron-1t", gpus, 16 * gpus // 128, 4096)
    result = best_of(load_topology("h100-100k"), work, plans)
    cost, power = result.assessment["cost"], result.assessment["power"]
    times = 100_000 / gpus
    figure = banded(cost, "capital_usd", 1e9 / times)
    row = {
        "gpus": 100_000,
        "capital_usd": figure[0] * 1e9,
        "hall_usd": cost["hall_usd"] * times,
        "network_share": cost["network_share"],
        "it_mw": power["it_w"] * times / 1e6,
        "facility_mw": power["facility_w"] * times / 1e6,
        "tokens_per_s": result.tokens_per_s * times,
        "mfu": result.mfu,
        **{f"usd_{k}": v * times for k, v in cost["capital_by_part_usd"].items()},
    }
    words = (
        f"Servers and network cost {figure[0]:.1f} G USD ({figure[1]:.1f} to {figure[2]:.1f}), the "
        f"network {row['network_share']:.0%} of it, the hall {row['hall_usd'] / 1e9:.1f} G USD "
        f"more; {row['facility_mw']:.0f} MW while it trains a trillion dense parameters at "
        f"{row['tokens_per_s'] / 1e6:.1f} M tokens/s."
    )
    return answer(
        "grok3-cluster",
        as_claimed("grok3-cluster", figure, 1e9),
        figure,
        "G USD",
        words,
        [row],
        (simulate_line(result),),
    )


def a800_cost(quick: bool = False) -> Verdict:
    """a800-cluster-cost: what 10,000 A800 cost with all that stands around them."""
    catalog, machine = load_catalog(), load_topology("hgx-a800-80")
    inventory = machine.inventory(10_000)
    rows: list[dict[str, Any]] = []
    for level, rate in zip(LEVELS, CNY_PER_USD, strict=True):
        case = chassis_of(catalog, machine.chassis, level)
        bought = Bought(
            accelerator="a800-80",
            chassis=machine.chassis,
            accelerators=10_000,
            chassis_count=1250,
            inventory=inventory,
            provisioned_w=1250 * case.rated_w,
        )
        found = capital(catalog, bought, level)
        parts = {f"{name}_cny": usd * rate for name, usd in found.by_part.items()}
        servers = found.by_part["accelerators"] + found.by_part["chassis"]
        rows.append(
            {
                "level": level,
                "total_cny": found.total * rate,
                **parts,
                "accelerator_share": found.by_part["accelerators"] / found.total,
                "server_share": servers / found.total,
            }
        )
    mid, low, high = rows
    figure = (mid["total_cny"] / 1e9, low["total_cny"] / 1e9, high["total_cny"] / 1e9)
    words = (
        f"10,000 A800 cost {mid['accelerators_cny'] / 1e9:.1f} G CNY, with servers, network and "
        f"hall {figure[0]:.1f} G CNY ({figure[1]:.1f} to {figure[2]:.1f}). Servers are "
        f"{mid['server_share']:.0%} of it, not 30%: the rule is that of a data centre of ordinary "
        "servers."
    )
    return answer(
        "a800-cluster-cost",
        as_claimed("a800-cluster-cost", figure, 1e9),
        figure,
        "G CNY",
        words,
        rows,
        ("rackmodel show a800-80",),
    )
