"""What `rackmodel serve --json` prints, as types: every key, and what stands under it.

In:  the records that a training step shares with it.
Out: `ServingRecord` and its parts; `ServingResult.to_dict` fills them.
Left out: figures.

All numbers are SI, the unit in the name. Keys ending in _low and _high bound the one without.
"""

# Annotations are evaluated here, so that the types know which of their keys are not required.

from typing import NotRequired

from typing_extensions import TypedDict

from rackmodel.result.records import CostRecord, DrawnRecord, HbmRecord, LinkRecord, RackRecord


class WorkerRecord(TypedDict):
    """One copy of the model on tp x pp accelerators; `dp_attention`: each rank runs the attention
    of its own sequences."""

    tp: int
    pp: int
    ep: int
    dp_attention: bool


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


class ServingRecord(TypedDict):
    """A model served to a closed loop of users: everything that `serve --json` prints.

    users : requests in flight; users_most : that the KV cache holds; users_running : that decode at
    once; queued : whether others wait. tpot_s_low, tpot_s_high : about 80% of real runs lie
    between. tokens_per_s and its kin count tokens of answers. breakdown_s : adds up to tpot_s. hbm,
    links : of a decode step.
    """

    topology: str
    accelerator: str
    gpus: int
    model: str
    isl: int
    osl: int
    weights: str
    kv: str
    stack: str
    users: int
    users_most: int
    users_running: float
    queued: bool
    tpot_s: float
    tpot_s_low: float
    tpot_s_high: float
    ttft_s: float
    tokens_per_s: float
    tokens_per_s_per_gpu: float
    input_tokens_per_s_per_gpu: float
    tokens_per_s_per_user: float
    plan: ServingPlanRecord
    breakdown_s: dict[str, float]
    bound_by: str
    hbm: HbmRecord
    links: list[LinkRecord]
    racks: list[RackRecord]
    energy_j_per_token: float
    tokens_per_s_per_mw: float
    power: ServingPowerRecord
    cost: CostRecord
    notes: list[str]
    simulation: ServingSimulationRecord
