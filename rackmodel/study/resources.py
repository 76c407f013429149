"""A machine with one resource scaled: more FLOP/s, faster links, a larger domain.

In:  a topology, a catalog, the name of a resource, a factor.
Out: topology and catalog with that resource scaled and nothing else.
Left out: what it does to a step (`sensitivity`).

Links are scaled on the network, so every machine can be asked, also one that a user made by hand.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from rackmodel.errors import CannotRun, InvalidInput, UnknownName
from rackmodel.hardware import Accelerator, Catalog
from rackmodel.hardware.power_model import sustained_clock
from rackmodel.kernels.kernel_constants import kernel_constants
from rackmodel.network import Network
from rackmodel.topology import Topology, changed
from rackmodel.topology.kinds import FABRIC_SWITCHES, Kind

RESOURCES = (
    "flops_per_s",
    "hbm_bytes_per_s",
    "hbm_bytes",
    "scale_up_bytes_per_s",
    "nic_bytes_per_s",
    "fabric_bytes_per_s",  # of the tiers above the NICs' switches: 1 / oversubscription
    "latency_s",
    "domain_accelerators",
    "power_w",
    "host_launches_per_s",
)
_OUTSIDE = (*FABRIC_SWITCHES, Kind.NIC)


class ScaledLinks:
    """A topology whose networks have some links faster and some delays shorter."""

    def __init__(self, machine: Topology, resource: str, factor: float) -> None:
        self.plain, self._resource, self._factor = machine, resource, factor

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)

    def tiers_of(self, accelerators: int) -> ScaledLinks:
        """The machine with the tiers that so many need, scaled as this one."""
        return ScaledLinks(self.plain.tiers_of(accelerators), self._resource, self._factor)

    def graph(self, accelerators: int, *, bundled: bool = False) -> None:
        """Refuse: rates are scaled on networks (`engine.networks.network_of`)."""
        raise CannotRun("a machine with scaled links has no graph; ask for its network")

    def scaled(self, network: Network) -> Network:
        """The plain machine's network, scaled."""
        if self._resource == "latency_s":
            return replace(network, latency_s=network.latency_s * self._factor, _cache={})
        kinds = network.node_kinds
        ends = [(kinds[a], kinds[b]) for a, b in zip(network.tail, network.head, strict=True)]
        chosen = np.array([_is_scaled(self._resource, pair) for pair in ends], dtype=bool)
        times = np.where(chosen, self._factor, 1.0)
        capacity, nominal = network.capacity * times, network.nominal * times
        return replace(network, capacity=capacity, nominal=nominal, _cache={})


def _is_scaled(resource: str, ends: tuple[str, str]) -> bool:
    outside = any(end in _OUTSIDE for end in ends)
    above = all(end in FABRIC_SWITCHES for end in ends)
    if resource == "scale_up_bytes_per_s":
        return not outside
    return above if resource == "fabric_bytes_per_s" else outside and not above


def scale(
    machine: Topology, catalog: Catalog, resource: str, factor: float
) -> tuple[Topology, Catalog]:
    """Return machine and catalog with one resource times `factor`.

    Raises
    ------
    UnknownName
        If there is no such resource.
    CannotRun
        If this machine can't have it scaled: a domain whose size the description does not give.
    """
    UnknownName.check("resource", resource, RESOURCES)
    if not factor > 0:
        raise InvalidInput(f"a resource can't be scaled by {factor}; give a factor above 0")
    if resource == "domain_accelerators":
        return _larger_domain(machine, catalog, factor), catalog
    if resource == "host_launches_per_s":
        return machine, replace(catalog, host_speed=catalog.host_speed * factor)
    part = catalog.accelerators[machine.accelerator]
    scaled = scale_part(part, resource, factor)
    if scaled is not None:
        parts = {**catalog.accelerators, part.name: scaled}
        return machine, replace(catalog, accelerators=parts)
    linked: Any = ScaledLinks(machine, resource, factor)
    return linked, catalog


def scale_part(part: Accelerator, resource: str, factor: float) -> Accelerator | None:
    """The accelerator with one of its own figures scaled; None if the resource is not its own."""
    if resource == "flops_per_s":
        flops = {name: rate * factor for name, rate in part.flops_per_s.items()}
        return replace(part, flops_per_s=flops)
    if resource in ("hbm_bytes", "hbm_bytes_per_s"):
        return replace(part, **{resource: getattr(part, resource) * factor})
    if resource == "power_w":
        return _with_power(part, factor)
    return None


def _with_power(part: Accelerator, factor: float) -> Accelerator:
    """More power is a higher sustained clock, as far as the part can use it."""
    capped = replace(part, power_w=part.power_w * factor)
    constants = kernel_constants()["clock"]
    if constants["reference"].get(part.family) != part.name:
        return capped  # kernel times work its clock out themselves
    # Kernel times of a family are fitted on this part at its own clock: tell them by its peak.
    training = {name: float(constants[name]) for name in ("duty", "hbm_bytes_per_flop", "hot")}
    flops = {
        name: rate
        * sustained_clock(capped, name, **training)
        / sustained_clock(part, name, **training)
        for name, rate in part.flops_per_s.items()
    }
    return replace(capped, flops_per_s=flops)


def _larger_domain(machine: Topology, catalog: Catalog, factor: float) -> Topology:
    """The machine with domains of another size; its switch chips get as many more ports."""
    size = round(machine.domain_accelerators * factor)
    chip = getattr(machine.scale_up, "switch", "")
    if chip not in catalog.switches or size < 1:
        raise CannotRun(f"the scale-up domain of {machine.name} has no switch to enlarge")
    part = catalog.switches[chip]
    ports = replace(part, radix=math.ceil(part.radix * max(1.0, factor)))
    larger = replace(catalog, switches={**catalog.switches, chip: ports})
    changes: dict[str, object] = {"shape.accelerators": size}
    units = getattr(machine.fabric, "pod_units", 0)
    if units:  # a pod keeps its accelerators, so its leaves keep their ports
        changes["fabric.pod_units"] = max(1, round(units / factor))
    try:
        return changed(machine, changes, larger)
    except InvalidInput as error:
        raise CannotRun(f"the domain of {machine.name} can't be scaled: {error}") from None
