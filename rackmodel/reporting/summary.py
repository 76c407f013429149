"""A result in words: each line of the tables that people read, on a terminal and on a page.

In:  results as `simulate --json` prints them.
Out: short texts with units; the peak beside every MFU, the band beside every step.
Left out: tables and pages themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rackmodel.reporting.words import (
    MISSING,
    counted,
    duration,
    gigabytes,
    known,
    offloaded,
    part_name,
    percent,
    plan_text,
    scaled,
    seconds,
    signed,
    three,
    used_of,
    whole,
)

Payload = Mapping[str, Any]
NOT_WAITING = ("compute", "hbm", "host", "optimizer", "overhead", "recompute")


def headline(row: Payload, more: str = "") -> str:
    """Return the line that says what was simulated."""
    parts = [
        str(row.get("model", "")),
        counted(row.get("gpus"), "accelerator"),
        f"{whole(row.get('global_batch'))} x {whole(row.get('seq_len'))} tokens a step",
        str(row.get("precision", "")),
        *([f"stack {row['stack']}"] if row.get("stack") else []),
    ]
    return "  ".join([*parts, more]).rstrip()


def machine_size(row: Payload) -> str:
    """Return how many racks or nodes hold the job, as "(15 racks)"."""
    racks = sum(int(rack.get("count", 0)) for rack in row.get("racks") or ())
    if not racks:
        return ""
    return f"({racks:,} rack{'s' if racks != 1 else ''})"


def step_text(row: Payload) -> str:
    """Return the step time with its band."""
    text = seconds(row.get("step_s"))
    low, high = row.get("step_s_low"), row.get("step_s_high")
    if known(low) and known(high):
        text += f"  ({three(float(low))} - {three(float(high))})"
    reason = str(row.get("band_reason") or "")
    return f"{text}  {reason}" if reason.startswith("wide") else text


def mfu_text(row: Payload) -> str:
    """Return MFU beside the dense peak that it refers to."""
    peak = row.get("peak_flops_per_s")
    against = f" of {whole(peak / 1e12)} TFLOP/s dense" if known(peak) else ""
    return percent(row.get("mfu")) + against


def hbm_text(row: Payload) -> str:
    """Return HBM used of what there is, what the plan does to use less, and what that saves."""
    hbm, plan = row.get("hbm") or {}, row.get("plan") or {}
    used = sum((hbm.get("used_bytes") or {}).values())
    recompute = plan.get("recompute") or "none"
    saved = {
        "recompute": "" if recompute == "none" else recompute,
        "offload": offloaded(plan),
    }
    words = []
    for name, how in saved.items():
        without = hbm.get(f"without_{name}_bytes")
        more = f"; without it {gigabytes(without)} GB" if known(without) else ""
        words += [f"  ({name}: {how}{more})"] if how else []
    return used_of(used, hbm.get("capacity_bytes")) + "".join(words)


def per_rack(row: Payload, name: str) -> float | None:
    """Return a figure of a rack, the mean over all racks of a machine; None without racks."""
    racks = row.get("racks") or ()
    count = sum(rack.get("count", 1) for rack in racks)
    if not count:
        return None
    whole_machine = sum(float(rack.get(name) or 0.0) * rack.get("count", 1) for rack in racks)
    return float(whole_machine / count)


def heat_text(row: Payload) -> str:
    """Return the heat of a full rack (the mean over them) with its band, and how it leaves."""
    racks = row.get("racks") or ()
    most = max((rack.get("accelerators", 0) for rack in racks), default=0)
    full = [rack for rack in racks if rack.get("accelerators", 0) == most]
    heat, liquid = (per_rack({"racks": full}, name) for name in ("heat_w", "liquid_w"))
    if heat is None or liquid is None:
        return MISSING
    share = liquid / heat if heat else 0.0
    medium = "all in air" if share < 0.005 else f"{percent(share)} in liquid"
    fewer = sum(int(rack.get("count", 1)) for rack in racks if rack not in full)
    note = f"; {fewer:,} rack{'s' * (fewer > 1)} with fewer accelerators" if fewer else ""
    ends = {f"heat_w_{end}": per_rack({"racks": full}, f"heat_w_{end}") for end in ("low", "high")}
    return f"{watts_text({'heat_w': heat, **ends})}, {medium}{note}"


def watts_text(rack: Payload) -> str:
    """Return the heat of a rack with its band, in kW from a kilowatt on.

    >>> watts_text({"heat_w": 117e3, "heat_w_low": 106e3, "heat_w_high": 130e3})
    '117 kW  (106 - 130)'
    """
    heat, low, high = (rack.get(f"heat_w{end}") for end in ("", "_low", "_high"))
    text, unit = scaled(heat, "W"), 1e3 if (heat or 0.0) >= 1e3 else 1.0
    return f"{text}  ({three(low / unit)} - {three(high / unit)})" if low and high else text


def cost_text(row: Payload) -> str:
    """Return energy and money per token."""
    cost = row.get("cost") or {}
    energy = row.get("energy_j_per_token")
    money = cost.get("usd_per_mtoken")
    parts = [f"{three(energy)} J per token"] if known(energy) else []
    if known(money):
        parts.append(f"${three(money)} per Mtoken")
    return ", ".join(parts) or MISSING


def binds_text(row: Payload) -> str:
    """Return what binds, with the largest exposed waiting if there is one."""
    text = part_name(str(row.get("bound_by", MISSING)))
    step = row.get("step_s") or 0.0
    waits = {
        key: value
        for key, value in (row.get("breakdown_s") or {}).items()
        if key not in NOT_WAITING and known(value)
    }
    if waits and step:
        worst = max(waits, key=lambda key: waits[key])
        if waits[worst] > 0.02 * step:
            text += f"  ({part_name(worst)} {percent(waits[worst] / step)} exposed)"
    return text


def swing_text(row: Payload) -> str:
    """Return how the hottest rack swings, before and after what smooths it, at what cost."""
    racks = row.get("racks") or ()
    if not racks:
        return MISSING
    rack = max(racks, key=lambda one: float(one["heat_w"]))
    smooth = rack.get("smoothing")
    if not smooth:
        return MISSING
    before, after = (scaled(one["swing_w"], "W") for one in (smooth["drawn_swing"], rack["swing"]))
    parts = [f"{before} to {after}", f"at most {scaled(smooth['ceiling_w'], 'W')}"]
    if smooth["burned_w"]:
        parts.append(f"{scaled(smooth['burned_w'], 'W')} burned")
    return ", ".join(parts)


def gains_text(row: Payload) -> str:
    """Return what doubling the most valuable resources gains."""
    gains = {name: gain for name, gain in (row.get("gains") or {}).items() if known(gain)}
    best = sorted(gains, key=lambda name: -gains[name])[:3]
    return "  ".join(f"{part_name(name)} {signed(gains[name], 0)}" for name in best) or MISSING


def cap_text(row: Payload) -> str:
    """Return the clock that a power cap leaves; nothing to tell where it does not bind."""
    power = row.get("power") or {}
    if not power.get("cap_slows"):
        return MISSING
    if known(power.get("thermal_cap_w")):
        return (
            f"throttled: the coolant carries {whole(power['thermal_cap_w'])} of "
            f"{whole(power['cap_w'])} W, {percent(power['cap_clock'])} of the usual clock"
        )
    return f"{whole(power['cap_w'])} W leave {percent(power['cap_clock'])} of the usual clock"


def run_text(row: Payload) -> str:
    """Return days and dollars of a whole run, if one was asked for."""
    run = row.get("run") or {}
    if not known(run.get("days")):
        return MISSING
    return f"{three(run['days'])} days, ${scaled(run['usd'], '').strip()}"


def placement_text(row: Payload) -> str:
    """Say how many accelerators of each domain are used, where not all are filled."""
    where = row.get("placement") or {}
    if not where.get("idle_accelerators"):
        return MISSING
    used, domain, idle = (
        whole(where[name])
        for name in ("used_per_domain", "domain_accelerators", "idle_accelerators")
    )
    how = f"{used} of each {domain}" if where["domains"] > 1 else f"{used} of {domain}"
    if where["used_per_domain"] == where["domain_accelerators"]:
        how = "the last domain in part"
    idle += f" idle ({percent(where['idle_share'])})"
    return f"{how}; {idle}, counted in energy and cost with their racks"


ROWS = (
    ("step", step_text),
    ("tokens/s per accelerator", lambda row: whole(row.get("tokens_per_s_per_gpu"))),
    ("MFU", mfu_text),
    ("best plan", lambda row: plan_text(row.get("plan") or {})),
    ("placement", placement_text),
    ("what binds", binds_text),
    ("HBM used", hbm_text),
    (
        "HBM bandwidth busy",
        lambda row: percent((row.get("hbm") or {}).get("bandwidth_utilisation")),
    ),
    ("power cap", cap_text),
    ("heat per rack", heat_text),
    ("swing of a rack", swing_text),
    ("energy, cost", cost_text),
    ("whole run", run_text),
    ("doubling ... gains", gains_text),
)


def field_name(name: str) -> str:
    """Return a field's name without its unit, in words.

    >>> field_name("usd_per_mtoken"), field_name("mtbf_s")
    ('dollars per Mtoken', 'MTBF')
    """
    known_names = {
        "mtbf_s": "MTBF",
        "capital_usd": "capital without the hall",
        "pue": "PUE",
        "usd_per_kwh": "dollars per kWh",
        "energy_mwh": "energy",
        "interval_s": "checkpoint interval",
        "stall_s": "checkpoint stall",
        "usd": "dollars",
    }
    if name in known_names:
        return known_names[name]
    for unit in ("_usd", "_w", "_s", "_j", "_c", "_bytes"):
        if name.endswith(unit) and "per" not in name:
            name = name.removesuffix(unit)
            break
    words = name.replace("usd", "dollars").replace("mtoken", "Mtoken").replace("_", " ")
    return words.replace("gpu hour", "GPU-hour")


def amount(name: str, value: float) -> str:
    """Return the value of a field with the unit that its name ends with.

    >>> amount("capital_usd", 2.32e6), amount("mtbf_s", 2706649.0), amount("network_share", 0.2)
    ('$2.32 M', '31.3 days', '20%')
    """
    if "usd" in name:
        return "$" + scaled(value, "").strip()
    if name.endswith("_mwh"):
        return f"{three(value)} MWh"
    if name == "tokens":
        return scaled(value, "").strip()
    if name.endswith("_share") or name in ("goodput", "network_share"):
        return percent(value, 1).replace(".0%", "%")
    if name.endswith(("_w", "_j")) and "per" not in name:
        return scaled(value, name[-1].upper())
    if name.endswith("_s") and "per" not in name:
        return duration(value)
    return three(value)


def spread(facts: Mapping[str, Any], name: str) -> str:
    """Return the low and high of a field, where a mapping has them under NAME_low, NAME_high."""
    low, high = facts.get(f"{name}_low"), facts.get(f"{name}_high")
    if not (known(low) and known(high)):
        return ""
    return f"{amount(name, float(low))} - {amount(name, float(high))}"


def error_groups(summary: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (name, errors) for every group of a validation's summary that has runs, nested too."""
    for name, value in summary.items():
        if not isinstance(value, Mapping):
            continue
        if "mape" in value:
            if value.get("rows", 1) or value.get("failures"):
                yield str(name), value
        else:
            for inner, group in error_groups(value):
                yield f"{str(name).removeprefix('by_')}: {inner}", group
