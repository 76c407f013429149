"""Assessments of a user's own: figures of a result that stand beside power, heat and money.

In:  functions that take a `Result` and return figures, registered by `assessment`.
Out: `own_assessments`: {name: {figure: value}}, under "assessments" in the JSON of a result.
Left out: the package's own assessment (`step`).

A file of one's own registers an assessment in the same way:

    @assessment("carbon")
    def carbon(result):
        return {"kg_per_mtoken": result.assessment["energy_j_per_token"] * 1e6 / 3.6e6 * 0.4}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias, TypeVar

from rackmodel.errors import InvalidInput
from rackmodel.result.records import AssessmentRecord
from rackmodel.result.result import Result

Figures: TypeAlias = Mapping[str, Any]
F = TypeVar("F", bound=Callable[[Result], Figures])

ASSESSMENTS: dict[str, Callable[[Result], Figures]] = {}


def assessment(name: str) -> Callable[[F], F]:
    """Register a function that works out figures of a result: SI, the unit in the name.

    It finds the package's own assessment in `result.assessment`.

    Raises
    ------
    InvalidInput
        If the name is taken.
    """
    if name in ASSESSMENTS:
        raise InvalidInput(f"an assessment {name!r} is registered already; give another name")

    def register(function: F) -> F:
        ASSESSMENTS[name] = function
        return function

    return register


def own_assessments(result: Result, found: AssessmentRecord) -> dict[str, dict[str, Any]]:
    """Return the figures of every registered assessment; found : the package's own."""
    if not ASSESSMENTS:
        return {}
    known = replace(result, assess=partial(_known, found=found))
    return {name: dict(function(known)) for name, function in ASSESSMENTS.items()}


def _known(result: Result, found: AssessmentRecord) -> AssessmentRecord:
    """Return what is known already, whatever the result."""
    return found
