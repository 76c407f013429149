"""What a design search runs: a SPEC.toml as of a sweep, with objectives and constraints.

In:  base job, axes, zips and filters (see `spec`); objectives, constraints, most, seed.
Out: `DesignSpec`.
Left out: running it (`design`).

::

    constraints = ["rack_peak_w <= 140e3", "cost.capital_usd <= 60e6"]     # columns of a row
    most = 64                      # designs to simulate; beyond it they are sampled evenly

    [objectives]                   # left out: these three
    tokens_per_s = "max"
    "cost.usd_per_mtoken" = "min"
    energy_j_per_token = "min"

    [base]
    model = "gpt3-13b"
    gpus = 144
    global_batch = 288
    topology = "gb200-nvl72"

    [axes.set]
    "accelerators.gb200.hbm_bytes_per_s" = ["8 TB/s", "12 TB/s"]
    "topology.nics.per_host" = [2, 4]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rackmodel import gate
from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.files import read_toml
from rackmodel.sweeps.filters import Value, parse_filter
from rackmodel.sweeps.jobs import read_job_spec
from rackmodel.sweeps.spec import MOST_FILE_BYTES, FlatJob, SweepSpec

OBJECTIVES = {"tokens_per_s": "max", "cost.usd_per_mtoken": "min", "energy_j_per_token": "min"}
MOST = 256
LIMIT = 100_000
_PARTS = ("objectives", "constraints", "most", "seed")
_OF_A_SWEEP = ("title", "filters", "base", "axes", "zips")


@dataclass(frozen=True, slots=True)
class DesignSpec:
    """Designs to try, what is wanted of them, and what they must keep to."""

    spec: SweepSpec
    objectives: dict[str, str]  # {column: "max" or "min"}
    constraints: tuple[str, ...]
    most: int = MOST
    seed: int = 0

    @classmethod
    def of(
        cls,
        base: FlatJob,
        knobs: Mapping[str, Sequence[Value]],
        objectives: Mapping[str, str],
        constraints: Sequence[str] = (),
        most: int = MOST,
        seed: int = 0,
    ) -> DesignSpec:
        """Every combination of some knobs.

        Parameters
        ----------
        base : a flat job (see `jobs`). knobs : {name: values to try}.
        objectives : {column of a row: "max" or "min"}, such as {"tokens_per_s": "max",
            "cost.usd_per_mtoken": "min"}.
        constraints : filters over columns, such as "rack_heat_w <= 120000".
        most : designs to simulate; beyond it a low-discrepancy sample of all combinations is taken.

        Raises
        ------
        InvalidInput
            If a knob has no values, or an objective is neither "max" nor "min".
        """
        for name, values in knobs.items():
            if not values:
                raise InvalidInput(f"knob {name} has no values; give some, or leave it out")
        for name, sense in objectives.items():
            check_sense(f"objective {name} = {gate.shown(sense)}", sense)
        axes = tuple({name: tuple(values)} for name, values in knobs.items())
        spec = SweepSpec(base, axes, (), "design search")
        return cls(spec, dict(objectives), tuple(constraints), most, seed)


def check_sense(what: str, sense: object) -> None:
    """Raise `InvalidInput` where a figure is wanted neither "max" nor "min"."""
    if sense not in ("max", "min"):
        raise InvalidInput(f"{what} has to be 'max' or 'min'")


def read_design(source: Path | str | Mapping[str, object]) -> DesignSpec:
    """Read and check a design search.

    Raises
    ------
    InvalidInput
        With the file, the key path, the value and the remedy.

    Examples
    --------
    >>> found = read_design({"base": {"topology": "dgx-h100", "model": "gpt3-13b", "gpus": 8,
    ...     "global_batch": 8}, "axes": {"set": {"topology.nics.per_host": [4, 8]}}})
    >>> found.spec.combinations, list(found.objectives)
    (2, ['tokens_per_s', 'cost.usd_per_mtoken', 'energy_j_per_token'])
    """
    if isinstance(source, Mapping):
        content, name = dict(source), "spec"
    else:
        content = read_toml(Path(source), most=MOST_FILE_BYTES)
        name = str(source)
    for key in content:
        if key not in (*_PARTS, *_OF_A_SWEEP):
            known = (*_PARTS, *_OF_A_SWEEP)
            raise UnknownName(f"{name}: {UnknownName.among('part of a design search', key, known)}")
    own = {key: content.pop(key) for key in _PARTS if key in content}
    spec = read_job_spec(content, name=name)
    return DesignSpec(
        spec,
        _objectives(name, own.get("objectives", OBJECTIVES)),
        _constraints(name, own.get("constraints", [])),
        gate.whole(own.get("most", MOST), f"{name}: most", most=LIMIT, words=False),
        gate.whole(own.get("seed", 0), f"{name}: seed", least=0, most=LIMIT, words=False),
    )


def _objectives(name: str, part: object) -> dict[str, str]:
    if not isinstance(part, Mapping) or not part:
        raise InvalidInput(
            f"{name}: objectives = {gate.shown(part)} has to be a table such as tokens_per_s ="
            ' "max"'
        )
    found = dict(gate.leaves(part))  # cost.usd_per_mtoken need not be quoted
    for column, sense in found.items():
        check_sense(f"{name}: objectives.{column} = {gate.shown(sense)}", sense)
    return {column: str(sense) for column, sense in found.items()}


def _constraints(name: str, part: object) -> tuple[str, ...]:
    if not isinstance(part, list) or not all(isinstance(text, str) for text in part):
        raise InvalidInput(f"{name}: constraints = {gate.shown(part)} has to be a list of texts")
    for number, text in enumerate(part):
        parse_filter(text, None, where=f"{name}: constraints[{number}]")
    return tuple(part)
