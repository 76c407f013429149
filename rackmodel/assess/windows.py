"""Swings of power over a step that repeats: means over windows, ramps, spectrum.

In:  power in N equal bins over a step.
Out: mean, 99th percentile and peak by window, ramp, swing, the strongest frequency a grid would
     feel.
Left out: what the power consists of.
"""

from __future__ import annotations

import numpy as np

from rackmodel.columns import Floats

# Electrical peak, power supplies, power controller, meter. [s]
WINDOWS_S = {"1ms": 1e-3, "20ms": 20e-3, "100ms": 0.1, "1s": 1.0}
BAND_HZ = (0.1, 20.0)  # what a power grid and turbine shafts answer to


def moving_mean(power_w: Floats, bin_s: float, window_s: float) -> Floats:
    """Return the mean over a window that starts in each bin of a repeating step, same length.

    >>> moving_mean(np.array([4.0, 0.0, 0.0, 0.0]), 1.0, 2.0).tolist()
    [2.0, 0.0, 0.0, 2.0]
    """
    count = len(power_w)
    wide = max(1, round(window_s / bin_s))
    whole, part = divmod(wide, count)
    total = np.concatenate(([0.0], np.cumsum(np.concatenate((power_w, power_w[:part])))))
    return np.asarray((total[part : part + count] - total[:count] + whole * power_w.sum()) / wide)


def percentile_99(values: Floats) -> float:
    """Return the 99th percentile, linear between neighbours; `np.quantile` in a third of its time.

    >>> round(percentile_99(np.arange(101.0)), 9)
    99.0
    """
    at = 0.99 * (len(values) - 1)
    low = int(at)
    high = min(low + 1, len(values) - 1)
    near = np.partition(values, (low, high))
    return float(near[low] + (at - low) * (near[high] - near[low]))


def swings(power_w: Floats, step_s: float) -> dict[str, float]:
    """Describe how a power that repeats every step swings.

    Parameters
    ----------
    power_w : mean power in N equal bins over the step. [W]
    step_s : length of the step. [s]

    Returns
    -------
    mean_w; p99_<window>_w and peak_<window>_w for 1, 20, 100 ms and 1 s (a window shorter than a
    bin is that bin; one longer than the step spans several steps); ramp_w_per_s, the steepest
    change between neighbouring 20 ms means; swing_w, highest less lowest 100 ms mean; missing_j,
    the energy of one step below its mean: what storage would have to give; swing_hz and
    swing_amplitude_w, the strongest harmonic within 0.1-20 Hz (0 where the step repeats faster).
    """
    count = len(power_w)
    bin_s = step_s / count
    mean_w = float(power_w.mean())
    found = {"mean_w": mean_w}
    for name, window_s in WINDOWS_S.items():
        means = moving_mean(power_w, bin_s, window_s)
        found[f"p99_{name}_w"] = percentile_99(means)
        found[f"peak_{name}_w"] = float(means.max())
    short = moving_mean(power_w, bin_s, 20e-3)
    apart = max(1, round(20e-3 / bin_s))
    found["ramp_w_per_s"] = float(np.abs(np.roll(short, -apart) - short).max() / (apart * bin_s))
    long = moving_mean(power_w, bin_s, 0.1)
    found["swing_w"] = float(long.max() - long.min())
    found["missing_j"] = float(np.maximum(0.0, mean_w - power_w).sum() * bin_s)
    hz = np.arange(count // 2 + 1) / step_s
    amplitude_w = 2.0 * np.abs(np.fft.rfft(power_w)) / count
    amplitude_w[0] = 0.0
    amplitude_w[(hz < BAND_HZ[0]) | (hz > BAND_HZ[1])] = 0.0
    strongest = int(amplitude_w.argmax())
    found["swing_hz"] = float(hz[strongest]) if amplitude_w[strongest] > 0 else 0.0
    found["swing_amplitude_w"] = float(amplitude_w[strongest])
    return found
