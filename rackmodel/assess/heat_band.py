"""How sure the heat of a rack is: the watts that about 80% of measured machines fall between.

In:  an assessed step, how sure the power of its accelerators is as they train or serve, their cap.
Out: low and high heat of every class of racks.
Left out: where the widths come from (benchmarks/power/bands.py measures them on machines whose
    source is left out); the band of the step's seconds (`engine.certainty`).

Two terms add in quadrature, each side by itself: what accelerators draw is off by so much on
measured ones that do the same; what stands around them lies between the bounds of its parts. No
accelerator passes its cap in the mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal, TypeAlias

from rackmodel.assess.chassis import BURNED, Chassis, Level, chassis_of
from rackmodel.assess.power import Assessment
from rackmodel.assess.rack_power import RackPower, conversion_w
from rackmodel.engine.certainty import together
from rackmodel.hardware import Catalog
from rackmodel.kernels.kernel_constants import kernel_constants

Work: TypeAlias = Literal["training", "serving"]
LEVELS: tuple[Level, Level] = ("low", "high")


def accelerator_width(family: str, work: Work) -> tuple[float, float]:
    """Return how far an accelerator's mean power may be below and above, as logarithms."""
    table = kernel_constants()["band"]
    terms = [f"heat_{work}", *([] if family in table["heat_families"] else ["heat_unmeasured"])]
    return together(table[term] for term in terms)


def heat_bands(
    done: Assessment, catalog: Catalog, width: tuple[float, float], cap_w: float
) -> dict[int, tuple[float, float]]:
    """Return low and high heat by class of racks. [W]

    width : of an accelerator's power (`accelerator_width`). cap_w : that it may draw in the mean.
    """
    down, up = width
    around = [_chassis_at(done, catalog, level) for level in LEVELS]
    found = {}
    for rack in done.racks:
        drawn_w = float(rack.accelerator_w.mean())
        most = max(1.0, rack.accelerators * cap_w / drawn_w)
        terms = [
            (_heat_w(rack, done.chassis, math.exp(-down)), _heat_w(rack, around[0])),
            (_heat_w(rack, done.chassis, min(math.exp(up), most)), _heat_w(rack, around[1])),
        ]
        found[rack.rack_class] = (
            rack.heat_w * math.exp(-_width(rack.heat_w, terms[0])),
            rack.heat_w * math.exp(_width(rack.heat_w, terms[1])),
        )
    return found


def _width(heat_w: float, ends_w: Iterable[float]) -> float:
    """Return the logarithm by which ends of several terms are off together."""
    return math.hypot(*(math.log(end / heat_w) for end in ends_w))


def _heat_w(rack: RackPower, chassis: Chassis, factor: float = 1.0) -> float:
    """Return the heat of a rack in another chassis, or with its accelerators' power changed."""
    accelerator_w = rack.accelerator_w * factor
    added = conversion_w(chassis, rack.chassis, accelerator_w)
    parts = (accelerator_w, *added.values())
    burned_w = rack.part_w.get(BURNED, 0.0)
    return sum(float(w.mean()) for w in parts) + rack.chassis * chassis.other_w + burned_w


def _chassis_at(done: Assessment, catalog: Catalog, level: Level) -> Chassis:
    """Return the chassis with all around its accelerators at its low or high end.

    Switch chips that a machine adds are as good as those of its chassis.
    """
    chassis, drawn = chassis_of(catalog, done.chassis.name, level), done.chassis.part_w
    parts = {**drawn, **chassis.part_w}
    if "switch" in chassis.part_w:
        parts["switch"] *= drawn["switch"] / chassis_of(catalog, chassis.name).part_w["switch"]
    return replace(chassis, part_w=parts)
