"""What `rackmodel simulate --json` prints, as types: every key, and what stands under it.

In:  nothing; a dictionary of the type is a plain `dict`, ready for JSON and for a schema.
Out: `ResultRecord` and its parts; `Result.to_dict` and `rackmodel.assess` fill them.
Left out: figures; what an axis, a part or a cause of power is called.

All numbers are SI, the unit in the name. Keys ending in _low and _high bound the one without.
"""

# Annotations are evaluated here, so that the types know which of their keys are not required.

from typing import Any, NotRequired

from typing_extensions import TypedDict


class HbmRecord(TypedDict):
    """HBM of the fullest pipeline rank by kind; how busy its bandwidth is (0 to 1).

    `without_recompute_bytes`: what the plan would use if nothing ran again in its backward pass,
    where something does; `without_offload_bytes`: if nothing were in host memory, where a part is.
    """

    capacity_bytes: float
    used_bytes: dict[str, float]
    bandwidth_utilisation: float
    without_recompute_bytes: NotRequired[float]
    without_offload_bytes: NotRequired[float]


class PlacementRecord(TypedDict):
    """Where ranks stand: `used_per_domain` accelerators of each of `domains` scale-up domains (the
    last may hold fewer), those of them that are idle, and their share of all in these domains.

    Idle accelerators draw power and are paid for with the racks that they stand in.
    """

    domain_accelerators: int
    used_per_domain: int
    domains: int
    idle_accelerators: int
    idle_share: float


class LinkRecord(TypedDict):
    """One tier and kind of link of the whole machine; utilisation is of payload capacity.

    Bytes above the leaves are those of the simulated machine, each flow as often as its rank stands
    for others: of trees over fewer pods, which cross spines up to 15% more or less often.
    """

    tier: str
    kind: str
    links: int
    bytes: float
    utilisation_mean: float
    utilisation_peak: float


class ContentionRecord(TypedDict):
    """What one kind of collective takes while kernels run beside it; shares from 0 to 1."""

    op: str
    axis: str
    bytes: float
    algorithm: str
    compute_units: int
    compute_share: float
    hbm_bytes_per_s: float
    hbm_share: float
    kernels_slower: float


class CoolantRecord(TypedDict):
    """The liquid of one rack; fluid "none" with no flow and no temperatures where air cools it."""

    fluid: str
    flow_lpm: float
    supply_c: float | None
    return_c: float | None
    drop_pa: NotRequired[float]
    pump_w: NotRequired[float]
    approach_k: NotRequired[float]
    facility_c: NotRequired[float]
    water_class: NotRequired[str]


class AirRecord(TypedDict):
    """The air that carries the rest of a rack's heat."""

    flow_m3_per_s: float
    flow_cfm: float
    inlet_c: float
    outlet_c: float


class JunctionRecord(TypedDict):
    """Temperature of the accelerators of a rack, and their limit."""

    mean: float
    peak: float
    limit: float


class SwingRecord(TypedDict):
    """How a power that repeats every step swings; see `assess.windows.swings`."""

    mean_w: float
    p99_1ms_w: float
    peak_1ms_w: float
    p99_20ms_w: float
    peak_20ms_w: float
    p99_100ms_w: float
    peak_100ms_w: float
    p99_1s_w: float
    peak_1s_w: float
    ramp_w_per_s: float
    swing_w: float
    missing_j: float
    swing_hz: float
    swing_amplitude_w: float


class SmoothingRecord(TypedDict):
    """What stands between a rack and the hall: mean power that it burns, energy that it stores, the
    most that the hall gives with it; how the rack's power swings before it."""

    burned_w: float
    stored_j: float
    ceiling_w: float
    drawn_swing: SwingRecord


class RackRecord(TypedDict):
    """One class of racks: `count` alike, `accelerators` of each in use. heat_w_low, heat_w_high :
    about 80% of measured machines lie between (`assess.heat_band`)."""

    rack: int
    count: float
    chassis: int
    accelerators: int
    heat_w: float
    heat_w_low: float
    heat_w_high: float
    liquid_w: float
    air_w: float
    peak_w: float
    by_part_w: dict[str, float]
    coolant: CoolantRecord
    air: AirRecord
    junction_c: JunctionRecord
    swing: SwingRecord
    smoothing: NotRequired[SmoothingRecord]


class DrawnRecord(TypedDict):
    """Power of racks, fabric and hall, mean over the step; clock of its accelerators.

    late : seconds that the step would take at the clock that its power allows, over those of the
    step; above 1 the simulated step is too fast. fabric_share : of the fabric's ports, those that
    the job bears.
    """

    it_w: float
    racks_w: float
    fabric_w: float
    by_part_w: dict[str, float]
    fabric_by_part_w: dict[str, float]
    fabric_share: float
    liquid_w: float
    air_w: float
    pue: float
    facility_w: float
    provisioned_w: float
    provisioned_facility_w: float
    facility_j_per_token: float
    tokens_per_s_per_mw: float
    accelerator_w: float
    accelerator_by_cause_w: dict[str, float]
    clock_ratio: float
    late: float
    hall_swing: SwingRecord


class PowerRecord(DrawnRecord):
    """Power as drawn, and under the cap of a training run's accelerators.

    cap_clock : over the clock that the accelerator's own cap leaves.
    """

    cap_w: float
    cap_clock: float
    cap_slows: bool
    cap_simulations: int
    thermal_cap_w: float | None


class CostRecord(TypedDict):
    """Dollars; `missing` names parts without a price, which all totals leave out."""

    usd_per_mtoken: float
    usd_per_mtoken_low: float
    usd_per_mtoken_high: float
    usd_per_gpu_hour: float
    usd_per_gpu_hour_low: float
    usd_per_gpu_hour_high: float
    usd_per_hour: float
    usd_per_hour_low: float
    usd_per_hour_high: float
    capital_usd: float
    capital_usd_low: float
    capital_usd_high: float
    hall_usd: float
    hall_usd_low: float
    hall_usd_high: float
    capital_by_part_usd: dict[str, float]
    capital_by_part_usd_low: dict[str, float]
    capital_by_part_usd_high: dict[str, float]
    servers_usd: float
    per_hour_usd: dict[str, float]
    network_share: float
    pue: float
    usd_per_kwh: float
    missing: list[str]


class ReliabilityRecord(TypedDict):
    """Failures of the whole job, and the checkpoint interval that is best against them."""

    mtbf_s: float
    interruptions_per_day: float
    by_part_per_day: dict[str, float]
    interval_s: float
    goodput: float
    stall_s: float
    restart_s: float


class RunRecord(TypedDict):
    """A whole run of `tokens`, failures included."""

    tokens: float
    days: float
    gpu_hours: float
    energy_mwh: float
    usd: float
    goodput: float


class TrayRecord(TypedDict):
    """One tray of a rack's elevation, from the top downwards."""

    rack_class: int
    tray: int
    name: str
    kind: str
    top_u: float
    units: float
    accelerators: int
    heat_w: float
    liquid_w: float
    air_w: float
    coolant_c: float | None
    exhaust_c: float | None
    junction_c: float | None
    limit_c: float | None


class AssessmentRecord(TypedDict):
    """What a step means for the site that it runs in; `run` and `trays` where asked for,
    `assessments` where users registered some: {name: {figure: value}}."""

    racks: list[RackRecord]
    energy_j_per_token: float
    power: PowerRecord
    cost: CostRecord
    reliability: ReliabilityRecord
    run: NotRequired[RunRecord]
    trays: NotRequired[list[TrayRecord]]
    assessments: NotRequired[dict[str, dict[str, Any]]]
    notes: list[str]


class SimulationRecord(TypedDict):
    """The simulation itself: what walked through the events (simpy or compiled, to the same
    figures), how many there were, ranks of the job and simulated, seconds it took.
    """

    engine: str
    events: int
    ranks: int
    ranks_simulated: int
    rank_classes: int
    wall_s: float


class WaterfallRecord(TypedDict):
    """A share of the dense peak that a part of the step loses; with the MFU all add up to 1.

    arithmetic : FLOPs that run beyond those of the model (below 0 where the model's count has more,
    as under a causal mask). formats : kernels in a wider number format than the job's peak.
    sustained_rate : clock under power, and the best that long matrix products reach.
    shapes_and_tiles : kernels of matrix units below that. hbm_kernels : kernels bound by HBM.
    host : launches and copies. contention : kernels slower beside collectives. Others as in
    breakdown_s.
    """

    part: str
    lost: float


class CatalogRecord(TypedDict):
    """The catalog that figures were worked out with.

    digest : of all its values. changed : those that are not as shipped (`--set`, `--catalog`), by
    their dotted fields.
    """

    digest: str
    changed: dict[str, float | str]


class JobRecord(TypedDict):
    """A job on a machine: what was asked, how fast it is, and the catalog that says so."""

    topology: str
    accelerator: str
    gpus: int
    model: str
    stack: str
    tokens_per_s: float
    tokens_per_s_per_gpu: float
    placement: PlacementRecord
    version: str
    catalog: CatalogRecord


class ResultRecord(JobRecord, AssessmentRecord):
    """One simulated training step: everything that `simulate --json` prints.

    breakdown_s : seconds of the step by what ranks did, one key per axis of exposed bytes; adds up
    to step_s. step_s_low, step_s_high : about 80% of real runs lie between; band_reason says what
    makes the band wide. plan : the fields of `workload.Plan`.
    """

    seq_len: int
    global_batch: int
    precision: str
    step_s: float
    step_s_low: float
    step_s_high: float
    band_reason: str
    model_tflops_per_gpu: float
    peak_flops_per_s: float
    mfu: float
    hfu: float
    bound_by: str
    breakdown_s: dict[str, float]
    waterfall: list[WaterfallRecord]
    exposed_s: float
    plan: dict[str, Any]
    hbm: HbmRecord
    links: list[LinkRecord]
    contention: list[ContentionRecord]
    simulation: SimulationRecord
