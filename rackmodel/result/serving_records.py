"""What `rackmodel serve --json` prints, as types: every key, and what stands under it.

In:  the records that a training step shares with it.
Out: `ServingRecord` and its parts; `ServingResult.to_dict` fills them.
Left out: figures.

All numbers are SI, the unit in the name. Keys ending in _low and _high bound the one without.
"""

# Annotations are evaluated here, so that the types know which of their keys are not required.

from typing import NotRequired

from typing_extensions import TypedDict

from rackmodel.result.records import (
    CostRecord,
    DrawnRecord,
    HbmRecord,
    JobRecord,
    LinkRecord,
    RackRecord,
)


class WorkerRecord(TypedDict):
    """One copy of the model on tp x pp accelerators; `dp_attention`: each rank runs the attention
    of its own sequences; `weights_offload`: share of layers that have weights in host memory."""

    tp: int
    pp: int
    ep: int
    dp_attention: bool
    weights_offload: float


class ServingPlanRecord(WorkerRecord):
    """Workers that decode, and where prompts run: `prefill` where they have workers of their own.

    chunk : most tokens of prompts in a step. mtp : tokens drafted in a step.
    """

    workers: int
    decode_gpus: int
    prefill_gpus: int
    chunk: int
    mtp: int
    prefill: NotRequired[WorkerRecord]


class ServingPowerRecord(DrawnRecord):
    """Power while serving, of all accelerators (`accelerators_w`) and of one (`accelerator_w`)."""

    accelerators_w: float


class ServingSimulationRecord(TypedDict):
    """The simulation of the decode step: SimPy events, seconds it took."""

    events: int
    wall_s: float


class ServedRecord(JobRecord):
    """A model that is served, in steps or request by request."""

    weights: str
    kv: str
    plan: ServingPlanRecord
    energy_j_per_token: float


class ServingRecord(ServedRecord):
    """A model served to a closed loop of users: everything that `serve --json` prints.

    users : requests in flight; users_most : that the KV cache holds; users_running : that decode at
    once; queued : whether others wait. tpot_s_low, tpot_s_high : about 80% of real runs lie
    between. tokens_per_s and its kin count tokens of answers. breakdown_s : adds up to tpot_s. hbm,
    links : of a decode step.
    """

    isl: int
    osl: int
    users: int
    users_most: int
    users_running: float
    queued: bool
    tpot_s: float
    tpot_s_low: float
    tpot_s_high: float
    ttft_s: float
    input_tokens_per_s_per_gpu: float
    tokens_per_s_per_user: float
    breakdown_s: dict[str, float]
    bound_by: str
    hbm: HbmRecord
    links: list[LinkRecord]
    racks: list[RackRecord]
    tokens_per_s_per_mw: float
    power: ServingPowerRecord
    cost: CostRecord
    notes: list[str]
    simulation: ServingSimulationRecord


class TimesRecord(TypedDict):
    """Times of requests: mean, quantiles, the longest. [s]"""

    mean: float
    p50: float
    p90: float
    p99: float
    most: float


class OverTimeRecord(TypedDict):
    """Means in equal bins of time: requests that wait, that decode; share of KV blocks in use;
    power of all racks and the fabric."""

    time_s: list[float]
    waiting: list[float]
    running: list[float]
    kv_used_share: list[float]
    power_w: list[float]


class RackPowerRecord(TypedDict):
    """One rack over the time of the run, at its plug; power_w : in the bins of `over_time`."""

    rack: int
    mean_w: float
    peak_w: float
    power_w: list[float]


class RequestsRecord(ServedRecord):
    """A model that is served request by request: everything that `serve --rate --json` prints.

    arrivals : kind (renewals, trace, closed loop), rate or users, cv, lengths, seed. requests :
    measured ones; isl, osl : their means. ttft_s : to the first token, tpot_s : from one token to
    the next, e2e_s : of all. capacity_requests_per_s : that the workers can answer. slo : longest
    times, None where there is none; within_slo : share of requests that keep them;
    goodput_requests_per_s : their rate. preemptions : sequences that lost their place. kv_blocks :
    of all workers, of kv_block_tokens each. racks, power_w : over the run.
    """

    arrivals: dict[str, float | int | str]
    requests: int
    isl: float
    osl: float
    ttft_s: TimesRecord
    tpot_s: TimesRecord
    e2e_s: TimesRecord
    requests_per_s: float
    capacity_requests_per_s: float
    slo: dict[str, float | None]
    within_slo: float
    goodput_requests_per_s: float
    preemptions: int
    kv_blocks: int
    kv_block_tokens: int
    over_time: OverTimeRecord
    racks: list[RackPowerRecord]
    power_w: float
    simulation: dict[str, int]
