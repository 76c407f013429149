"""GB200 machines of which only the scale-up domain, the NICs or the fabric differ.

In:  accelerators of a domain, NIC rate, oversubscription, medium, whose wires.
Out: `machine`.
Left out: jobs (`scale_up`).

Every machine has the same GB200, the same 900 GB/s of NVLink and as many switch chips as its
domain needs: one tier of 72-port chips up to 72 accelerators, above that two tiers without
oversubscription, the upper one on optics because it leaves the rack. The fabric has the same shape
whatever the domain: 32 NICs to a leaf, two tiers up to 4,608 accelerators (at 400 Gb/s).
"""

from __future__ import annotations

from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.hardware import Catalog
from rackmodel.topology import Topology, load_topology

# Switch chips of one domain. Chips have 72 ports; a GB200 has 18 links. Above 72: groups of 36
# accelerators, half of every first chip's ports up to second-tier chips.
_CHIPS: dict[int, dict[str, object]] = {
    8: {"switches": 2, "links": 9, "trays": 1},
    16: {"switches": 6, "links": 3, "trays": 3},
    36: {"switches": 9, "links": 2, "trays": 9},
    72: {},
    144: {"groups": 4, "spines": 2, "spine_links": 18},
    288: {"groups": 8, "spines": 4, "spine_links": 9},
    576: {"groups": 16, "spines": 9, "spine_links": 4},
}
# Rails, domains to a pod (so that 32 NICs go to each leaf), pods to a set of spines: 4,608
# accelerators stand on two tiers of equally many switches whatever the domain.
_PODS = {
    8: (8, 32, 18),
    16: (16, 32, 9),
    36: (18, 16, 8),
    72: (18, 8, 8),
    144: (18, 4, 8),
    288: (18, 2, 8),
    576: (18, 1, 8),
}
DOMAINS = tuple(_CHIPS)

NETWORKS = ("nvlink-infiniband", "nvlink-ethernet", "ualink-ethernet")


def machine(
    domain: int = 72,
    *,
    nic_gbps: float = 400.0,
    oversubscription: float = 1.0,
    medium: str = "pluggable",
    network: str = NETWORKS[0],
    catalog: Catalog | None = None,
) -> Topology:
    """Return GB200 machines of which only the named things differ.

    Parameters
    ----------
    domain : accelerators of a scale-up domain, one of `DOMAINS`.
    nic_gbps : scale-out rate of one accelerator: 200, 400, 800 or 1600. [Gb/s, one direction]
    oversubscription : of the leaves, down over up.
    medium : of the upper NVLink tier, in domains above 72.
    network : which wires, one of `NETWORKS`: NVLink or UALink of the same rate inside (domains up
        to 72), InfiniBand or Ultra Ethernet outside (800 Gb/s).

    Raises
    ------
    InvalidInput
        If there is no such machine, with those there are.

    Examples
    --------
    >>> machine(8).domain_accelerators, machine(576, nic_gbps=800).nic_bytes_per_s
    (8, 100000000000.0)
    """
    if domain not in _CHIPS:
        raise InvalidInput(f"domain of {domain} accelerators: choose one of {sorted(_CHIPS)}")
    if nic_gbps not in (200, 400, 800, 1600):
        raise InvalidInput(f"{nic_gbps:g} Gb/s: choose 200, 400, 800 or 1600")
    rails, units, group = _PODS[domain]
    changes: dict[str, object] = {
        f"shape.{key}": value for key, value in _CHIPS[domain].items()
    } | {"shape.accelerators": domain, "fabric.oversubscription": oversubscription}
    changes["fabric.spine_switch"] = "quantum-x800"
    if nic_gbps >= 800:
        changes |= {
            "nics.link": "ib-xdr",
            "nics.part": "connectx-8",
            "fabric.switch": "quantum-x800",
            "nics.host_link": "pcie6-x16",
        }
        group //= 2  # half as many ports on a spine
    if nic_gbps == 200:  # ports of 400 Gb/s split in two
        changes["nics.link_bytes_per_s"] = "200 Gb/s"
    if nic_gbps == 1600:  # two NICs each, on twice the rails
        changes["nics.per_host"] = 8
        rails *= 2
        group //= 2
    if domain > 72:
        changes |= {"shape.upper_medium": medium, "shape.upper_length_m": 10.0}
        if medium == "aec":
            changes["shape.upper_length_m"] = 5.0
    changes |= {"fabric.rails": rails, "fabric.pod_units": units, "fabric.group_pods": group}
    changes |= _wires(network, domain, nic_gbps)
    return load_topology("gb200-nvl72", overrides=changes, catalog=catalog)


def _wires(network: str, domain: int, nic_gbps: float) -> dict[str, object]:
    """Changes for other wires than NVLink and InfiniBand."""
    if network not in NETWORKS:
        raise UnknownName.among("network", network, NETWORKS)
    changes: dict[str, object] = {}
    if network.endswith("ethernet"):
        if nic_gbps != 800:
            raise InvalidInput(f"{network} has 800 Gb/s; got {nic_gbps:g} Gb/s, give 800")
        changes |= {
            "nics.link": "uec-800",
            "fabric.switch": "tomahawk6",
            "fabric.spine_switch": "tomahawk6",
            "fabric.core_switch": "tomahawk6",
            "fabric.group_pods": 2,  # 128 ports on a spine where Quantum-X800 has 144
        }
    if network.startswith("ualink"):
        if domain != 72:
            raise InvalidInput(f"{network} has a domain of 72 accelerators; got {domain}, give 72")
        changes |= {  # 9 links of 100 GB/s where NVLink has 18 of 50
            "shape.link": "ualink1-x4",
            "shape.switch": "ualink-100t",
            "shape.switches": 9,
        }
    return changes
