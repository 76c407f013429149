"""Coolant: properties of real fluids, flow for a heat, pressure drop, pumps, CDU, facility class.

In:  liquid heat of a rack, supply temperature, wanted rise, and the chassis' design point.
Out: flow, return temperature, pressure drop, pump power, approach, the facility water it needs.
Left out: where the heat comes from (`heat`); towers, chillers and the weather.

Water and glycol properties: package SecondaryCoolantProps (correlations of Melinder, "Properties of
Secondary Working Fluids for Indirect Systems", 2nd ed., 2010).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from rackmodel.assess.chassis import Chassis
from rackmodel.errors import InvalidInput, UnknownName

GLYCOL_SHARE = {"pg10": 0.10, "pg25": 0.25, "pg40": 0.40, "pg50": 0.50}
FLUIDS = ("water", *GLYCOL_SHARE, "dielectric-oil")
LPM = 1.0 / 60000.0  # one litre a minute in m3/s
# ASHRAE classes by the warmest facility water that they promise. [C]
WATER_CLASSES = (("W17", 17.0), ("W27", 27.0), ("W32", 32.0), ("W40", 40.0), ("W45", 45.0))
COLDEST_C, HOTTEST_C = 2.0, 80.0


class Fluid(NamedTuple):
    """Properties of a liquid at one temperature: kg/m3, J/(kg K), Pa s, W/(m K)."""

    density: float
    specific_heat: float
    viscosity: float
    conductivity: float

    @property
    def j_per_m3_k(self) -> float:
        """Heat that a cubic metre takes up per kelvin."""
        return self.density * self.specific_heat


@lru_cache(maxsize=1)
def _liquids() -> dict[str, Any]:
    from scp.propylene_glycol import PropyleneGlycol
    from scp.water import Water

    liquids: dict[str, Any] = {name: PropyleneGlycol(x) for name, x in GLYCOL_SHARE.items()}
    return {"water": Water(), **liquids}


@lru_cache(maxsize=4096)
def fluid(name: str, temperature_c: float) -> Fluid:
    """Return the properties of a coolant.

    Parameters
    ----------
    name : water, pg10, pg25, pg40, pg50 (propylene glycol by mass), or dielectric-oil (a
        single-phase immersion oil with constant properties, assumed).

    Raises
    ------
    UnknownName
        If the name is none of these.
    InvalidInput
        If the temperature is not between 2 and 80 C, where the correlations and the plates end.
    """
    UnknownName.check("coolant", name, FLUIDS)
    if not COLDEST_C <= temperature_c <= HOTTEST_C:
        raise InvalidInput(
            f"coolant {name}: {temperature_c:.1f} C is outside {COLDEST_C:g}-{HOTTEST_C:g} C; "
            "change the supply temperature or the rise"
        )
    if name == "dielectric-oil":
        return Fluid(density=810.0, specific_heat=2200.0, viscosity=5e-3, conductivity=0.135)
    liquid = _liquids()[name]
    return Fluid(
        density=liquid.density(temperature_c),
        specific_heat=liquid.specific_heat(temperature_c),
        viscosity=liquid.viscosity(temperature_c),
        conductivity=liquid.conductivity(temperature_c),
    )


class Loop(NamedTuple):
    """The coolant of one rack.

    flow_lpm : litres a minute; drop_pa : over manifold and plates; pump_w : electrical;
    approach_k : rack supply over facility water; facility_c : the warmest facility water that will
        do;
    water_class : the ASHRAE class that this needs; flow_ratio : flow over the design flow.
    """

    fluid: str
    flow_lpm: float
    supply_c: float
    return_c: float
    drop_pa: float
    pump_w: float
    approach_k: float
    facility_c: float
    water_class: str
    flow_ratio: float

    @property
    def mean_c(self) -> float:
        """Mean coolant temperature. [C]"""
        return 0.5 * (self.supply_c + self.return_c)


def flow_lpm(heat_w: float, rise_k: float, name: str, mean_c: float) -> float:
    """Return the flow that carries a heat away at a given rise. [L/min]

    >>> round(flow_lpm(1000.0, 10.0, "pg25", 37.0), 3)
    1.497
    """
    if not rise_k > 0:
        raise InvalidInput(f"coolant rise: expected more than 0 K, found {rise_k:g}")
    return heat_w / (fluid(name, mean_c).j_per_m3_k * rise_k) / LPM


def loop(chassis: Chassis, heat_w: float, *, count: int = 1) -> Loop:
    """Return the coolant loop of a rack of `count` chassis.

    heat_w : heat into the liquid. [W]
    With `chassis.flow_lpm` the rise follows from the flow, otherwise the flow from `rise_k`.

    Raises
    ------
    InvalidInput
        If a temperature leaves the fluid's range, or a rise or flow is not above 0.

    Notes
    -----
    Drop ~ density^0.8 viscosity^0.2 flow^1.8 (Blasius, turbulent). CDU as a balanced counterflow
    exchanger: approach = rise / NTU.
    """
    supply, rise, given_lpm = chassis.supply_c, chassis.rise_k, chassis.flow_lpm
    if given_lpm is not None:
        rise = _rise_k(chassis, heat_w, given_lpm)
    at = fluid(chassis.coolant, supply + 0.5 * rise)
    fluid(chassis.coolant, supply + rise)  # the return has to stay in range as well
    flow = (
        given_lpm
        if given_lpm is not None
        else flow_lpm(heat_w, rise, chassis.coolant, supply + 0.5 * rise)
    )
    design = count * design_liquid_w(chassis) / 1000.0 * chassis.lpm_per_kw
    if chassis.coolant == "dielectric-oil":
        design *= fluid("pg25", 37.0).j_per_m3_k / at.j_per_m3_k
    reference = fluid("pg25", 37.0)
    likeness = (at.density / reference.density) ** 0.8 * (at.viscosity / reference.viscosity) ** 0.2
    drop = chassis.design_drop_pa * likeness * (flow / design) ** 1.8
    approach = rise / chassis.cdu_ntu
    facility = supply - approach
    # A class promises water no warmer than its name: the hottest class that is still cold enough.
    fits = [name for name, limit in WATER_CLASSES if limit <= facility + 1e-9]
    return Loop(
        fluid=chassis.coolant,
        flow_lpm=flow,
        supply_c=supply,
        return_c=supply + rise,
        drop_pa=drop,
        pump_w=flow * LPM * drop / chassis.pump_efficiency,
        approach_k=approach,
        facility_c=facility,
        water_class=fits[-1] if fits else "colder than W17",
        flow_ratio=flow / design,
    )


def _rise_k(chassis: Chassis, heat_w: float, given_lpm: float) -> float:
    """Return the rise that a heat causes in a given flow. [K]"""
    if not given_lpm > 0:
        raise InvalidInput(f"coolant flow: expected more than 0 L/min, found {given_lpm:g}")
    supply, rise = chassis.supply_c, 5.0
    for _ in range(20):
        at = fluid(chassis.coolant, min(HOTTEST_C, supply + 0.5 * rise))
        rise = heat_w / (at.j_per_m3_k * given_lpm * LPM)
    if supply + rise > HOTTEST_C and supply <= HOTTEST_C:
        raise InvalidInput(
            f"coolant flow: {given_lpm:g} L/min of {chassis.coolant} at {supply:g} C would "
            f"leave at {supply + rise:.0f} C with {heat_w / 1e3:.3g} kW; expected up to "
            f"{HOTTEST_C:g} C: raise the flow"
        )
    return rise


def design_liquid_w(chassis: Chassis) -> float:
    """Heat into the liquid of one chassis at its rating. [W]"""
    load = chassis.rated_w / (1.02 + chassis.psu_linear) - chassis.fan_w
    rest = sum(watts * chassis.to_liquid(part) for part, watts in chassis.part_w.items())
    return rest + max(0.0, load - chassis.other_w) * chassis.to_liquid("accelerator")


def air(heat_w: float, inlet_c: float, rise_k: float) -> dict[str, float]:
    """Return the air that carries a heat away: m3/s, CFM, inlet and outlet. [W, C, K]

    Density at the outlet, where fans stand, at sea level; 1,006 J/(kg K).

    >>> round(air(1000.0, 25.0, 12.0)["flow_cfm"])
    154
    """
    if not rise_k > 0:
        raise InvalidInput(f"air rise: expected more than 0 K, found {rise_k:g}")
    density = 101325.0 / (287.05 * (273.15 + inlet_c + rise_k))
    flow = heat_w / (density * 1006.0 * rise_k)
    return {
        "flow_m3_per_s": flow,
        "flow_cfm": flow * 2118.88,
        "inlet_c": inlet_c,
        "outlet_c": inlet_c + rise_k,
    }
