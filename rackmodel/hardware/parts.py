"""What can be bought: parts as plain frozen data, in SI, with the source of every number.

In:  nothing; `catalog.load_catalog` fills these from the TOML tables.
Out: Accelerator, Link, Transport, Switch, Medium; the Quantity and Provenance of their values.
Left out: how parts are joined (topology), how fast kernels run on them (simulate).

Peak rates are dense (no structured sparsity). Link and memory bandwidths count one direction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import NamedTuple

GRADES = ("datasheet", "measured", "derived", "assumed", "override")
"""How well a value is known, best first; "override" is a user's own value."""
DEFAULT_TRANSPORT = "roce"  # of network ports that do not say theirs


class Provenance(NamedTuple):
    """Where one value comes from, and how far it may be off.

    source : keys in data/sources.toml, joined by spaces; "user" for overrides.
    grade : one of `GRADES`.
    low, high : bounds in the unit of the value, None where nobody gave any.
    """

    source: str
    grade: str
    note: str = ""
    low: float | None = None
    high: float | None = None


class Quantity(NamedTuple):
    """One value of a table with its bounds and its source, in SI or the unit of the field's name.

    `low` and `high` equal `value` where no bounds are given. A text has `text`, and NaN as value so
    that arithmetic with it cannot pass unseen.
    """

    value: float
    low: float
    high: float
    source: str = ""
    grade: str = "assumed"
    note: str = ""
    year: int | None = None
    text: str = ""
    flag: bool = False  # the value was written as true or false

    @property
    def provenance(self) -> Provenance:
        """Return what is known about the value, without the value."""
        bounded = self.low != self.high and not self.text
        low, high = (self.low, self.high) if bounded else (None, None)
        return Provenance(self.source, self.grade, self.note, low, high)


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerModel:
    """Constants of an accelerator's power; the form is

    P = idle_w [1 + leak_per_k (Tj - 35)] + (act_w a + S) x v^2 + sum(e_flop_j F) v^2
    + e_hbm_j_per_byte B + e_link_j_per_byte L,

    x : clock over reference clock; v = max(voltage_floor, 1 - dvfs_slope (1 - x)) down to the clock
        dvfs_knee; below it v falls by dvfs_low_slope: near their highest clocks parts ask for ever
        more volts, far below for hardly fewer.
    a : 1 computing or HBM-bound, `act_collective` in an exposed collective, `act_wait` waiting,
        0 idle.
    F : FLOP/s = gemm_eta peak_ref x when compute-bound; B : HBM bytes/s; L : link bytes/s, the sum
        of both ways.
    peak_ref : peak at the reference clock = flops_per_s / peak_clock_ratio.
    S : act_stall e_flop_j gemm_eta peak_ref times the share of time that a kernel holds the matrix
        units while their operands are late: neither F at its best rate nor B explains it.
    """

    idle_w: float  # at 35 C junction
    act_w: float  # resident kernel, clocks and caches at the reference clock
    e_flop_j: Mapping[str, float]  # by number format, J/FLOP at reference clock and voltage
    e_hbm_j_per_byte: float
    e_link_j_per_byte: float  # this end of the link only
    link_always_on: float  # share of link power that is drawn without traffic
    gemm_eta: Mapping[str, float]  # best GEMM over peak at a fixed clock
    clock_ref_hz: float | None
    peak_clock_ratio: float  # clock at which the peak is quoted, over the reference clock
    clock_max_ratio: float  # highest clock over the reference clock
    dvfs_slope: float
    dvfs_knee: float
    dvfs_low_slope: float
    voltage_floor: float
    cap_window_s: float  # the cap acts on the mean over this time
    cap_fitted: float  # lowest cap over the own one that measurements reach
    peak_ratio: float  # of a moment's power over the cap: the electrical limit of the part
    matrix_rows: float  # of a product that matrix units work on at once: fewer are padded
    leak_per_k: float
    act_wait: float
    act_collective: float
    act_stall: float  # of full matrix power, while operands are late
    data_toggle: float  # share of bits that toggle, 1 for random operands


@dataclass(frozen=True, slots=True, kw_only=True)
class ThermalModel:
    """Constants of an accelerator's temperature: Tj = T_supply + rise/2 + R P.

    r_k_per_w : junction to coolant, by cooling ("air", "cold-plate", "immersion"). [K/W]
    R = die_share R + (1 - die_share) R (flow / design flow)^-flow_exponent.
    """

    r_k_per_w: Mapping[str, float]
    limit_c: float  # junction temperature at which the part throttles
    die_share: float
    flow_exponent: float
    tau_die_s: float
    tau_plate_s: float
    tau_air_s: float
    tau_loop_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One accelerator package, as its data sheet gives it.

    Peak rates are dense; link rates count one direction. One package counts as one accelerator,
    however many `dies` it holds.
    """

    name: str
    title: str
    vendor: str
    year: int
    status: str  # "available" or "announced"
    family: str  # nvidia-hopper, amd-cdna3, tpu, ...
    dies: int
    flops_per_s: Mapping[str, float]  # by number format: {"bf16": 2.5e15}
    hbm_bytes: float  # as drivers tell it: GiB where a data sheet says GB
    hbm_bytes_per_s: float
    hbm_type: str
    compute_units: int  # SMs, CUs, tensor cores, matrix engines
    clock_hz: float | None  # where the peak is quoted
    l2_bytes: float | None  # last cache level before HBM
    scale_up_link: str  # id of a Link
    scale_up_links: int
    scale_up_bytes_per_s: float  # one direction, all links
    max_scale_up_domain: int | None
    power_w: float  # cap
    host_link: str  # id of a Link
    fp8_either_orientation: bool | None  # its fp8 products read operands along either side
    fused_attention: bool | None  # False: nobody wrote kernels of fused attention for it
    collective_engines: bool | None  # collectives take none of its compute units
    power: PowerModel
    thermal: ThermalModel
    provenance: Mapping[str, Provenance]

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def idle_w(self) -> float:
        """Return the idle power at 35 C junction. [W]"""
        return self.power.idle_w


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One link, counted in one direction.

    payload_efficiency : share of the rate that large messages reach (protocol and flow control).
    ceilings : measured bus bandwidth of collectives over the raw rate, {"all-reduce ring": 0.82};
        in-switch reduction can pass 1, since the usual formula counts the bytes of a ring.
    j_per_bit : both ends together, without the medium's modules.
    """

    name: str
    kind: str  # nvlink, ualink, ici, xgmi, neuronlink, ub, pcie, c2c, infiniband, ethernet
    bytes_per_s: float
    latency_s: float  # one traversal, without the switch at its end
    payload_efficiency: float
    lanes: int | None
    reach_m: float | None
    j_per_bit: float | None
    always_on: float  # share of its power that is drawn without traffic
    ceilings: Mapping[str, float]
    transport: str | None  # name of a Transport, of links that network ports have
    provenance: Mapping[str, Provenance]

    def __hash__(self) -> int:
        return hash(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transport:
    """How messages leave an accelerator's memory through its network ports.

    latency_s : a few bytes that the accelerator posts, over a path of `path_s`.
    path_s : links and switches on the way over which steps and messages were measured: a NIC, a
        leaf, a NIC. What another path takes more or less comes on top.
    step_s : one step of a library's algorithm, beyond what one over InfiniBand takes.
    efficiency : share of what ports of this rate reach over InfiniBand, with large messages.
    chunks : bytes that a library keeps in flight, over those that it does on InfiniBand.
    scattered : share of the ports' rate that messages of a few KB to many partners reach.
    """

    name: str
    latency_s: float
    path_s: float
    step_s: float
    efficiency: float
    chunks: float
    scattered: float
    provenance: Mapping[str, Provenance]

    def __hash__(self) -> int:
        return hash(self.name)

    def facts(self) -> dict[str, str | float]:
        """Return what a graph says of it: {"transport": "efa", "transport_latency_s": ...}."""
        numbers = (one.name for one in fields(self) if one.name not in ("name", "provenance"))
        return {"transport": self.name} | {f"transport_{n}": getattr(self, n) for n in numbers}


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """One switch chip or box; `power_w` is without pluggable modules or co-packaged engines."""

    name: str
    kind: str  # nvlink, ualink, infiniband, ethernet, ocs, ub, neuronlink
    radix: int
    port_bytes_per_s: float
    latency_s: float
    power_w: float
    in_network_reduction: bool
    chips: int  # switch chips in the box
    usd: float | None
    year: int
    provenance: Mapping[str, Provenance]

    def __hash__(self) -> int:
        return hash(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Medium:
    """What carries a link from one end to the other; powers and prices are per end.

    joule_per_bit_per_end : module power over port rate. Modules draw it whether or not bytes move.
    watts_fixed : the same for one module of `port_bytes_per_s`. [W]
    lanes : 8 lanes of an 800 Gb/s module pass 100 Gb/s each, and no link of 200 Gb/s lanes.
    """

    name: str
    kind: str  # copper or optical
    joule_per_bit_per_end: float
    port_bytes_per_s: float
    watts_fixed: float
    usd_per_end: float
    reach_m: float
    failures_per_hour: float  # of one end of a link
    lanes: int | None  # of one module; None where a medium takes lanes of any rate
    provenance: Mapping[str, Provenance]

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def lane_bytes_per_s(self) -> float:
        """Fastest lane that a module takes, one direction; infinity where any will do."""
        return self.port_bytes_per_s / self.lanes if self.lanes else float("inf")

    @property
    def usd_per_gbps(self) -> float:
        """Return the price of one end per Gb/s of one direction."""
        return self.usd_per_end / (self.port_bytes_per_s * 8e-9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tray:
    """One run of equal trays, in rack units, from the top of the rack downwards."""

    kind: str
    count: int
    units: int


class Source(NamedTuple):
    """What a source key stands for."""

    where: str
    kind: str
    used_for: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """All parts that are known, by name.

    incomplete : accelerators that are announced without enough figures: {name: missing fields}.
    tables : every value with its source, {kind: {name: {dotted field: Quantity}}}.
    nominal : rates of known links and accelerators before a user set them, {dotted key: bytes/s}.
    host_speed : kernels that a training host launches per second, over what software needs now.
    """

    accelerators: Mapping[str, Accelerator]
    links: Mapping[str, Link]
    switches: Mapping[str, Switch]
    media: Mapping[str, Medium]
    transports: Mapping[str, Transport]
    chassis: Mapping[str, Mapping[str, Quantity]]
    prices: Mapping[str, Mapping[str, Quantity]]
    incomplete: Mapping[str, tuple[str, ...]]
    tables: Mapping[str, Mapping[str, Mapping[str, Quantity]]]
    nominal: Mapping[str, float] = field(default_factory=dict)
    host_speed: float = 1.0
