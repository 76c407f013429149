"""Many simulations: search over plans, sweeps, sensitivities, design search.

In:  a machine and a job with parts left open, or a spec of many jobs.
Out: frames with one row per plan, job or resource.
Left out: one simulation (`simulate`), what to show (`report`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rackmodel.study.search import best_plan as best_plan
    from rackmodel.study.search import search as search
    from rackmodel.study.sweep import sweep as run_sweep

__all__ = ["best_plan", "run_sweep", "search"]

_HOME = {
    "best_plan": ("rackmodel.study.search", "best_plan"),
    "run_sweep": ("rackmodel.study.sweep", "sweep"),
    "search": ("rackmodel.study.search", "search"),
}


def __getattr__(name: str) -> Any:
    """Import a study when it is first used.

    `search` and the module of that name can't both be an attribute; the module wins once imported,
    so scripts that want the function write ``from rackmodel.study.search import search``.
    """
    if name not in _HOME:
        raise AttributeError(f"module 'rackmodel.study' has no attribute {name!r}")
    module, attribute = _HOME[name]
    return getattr(import_module(module), attribute)
