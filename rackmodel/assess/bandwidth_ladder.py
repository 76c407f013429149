"""What a byte per second is worth at every distance: GB/s, pJ/bit and dollars, tier by tier.

In:  a machine and the catalog.
Out: one row a tier: HBM, the scale-up domain, then as far as a leaf, a spine, a core switch.
Left out: what a transfer achieves (`network`); the price of HBM, which nobody sells apart.

A row holds all that a byte passes on its way: both ends, every cable, transceiver and switch up to
that tier, as the share of one accelerator at full load. NICs count with their watts, not with their
price, which stands in that of a chassis; that flatters the fabric.
"""

from __future__ import annotations

import math
from typing import Any

from rackmodel.annotations import DataFrame
from rackmodel.assess.chassis import Level
from rackmodel.assess.cost import switch_usd
from rackmodel.assess.media import media_rows
from rackmodel.columns import frame_of
from rackmodel.hardware import Catalog
from rackmodel.topology import Tier, Topology

ACCELERATORS = 8 * 576  # enough for every tier of the shipped fabrics
HBM_REACH_M = 0.01  # assumed: a stack stands beside the die
ENDS: tuple[tuple[str, Level], ...] = (("usd", "mid"), ("usd_low", "low"), ("usd_high", "high"))
#: Tier of cables -> (name, tier of the switches above them).
OUTSIDE = {
    Tier.NIC_LEAF: ("leaf", Tier.LEAF),
    Tier.LEAF_SPINE: ("spine", Tier.SPINE),
    Tier.SPINE_CORE: ("core", Tier.CORE),
}


def tiers(machine: Topology, catalog: Catalog) -> list[dict[str, Any]]:
    """Return the tiers of a machine, nearest first.

    Returns
    -------
    rows with machine, name, tier (hbm, scale-up, scale-out), reach_m, bytes_per_s (one direction of
    one accelerator), watts (of one accelerator's share), j_per_bit, and where prices are known usd,
    usd_low, usd_high and usd_per_gb_per_s.
    """
    part = catalog.accelerators[machine.accelerator]
    size = min(ACCELERATORS, machine.max_accelerators or ACCELERATORS)
    parts = machine.inventory(size)
    links = frame_of(media_rows(parts, catalog))
    present = float(parts.loc[parts["part_kind"] == "accelerator", "count"].sum())
    share = _Share(parts, links, catalog, present)

    rows = [
        _row(
            machine,
            "HBM",
            "hbm",
            HBM_REACH_M,
            part.hbm_bytes_per_s,
            part.power.e_hbm_j_per_byte * part.hbm_bytes_per_s,
        )
    ]
    inner = part.scale_up_bytes_per_s
    if machine.scale_up is not None:
        inner = machine.scale_up.accelerator_bytes_per_s
    if inner:
        wires = links[links["tier"].str.startswith(Tier.SCALE_UP)]
        serdes = part.power.e_link_j_per_byte * inner
        inside = share.of(list(wires["tier"].unique()), Tier.SCALE_UP)
        reach = float(wires["length_m"].max()) if len(wires) else 0.5
        rows.append(
            _row(
                machine,
                "scale-up",
                "scale-up",
                reach,
                inner,
                serdes + inside["watts"],
                inside,
            )
        )
    if machine.nics is None or not machine.nic_bytes_per_s:
        return rows
    sums = {"watts": _nic_watts(machine, catalog), **{name: 0.0 for name, _ in ENDS}}
    reach = 0.0
    for tier, (name, switches) in OUTSIDE.items():
        wires = links[links["tier"] == tier]
        if wires.empty:
            continue
        more = share.of([tier], switches)
        sums = {key: sums[key] + more[key] for key in sums}
        reach += 2 * float(wires["length_m"].max())  # up and down again
        rate = min(machine.nic_bytes_per_s, float(_rate(wires)) / present)
        rows.append(_row(machine, name, "scale-out", reach, rate, sums["watts"], sums))
    return rows


def _nic_watts(machine: Topology, catalog: Catalog) -> float:
    """Watts of an accelerator's NICs, where its chassis tells them."""
    fact = (catalog.chassis.get(machine.chassis) or {}).get("nic")
    return float(fact.value) / machine.chassis_accelerators if fact is not None else 0.0


def _rate(wires: DataFrame) -> float:
    """One direction of all cables of a tier. [bytes/s]"""
    return float((wires["ends"] / 2 * wires["bytes_per_s"]).sum())


def _row(
    machine: Topology,
    name: str,
    tier: str,
    reach_m: float,
    bytes_per_s: float,
    watts: float,
    prices: dict[str, float] | None = None,
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "machine": machine.name,
        "name": name,
        "tier": tier,
        "reach_m": reach_m,
        "bytes_per_s": bytes_per_s,
        "watts": watts,
        "j_per_bit": watts / bytes_per_s / 8,
    }
    if prices is not None and prices["usd"] > 0:  # NaN: a switch without a price
        row |= {key: prices[key] for key, _ in ENDS}
        row["usd_per_gb_per_s"] = prices["usd"] / (bytes_per_s / 1e9)
    return row


class _Share:
    """One accelerator's share of the parts of a machine."""

    def __init__(
        self, parts: DataFrame, links: DataFrame, catalog: Catalog, present: float
    ) -> None:
        self.parts, self.links, self.catalog, self.present = parts, links, catalog, present

    def of(self, cables: list[str], switches: str) -> dict[str, float]:
        """Watts and dollars of tiers of cables and of the switches on top of them."""
        wires = self.links[self.links["tier"].isin(cables)]
        wanted = (self.parts["part_kind"] == "switch") & self.parts["tier"].str.startswith(switches)
        watts = float(wires["watts"].sum())
        prices = {name: float(wires["usd"].sum()) for name, _ in ENDS}
        for name, count in zip(
            self.parts[wanted]["part"], self.parts[wanted]["count"], strict=True
        ):
            watts += self.catalog.switches[str(name)].power_w * float(count)
            for key, level in ENDS:
                usd = switch_usd(self.catalog, str(name), level)  # None: nobody has printed one
                prices[key] += math.nan if usd is None else usd * float(count)
        return {"watts": watts / self.present, **{k: v / self.present for k, v in prices.items()}}
