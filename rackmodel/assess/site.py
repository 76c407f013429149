"""What the site gives a machine: power, coolant, prices, cables.

In:  words of a user.
Out: `Site`.
Left out: whether a machine can stand there (`run.check_site`), what it does to a step (`step`,
    `throttle`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from rackmodel.assess.chassis import Chassis
from rackmodel.assess.smoothing_settings import Smoothing
from rackmodel.errors import InvalidInput
from rackmodel.fields import record, setting

GENERIC_CHASSIS = "generic-air"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a machine stands; None stands for what its chassis or the catalog says.

    power_cap_w : of one accelerator, at most its own. media : {tier: medium} to swap, with the
    length of their links in lengths_m ({tier: m}) where the topology's is not meant. supply_c,
    rise_k, flow_lpm : coolant of a rack. facility_pue, usd_per_kwh : of the hall. run_tokens : of a
    whole run, to tell its days and dollars. trays : tell the elevation of every rack, too.
    smoothing : what stands between rack and hall, fields of
    `rackmodel.assess.smoothing_settings.Smoothing`.
    """

    power_cap_w: float | None = setting(
        None,
        "Cap of an accelerator, such as 500W; a job above it slows down. Default: its own.",
        500.0,
        unit="w",
        option="--power-cap",
    )
    media: Mapping[str, str] = setting(
        {},
        "Swap what links of a tier are made of: scale-up=pluggable, scale-out=aec:5m. Repeatable.",
        "scale-up=pluggable",
        unit="media",
        option="--medium",
    )
    lengths_m: Mapping[str, float] = setting(
        {}, "Length of the links of a tier whose medium is swapped.", {"scale-out": 5}
    )
    supply_c: float | None = setting(
        None,
        "Temperature of the coolant, or air, that racks get. Default: what they are made for.",
        32.0,
        unit="degC",
        least=-50,
        option="--supply-c",
    )
    rise_k: float | None = setting(
        None,
        "Temperature rise of coolant or air across a rack. Default: what it is made for.",
        10.0,
        unit="K",
        least=0,
        option="--rise-k",
    )
    flow_lpm: float | None = setting(
        None,
        "Coolant flow of a rack; its rise then follows from its heat.",
        150.0,
        unit="L/min",
        least=0,
        option="--flow-lpm",
    )
    facility_pue: float | None = setting(
        None,
        "Power of the hall over power of its racks.",
        1.15,
        unit="ratio",
        option="--pue",
        least=1,
    )
    usd_per_kwh: float | None = setting(
        None,
        "Price of power. Default: the catalog's.",
        0.08,
        unit="usd",
        option="--usd-per-kwh",
        least=0,
    )
    run_tokens: float | None = setting(
        None,
        "Also tell days, MWh and dollars of a whole run of so many tokens, such as 15T.",
        15e12,
        unit="run tokens",
        option="--tokens",
        least=1,
        most=1e18,
    )
    trays: bool = setting(False, "Tell the elevation of every rack, too.")
    smoothing: Mapping[str, float] = setting(
        {},
        "What stands between rack and hall: floor=0.8 (of its peak; burned), ramp=20kW/s (burned), "
        "capacitors=65J (each accelerator), battery=30kJ (the rack). Repeatable.",
        "floor=0.8",
        unit="smoothing",
        option="--smooth",
    )

    @classmethod
    def of(cls, given: Site | Mapping[str, Any] | None, **more: Any) -> Site:
        """Return a site from its fields, those of `more` that are not None included.

        >>> Site.of({"supply_c": 20.0}, power_cap_w=500.0, media=None).power_cap_w
        500.0

        Raises
        ------
        UnknownName, InvalidInput
            For a field that sites do not have, a value of another type, a field given twice.
        """
        extra = {name: value for name, value in more.items() if value is not None}
        base = given if isinstance(given, Site) else record(cls, given or {}, "site")
        if isinstance(given, Mapping) and (twice := sorted(extra.keys() & given.keys())):
            raise InvalidInput(f"{twice[0]} is given by itself and in site; give it once")
        whole = {one.name: getattr(base, one.name) for one in fields(cls)}
        return record(cls, whole | extra, "site")

    @property
    def smooths(self) -> Smoothing | None:
        """What stands between rack and hall; None for nothing."""
        return record(Smoothing, self.smoothing, "smoothing") if self.smoothing else None

    def at(self, chassis: Chassis) -> Chassis:
        """Return a chassis at the site: its coolant or air, what smooths its power.

        Raises
        ------
        InvalidInput
            For air that nothing could make right, or a flow of liquid where there is none.
        """
        chassis = replace(chassis, smoothing=self.smooths)
        if chassis.cooling != "air":
            return replace(
                chassis,
                supply_c=chassis.supply_c if self.supply_c is None else self.supply_c,
                rise_k=chassis.rise_k if self.rise_k is None else self.rise_k,
                flow_lpm=self.flow_lpm,
            )
        if self.flow_lpm is not None:
            raise InvalidInput(
                f"coolant: {chassis.name} is cooled by air and has no flow of liquid;"
                " leave flow_lpm out"
            )
        inlet_c = chassis.air_inlet_c if self.supply_c is None else self.supply_c
        rise_k = chassis.air_rise_k if self.rise_k is None else self.rise_k
        if not -30.0 <= inlet_c <= 60.0:
            raise InvalidInput(f"air: expected a supply between -30 and 60 C, found {inlet_c:g}")
        if not 1.0 <= rise_k <= 60.0:
            raise InvalidInput(f"air rise: expected 1 to 60 K, found {rise_k:g}")
        return replace(chassis, air_inlet_c=inlet_c, air_rise_k=rise_k)
