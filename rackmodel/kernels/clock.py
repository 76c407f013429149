"""The clock that an accelerator holds under its power cap while it multiplies matrices.

In:  the part's power model and peak; the share of full-speed work in training.
Out: clock relative to the one at which the peak is quoted.
Left out: temperature transients, the order of kernels within a step (rackmodel.assess has those).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def sustained_clock(accelerator: Any, number_format: str, constants: Mapping[str, Any]) -> float:
    """Return the clock, over the one at which the peak is quoted, where mean power meets the cap.

    idle hot + x v^2 (act + duty * e_flop * eta * peak) + e_hbm * bytes = cap, with v the voltage
    that a clock of x needs. A part without a power model runs at 1.

    Notes
    -----
    Source: the power model of `rackmodel.hardware` (its constants carry their own sources).
    """
    model = getattr(accelerator, "power", None)
    energies: Mapping[str, float] = getattr(model, "e_flop_j", None) or {}
    if model is None or not energies:
        return 1.0
    key = next((f for f in (number_format, "bf16", "fp16") if f in energies), None)
    if key is None or key not in accelerator.flops_per_s:
        return 1.0
    quoted = float(model.peak_clock_ratio)  # the peak's clock over the reference clock
    flops_per_s = accelerator.flops_per_s[key] / quoted * model.gemm_eta.get(key, 0.9)
    idle_w = model.idle_w * constants["hot"]
    hbm_w = model.e_hbm_j_per_byte * accelerator.hbm_bytes_per_s * constants["hbm_busy"]
    arithmetic_w = constants["duty"] * energies[key] * flops_per_s
    low, high = 0.3, float(model.clock_max_ratio)

    def watts(x: float) -> float:
        volt = max(model.voltage_floor, 1.0 - model.dvfs_slope * (1.0 - x))
        return float(idle_w + hbm_w + (model.act_w + arithmetic_w) * x * volt * volt)

    if watts(high) <= accelerator.power_w:
        return high / quoted
    for _ in range(50):
        middle = (low + high) / 2.0
        low, high = (middle, high) if watts(middle) <= accelerator.power_w else (low, middle)
    return low / quoted
