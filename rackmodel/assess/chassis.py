"""Machine classes: what stands around the accelerators, how it is powered, how it is cooled.

In:  the catalog's chassis tables.
Out: `Chassis`, plain numbers at one level (low, mid or high) of what is known.
Left out: prices (`cost`), how a chassis is joined to others (topology).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from rackmodel.assess.smoothing_settings import Smoothing
from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.hardware import Catalog, Quantity
from rackmodel.hardware.build import read_trays
from rackmodel.hardware.parts import Tray

Level: TypeAlias = Literal["low", "mid", "high"]
COOLINGS = ("air", "hybrid", "liquid", "immersion")
BURNED = "smoothing"  # the part that accelerators burn to keep a floor or a ramp of their rack


@dataclass(frozen=True, slots=True, kw_only=True)
class Chassis:
    """A node or a rack without its accelerators. The fields are those of data/chassis.toml.

    psu_pulse : of psu_installed_w that supplies give for 20 ms.
    part_w : DC power by part in training; `idle_share` of it at idle. [W]
    rise_k, flow_lpm : of the liquid of a rack; a flow that is given decides over the rise.
    design_rise_k is the rise that the plates are made for.
    switch_chips : of the scale-up domain that its price and power hold; None where it is not asked.
    added_w : of part_w, what its rating does not know: modules and switches that a machine adds.
    liquid_share : share of each part's heat that leaves in liquid.
    smoothing : what stands between it and the hall.
    """

    name: str
    accelerators: int
    cooling: str
    coolant: str
    trays: tuple[Tray, ...]
    rack_chassis: int
    part_w: Mapping[str, float]
    idle_share: float
    fan_w: float
    fan_heat_w: float
    fan_exponent: float
    dc_stage_loss: float
    dc_stage_accelerator_share: float
    busbar_loss: float
    psu_installed_w: float
    psu_pulse: float
    psu_fixed: float
    psu_linear: float
    psu_square: float
    liquid_share: Mapping[str, float]
    supply_c: float
    supply_max_c: float
    rise_k: float
    design_rise_k: float
    lpm_per_kw: float
    design_drop_pa: float
    pump_efficiency: float
    cdu_ntu: float
    air_inlet_c: float
    air_rise_k: float
    air_limit_w: float
    rated_w: float
    rack_limit_w: float
    flow_lpm: float | None = None
    switch_chips: float | None = None
    added_w: float = 0.0
    smoothing: Smoothing | None = None

    @property
    def other_w(self) -> float:
        """DC power beside accelerators and fans. [W]"""
        return sum(self.part_w.values())

    @property
    def thermal_kind(self) -> str:
        """Which thermal resistance of an accelerator holds: "air", "cold-plate" or "immersion"."""
        return {"air": "air", "immersion": "immersion"}.get(self.cooling, "cold-plate")

    def to_liquid(self, part: str) -> float:
        """Share of a part's heat that leaves in liquid."""
        if self.cooling in ("air", "immersion"):
            return float(self.cooling == "immersion")
        return self.liquid_share.get("accelerator" if part == BURNED else part, 0.0)


def chassis_of(catalog: Catalog, name: str, level: Level = "mid") -> Chassis:
    """Return a chassis of the catalog at one level of its bounds.

    Raises
    ------
    UnknownName
        If the catalog has no such chassis.
    InvalidInput
        If a field is missing or out of its range.
    """
    UnknownName.check("chassis", name, catalog.chassis)
    table = catalog.chassis[name]

    def fact(key: str) -> Quantity:
        if key not in table:
            raise InvalidInput(f"chassis.{name}: {key} is missing; add it to its table")
        return table[key]

    def number(key: str) -> float:
        return at_level(fact(key), level)

    def group(prefix: str) -> dict[str, float]:
        inside = {k[len(prefix) :]: q for k, q in table.items() if k.startswith(prefix)}
        return {key: at_level(quantity, level) for key, quantity in inside.items()}

    floats = (key for key, kind in Chassis.__annotations__.items() if kind == "float")
    fields = {key: number(key) for key in floats if key not in ("design_rise_k", "added_w")}
    cooling = fact("cooling").text
    UnknownName.check(f"cooling for chassis.{name}", cooling, COOLINGS)
    liquid = group("liquid_share.")
    for part, share in liquid.items():
        if not 0.0 <= share <= 1.0:
            raise InvalidInput(
                f"chassis.{name}.liquid_share.{part}: expected 0 to 1, found {share:g}"
            )
    if not 0.0 < fields["pump_efficiency"] <= 1.0:
        raise InvalidInput(f"chassis.{name}.pump_efficiency: has to be above 0 and at most 1")
    if 2.0 * (installed := fields["psu_installed_w"]) < (rated := fields["rated_w"]):
        raise InvalidInput(
            f"chassis.{name}.psu_installed_w: supplies of {installed:g} W can't carry the rated"
            f" {rated:,.0f} W (rated_w); give at least half of it"
        )
    return Chassis(
        name=name,
        accelerators=round(number("accelerators")),
        rack_chassis=round(number("rack_chassis")),
        cooling=cooling,
        coolant=fact("coolant").text,
        trays=read_trays(fact("trays").text, f"chassis.{name}.trays"),
        part_w=group("part_w."),
        liquid_share=liquid,
        design_rise_k=fields["rise_k"],
        switch_chips=number("switch_chips") if "switch_chips" in table else None,
        smoothing=None,
        **fields,
    )


def at_level(quantity: Quantity, level: Level) -> float:
    """Return the low, middle or high value of a quantity."""
    return {"low": quantity.low, "mid": quantity.value, "high": quantity.high}[level]
