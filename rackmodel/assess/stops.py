"""What users say of failures and checkpoints.

In:  words of Python or of the command line.
Out: `Stops`, checked.
Left out: what stops cost (`availability`); rates of failures (the catalog).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rackmodel.errors import InvalidInput
from rackmodel.fields import setting

MOST_RUNS = 1000
RECOVERIES = {
    "all": "restart_s",
    "partial": "partial_restart_s",
    "spares": "spare_restart_s",
}
"""What starts anew after a failure: the catalog's value of how long that takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stops:
    """How a job saves, restarts and waits for repairs; None takes the catalog's.

    Raises
    ------
    InvalidInput
        For times that are not above 0, or a stall that is given twice.
    """

    days: float = setting(
        90.0, "Days of the job that are played out.", 54, unit="days", option="--days"
    )
    runs: int = setting(
        8, "Runs that are played out; 0 for none.", 0, unit="runs", option="--runs", least=0
    )
    seed: int = setting(0, "Seed of the failures.", 1, unit="seed", option="--seed", least=0)
    stall_s: float | None = setting(
        None, "Time for which a checkpoint stops the job.", "5s", unit="s", option="--stall"
    )
    restart_s: float | None = setting(
        None, "Time from a failure until the job works again.", "300s", unit="s", option="--restart"
    )
    recovery: str = setting(
        "all",
        "After a failure: all ranks start anew, those of its host (partial), or a warm idle host"
        " takes over (spares).",
        "spares",
        choices=tuple(RECOVERIES),
        option="--recovery",
    )
    in_memory: bool = setting(
        False, "Checkpoints go to the memory of another host.", True, option="--in-memory"
    )
    interval_s: float | None = setting(
        None,
        "Time between two checkpoints. Default: the best.",
        "30min",
        unit="s",
        option="--interval",
    )
    repair_s: float | None = setting(
        None, "Time until a broken accelerator is replaced.", "4h", unit="s", option="--repair"
    )
    checkpoint_bytes: float | None = setting(
        None,
        "Size of a checkpoint, written straight to storage.",
        "6TB",
        unit="bytes",
        option="--checkpoint",
    )
    storage_bytes_per_s: float | None = setting(
        None, "Write rate of the storage.", "2TB/s", unit="bytes_per_s", option="--storage"
    )

    def __post_init__(self) -> None:
        for name in ("days", "interval_s", "restart_s", "repair_s", "storage_bytes_per_s"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise InvalidInput(f"{name.split('_')[0]}: expected more than 0, found {value:g}")
        if not 0 <= self.runs <= MOST_RUNS:
            raise InvalidInput(f"runs: expected 0 to {MOST_RUNS}, found {self.runs}")
        if self.recovery != "all" and self.restart_s is not None:
            raise InvalidInput("restart: give its seconds or a recovery, not both")
        if self.in_memory and (self.stall_s, self.checkpoint_bytes) != (None, None):
            raise InvalidInput("in-memory: it has a stall of its own; leave out stall and bytes")
        if self.checkpoint_bytes is not None and self.stall_s is not None:
            raise InvalidInput("stall: give its seconds or the bytes of a checkpoint, not both")
