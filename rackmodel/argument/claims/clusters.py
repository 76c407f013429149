"""Claims about whole clusters and whole runs: days, dollars, gigawatts.

In:  shipped machines, the catalog's prices.
Out: verdicts on gpt4-run, gpt35-cluster, llama3-70b, gpt5-run, gpt6-run, grok3-cluster,
     a800-cluster-cost.
Left out: salaries, failed experiments, the price that a cloud asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rackmodel.argument.claims.verdict import Verdict, answer, claim, overlaps
from rackmodel.argument.scale_up import best_of

if TYPE_CHECKING:
    from rackmodel.assess.chassis import Level

MONTH_DAYS = 30.44
CNY_PER_USD = (7.2, 6.9, 7.3)  # 2023: middle, low, high
Plans = Sequence[Mapping[str, Any]]


def whole_run(
    topology: str,
    model: str,
    gpus: int,
    batch: int,
    seq_len: int,
    tokens: float,
    plans: Plans,
    precision: str = "bf16",
) -> dict[str, Any]:
    """Days, GPU-hours, dollars and gigawatts of a run, each with its band.

    Dollars are those of an owner: depreciation, maintenance, hall and energy. The band joins the
    prediction's and that of prices; stops for failures are in (goodput).
    """
    from rackmodel.assess.cost import training_run
    from rackmodel.topology import load_topology

    result = best_of(
        load_topology(topology), model, gpus, batch, seq_len, plans, precision=precision
    ).result
    done = result.assessment
    row: dict[str, Any] = {
        "machine": topology,
        "model": model,
        "gpus": gpus,
        "tokens": tokens,
        "mfu": result.mfu,
        "step_s": result.step_s,
        "goodput": done["reliability"]["goodput"],
        "facility_mw": done["power"]["facility_w"] / 1e6,
        "capital_usd": done["cost"]["capital_usd"],
    }
    cost = done["cost"]
    for end, step_s, usd_per_hour in (
        ("", result.step_s, cost["usd_per_hour"]),
        ("_low", result.step_s_low, cost["usd_per_hour_low"]),
        ("_high", result.step_s_high, cost["usd_per_hour_high"]),
    ):
        run = training_run(
            tokens,
            tokens_per_s=result.step.job.tokens / step_s,
            accelerators=gpus,
            facility_w=done["power"]["facility_w"],
            usd_per_hour=usd_per_hour,
            goodput=row["goodput"],
        )
        row |= {f"{name}{end}": run[name] for name in ("days", "gpu_hours", "usd")}
    return row


def _figure(row: Mapping[str, Any], name: str, unit: float = 1.0) -> tuple[float, float, float]:
    return row[name] / unit, row[f"{name}_low"] / unit, row[f"{name}_high"] / unit


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    value, low, high = values
    return value, low, high


def gpt4(quick: bool = False) -> Verdict:
    """gpt4-run: 13 T tokens of a 1.8 T mixture of experts on 24,960 A100."""
    plans = ({"tp": 8, "pp": 15, "ep": 16},)
    row = whole_run("hgx-a100-80", "gpt4-moe-1.8t", 24960, 6240, 8192, 13e12, plans)
    claimed = float(claim("gpt4-run")["low"])
    words = (
        f"{row['days']:.0f} days ({row['days_low']:.0f} to {row['days_high']:.0f}) on 24,960 A100 "
        f"at an MFU of {row['mfu']:.0%}: {row['gpu_hours'] / 1e6:.0f} M GPU-hours, "
        f"{row['usd'] / 1e6:.0f} M USD to an owner ({row['usd'] / row['gpu_hours']:.2f} USD an "
        f"hour); 63 M USD would be {claimed / row['gpu_hours']:.2f} USD an hour."
    )
    return answer(
        "gpt4-run",
        overlaps(_figure(row, "usd"), claimed, claimed),
        _figure(row, "usd", 1e6),
        "M USD",
        words,
        [row],
        (
            "rackmodel simulate hgx-a100-80 --model gpt4-moe-1.8t --gpus 24960 --global-batch 6240 "
            "--seq-len 8192 --tp 8 --pp 15 --ep 16 --micro-batch 1",
        ),
    )


def gpt35(quick: bool = False) -> Verdict:
    """gpt35-cluster: 300 G tokens of a 175 B model on 10,240 A100."""
    plans = ({"tp": 8, "pp": 4}, {"tp": 8, "pp": 8}, {"tp": 4, "pp": 8})
    row = whole_run(
        "hgx-a100-80", "gpt3-175b", 10240, 1600, 2048, 300e9, plans[:1] if quick else plans
    )
    claimed = float(claim("gpt35-cluster")["low"])
    words = (
        f"One training on 300 G tokens takes {row['days']:.1f} days and "
        f"{row['gpu_hours'] / 1e6:.2f} M GPU-hours: "
        f"{row['usd'] / 1e6:.1f} M USD to an owner. 12 M USD would be "
        f"{claimed / row['gpu_hours']:.0f} USD a GPU-hour, or {claimed / row['usd']:.0f} "
        "trainings; 10,000 A100 are no threshold for this model but a matter of days."
    )
    return answer(
        "gpt35-cluster",
        overlaps(_figure(row, "usd"), claimed, claimed),
        _figure(row, "usd", 1e6),
        "M USD per training run",
        words,
        [row],
        (
            "rackmodel simulate hgx-a100-80 --model gpt3-175b --gpus 10240 --global-batch 1600 "
            "--seq-len 2048 --tp 8 --pp 8 --micro-batch 1",
        ),
    )


def llama3(quick: bool = False) -> Verdict:
    """llama3-70b: GPU-hours of 15 T tokens on H100 with 400 Gb/s Ethernet."""
    plans = ({"tp": 4, "pp": 4, "vpp": 5}, {"tp": 8, "pp": 2, "vpp": 4}, {"tp": 8, "pp": 4})
    row = whole_run(
        "h100-100k", "llama3-70b", 8192, 2048, 8192, 15e12, plans[:1] if quick else plans
    )
    claimed = float(claim("llama3-70b")["low"])
    figure = _figure(row, "gpu_hours", 1e6)
    words = (
        f"15 T tokens take {figure[0]:.1f} M H100-hours ({figure[1]:.1f} to {figure[2]:.1f}) at an "
        f"MFU of {row['mfu']:.0%}, stops included; Meta printed {claimed / 1e6:.1f} M, an MFU of "
        f"{row['mfu'] * row['gpu_hours'] / claimed:.0%} if nothing but this run was counted: "
        + ("too few hours for it." if claimed < row["gpu_hours_low"] else "enough for it.")
    )
    # More hours than needed may have gone elsewhere; fewer would be impossible.
    word = overlaps(figure, claimed / 1e6, claimed / 1e6)
    if word == "refuted" and claimed > row["gpu_hours_high"]:
        word = "depends"
    return answer(
        "llama3-70b",
        word,
        figure,
        "M H100-hours",
        words,
        [row],
        (
            "rackmodel simulate h100-100k --model llama3-70b --gpus 8192 --global-batch 2048 "
            "--seq-len 8192 --tp 4 --pp 4 --vpp 5 --micro-batch 1",
        ),
    )


_GPT5_PLANS: Plans = (
    {"tp": 8, "pp": 12, "ep": 32, "etp": 4},
    {"tp": 8, "pp": 12, "vpp": 2, "ep": 32, "etp": 4},
    {"tp": 8, "pp": 12, "vpp": 2, "ep": 64, "etp": 4},  # twice the experts
)


def gpt5(quick: bool = False) -> Verdict:
    """gpt5-run: months of the two ends of the claim, on two sizes of cluster.

    Quickly: a sixteenth of the cluster and of the tokens, and no interleaving.
    """
    cases = (("moe-8.8t", 65e12, 196608), ("moe-17.6t", 130e12, 294912))
    rows: list[dict[str, Any]] = []
    for model, tokens, gpus in cases[:1] if quick else cases:
        share = 16 if quick else 1
        dp = gpus // 96 // share
        rows.append(
            whole_run(
                "h100-100k",
                model,
                gpus // share,
                24 * dp,
                8192,
                tokens / share,
                _GPT5_PLANS[:1] if quick else _GPT5_PLANS[1:],
            )
        )
    months = [_figure(row, "days", MONTH_DAYS) for row in rows]
    # The claim's own multiples of GPT-4's compute, at the MFU found here.
    peak = 989e12 * sum(row["mfu"] for row in rows) / len(rows) * rows[0]["goodput"]
    gpt4_flops = 6 * 280e9 * 13e12
    dense = [
        times * gpt4_flops / (gpus * peak) / 86400 / MONTH_DAYS
        for times, gpus in ((25, 200e3), (100, 300e3))
    ]
    known = claim("gpt5-run")
    low, high = float(known["low"]), float(known["high"])
    value = sum(month[0] for month in months) / len(months)
    figure = (value, min(month[1] for month in months), max(month[2] for month in months))
    word = overlaps(figure, low, high)
    if word == "refuted" and dense[0] <= high and dense[1] >= low:
        word = "depends"
    words = (
        "; ".join(
            f"{row['model']} on {row['tokens'] / 1e12:.0f} T tokens takes {month[0]:.1f} months on "
            f"{row['gpus']:,} H100 at an MFU of {row['mfu']:.0%}"
            for row, month in zip(rows, months, strict=True)
        )
        + f". With the claim's 25-100 times the compute of GPT-4 it would be {dense[0]:.1f} to "
        f"{dense[1]:.1f} months: a mixture of experts with two experts a token needs less compute "
        "than those multiples say."
    )
    return answer(
        "gpt5-run",
        word,
        figure,
        "months",
        words,
        rows,
        (
            "rackmodel simulate h100-100k --model moe-8.8t --gpus 196608 --global-batch 49152 "
            "--seq-len 8192 --tp 8 --pp 12 --vpp 2 --ep 32 --etp 4 --micro-batch 1",
        ),
    )


_GPT6_PLAN = {"tp": 8, "pp": 16, "ep": 256, "etp": 2}


def gpt6(quick: bool = False) -> Verdict:
    """gpt6-run: gigawatts and days of a cluster of 1.58 M Blackwell or 0.96 M of a later part.

    Gigawatts are the rated power of all racks, with fabric and cooling. A slice of 8,192 (not
    quickly) is simulated and its mean power and speed taken times the number: at best, for a
    larger cluster stops more often.
    """
    from rackmodel.hardware import load_catalog

    wet = load_catalog().prices["hall"]["pue_liquid"]
    rows: list[dict[str, Any]] = []
    for machine, owned in (("gb200-nvl72", 1.58e6), ("rubin-ultra-nvl144", 0.96e6)):
        rated = _rated_gw(machine, owned)
        row: dict[str, Any] = {
            "machine": machine,
            "accelerators": owned,
            "provisioned_gw": rated[0] * wet.value,
            "provisioned_gw_low": rated[1] * wet.low,
            "provisioned_gw_high": rated[2] * wet.high,
        }
        if not quick:
            row |= whole_run(
                machine,
                "moe-67t",
                8192,
                2048,
                8192,
                494e12 * 8192 / owned,
                [_GPT6_PLAN],
                precision="fp8-mx",
            )
            row["facility_gw"] = row["facility_mw"] * owned / 8192 / 1e3
        rows.append(row)
    figure = _figure(rows[0], "provisioned_gw")
    known = claim("gpt6-run")
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
        overlaps(figure, float(known["low"]), float(known["high"])),
        figure,
        "GW for 1.58 M Blackwell",
        words,
        rows,
        (
            "rackmodel simulate gb200-nvl72 --model moe-67t --gpus 8192 --global-batch 2048 "
            "--seq-len 8192 --precision fp8-mx --tp 8 --pp 16 --ep 256 --etp 2 --micro-batch 1",
        ),
    )


def _days_words(row: Mapping[str, Any]) -> str:
    if "days" not in row:
        return ""
    return (
        f", draw {row['facility_gw']:.1f} GW in training and take {row['days']:.0f} days for 67 T "
        f"parameters on 494 T tokens at an MFU of {row['mfu']:.0%}"
    )


def _rated_gw(machine: str, accelerators: float) -> tuple[float, float, float]:
    """Rated IT power of the racks and the mean draw of their fabric: middle, low, high. [GW]"""
    from rackmodel.assess.chassis import chassis_of
    from rackmodel.assess.media import fabric_power, media_rows
    from rackmodel.hardware import load_catalog
    from rackmodel.topology import load_topology

    catalog, topology = load_catalog(), load_topology(machine)
    part = topology.domain_accelerators * 512
    inventory = topology.inventory(part)
    fabric = fabric_power(inventory, catalog, media_rows(inventory, catalog))
    each = sum(fabric.outside_w.values()) / part
    racks = accelerators / topology.chassis_accelerators
    levels: tuple[Level, ...] = ("mid", "low", "high")
    watts = [
        racks * chassis_of(catalog, topology.chassis, level).rated_w + accelerators * each
        for level in levels
    ]
    return watts[0] / 1e9, watts[1] / 1e9, watts[2] / 1e9


def grok3(quick: bool = False) -> Verdict:
    """grok3-cluster: price and power of 100,000 H100, and a trillion-parameter step.

    Quickly: an eighth of the cluster, its price and power taken times the number.
    """
    from rackmodel.topology import load_topology

    gpus = 12288 if quick else 98304
    plans = ({"tp": 8, "pp": 16, "vpp": 1 if quick else 4},)
    result = best_of(
        load_topology("h100-100k"), "megatron-1t", gpus, 16 * gpus // 128, 4096, plans
    ).result
    cost, power = result.assessment["cost"], result.assessment["power"]
    times = 100_000 / gpus
    capital = (cost["capital_usd"], cost["capital_usd_low"], cost["capital_usd_high"])
    figure = tuple(usd * times / 1e9 for usd in capital)
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
    known = claim("grok3-cluster")
    words = (
        f"Servers and network cost {figure[0]:.1f} G USD ({figure[1]:.1f} to {figure[2]:.1f}), the "
        f"network {row['network_share']:.0%} of it, the hall {row['hall_usd'] / 1e9:.1f} G USD "
        f"more; {row['facility_mw']:.0f} MW while it trains a trillion dense parameters at "
        f"{row['tokens_per_s'] / 1e6:.1f} M tokens/s."
    )
    return answer(
        "grok3-cluster",
        overlaps(_three(figure), known["low"] / 1e9, known["high"] / 1e9),
        _three(figure),
        "G USD",
        words,
        [row],
        (
            "rackmodel simulate h100-100k --model megatron-1t --gpus 98304 --global-batch 12288 "
            "--seq-len 4096 --tp 8 --pp 16 --vpp 4 --micro-batch 1",
        ),
    )


def a800_cost(quick: bool = False) -> Verdict:
    """a800-cluster-cost: what 10,000 A800 cost with all that stands around them."""
    from rackmodel.assess.chassis import chassis_of
    from rackmodel.assess.cost import Bought, capital
    from rackmodel.hardware import load_catalog
    from rackmodel.topology import load_topology

    catalog, machine = load_catalog(), load_topology("hgx-a800-80")
    inventory = machine.inventory(10_000)
    rows: list[dict[str, Any]] = []
    levels: tuple[Level, ...] = ("mid", "low", "high")
    for level, rate in zip(levels, CNY_PER_USD, strict=True):
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
    figure = tuple(row["total_cny"] / 1e9 for row in rows)
    claimed = float(claim("a800-cluster-cost")["low"]) / 1e9
    mid = rows[0]
    words = (
        f"10,000 A800 cost {mid['accelerators_cny'] / 1e9:.1f} G CNY, with servers, network and "
        f"hall {figure[0]:.1f} G CNY ({figure[1]:.1f} to {figure[2]:.1f}). Servers are "
        f"{mid['server_share']:.0%} of it, not 30%: the rule is that of a data centre of ordinary "
        "servers."
    )
    return answer(
        "a800-cluster-cost",
        overlaps(_three(figure), claimed, claimed),
        _three(figure),
        "G CNY",
        words,
        rows,
        ("rackmodel show a800-80",),
    )
