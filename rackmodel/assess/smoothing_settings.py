"""What may stand between a rack and the hall, as a site sets it.

In:  words of a user.
Out: `Smoothing`.
Left out: what it does to power (`smoothing`).
"""

from __future__ import annotations

from dataclasses import dataclass

from rackmodel.errors import InvalidInput
from rackmodel.fields import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Smoothing:
    """What stands between the accelerators and the hall; as it is, nothing.

    Raises
    ------
    InvalidInput
        For a floor that is not from 0 to 1, or an energy or a ramp that is not above 0.
    """

    floor: float = setting(
        0.0, "Least power, as a share of the peak over 20 ms; what is missing is burned.", 0.8
    )
    ramp_w_per_s: float | None = setting(
        None, "Fastest rise or fall of a rack; kept by burning around its peaks.", 20e3
    )
    capacitors_j: float = setting(0.0, "Energy that each accelerator's capacitors give.", 65.0)
    battery_j: float = setting(0.0, "Energy that each rack's battery gives.", 30e3)

    def __post_init__(self) -> None:
        """Refuse what can't be."""
        if not 0.0 <= self.floor <= 1.0:
            raise InvalidInput(
                f"smoothing: floor: wanted a share of the peak from 0 to 1, found {self.floor:g}"
            )
        if self.ramp_w_per_s is not None and not 0 < self.ramp_w_per_s < float("inf"):
            raise InvalidInput(
                f"smoothing: ramp: wanted more than 0 W/s, found {self.ramp_w_per_s:g}"
            )
        for name in ("capacitors_j", "battery_j"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise InvalidInput(
                    f"smoothing: {name.removesuffix('_j')}: wanted 0 J or more, "
                    f"found {getattr(self, name):g}"
                )
