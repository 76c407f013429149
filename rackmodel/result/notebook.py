"""Results as small tables for notebooks.

In:  a result, or anything with a frame.
Out: `notebook_table`, `Framed`; `drawn`, which calls the function of a picture by its name.
Left out: pictures and pages (`rackmodel.reporting`).
"""

from __future__ import annotations

import html
import json
from abc import ABC, abstractmethod
from importlib import import_module
from typing import Any

from rackmodel.annotations import DataFrame


class Framed(ABC):
    """What has a `frame` shows its first rows in a notebook, and writes itself as JSON."""

    @property
    @abstractmethod
    def frame(self) -> DataFrame:
        """Its rows; SI units in the names of the columns."""

    @abstractmethod
    def to_dict(self) -> Any:
        """Return everything that the command of its name prints with --json; SI units."""

    def to_json(self) -> str:
        """Return `to_dict` as JSON."""
        return json.dumps(self.to_dict(), allow_nan=False)

    def _repr_html_(self) -> str:
        """Show the rows in a notebook."""
        return str(self.frame.to_html(max_rows=30, index=False, float_format="{:.4g}".format))


def drawn(picture: str, *words: Any, **more: Any) -> Any:
    """Draw what a function of `rackmodel.reporting` draws, such as "serving.front_figure".

    It is loaded when it is asked for, as plotting backends are: results know nothing of pictures.
    """
    module, _, name = picture.rpartition(".")
    return getattr(import_module(f"rackmodel.reporting.{module}"), name)(*words, **more)


def notebook_table(result: Any) -> str:
    """Return the main figures of a `Result` as HTML."""
    used, job = max(sum(kinds.values()) for kinds in result.hbm_used), result.step.job
    rows = {
        "machine": f"{job.gpus:,} x {result.accelerator.name} ({result.topology})",
        "step": f"{result.step_s:.4g} s ({result.step_s_low:.4g} - {result.step_s_high:.4g}, 80% "
        "of real runs)",
        "tokens/s per accelerator": f"{result.tokens_per_s_per_gpu:,.0f}",
        "MFU": f"{result.mfu:.1%} of {result.peak_flops_per_s / 1e12:,.0f} TFLOP/s dense",
        "what binds": result.bound_by,
        "HBM of the fullest rank": f"{used / 1e9:,.0f} of "
        f"{result.accelerator.hbm_bytes / 1e9:,.0f} GB",
    }
    if result.assessment.get("racks"):
        low, high = result.rack_kw_band
        rows["heat of a rack"] = f"{result.rack_kw:,.0f} kW ({low:,.0f} - {high:,.0f})"
        rows["energy"] = f"{result.energy_j_per_token:.3g} J per token"
    cells = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>"
        for name, text in rows.items()
    )
    return f"<table>{cells}</table>"
