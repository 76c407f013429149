"""What one accelerator draws at a clock, what its arithmetic costs, the clock that a cap leaves.

In:  an accelerator of the catalog: its power constants and the peaks of its number formats.
Out: the format that a precision runs in, its peak, best rate and energy; P(x); `highest_clock`.
Left out: what an accelerator does over time (rackmodel.assess), how long kernels take
    (rackmodel.kernels); both ask here.

    P(x) = idle leakage(Tj) + fixed + bytes x + (act x + flop) v(x)^2

with x the clock over the reference clock, v the supply voltage that this clock needs over that at
the reference clock, act what clocks and resident kernels draw, flop the FLOPs of that moment times
their energy at x = 1, fixed the bytes of HBM and links that follow no clock, bytes those that
arithmetic at x = 1 asks for.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rackmodel.columns import Floats
from rackmodel.errors import InvalidInput
from rackmodel.hardware.parts import Accelerator, PowerModel

LOWEST_CLOCK = 0.2
_SAME = {"fp4": "nvfp4", "mxfp4": "nvfp4", "mxfp8": "fp8", "float16": "fp16"}
_SIXTEEN_BITS = {"fp16": "bf16", "bf16": "fp16"}  # on the same units
_WIDTHS = {"nvfp4": 0.5, "fp8": 1.0, "int8": 1.0, "tf32": 4.0, "fp32": 4.0, "fp64": 8.0}  # bytes
# What a format runs in, best first: in the nearest wider one where a part lacks it.
_RUNS_IN = {
    "nvfp4": ("nvfp4", "fp8", "bf16", "fp16"),
    "fp8": ("fp8", "bf16", "fp16"),
    "int8": ("int8", "fp8", "bf16", "fp16"),
    "bf16": ("bf16", "fp16"),
    "fp16": ("fp16", "bf16"),
    "tf32": ("tf32", "bf16", "fp16"),
    "fp32": ("fp32", "tf32"),
    "fp64": ("fp64",),
}


def number_format(precision: str) -> str:
    """Return the format of the arithmetic of a job precision or kernel precision.

    >>> number_format("fp8-mx"), number_format("fp4"), number_format("bf16")
    ('fp8', 'nvfp4', 'bf16')
    """
    base = precision.lower().split("-")[0]
    return _SAME.get(base, base)


def element_bytes(precision: str) -> float:
    """Return the bytes of an element of an operand of the arithmetic of a precision.

    >>> element_bytes("fp8-mx"), element_bytes("bf16")
    (1.0, 2.0)
    """
    return _WIDTHS.get(number_format(precision), 2.0)


def peak_flops_per_s(accelerator: Any, precision: str) -> tuple[float, str]:
    """Return the dense peak for a precision and the format that it stands for.

    An accelerator without a format runs it in the nearest wider one it has (fp8 in bf16, nvfp4 in
    fp8), as frameworks do; fp16 and bf16 share units. A narrow format with the peak of bf16 is
    widened on its way into the units (fp8 on TPU v5p and v6e), so that it counts as bf16.

    accelerator : of the catalog, or anything with a name and `flops_per_s`.

    Raises
    ------
    InvalidInput
        If there is no such format, or the accelerator has no 16-bit format either.
    """
    wanted, peaks = number_format(precision), accelerator.flops_per_s
    order = _RUNS_IN.get(wanted, ())
    for key in order:
        if key in peaks:
            peak = float(peaks[key])
            return peak, "bf16" if key == "fp8" and peak <= peaks.get("bf16", 0.0) else key
    if wanted == "fp32":  # in tf32, at half the rate of bf16 where nothing is said
        for key in ("bf16", "fp16"):
            if key in peaks:
                return peaks[key] / 2.0, "tf32"
    raise InvalidInput(
        f"accelerator {accelerator.name!r} has no peak for {precision!r}; give one of"
        f" {sorted(peaks)}"
    )


def best_flops_per_s(accelerator: Accelerator, precision: str) -> float:
    """Return the FLOP/s that large matrix products reach at the reference clock."""
    peak, key = peak_flops_per_s(accelerator, precision)
    eta = accelerator.power.gemm_eta
    share = eta.get(key, eta.get(_SIXTEEN_BITS.get(key, key), max(eta.values(), default=1.0)))
    return peak / accelerator.power.peak_clock_ratio * share


def flop_energy_j(accelerator: Accelerator, precision: str) -> float:
    """Return the energy of one FLOP at the reference clock and voltage. [J]

    It is that of the format which the precision runs in. One without a constant of its own takes
    that of the nearest format with one, scaled by their peaks: equal time, equal energy. Where
    weights of 4 bits meet activations of 8 on units that have both, multipliers are as large as the
    product of their significands, 4 x 2 bits between 4 x 4 and 2 x 2: a third of the way up.

    Raises
    ------
    InvalidInput
        If the accelerator has no constant that could stand in.
    """
    if precision.startswith("fp8-") and precision.endswith("fp4"):
        wide_j = flop_energy_j(accelerator, "fp8")
        narrow_j = flop_energy_j(accelerator, "nvfp4")  # the same where there are no such units
        return narrow_j + (wide_j - narrow_j) / 3.0
    peak, key = peak_flops_per_s(accelerator, precision)
    known = accelerator.power.e_flop_j
    for same in (key, _SIXTEEN_BITS.get(key, key)):
        if same in known:
            return known[same]
    for other in ("bf16", "fp16", "fp8", *known):
        if other in known and other in accelerator.flops_per_s:
            return known[other] * accelerator.flops_per_s[other] / peak
    raise InvalidInput(
        f"accelerator {accelerator.name!r}: no energy per FLOP for {precision!r} "
        f"(known: {', '.join(sorted(known)) or 'none'}); set accelerators.{accelerator.name}.power"
    )


def voltage_ratio(clock: Floats, power: PowerModel) -> Floats:
    """Return the supply voltage that a clock needs, both over their reference values."""
    steep = 1.0 - power.dvfs_slope * (1.0 - np.maximum(clock, power.dvfs_knee))
    flat = power.dvfs_low_slope * np.maximum(0.0, power.dvfs_knee - clock)
    return np.maximum(power.voltage_floor, steep - flat)


def leakage_ratio(junction_c: Floats, power: PowerModel) -> Floats:
    """Return idle power at a junction temperature over that at 35 C; never below a fifth."""
    return np.maximum(0.2, 1.0 + power.leak_per_k * (junction_c - 35.0))


def highest_clock(
    *,
    fixed: Floats,
    act: Floats,
    flop: Floats,
    cap: Floats,
    power: PowerModel,
    moved: float = 0.0,
) -> Floats:
    """Return the highest clock at which P(x), or its energy over some time, is within a cap.

    fixed (idle included), act, flop, cap : of equal shapes; act and flop at the reference clock.
        [W or J]
    moved : of the bytes that follow the clock and no voltage, at the reference clock.

    P rises with the clock and is convex, so Newton's steps from the fastest clock come down to the
    answer without passing it.
    """
    fastest = power.clock_max_ratio
    x = np.full_like(fixed, fastest)
    for _ in range(30):
        v = voltage_ratio(x, power)
        over = fixed + moved * x + (act * x + flop) * v**2 - cap
        if not (over > 1e-12 * cap).any():
            break
        rise = np.where(x > power.dvfs_knee, power.dvfs_slope, power.dvfs_low_slope)
        rise = np.where(v > power.voltage_floor, rise, 0.0)
        slope = moved + act * v**2 + 2.0 * v * rise * (act * x + flop)
        x = np.clip(x - np.maximum(over, 0.0) / np.maximum(slope, 1e-300), LOWEST_CLOCK, fastest)
    return x


def sustained_clock(
    accelerator: Any, precision: str, *, duty: float, hbm_bytes_per_flop: float, hot: float
) -> float:
    """Return the clock, over that of the quoted peak, at which training meets the part's own cap.

    A part without a power model runs at 1.

    Parameters
    ----------
    duty : of the power of matrix products at full speed that training draws; hbm_bytes_per_flop :
        bytes of HBM that move for a FLOP of 16 bits (narrower formats: as much less as they are
        narrower), so that a part with a wider HBM draws nothing for what it does not move; hot :
        idle power at running temperature over that at 35 C.
    """
    power: PowerModel | None = getattr(accelerator, "power", None)
    if power is None or not power.e_flop_j:
        return 1.0
    flops_per_s = duty * best_flops_per_s(accelerator, precision)
    flop_w = flop_energy_j(accelerator, precision) * flops_per_s
    _, key = peak_flops_per_s(accelerator, precision)
    bytes_per_flop = hbm_bytes_per_flop * element_bytes(key) / 2.0
    clock = highest_clock(
        fixed=np.array(power.idle_w * hot),
        act=np.array(power.act_w + flop_w),  # the FLOPs of a second follow the clock
        moved=power.e_hbm_j_per_byte * bytes_per_flop * flops_per_s,
        flop=np.array(0.0),
        cap=np.array(accelerator.power_w),
        power=power,
    )
    return float(clock) / power.peak_clock_ratio
