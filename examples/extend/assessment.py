"""An assessment of your own: figures of a result beside power, heat and money.

    rackmodel --extend examples/extend/assessment.py simulate gb200-nvl72 --model llama3-70b \
        --gpus 72 --global-batch 72 --seq-len 4096
"""

from __future__ import annotations

from rackmodel import Result, extend

KG_PER_KWH = 0.35  # of the grid: put in that of your hall


@extend.assessment("carbon")
def carbon(result: Result) -> dict[str, float]:
    """Return the grid's carbon for a million tokens, the hall's own energy included."""
    power = result.assessment["power"]
    kwh_per_mtoken = power["facility_j_per_token"] * 1e6 / 3.6e6
    return {"kg_per_mtoken": kwh_per_mtoken * KG_PER_KWH, "grid_kg_per_kwh": KG_PER_KWH}
