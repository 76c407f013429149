"""Machines of one accelerator of which only the scale-up domain, the NICs or the fabric differ.

In:  an accelerator and the size of its domain, NIC rate, oversubscription, medium, whose wires,
     metres of fibre.
Out: `machine`.
Left out: how domains are sold (`sold_domains`), jobs (`scale_up`).

The fabric has the same shape whatever the domain: 32 NICs to a leaf, two tiers up to 9,216
accelerators (at 400 Gb/s).
"""

from __future__ import annotations

from rackmodel.argument.sold_domains import sold
from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.hardware import Catalog
from rackmodel.topology import Topology

DOMAINS = (8, 16, 36, 72, 144, 288, 576)
NETWORKS = ("nvlink-infiniband", "nvlink-ethernet", "ualink-ethernet")
WHOLE = 4608  # accelerators; machines of the study have a multiple or half of them
FIBRE_S_PER_M = 5e-9  # light in glass; source: PINGDO KENTINO


def machine(
    domain: int = 72,
    *,
    accelerator: str = "gb200",
    nic_gbps: float = 400.0,
    oversubscription: float = 1.0,
    upper: tuple[str, float] = ("cpo", 1.0),
    network: str = NETWORKS[0],
    distance_m: float = 0.0,
    catalog: Catalog | None = None,
) -> Topology:
    """Return machines of an accelerator of which only the named things differ.

    Parameters
    ----------
    domain : accelerators of a scale-up domain, one of `DOMAINS`.
    accelerator : id in the catalog; others than gb200 have the NICs and wires of their own machine.
    nic_gbps : scale-out rate of one accelerator: 200, 400, 800 or 1600. [Gb/s, one direction]
    oversubscription : of the leaves, down over up.
    upper : medium and taper of the upper NVLink tier, where copper ends.
    network : which wires, one of `NETWORKS`: NVLink or UALink of the same rate inside, InfiniBand
        or Ultra Ethernet outside (800 Gb/s).
    distance_m : fibre between two racks of different pods, beyond that of one hall: half of it
        before the spine, half after. [m]

    Raises
    ------
    InvalidInput
        If there is no such machine, with those there are.

    Examples
    --------
    >>> machine(8).domain_accelerators, machine(576, nic_gbps=800).nic_bytes_per_s
    (8, 100000000000.0)
    """
    if domain not in DOMAINS:
        raise InvalidInput(f"domain of {domain} accelerators: choose one of {sorted(DOMAINS)}")
    if nic_gbps not in (200, 400, 800, 1600):
        raise InvalidInput(f"{nic_gbps:g} Gb/s: choose 200, 400, 800 or 1600")
    UnknownName.check("network", network, NETWORKS)
    medium, taper = upper
    plain = sold(accelerator, domain, medium=medium, taper=taper)
    assert plain.fabric is not None
    assert plain.fabric.uplink is not None
    assert plain.host is not None
    changes: dict[str, object] = {
        "fabric.oversubscription": oversubscription,
        "fabric.pod_units": _whole_pods(plain.fabric.pod_units, domain),
    }
    if distance_m:
        far_s = plain.fabric.uplink.latency_s + distance_m / 2 * FIBRE_S_PER_M
        changes["fabric.uplink_latency_s"] = far_s
    changes |= _wires(plain, nic_gbps, network) if accelerator == "gb200" else {}
    link = "ualink1-x4" if network.startswith("ualink") else ""
    return sold(
        accelerator,
        domain,
        medium=medium,
        taper=taper,
        link=link,
        changes=changes,
        catalog=catalog,
    )


def _whole_pods(most: int, domain: int) -> int:
    """Return how many domains a pod has: as its leaves allow, and pods that divide `WHOLE`.

    A part-filled pod makes ranks differ that are alike otherwise: 288 kinds in place of 32 on A100,
    whose leaves have 20 ports down, of which pods of 18 hosts leave two free.
    """
    return next(units for units in range(most, 0, -1) if not WHOLE % (units * domain))


def _wires(plain: Topology, nic_gbps: float, network: str) -> dict[str, object]:
    """Return what NICs of that rate and those wires change in a file of GB200."""
    assert plain.fabric is not None
    assert plain.host is not None
    changes: dict[str, object] = {}
    if nic_gbps >= 800:
        changes |= {
            "nics.link": "ib-xdr",
            "nics.part": "connectx-8",
            "fabric.switch": "quantum-x800",
            "nics.host_link": "pcie6-x16",
        }
    if nic_gbps == 200:  # ports of 400 Gb/s split in two
        changes["nics.link_bytes_per_s"] = "200 Gb/s"
    if nic_gbps == 1600:  # two NICs each, on twice the rails
        changes["nics.per_host"] = 2 * plain.host.accelerators
        changes["fabric.rails"] = 2 * plain.fabric.rails
    if network.endswith("ethernet"):
        if nic_gbps != 800:
            raise InvalidInput(f"{network} has 800 Gb/s; got {nic_gbps:g} Gb/s, give 800")
        changes |= {
            "nics.link": "uec-800",
            "fabric.switch": "tomahawk6",
            "fabric.spine_switch": "tomahawk6",
            "fabric.core_switch": "tomahawk6",
        }
    return changes
