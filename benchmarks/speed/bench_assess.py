"""Power, heat, coolant and cost of a simulated step: time, and its share of the simulation."""

from __future__ import annotations

import time
from typing import Any

from rackmodel.api import simulate

JOBS: dict[str, dict[str, Any]] = {
    "gb200-nvl72": {"gpus": 1024, "plan": {"tp": 8, "pp": 8, "micro_batch": 1}},
    "dgx-h100": {"gpus": 1024, "plan": {"tp": 8, "pp": 8, "micro_batch": 1}},
}


class Assess:
    """GPT-3 175B on 1,024 accelerators, global batch 2,048."""

    params = (list(JOBS),)
    param_names = ("machine",)
    timeout = 120

    def setup(self, machine: str) -> None:
        begin = time.process_time()
        self.result = simulate(
            machine,
            model="gpt3-175b",
            global_batch=2048,
            seq_len=2048,
            check_memory=False,
            **JOBS[machine],
        )
        self.simulated_s = time.process_time() - begin
        assert self.result.events is not None  # frames are laid out when first asked for
        assert self.result.assess(self.result)

    def time_assess(self, machine: str) -> None:
        """Seconds of one assessment."""
        self.result.assess(self.result)

    def track_share(self, machine: str) -> float:
        """Assessment over simulation; 0.2 at most is wanted."""
        begin = time.process_time()
        self.result.assess(self.result)
        return (time.process_time() - begin) / self.simulated_s
