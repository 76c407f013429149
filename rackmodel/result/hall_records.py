"""What `rackmodel hall --json` prints, as types: every key, and what stands under it.

In:  the records that served requests share with it.
Out: `HallRecord` and its parts; `Hall.to_dict` fills them.
Left out: figures.
"""

# Annotations are evaluated here, so that the types know which of their keys are not required.

from typing import Literal, NotRequired

from typing_extensions import TypedDict

from rackmodel.result.records import CatalogRecord
from rackmodel.result.serving_records import TimesRecord


class HallStepRecord(TypedDict):
    """A step of a job: when it ends, how long it takes by itself and beside the other jobs."""

    end_s: float
    alone_s: float
    step_s: float
    slowdown: float


class HallPhaseRecord(TypedDict):
    """A step of decode or of prompts, or the move of a cache: alone and beside the other jobs."""

    alone_s: float
    step_s: float
    slowdown: float


class HallTimesRecord(TypedDict):
    """Times of single requests of a closed loop: mean, p50, p90, p99, most."""

    ttft_s: TimesRecord
    tpot_s: TimesRecord
    e2e_s: TimesRecord


class HallJobRecord(TypedDict):
    """A job: its racks, its steps alone and beside the others.

    slowed_by : slowdown by each single other job. tpot_s, tpot_alone_s, requests, requests_alone :
    of served ones; the last two of single requests. ttft_s, ttft_alone_s, phases ("steps" of
    decode, "prompts", "caches"): where prompts run on workers of their own.
    """

    job: str
    kind: Literal["training", "serving"]
    racks: list[int]
    gpus: int
    steps_run: int
    step_alone_s: float
    step_s: float
    slowdown: float
    tokens_per_s_alone: float
    tokens_per_s: float
    steps: list[HallStepRecord]
    slowed_by: dict[str, float]
    tpot_alone_s: NotRequired[float]
    tpot_s: NotRequired[float]
    ttft_alone_s: NotRequired[float]
    ttft_s: NotRequired[float]
    phases: NotRequired[dict[str, HallPhaseRecord]]
    requests_alone: NotRequired[HallTimesRecord]
    requests: NotRequired[HallTimesRecord]


class HallRackRecord(TypedDict):
    """Power of a rack, in equal bins of the time that all jobs run."""

    rack: int
    job: str
    mean_w: float
    peak_w: float
    power_w: list[float]


class HallRecord(TypedDict):
    """Several jobs on racks of one machine. window_s : until the first has run its steps."""

    topology: str
    window_s: float
    rows: list[HallJobRecord]
    racks: list[HallRackRecord]
    over_time: dict[str, list[float]]
    racks_mean_w: float
    racks_peak_w: float
    version: str
    catalog: CatalogRecord
