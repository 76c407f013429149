"""How sure a predicted step is: the band that about 80% of real runs fall into, and why it is wide.

In:  the step's seconds, the job, the accelerator's family, what was filled in for whoever asked.
Out: `Band`: low and high seconds, and the reasons in words.
Left out: where the widths come from (benchmarks/validation/coverage.py measures them on runs of
    software that is left out with the constants and habits that it has a say in); heat, whose band
    is made alike (`assess.heat_band`).

Widths are logarithms and add in quadrature, each side by itself: `low` for runs that are quicker
than predicted, `high` for slower ones. What nobody described runs slower more often than quicker.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from rackmodel.kernels.kernel_constants import KernelConstants, kernel_constants
from rackmodel.software import software_of
from rackmodel.workload import Job

#: What may be filled in, by the term of the band that stands for it.
FILLED = {
    "plan": ("plan", "tp", "pp", "vpp", "cp", "micro_batch"),
    "settings": ("recompute", "sharding", "precision"),
}
Kind = Literal["dense", "sharded", "experts"]
_WORDS = {"plan": "plan searched", "settings": "settings filled in"}


@dataclass(frozen=True, slots=True)
class Band:
    """Seconds between which about 80% of real runs fall, and what the width is made of."""

    low_s: float
    high_s: float
    reason: str


class Banded(Protocol):
    """What has a band: its ends and its reason under the names that tables give them."""

    @property
    def band(self) -> Band:
        """Seconds between which about 80% of real runs fall, and what the width is made of."""
        ...

    @property
    def step_s_low(self) -> float:
        """Seconds of one step at the low end of its band."""
        return self.band.low_s

    @property
    def step_s_high(self) -> float:
        """Seconds of one step at the high end of its band."""
        return self.band.high_s

    @property
    def band_reason(self) -> str:
        """Say what the width of the band is made of."""
        return self.band.reason


def band(
    step_s: float,
    job: Job,
    family: str,
    *,
    filled: Iterable[str] = (),
    unsaid: Mapping[str, Sequence[float]] | None = None,
    constants: KernelConstants | None = None,
) -> Band:
    """Return the band of a predicted step.

    Parameters
    ----------
    family : of the accelerator. filled : fields that nobody stated: of the plan ("plan": all of
        them), "recompute", "sharding", "precision". unsaid : what else nobody said, by its words:
        widths below and above.
    """
    known, more = software_of(job.stack).known, unsaid or {}
    low, high, why = widths(kind_of(job), known, family, filled, constants)
    low, high = together([(low, high), *more.values()])
    why += more
    reason = f"wide: {', '.join(why)}" if why else "software and accelerator of published runs"
    return Band(step_s * math.exp(-low), step_s * math.exp(high), reason)


def kind_of(job: Job) -> Kind:
    """Return the kind of a band: "sharded" where ranks gather weights of a model without experts.

    What runs again and when traffic shows differ more from one such software to the next than
    where each rank keeps its weights.
    """
    if job.model.experts:
        return "experts"
    return "sharded" if job.plan.sharded_parameters else "dense"


def widths(
    kind: Kind,
    known: bool,
    family: str,
    filled: Iterable[str],
    constants: KernelConstants | None = None,
) -> tuple[float, float, list[str]]:
    """Return the widths of a band below and above, as logarithms, and why it is wide.

    known : the software is one of the table. For the others see `kind_of`, `band`.
    """
    table = (constants or kernel_constants())["band"]
    given = set(filled)
    terms: dict[str, str] = {kind: "experts" if kind == "experts" else ""}
    if not known:
        terms["unknown_stack"] = "software unknown"
    if family in table["few_families"]:
        terms["few_runs"] = f"few runs on {family}"
    elif family not in table["many_families"]:
        terms["no_runs"] = f"no runs on {family}"
    for term, fields in FILLED.items():
        if given.intersection(fields):
            own = f"{term}_{kind}"
            terms[own if own in table else term] = _WORDS[term]
    low, high = together(table[term] for term in terms)
    return low, high, [word for word in terms.values() if word]


def together(terms: Iterable[Sequence[float]]) -> tuple[float, float]:
    """Return widths below and above of terms that are each [low, high], as logarithms.

    >>> together([(0.3, 0.0), (0.4, 0.1)])
    (0.5, 0.1)
    """
    low, high = zip(*terms, strict=True)
    return math.hypot(*low), math.hypot(*high)
