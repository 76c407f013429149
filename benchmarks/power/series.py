"""What the series of power of a job of 1,000 accelerators costs, and whether it keeps its energy.

In:  the simulator.
Out: `bars`: figures with their bars.
Left out: power beside measured (`dynamics`).
"""

from __future__ import annotations

from collections.abc import Iterator
from time import process_time
from typing import Any

import numpy as np

import rackmodel
from rackmodel.assess.series import series_of
from rackmodel.assess.windows import swings

MACHINE = "gb200-nvl72"
THOUSAND: dict[str, Any] = {
    "model": "llama3-70b",
    "gpus": 1008,
    "global_batch": 2016,
    "plan": {"tp": 4, "pp": 4, "micro_batch": 1, "sharding": "zero1"},
}
RACK = {**THOUSAND, "gpus": 72, "global_batch": 144, "plan": {"tp": 4, "pp": 2, "micro_batch": 1}}
CPU_S, ENERGY = 0.3, 1e-9


def bars() -> Iterator[tuple[str, float, float]]:
    """Yield what is judged, the figure, its bar."""
    result = rackmodel.simulate(MACHINE, **THOUSAND)
    power: Any = result.assessment["power"]  # a step without series
    series_of(result)  # modules are loaded
    began = process_time()
    series = series_of(result)
    swings(np.tile(series.hall_w, 2), 2 * series.step_s)
    yield (
        "two steps of the series of 1,008 accelerators, with swings [CPU s]",
        (process_time() - began),
        CPU_S,
    )
    energy = abs(float(series.hall_w.mean()) / power["it_w"] - 1.0)
    yield "energy of the series against the result's", energy, ENERGY
    folded, whole = (
        series_of(rackmodel.simulate(MACHINE, **RACK, fold=fold)) for fold in (True, False)
    )
    off = float(np.max(np.abs(folded.hall_w / whole.hall_w - 1.0)))
    yield "series of a rack folded against unfolded", off, ENERGY
