"""Points that a run of the study has looked at, for those that ask for the same ones.

In:  a directory that `rackmodel study` wrote.
Out: its rows by `point_key`.
Left out: looking at a point (`scale_up`), how rows are kept (`store`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from rackmodel.argument.scale_up import FIELDS, whole
from rackmodel.errors import InvalidInput
from rackmodel.sweeps.filters import Value
from rackmodel.sweeps.jobs import code_digest
from rackmodel.sweeps.run import job_key
from rackmodel.sweeps.spec import FlatJob
from rackmodel.sweeps.store import Store


def known_points(folder: Path) -> dict[str, Mapping[str, Value]]:
    """Rows of the points that could run.

    Raises
    ------
    InvalidInput
        If no study was written there, or one by another version of the code.
    """
    again = f"rackmodel study --out {folder} writes one"
    manifest = folder / "points" / "sweep.json"
    try:
        facts = json.loads(manifest.read_text(encoding="utf-8"))
    except OSError:
        raise InvalidInput(f"{folder} holds no study; {again}") from None
    except ValueError:
        raise InvalidInput(f"{manifest} is no JSON; {again}") from None
    if not isinstance(facts, dict) or facts.get("salt") != code_digest():
        raise InvalidInput(f"{folder} holds the study of another version of rackmodel; {again}")
    with Store(folder / "points", resume=True) as store:
        return {
            key: {name: value for name, value in row.items() if name not in ("status", "reason")}
            for key, row in store.fresh()
            if row["status"] == "done"
        }


def point_key(flat: FlatJob) -> str:
    """Name of a point, the same however its numbers were written."""
    job = {
        name: float(value) if FIELDS[name] == "float" and value is not None else value
        for name, value in whole(flat).items()
    }
    return job_key(job, code_digest())
