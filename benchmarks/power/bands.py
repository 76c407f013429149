"""Bands of heat on machines whose source is left out: `python -m benchmarks.power --dynamics FILE`.

In:  metered jobs (`rows`), the measured rows of power_dynamics.csv that state a phase (`dynamics`).
Out: widths by the rule below, by what accelerators do; how many measured values bands hold, each
     source left out in turn.
Left out: idle machines, for which no band is told, and ratings, which nobody measured; that some
     constants are fitted on kernels of GPU-POWER-LAB.

The rule: sources are few and unlike, so that each counts once. The root mean square over sources of
their root mean square errors (logarithms of measured over predicted), times what Student's t has
for 80% and so many sources. Errors of a node count as if its accelerators made them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from benchmarks.power import dynamics, rows
from rackmodel.assess.heat_band import Work, accelerator_width, heat_bands
from rackmodel.assess.power import Assessment
from rackmodel.hardware import load_catalog

BAR = 0.80
#: Figures of published.csv that tell the mean heat of a job, and the job.
JOBS: dict[str, Callable[[], Assessment]] = {
    "gpt3-64-nodes-ac": rows.gpt3,
    "gpt3-64-nodes-dc": rows.gpt3,
    "lora-1-node-ac": rows.lora,
    "lora-1-node-dc": rows.lora,
    "bert-1-node-ac": rows.bert,
    "air-node-share": rows.air_node,
}
WORK: dict[str, Work] = {
    "training": "training",
    "gemm": "training",
    "square": "training",
    "serving": "serving",
}
Width = tuple[float, float]


def measured(found: pd.DataFrame) -> pd.DataFrame:
    """Return a row a measured mean power of a job or a kernel.

    found : of `dynamics.table`.

    Returns
    -------
    what, source, work, error (ln of measured over predicted), share (of accelerators in the heat),
    ends (widths -> low and high over the prediction).
    """
    told = [*_nodes(), *_accelerators(found)]
    return pd.DataFrame(told)


def _nodes() -> Iterator[dict[str, Any]]:
    table = rows.table(list(JOBS)).set_index("id")
    for name, job in JOBS.items():
        done, row = job(), table.loc[name]
        yield {
            "what": row["what"],
            "source": _source(row),
            "work": "training",
            "error": math.log(row["measured"] / row["predicted"]),
            "share": math.fsum(r.count * r.part_w["accelerator"] for r in done.racks)
            / done.racks_w,
            "ends": lambda width, done=done: _ends(done, width),
        }


def _ends(done: Assessment, width: Width) -> Width:
    bands = heat_bands(done, load_catalog(), width, done.accelerator.power_w)
    low, high = (
        math.fsum(rack.count * bands[rack.rack_class][side] for rack in done.racks)
        for side in (0, 1)
    )
    return low / done.racks_w, high / done.racks_w


def _accelerators(found: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for row in found.to_dict("records"):
        if row["judged"] != "gpu" or row["kind"] != "measured" or row["way"] not in WORK:
            continue
        most = max(1.0, row["cap_w"] / row["predicted"]) if row["cap_w"] > 0 else math.inf
        yield {
            "what": f"{row['what']}, {row['phase']}",
            "source": _source(row),
            "work": WORK[row["way"]],
            "error": math.log(row["measured"] / row["predicted"]),
            "share": 1.0,
            "ends": lambda width, most=most: (
                math.exp(-width[0]),
                min(most, math.exp(width[1])),
            ),
        }


def _source(row: Mapping[str, Any]) -> str:
    return " ".join(str(row["source"]).split()[:3]).rstrip(",")


def width_of(part: pd.DataFrame) -> Width:
    """Return the width that the rule takes from rows of some sources, below and above."""
    size = part.assign(square=(part["error"] / part["share"]) ** 2)
    squares = size.groupby("source")["square"].mean()
    times = float(student.ppf(0.5 + BAR / 2, max(1, len(squares) - 1)))
    width = times * math.sqrt(float(squares.mean()))
    return width, width


def holds(row: Mapping[str, Any], width: Width) -> bool:
    """Return whether a band of that width holds what was measured, to one part in a thousand."""
    low, high = row["ends"](width)
    return bool(low / 1.001 <= math.exp(row["error"]) <= 1.001 * high)


def left_out(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with the width of all other sources (`width`), whether the band of it holds
    them (`inside`), and whether that which ships does (`shipped`)."""
    out = []
    for row in frame.to_dict("records"):
        others = (frame["work"] == row["work"]) & (frame["source"] != row["source"])
        width = width_of(frame[others])
        ships = accelerator_width("nvidia-hopper", row["work"])
        inside, shipped = holds(row, width), holds(row, ships)
        out.append({**row, "width": width[1], "inside": inside, "shipped": shipped})
    return pd.DataFrame(out)


def lines(found: pd.DataFrame) -> Iterator[str]:
    """Yield a line for each source, then what the rule says of all sources."""
    for (work, name), part in found.groupby(["work", "source"], sort=True):
        yield (
            f"{work:8} {name[:45]:45} {len(part):3} rows, {part['inside'].sum():3} inside -+"
            f"{part['width'].iloc[0]:.2f} of the others, {part['shipped'].sum():3} inside the band"
        )
    for work, part in found.groupby("work"):
        low, high = accelerator_width("nvidia-hopper", work)
        width = np.mean(width_of(part))
        yield f"{work}: -+{width:.3f} of all sources; the band has -{low:.2f} +{high:.2f}"
    for row in found[~found["inside"]].to_dict("records"):
        yield f"  outside: {row['what'][:88]} {row['error']:+.3f}"


def held(source: str | Path) -> pd.DataFrame:
    """Return `left_out` of a table of power over time."""
    return left_out(measured(dynamics.table(source)[0]))
