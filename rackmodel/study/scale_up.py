"""One accelerator, many machines: the scale-up domain, NICs and fabric varied one at a time.

In:  sizes (domain, NIC rate, oversubscription, ...), a model, accelerators.
Out: `machine`, the GB200 rack with only those changed; `point`, one row of the study.
Left out: which points to look at (the specs in benchmarks/), verdicts (`claims`).

Every machine has the same GB200, the same 900 GB/s of NVLink and as many switch chips as its
domain needs: one tier of 72-port chips up to 72 accelerators, above that two tiers without
oversubscription, the upper one on optics because it leaves the rack. The fabric has the same shape
whatever the domain: 32 NICs to a leaf, two tiers up to 4,608 accelerators (at 400 Gb/s).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import gcd
from typing import TYPE_CHECKING, Any

from rackmodel.errors import CannotRun, InvalidInput, UnknownName
from rackmodel.study.filters import Value
from rackmodel.study.spec import FlatJob, Kind

if TYPE_CHECKING:
    from rackmodel.hardware import Catalog
    from rackmodel.simulate.result import Result
    from rackmodel.topology import Topology

FIELDS: dict[str, Kind] = {
    "model": "str",
    "gpus": "int",
    "global_batch": "int",
    "seq_len": "int",
    "precision": "str",
    "domain": "int",
    "nic_gbps": "float",
    "oversubscription": "float",
    "routing": "str",
    "medium": "str",
    "network": "str",
    "hbm_bandwidth": "float",
    "hbm_capacity": "float",
    "plans": "int",  # only the first so many of the model's plans
}

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
    8: (8, 32, 18), 16: (16, 32, 9), 36: (18, 16, 8), 72: (18, 8, 8), 144: (18, 4, 8),
    288: (18, 2, 8), 576: (18, 1, 8),
}  # fmt: skip
DOMAINS = tuple(_CHIPS)

NETWORKS = ("nvlink-infiniband", "nvlink-ethernet", "ualink-ethernet")

# A few sensible plans of each model; the engine tells which is best on a machine.
PLANS: dict[str, tuple[dict[str, Any], ...]] = {
    "llama3-70b": (
        {"tp": 2, "pp": 2, "vpp": 4},
        {"tp": 2, "sharding": "zero3"},
        {"tp": 4, "pp": 2, "vpp": 4},
        {"tp": 2, "pp": 4, "vpp": 5},
    ),
    "llama3.1-405b": (
        {"tp": 8, "pp": 6, "vpp": 3},
        {"tp": 4, "sharding": "zero3"},
        {"tp": 8, "pp": 3, "vpp": 7},
        {"tp": 8, "pp": 2, "vpp": 9},
        {"tp": 16, "pp": 3, "vpp": 7},
    ),
    "megatron-1t": (
        {"tp": 8, "pp": 8, "vpp": 4},
        {"tp": 16, "pp": 4, "vpp": 4},
        {"tp": 8, "sharding": "zero3"},
        {"tp": 32, "pp": 4, "vpp": 4},
    ),
    "deepseek-v3": (
        {"ep": 16, "pp": 6},
        {"ep": 64, "pp": 3},
        {"ep": 64, "pp": 4},
        {"ep": 64, "pp": 2, "tp": 2},
        {"ep": 8, "pp": 8},
    ),
    "gpt4-moe-1.8t": (
        {"tp": 8, "ep": 16, "pp": 6, "vpp": 4},
        {"tp": 8, "ep": 8, "pp": 8, "vpp": 3},
        {"tp": 4, "ep": 16, "pp": 8, "vpp": 3},
    ),
    "moe-67t": ({"tp": 8, "pp": 16, "ep": 128, "etp": 4},),
}


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
    from rackmodel.topology import load_topology

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
            "nics.link": "ib-xdr", "nics.part": "connectx-8", "fabric.switch": "quantum-x800",
            "nics.host_link": "pcie6-x16",
        }  # fmt: skip
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
            raise InvalidInput(f"{network} has 800 Gb/s; got {nic_gbps:g} Gb/s")
        changes |= {
            "nics.link": "uec-800", "fabric.switch": "tomahawk6",
            "fabric.spine_switch": "tomahawk6", "fabric.core_switch": "tomahawk6",
            "fabric.group_pods": 2,  # 128 ports on a spine where Quantum-X800 has 144
        }  # fmt: skip
    if network.startswith("ualink"):
        if domain != 72:
            raise InvalidInput(f"{network} has a domain of 72 accelerators; got {domain}")
        changes |= {  # 9 links of 100 GB/s where NVLink has 18 of 50
            "shape.link": "ualink1-x4", "shape.switch": "ualink-100t", "shape.switches": 9,
        }  # fmt: skip
    return changes


def more_switches(domain: int, accelerators: float) -> float:
    """First-tier switch chips beyond the 18 of an NVL72 rack, which its chassis holds.

    >>> more_switches(576, 576), more_switches(72, 576)
    (144.0, 0.0)
    """
    return accelerators / 72 * 18 if domain > 72 else 0.0


@dataclass(frozen=True, slots=True)
class Best:
    """The fastest of some plans."""

    result: Result
    plan: Mapping[str, Any]
    tried: int


def best_of(
    topology: Topology,
    model: str,
    gpus: int,
    global_batch: int,
    seq_len: int,
    plans: Sequence[Mapping[str, Any]],
    *,
    precision: str = "bf16",
    catalog: Catalog | None = None,
    routing: str = "spray",
    stack: str = "default",
) -> Best:
    """Simulate each plan, with the least recompute that fits, and return the fastest.

    Expert groups that leave their domain dispatch as DeepEP does: a token goes to each domain
    once.

    Raises
    ------
    CannotRun
        If none of the plans runs, with the first reason.
    """
    from rackmodel import door, hardware
    from rackmodel.workload import Job, Plan, load_model
    from rackmodel.workload.memory import least_recompute

    parts = catalog or hardware.load_catalog()
    hbm_bytes = hardware.accelerator(topology.accelerator, parts).hbm_bytes
    found: Best | None = None
    reason: CannotRun | None = None
    for fields in plans:
        words = _dispatch(dict(fields), topology.domain_accelerators)
        try:
            plan = Plan(**words).complete(gpus, global_batch)
            job = Job(
                model=load_model(model), plan=plan, seq_len=seq_len, global_batch=global_batch,
                precision=precision, stack=stack,
            )  # fmt: skip
            job = least_recompute(job, hbm_bytes)
            result = door.run(topology, job, catalog=parts, routing=routing)
        except CannotRun as error:
            reason = reason or error
            continue
        if found is None or result.step_s < found.result.step_s:
            found = Best(result, words, len(plans))
    if found is None:
        raise reason or CannotRun("no plan was given")
    return found


def _dispatch(plan: dict[str, Any], domain: int) -> dict[str, Any]:
    """The plan with DeepEP's dispatch where an expert group is larger than a domain."""
    ep = plan.get("ep", 1)
    inside = gcd(ep, 1 << (domain.bit_length() - 1))  # whole groups of a power of two
    if ep > 1 and inside < ep:
        plan |= {"dispatcher": "deepep", "dispatch_domain": inside}
    return plan


def point(flat: FlatJob) -> dict[str, Value]:
    """One row of the study: the best plan on one machine, with what it costs.

    flat : values of `FIELDS`; hbm_bandwidth and hbm_capacity are factors on GB200's. More bandwidth
    comes at the same watts, as from one generation of HBM to the next.

    Raises
    ------
    CannotRun
        If no plan of the model runs there.
    """
    model = str(flat["model"])
    if model not in PLANS:
        raise UnknownName.among("model of the study", model, PLANS)
    domain, gpus = int(flat.get("domain") or 72), int(flat["gpus"] or 0)
    catalog = _parts(float(flat.get("hbm_bandwidth") or 1), float(flat.get("hbm_capacity") or 1))
    topology = machine(
        domain,
        nic_gbps=float(flat.get("nic_gbps") or 400),
        oversubscription=float(flat.get("oversubscription") or 1),
        medium=str(flat.get("medium") or "pluggable"),
        network=str(flat.get("network") or NETWORKS[0]),
        catalog=catalog,
    )
    seq_len = int(flat.get("seq_len") or 4096)
    plans = plans_for(model, seq_len)[: int(flat.get("plans") or 99)]
    best = best_of(
        topology, model, gpus, int(flat.get("global_batch") or gpus), seq_len, plans,
        precision=str(flat.get("precision") or "bf16"), catalog=catalog,
        routing=str(flat.get("routing") or "spray"),
    )  # fmt: skip
    return row_of(best.result, domain, catalog) | {
        "plan": " ".join(f"{name}={value}" for name, value in best.plan.items())
    }


def plans_for(model: str, seq_len: int) -> list[dict[str, Any]]:
    """The model's plans, with context parallelism so that a rank keeps 16k tokens at most."""
    cp = max(1, seq_len // 16384)
    return [{**plan, "cp": cp} if cp > 1 else dict(plan) for plan in PLANS[model]]


@lru_cache(maxsize=8)
def _parts(bandwidth: float, capacity: float) -> Catalog:
    from rackmodel.hardware import load_catalog

    shipped = load_catalog()
    part = shipped.accelerators["gb200"]
    changes: dict[str, object] = {}
    if bandwidth != 1:  # at the same watts: else the power cap takes back in clock what HBM gives
        changes["accelerators.gb200.hbm_bytes_per_s"] = part.hbm_bytes_per_s * bandwidth
        energy = part.power.e_hbm_j_per_byte / bandwidth
        changes["accelerators.gb200.power.e_hbm_j_per_byte"] = energy
    if capacity != 1:
        changes["accelerators.gb200.hbm_bytes"] = part.hbm_bytes * capacity
    return load_catalog(overrides=changes) if changes else shipped


def row_of(result: Result, domain: int, catalog: Catalog) -> dict[str, Value]:
    """Figures of one simulated machine; the switches that its chassis lacks are added."""
    done = result.assessment
    cost, power = done["cost"], done["power"]
    gpus = result.step.job.gpus
    chip = catalog.switches["nvswitch4"]
    chips = more_switches(domain, gpus)
    usd = float(catalog.prices["nvswitch4"]["capex_usd"].value) * chips
    watts = chip.power_w * chips
    share = 1.0 + usd / cost["capital_usd"] * _fixed(cost) + watts / power["it_w"] * _energy(cost)
    parts = result.breakdown_s
    exposed = {name: parts.get(name, 0.0) for name in ("tp", "cp", "ep", "pp", "bubble")}
    return {
        "step_s": result.step_s,
        "step_s_low": result.step_s_low,
        "step_s_high": result.step_s_high,
        "tokens_per_s_per_gpu": result.tokens_per_s_per_gpu,
        "mfu": result.mfu,
        "bound_by": result.bound_by,
        **{f"{name}_share": seconds / result.step_s for name, seconds in exposed.items()},
        "dp_share": sum(parts.get(k, 0.0) for k in ("dp", "dp_cp", "edp")) / result.step_s,
        "hbm_bandwidth_utilisation": result.hbm_bandwidth_utilisation,
        "usd_per_mtoken": cost["usd_per_mtoken"] * share,
        "usd_per_mtoken_low": cost["usd_per_mtoken_low"] * share,
        "usd_per_mtoken_high": cost["usd_per_mtoken_high"] * share,
        "energy_j_per_token": done["energy_j_per_token"] + watts * result.step_s
        / result.step.job.tokens,
        "capital_usd_per_gpu": (cost["capital_usd"] + usd) / gpus,
        "it_w_per_gpu": (power["it_w"] + watts) / gpus,
        "rack_heat_w": max(float(rack["heat_w"]) for rack in done["racks"])
        + chip.power_w * more_switches(domain, 72),
    }  # fmt: skip


def _fixed(cost: Mapping[str, Any]) -> float:
    """Share of the hourly cost that goes with the price of the machine."""
    hourly = cost["per_hour_usd"]
    return float((hourly["depreciation"] + hourly["maintenance"]) / cost["usd_per_hour"])


def _energy(cost: Mapping[str, Any]) -> float:
    """Share of the hourly cost that goes with its power."""
    hourly = cost["per_hour_usd"]
    return float((hourly["energy"] + hourly["hall"]) / cost["usd_per_hour"])
