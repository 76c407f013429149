"""How sure a figure is, or a ratio of two machines, given constants that nobody knows exactly.

In:  machines with their jobs; the constants of data/uncertain.toml.
Out: a band, and Sobol indices: which constant causes how much of it.
Left out: errors that no constant stands for (`Result.step_s_low` and `_high` hold all of them).

Constants are drawn evenly (a scrambled Sobol sequence), every machine is simulated at each draw,
and a quadratic surface through the logarithms stands for the simulation where the indices need
thousands of values. How well it does is told: the error of leaving a draw out.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from scipy.stats import qmc

from rackmodel.assess.run import run
from rackmodel.columns import Floats
from rackmodel.errors import InvalidInput
from rackmodel.hardware import Catalog
from rackmodel.study.resources import scale
from rackmodel.study.shadow_prices import sobol
from rackmodel.topology import Topology
from rackmodel.workload import Job

DRAWS = 32
SURFACE_SAMPLES = 1024
BAND = (10.0, 90.0)  # percentiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncertain:
    """A factor on a resource that stands for a constant which is not known exactly."""

    name: str
    resource: str
    low: float
    high: float
    source: str


@cache
def uncertain() -> tuple[Uncertain, ...]:
    """The constants of data/uncertain.toml."""
    text = resources.files("rackmodel.study").joinpath("data/uncertain.toml").read_text("utf-8")
    return tuple(Uncertain(**one) for one in tomllib.loads(text)["constant"])


def error_bars(
    figure: Callable[[Mapping[str, float]], float],
    constants: Sequence[Uncertain],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Return the band of a figure and what causes it.

    Parameters
    ----------
    figure : positive, for {name of a constant: factor}; called `draws` + 1 times.
    constants : D of them. draws : more than 2 D, a power of two is best.

    Returns
    -------
    {value, low, high, surface_error, rows}: the figure at factors of 1, its 10th and 90th
    percentile, the error of the surface (root mean square of leaving each draw out, relative), and
    one row per constant with its range, first and total Sobol index and their errors.

    Examples
    --------
    >>> both = [Uncertain(name=n, resource="", low=0.9, high=1.1, source="") for n in "ab"]
    >>> found = error_bars(lambda x: x["a"] ** 3 / x["b"], both, draws=16)
    >>> found["rows"][0]["constant"], found["low"] < found["value"] < found["high"]
    ('a', True)
    """
    check_draws(draws, len(constants))
    names = [one.name for one in constants]
    low, high = (np.array([getattr(one, end) for one in constants]) for end in ("low", "high"))
    sampler = qmc.Sobol(d=len(constants), rng=seed)
    points = qmc.scale(sampler.random(draws), low, high)
    values = np.zeros(draws)
    for number, point in enumerate(points):
        values[number] = figure(dict(zip(names, map(float, point), strict=True)))
        if progress is not None:
            progress(number + 1, draws)
    terms = _terms(np.log(points))
    kept, *_ = np.linalg.lstsq(terms, np.log(values), rcond=None)
    hat = np.einsum("ij,ji->i", terms, np.linalg.pinv(terms))
    left_out = (np.log(values) - terms @ kept) / np.maximum(1e-9, 1.0 - hat)

    def surface(x: Mapping[str, float]) -> float:
        point = np.log(np.array([[x[name] for name in names]]))
        return float(np.exp(_terms(point) @ kept)[0])

    ranges = {one.name: (one.low, one.high) for one in constants}
    indices = sobol(surface, ranges, samples=SURFACE_SAMPLES, seed=seed)
    many = qmc.scale(qmc.Sobol(d=len(constants), rng=seed + 1).random(4096), low, high)
    spread = np.exp(_terms(np.log(many)) @ kept)
    known = {one.name: one for one in constants}
    rows: list[dict[str, Any]] = [
        {str(key): value for key, value in row.items()}
        | {name: getattr(known[row["constant"]], name) for name in ("low", "high", "source")}
        for row in indices.to_dict("records")
    ]
    return {
        "value": figure(dict.fromkeys(names, 1.0)),
        "low": float(np.percentile(spread, BAND[0])),
        "high": float(np.percentile(spread, BAND[1])),
        "surface_error": float(np.sqrt(np.mean(left_out**2))),
        "rows": rows,
    }


def check_draws(draws: int, constants: int = 8) -> None:
    """Raise `InvalidInput` if so few draws can't tell so many constants apart."""
    if draws <= 2 * constants:
        raise InvalidInput(
            f"{draws} draws can't tell {constants} uncertain constants apart; take "
            f"{2 ** math.ceil(math.log2(2 * constants + 1))} or more"
        )


def _terms(logs: Floats) -> Floats:
    """Columns of the surface: 1, each logarithm and its square, [N, 1 + 2 D]."""
    return np.concatenate([np.ones((len(logs), 1)), logs, logs**2], axis=1)


def ratio_error_bars(
    one: tuple[Topology, Job],
    other: tuple[Topology, Job],
    catalog: Catalog,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Error bars of tokens/s of `one` over those of `other`, as `error_bars`.

    Machines with the same accelerator err alike in what belongs to it (matrix units, HBM,
    scale-up links); otherwise each has constants of its own. Fabrics err alike everywhere.
    """
    pair = (one, other)
    parts = [machine.accelerator for machine, _ in pair]
    own = ("flops_per_s", "hbm_bytes_per_s", "scale_up_bytes_per_s")
    constants: list[Uncertain] = []
    uses: list[list[tuple[str, str]]] = [[], []]  # per machine: (resource, name of the constant)
    for each in uncertain():
        apart = each.resource in own and parts[0] != parts[1]
        for number, part in enumerate(dict.fromkeys(parts) if apart else [""]):
            name = f"{each.name} ({part})" if part else each.name
            constants.append(replace(each, name=name))
            for machine in [number] if apart else [0, 1]:
                uses[machine].append((each.resource, name))

    def figure(factors: Mapping[str, float]) -> float:
        speeds = [
            _tokens_per_s(machine, job, catalog, [(r, factors[n]) for r, n in used])
            for (machine, job), used in zip(pair, uses, strict=True)
        ]
        return speeds[0] / speeds[1]

    return error_bars(figure, constants, draws=draws, seed=seed, progress=progress)


def _tokens_per_s(
    machine: Topology, job: Job, catalog: Catalog, factors: Sequence[tuple[str, float]]
) -> float:
    for resource, factor in factors:
        machine, catalog = scale(machine, catalog, resource, factor)
    return float(run(machine, job, catalog=catalog).tokens_per_s)
