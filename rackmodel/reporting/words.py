"""Numbers as people read them: three figures, decimal prefixes, a unit.

In:  SI numbers, None where something is not known.
Out: short texts; an en dash for None, so that a gap is never read as zero.
Left out: parsing (`values`, `rackmodel.units`).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any, TypeGuard

MISSING = "–"


def three(number: float) -> str:
    """Return a number with three significant figures, and thousands grouped.

    >>> [three(x) for x in (11.14, 738.4, 0.0123, 755712.0, 0, 2.0, 4.79e-5)]
    ['11.1', '738', '0.0123', '755,712', '0', '2', '4.79e-5']
    """
    if number == 0:
        return "0"
    if abs(number) >= 1000:
        return f"{number:,.0f}"
    if abs(number) < 1e-4:
        return f"{number:.2e}".replace("e-0", "e-")
    digits = max(0, 2 - math.floor(math.log10(abs(number)) + 1e-9))
    text = f"{number:.{min(digits, 12)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def known(value: Any) -> TypeGuard[float]:
    """Tell whether a value is a finite number; whole numbers that no float holds are none.

    >>> known(3), known(math.inf), known(10**400), known("3")
    (True, False, False, False)
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= sys.float_info.max


def scaled(value: Any, unit: str, prefixes: str = " kMGTPE") -> str:
    """Return a quantity with the decimal prefix that leaves 1 to 1,000 before the point.

    >>> scaled(121e3, "W"), scaled(1.0e9, "B"), scaled(None, "W")
    ('121 kW', '1 GB', '–')
    """
    if not known(value):
        return MISSING
    step = 0
    size = abs(value)
    while size >= 999.5 and step < len(prefixes) - 1:
        size /= 1000
        step += 1
    return f"{three(value / 1000**step)} {prefixes[step].strip()}{unit}"


def seconds(value: Any) -> str:
    """Return a time in s, ms, us or ns.

    >>> seconds(11.14), seconds(0.0042), seconds(3.1e-6)
    ('11.1 s', '4.2 ms', '3.1 us')
    """
    if not known(value):
        return MISSING
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if abs(value) >= size * 0.9995:
            return f"{three(value / size)} {unit}"
    return "0 s" if value == 0 else f"{three(value / 1e-9)} ns"


def duration(value: Any) -> str:
    """Return a time as people plan by it: days, hours and minutes above two of each.

    >>> [duration(one) for one in (1.4e6, 11133, 330, 5)]
    ['16.2 days', '3.09 h', '5.5 min', '5 s']
    """
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if known(value) and abs(value) >= 2 * size:
            return f"{three(value / size)} {unit}"
    return seconds(value)


def percent(value: Any, digits: int = 0) -> str:
    """Return a share as per cent.

    >>> percent(0.451), percent(0.0004)
    ('45%', '<1%')
    """
    if not known(value):
        return MISSING
    if 0 < value < 0.005 and digits == 0:
        return "<1%"
    return f"{100 * value:.{digits}f}%"


def signed(value: Any, digits: int = 1) -> str:
    """Return a relative change with its sign.

    >>> signed(0.61, 0), signed(-0.034)
    ('+61%', '-3.4%')
    """
    return f"{100 * value:+.{digits}f}%" if known(value) else MISSING


def whole(value: Any) -> str:
    """Return a count with thousands grouped."""
    return f"{value:,.0f}" if known(value) else MISSING


def counted(number: Any, one: str) -> str:
    """Return a count with its word, of which there is one or many.

    >>> counted(1, "accelerator"), counted(2048, "class")
    ('1 accelerator', '2,048 classes')
    """
    return f"{whole(number)} {one}" + ("" if number == 1 else "es" if one.endswith("s") else "s")


def gigabytes(value: Any) -> str:
    """Return bytes in GB (1e9) without the unit.

    >>> gigabytes(171.4e9)
    '171'
    """
    return three(value / 1e9) if known(value) else MISSING


def used_of(used: float, capacity: float | None) -> str:
    """Return HBM in use of what there is, which vendors' names tell in GiB.

    >>> used_of(70.7e9, 81559 * 2**20)
    '70.7 of 85.5 GB (80 GiB)'
    """
    there = f" ({capacity / 2**30:.0f} GiB)" if known(capacity) else ""
    return f"{gigabytes(used)} of {gigabytes(capacity)} GB{there}"


#: Defaults that go without saying in a plan.
_SILENT = {"vpp": 1, "cp": 1, "ep": 1, "etp": 1}


def plan_text(plan: Mapping[str, Any]) -> str:
    """Return a plan as people write it; sizes of 1 beyond tp, pp and dp are left out.

    >>> plan_text({"tp": 8, "pp": 2, "vpp": 4, "cp": 1, "dp": 64, "micro_batch": 1})
    'tp 8  pp 2  vpp 4  dp 64  micro-batch 1'
    """
    parts = []
    for axis in ("tp", "pp", "vpp", "cp", "ep", "etp", "dp"):
        size = plan.get(axis)
        if size is not None and size != _SILENT.get(axis):
            parts.append(f"{axis} {size}")
    if plan.get("micro_batch") is not None:
        parts.append(f"micro-batch {plan['micro_batch']}")
    return "  ".join(parts)


def offloaded(plan: Mapping[str, Any]) -> str:
    """Return what a plan keeps in host memory, of a list or of its words in a table."""
    away = plan.get("offload") or ()
    return " + ".join(away.split(",") if isinstance(away, str) else away)


def plan_choices(plan: Mapping[str, Any]) -> str:
    """Return the choices of a plan beside its sizes: schedule, sharding, recompute, host memory.

    >>> plan_choices({"sharding": "zero3", "offload": ["optimizer", "parameters"]})
    'sharding zero3, offload optimizer + parameters'
    >>> plan_choices({"sharding": "zero1", "shard_size": 8, "recompute": "none"})
    'sharding zero1 over 8 ranks, recompute none'
    """
    parts = [str(plan["schedule"])] if plan.get("schedule") else []
    for name in ("sharding", "recompute"):
        if plan.get(name) is not None:
            size = plan.get("shard_size") if name == "sharding" else 0
            parts.append(f"{name} {plan[name]}" + (f" over {size} ranks" if size else ""))
    if away := offloaded(plan):
        parts.append(f"offload {away}")
    return ", ".join(parts)


#: What the simulator names, in words.
PARTS = {
    "compute": "compute",
    "matrix": "matrix units",
    "flops": "matrix units",
    "gemm": "matrix units",
    "hbm": "HBM bandwidth",
    "memory": "HBM bandwidth",
    "host": "host (kernel launches)",
    "tp": "tensor parallel traffic",
    "cp": "context parallel traffic",
    "ep": "expert traffic",
    "pp": "pipeline traffic",
    "dp": "gradient and weight traffic (dp)",
    "dp_cp": "gradient and weight traffic (dp)",
    "edp": "gradient and weight traffic of experts",
    "embedding": "gradients of tied embeddings",
    "etp": "tensor parallel traffic of experts",
    "world": "gradient norm over all ranks",
    "model": "gradient norm over a replica",
    "stage": "fp8 scales of a stage",
    "recompute": "recomputed activations",
    "bubble": "pipeline bubble",
    "optimizer": "optimizer",
    "flops_per_s": "FLOP/s",
    "hbm_bytes_per_s": "HBM bandwidth",
    "hbm_bytes": "HBM capacity",
    "scale_up_bytes_per_s": "scale-up bandwidth",
    "nic_bytes_per_s": "NIC bandwidth",
    "fabric_bytes_per_s": "fabric (1 / oversubscription)",
    "power_w": "power cap",
    "latency_s": "latency (divided)",
    "domain_accelerators": "scale-up domain",
    "host_launches_per_s": "launches by the host",
    "overhead": "outside the kernels",
    "arithmetic": "FLOPs beyond the model's",
    "formats": "wider number formats",
    "sustained_rate": "clock and sustained rate",
    "shapes_and_tiles": "shapes and tiles",
    "hbm_kernels": "HBM-bound kernels",
    "contention": "kernels beside collectives",
    "jitter": "waiting for slow ranks",
}


def part_name(key: str, pp: int = 0) -> str:
    """Return what a key of breakdown_s or bound_by means, in words.

    pp : stages of the plan, 0 where it is not known; in one stage ranks wait for slower ones.

    >>> part_name("dp"), part_name("some_thing"), part_name("bubble", pp=1)
    ('gradient and weight traffic (dp)', 'some thing', 'waiting for other ranks')
    """
    if key == "bubble" and pp == 1:
        return "waiting for other ranks"
    return PARTS.get(key, key.replace("_", " "))
