"""One job on several machines, side by side.

In:  (name, result or the reason why there is none) of each machine.
Out: `Comparison`: the list itself, a frame, a picture, a table for notebooks.
Left out: how things look on a terminal or a page.
"""

from __future__ import annotations

import html
from importlib import import_module
from typing import Any, cast

from rackmodel.annotations import Axes, DataFrame, Figure
from rackmodel.errors import CannotRun, InvalidInput
from rackmodel.result.facts import figures
from rackmodel.result.notebook import drawn
from rackmodel.result.result import Result


class Comparison(list[tuple[str, Result | CannotRun]]):
    """What `compare` returns: (name, result) of each machine, or the reason in its place.

    Examples
    --------
    >>> import rackmodel
    >>> found = rackmodel.compare(["dgx-h100", "dgx-a100-80"], model="gpt3-13b", gpus=8,
    ...     global_batch=8, seq_len=1024, plan={"tp": 8, "pp": 1, "micro_batch": 1})
    >>> found.frame["topology"].tolist()
    ['dgx-h100', 'dgx-a100-80']
    """

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What each machine's `to_dict` says, or {topology, reason}."""
        return [
            {"topology": name, "reason": str(found)}
            if isinstance(found, CannotRun)
            else {**found.to_dict()}
            for name, found in self
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return everything that `rackmodel compare --json` prints; SI units."""
        rows = self.rows
        ran = next((row for row in rows if "reason" not in row), {})
        return {name: ran.get(name) for name in ("model", "gpus", "global_batch")} | {"rows": rows}

    @property
    def frame(self) -> DataFrame:
        """One row a machine, SI units: speed, HBM, heat, money; reason where it can't run."""
        import pandas as pd

        return pd.DataFrame([figures(row) for row in self.rows])

    def plot(self, ax: Axes | None = None) -> Axes | Figure:
        """Draw what `rackmodel compare --plot` draws; on `ax`, where the steps go.

        Raises
        ------
        InvalidInput
            If the job runs on none of the machines.
        """
        shown = zip(self.rows, self, strict=True)
        good = [(row, found) for row, (_, found) in shown if not isinstance(found, CannotRun)]
        if not good:
            raise InvalidInput(
                "plot: the job runs on none of the machines; read .frame, and change the job"
            )
        if ax is not None:
            return cast("Axes", drawn("steps.step_breakdown", [row for row, _ in good], ax))
        rack_over_step = import_module("rackmodel.assess.series").rack_over_step
        powers = [(row["topology"], rack_over_step(found)) for row, found in good]
        return cast("Figure", drawn("steps.compare_figure", [row for row, _ in good], powers))

    def _repr_html_(self) -> str:
        """Show the rows of `rackmodel compare` in a notebook."""
        rows, summary = self.rows, import_module("rackmodel.reporting.summary")
        lines = [("", [str(row["topology"]) for row in rows])]
        for name, text in summary.ROWS:
            lines.append((name, ["–" if "reason" in row else text(row) for row in rows]))
        lines.append(("why not", [str(row.get("reason", "")) for row in rows]))
        cells = "".join(
            f"<tr><th>{html.escape(name)}</th>"
            + "".join(f"<td>{html.escape(cell)}</td>" for cell in told)
            + "</tr>"
            for name, told in lines
            if any(cell not in ("", "–") for cell in told)
        )
        return f"<table>{cells}</table>"
