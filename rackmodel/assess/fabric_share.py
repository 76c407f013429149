"""A job's share of a fabric that has more ports than the job fills.

In:  the inventory frame of a machine as a job finds it, and the catalog's switches.
Out: the same frame with switches and links between them count_of by the share that the job uses;
     `Installed`, all that a job bears.
Left out: what others do with the rest.

Eight accelerators on a rail-optimised fabric touch eight leaf switches, each with one of its ports;
to charge them with eight switches and all of their uplinks would make every small job look absurd.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from rackmodel.assess.chassis import Chassis
from rackmodel.assess.media import Fabric, count_of, fabric_power, media_rows, more_switches
from rackmodel.assess.rack_power import powered_accelerators
from rackmodel.assess.site import Site
from rackmodel.columns import Columns, Table, floats, records
from rackmodel.hardware import Catalog
from rackmodel.topology.kinds import ABOVE_LEAVES, Tier

BEHIND_LEAVES = (*ABOVE_LEAVES, Tier.LEAF, Tier.SPINE, Tier.CORE)


def shares(inventory: Table, catalog: Catalog) -> dict[str, float]:
    """Return the share of each shared tier that the machine's own accelerators fill, 0 to 1.

    The fabric: rate of the links from NICs over the rate that the leaves' ports have left beside
    their uplinks. Circuit switches and a second scale-up tier: ports used over ports.
    """
    rate: dict[str, float] = {}
    ports: dict[str, float] = {}
    ocs = 0.0
    names = ("part_kind", "part", "tier", "medium", "link", "count", "bytes_per_s")
    for row in records(inventory, [name for name in names if name in inventory]):
        kind, tier, count = row["part_kind"], str(row["tier"]), float(row["count"])
        if kind == "cable":
            given = float(row.get("bytes_per_s") or 0.0)
            link = catalog.links.get(str(row["link"]))
            each = given or (link.bytes_per_s if link else 0.0)
            rate[tier] = rate.get(tier, 0.0) + count * each
            medium = catalog.media.get(str(row["medium"]))
            if tier == Tier.SCALE_UP and medium is not None and medium.kind == "optical":
                ocs += 2.0 * count  # a circuit switch passes the light on: one port at either side
        elif kind == "switch":
            known = catalog.switches.get(str(row["part"]))
            if known is not None:
                many = float(known.radix) * (1.0 if tier == Tier.OCS else known.port_bytes_per_s)
                ports[tier] = ports.get(tier, 0.0) + count * many
    found: dict[str, float] = {}
    uplinks = rate.get(Tier.LEAF_SPINE, 0.0) + 2.0 * rate.get(Tier.LEAF_LEAF, 0.0)
    left = ports.get(Tier.LEAF, 0.0) - uplinks
    if Tier.NIC_LEAF in rate and left > 0:
        share = min(1.0, rate[Tier.NIC_LEAF] / left)
        found |= dict.fromkeys(BEHIND_LEAVES, share)
    if ports.get(Tier.OCS) and ocs:
        found[Tier.OCS] = min(1.0, ocs / ports[Tier.OCS])
    if ports.get(Tier.SCALE_UP_TOP) and rate.get(Tier.SCALE_UP_TOP):
        found[Tier.SCALE_UP_TOP] = min(1.0, rate[Tier.SCALE_UP_TOP] / ports[Tier.SCALE_UP_TOP])
    return {tier: value for tier, value in found.items() if math.isfinite(value)}


def own_share(inventory: Table, found: dict[str, float], of_machine: float = 1.0) -> Columns:
    """Return the inventory with the counts of shared parts scaled.

    Links of a second scale-up tier are not scaled by its switches' share: they are count_of link by
    link already.

    of_machine : accelerators in the job's chassis over those that the inventory counts (a machine
        comes in whole scale-up domains); scales every row.
    """
    scale = [
        of_machine
        * (
            found.get(str(tier), 1.0)
            if kind == "switch" or (kind in ("cable", "transceiver") and tier in BEHIND_LEAVES)
            else 1.0
        )
        for kind, tier in zip(inventory["part_kind"], inventory["tier"], strict=True)
    ]
    own = {name: np.asarray(inventory[name]) for name in inventory}
    return {**own, "count": floats(inventory, "count") * scale}


class Installed(NamedTuple):
    """What stands for a job beside its accelerators.

    inventory : parts that the job bears; links : from `media_rows`, on the media of the site.
    leaves : share of the leaf switches that it fills.
    """

    inventory: Columns
    links: Columns
    fabric: Fabric
    leaves: float

    @classmethod
    def of(
        cls,
        inventory: Table,
        catalog: Catalog,
        site: Site,
        *,
        racks: Table,
        chassis: Chassis,
    ) -> Installed:
        """Return the parts of a machine that a job in these racks bears."""
        found, all_ = shares(inventory, catalog), count_of(inventory, "accelerator")
        billed = powered_accelerators(racks, chassis)
        own = own_share(inventory, found, min(1.0, billed / all_) if all_ else 1.0)
        links = media_rows(own, catalog, site.media, lengths_m=site.lengths_m)
        fabric = fabric_power(own, catalog, links)
        return cls(inventory=own, links=links, fabric=fabric, leaves=found.get(Tier.LEAF, 1.0))

    def equip(self, chassis: Chassis, used: int, catalog: Catalog) -> Chassis:
        """Return a chassis with the modules of these links, and the switch chips that it lacks.

        used : accelerators of the job.
        """
        present = count_of(self.inventory, "accelerator") or float(used)
        parts, added_w = dict(chassis.part_w), 0.0
        for name, count in more_switches(self.inventory, chassis):
            added_w += count * catalog.switches[name].power_w / present * chassis.accelerators
        if added_w:
            parts["switch"] = parts.get("switch", 0.0) + added_w
        if self.fabric.nic_optics_w is not None:
            parts["nic_optics"] = self.fabric.nic_optics_w / present * chassis.accelerators
        if self.fabric.rack_optics_w:
            parts["optics"] = self.fabric.rack_optics_w / present * chassis.accelerators
            added_w += parts["optics"]
        return replace(chassis, part_w=parts, added_w=added_w)
