"""Every claim about scale-up and scale-out, tested: a verdict, a figure, its band, its commands.

In:  nothing but the catalog and the shipped machines; which claims, and whether quickly.
Out: `run_claims`, `claims_frame`, `Verdict`.
Left out: how verdicts look.

>>> run_claims(["nvl72-structure"])[0].verdict
'supported'
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import as_completed
from dataclasses import replace
from pathlib import Path

import pandas as pd

from rackmodel.argument.verdicts import (
    clusters,
    domain_claims,
    racks,
    rivals,
    served,
    training_runs,
    trends,
)
from rackmodel.argument.verdicts.verdict import Verdict, claim, claim_texts
from rackmodel.engine.step import counting
from rackmodel.errors import UnknownName
from rackmodel.sweeps.workers import local_workers

__all__ = ["TESTS", "Verdict", "claim", "claim_ids", "claims_frame", "run_claim", "run_claims"]

TESTS: dict[str, Callable[[bool], Verdict]] = {
    "nvl72-structure": racks.structure,
    "closer-is-cheaper": racks.closer,
    "hbm-more-is-better": domain_claims.hbm,
    "hbm-price": trends.hbm_price,
    "copper-returns": racks.copper,
    "optics-per-gpu": trends.optics,
    "liquid-needed": racks.liquid,
    "rack-failure-unit": trends.failure_unit,
    "scale-out-not-the-extension": domain_claims.extension,
    "scale-out-above-the-rack": domain_claims.above,
    "latency-by-distance": trends.distance,
    "budget-split": trends.budget,
    "nvl-sizes": domain_claims.sizes,
    "serving-domain": served.domain,
    "serving-hbm": served.hbm,
    "ualink-alternative": rivals.ualink,
    "tpu-alternative": rivals.tpu,
    "gpt4-run": training_runs.gpt4,
    "grok3-cluster": clusters.grok3,
    "gpt5-run": training_runs.gpt5,
    "gpt6-run": clusters.gpt6,
    "gpt6-compute": trends.gpt6_compute,
    "gpt35-cluster": training_runs.gpt35,
    "a800-links": domain_claims.a800,
    "a800-cluster-cost": clusters.a800_cost,
    "llama3-70b": training_runs.llama3,
    "compute-doubling": rivals.doubling,
}
#: These look at the same points of the study, which one process keeps.
_SHARE = (
    domain_claims.hbm,
    domain_claims.extension,
    domain_claims.above,
    domain_claims.sizes,
    trends.distance,
    trends.budget,
)
_COLUMNS = (
    "id",
    "topic",
    "claim",
    "verdict",
    "value",
    "low",
    "high",
    "unit",
    "claimed_low",
    "claimed_high",
    "claimed_unit",
    "words",
    "command",
)


def claim_ids() -> list[str]:
    """Names of all claims, in the order of claims.toml."""
    return list(claim_texts())


def run_claim(name: str, quick: bool = False) -> Verdict:
    """Test one claim.

    Parameters
    ----------
    quick : smaller machines, fewer models and plans; another figure, the same question. The words
        end with what is left out (`quickly` in claims.toml).

    Raises
    ------
    UnknownName
        If there is no such claim.
    """
    UnknownName.check("claim", name, TESTS)
    with counting() as steps:
        verdict = TESTS[name](quick)
    again = f"rackmodel claims{' --quick' * quick} --only {name}"
    less = claim(name).get("quickly") if quick else None
    words = f"{verdict.words} Quickly: {less}." if less else verdict.words
    return replace(verdict, steps=steps[0], words=words, commands=(again, *verdict.commands))


def run_claims(
    ids: Iterable[str] | None = None,
    quick: bool = False,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 1,
    study: Path | None = None,
) -> list[Verdict]:
    """Test claims, one after another or on several processes; the verdicts are the same.

    Parameters
    ----------
    ids : which; None or empty for all. quick : as in `run_claim`. progress : called with (done,
        total). workers : processes; claims that share simulations stay in one.
    study : a directory of the study (`rackmodel study`); its points are taken from
        there, as far as this version of the code wrote them.

    Raises
    ------
    UnknownName
        If there is no such claim; nothing has run then. InvalidInput as
        `known_points` does.
    """
    wanted = list(ids or ()) or claim_ids()
    for name in wanted:
        UnknownName.check("claim", name, TESTS)
    if study is not None:
        domain_claims.take_points(study)
    tell = progress or (lambda done, total: None)
    found: dict[str, Verdict] = {}
    tell(0, len(wanted))
    if workers > 1 and len(wanted) > 1:
        with local_workers(workers) as pool:
            tasks = [pool.submit(_run_together, task, quick, study) for task in _tasks(wanted)]
            for future in as_completed(tasks):
                found |= {verdict.id: verdict for verdict in future.result()}
                tell(len(found), len(wanted))
    else:
        for name in wanted:
            found[name] = run_claim(name, quick)
            tell(len(found), len(wanted))
    return [found[name] for name in wanted]


def _tasks(wanted: Iterable[str]) -> list[list[str]]:
    """Claims to test in one process: those that look at the same machines together, and first."""
    names = list(wanted)
    shared = [name for name in names if TESTS[name] in _SHARE]
    return [shared] * bool(shared) + [[name] for name in names if name not in shared]


def _run_together(names: list[str], quick: bool, study: Path | None) -> list[Verdict]:
    if study is not None:
        domain_claims.take_points(study)
    return [run_claim(name, quick) for name in names]


def claims_frame(
    ids: Iterable[str] | None = None, quick: bool = False, verdicts: list[Verdict] | None = None
) -> pd.DataFrame:
    """One row per claim: verdict, figure, band, words and the first command that repeats it.

    verdicts : those that `run_claims` gave, if it has run already.
    """
    found = run_claims(ids, quick) if verdicts is None else verdicts
    return pd.DataFrame([verdict.to_dict() for verdict in found], columns=list(_COLUMNS))
