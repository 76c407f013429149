"""What a launch file says: the words of a job, and how a framework spells each of them.

In:  flat tables of a framework's keys.
Out: `Launch`: words of the front door and fields of a plan; the keys back from a job.
Left out: how files are spelled (`spelling`), which frameworks there are (the other modules).
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, NoReturn

from rackmodel.errors import InvalidInput
from rackmodel.workload.job import Job
from rackmodel.workload.plan import Plan

#: How Python's comparisons of two values are worked out.
COMPARED: dict[type[ast.AST], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
#: How Python's arithmetic of two numbers is worked out; products may be of lists.
ARITHMETIC: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.FloorDiv: operator.floordiv,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
}


class _Untold:
    """What a file alone doesn't tell: a value that follows from elsewhere."""

    def __repr__(self) -> str:
        return "UNTOLD"


UNTOLD = _Untold()


@dataclass(slots=True)
class Launch:
    """A job as a file has it: `words` of the front door without its plan, and `plan`.

    per_replica : sequences of a replica, where the file leaves the replicas to the accelerators.
    """

    words: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    per_replica: float = 0.0

    def on(self, gpus: int) -> dict[str, Any]:
        """The words on so many accelerators, with the batch that follows from these.

        >>> Launch({"seq_len": 8192}, {"tp": 8}, per_replica=2).on(128)
        {'seq_len': 8192, 'gpus': 128, 'global_batch': 32}
        """
        found = {**self.words, "gpus": gpus}
        ranks = math.prod(self.plan.get(name, 1) for name in ("tp", "pp", "cp"))
        if self.per_replica and "global_batch" not in found and gpus % ranks == 0:
            found["global_batch"] = round(self.per_replica * (gpus // ranks))
        return found


class Spelled(NamedTuple):
    """One field of a plan as a framework spells it: its key, and value for value where they differ.

    `values` is {rackmodel's: theirs}; without it the value is the same. `default` is what the
    framework does where the key is left out.
    """

    field: str
    key: str
    default: Any
    values: Mapping[Any, Any] | None = None


class Flat:
    """The keys of a file, by their last part; `where` names the file.

    unset : {flag without a value: the variable of a script, or the number of its argument}.
    """

    def __init__(
        self, keys: Mapping[str, Any], where: str, unset: Mapping[str, str] | None = None
    ) -> None:
        self.keys = dict(keys)
        self.where = where
        self.unset = unset or {}

    def get(self, *names: str, default: Any = None) -> Any:
        """The first of these keys that is there and not null."""
        return next((self.keys[n] for n in names if n in self), default)

    def __contains__(self, name: str) -> bool:
        """Whether a key has a value that can be told."""
        value = self.keys.get(name)
        return value is not None and value is not UNTOLD

    def _told(self, *names: str) -> None:
        """Refuse a key whose value follows from what isn't in the file."""
        if name := next((n for n in names if self.keys.get(n) is UNTOLD), ""):
            self.refuse(f"{name} follows from what does not stand in the file; write its value")

    def refuse(self, why: str) -> NoReturn:
        """Say what is wrong with the file."""
        raise InvalidInput(f"{self.where}: {why}")

    def whole(self, *names: str, default: int | None = None) -> int | None:
        """A whole number of at least 0, -1 as it stands."""
        self._told(*names)
        value = self.get(*names)
        if value is None:
            return default
        try:
            number = float(str(value).replace("_", ""))
        except ValueError:
            number = -2.0
        if not number.is_integer() or not -1 <= number <= 1e12:
            found = next(n for n in names if n in self)
            if value is True and found in self.unset:
                self._lacks(found, self.unset[found])
            self.refuse(f"{found}: expected a whole number, found {value!r:.60}")
        return int(number)

    def _lacks(self, key: str, name: str) -> NoReturn:
        """Refuse a flag whose value is a variable that nobody set."""
        if name.isdecimal():
            said = f"argument {name} of the script; give those that it is run with"
            self.refuse(f"{key} is {said}: '{self.where} ARGUMENT ...'")
        self.refuse(f"{key} is ${name}, which is not set; give it: '{name}=... {self.where}'")

    def flag(self, *names: str, default: bool = False) -> bool:
        """Whether a switch is on."""
        self._told(*names)
        value = self.get(*names, default=default)
        return value if isinstance(value, bool) else str(value).lower() in ("true", "1", "yes", "")

    def plan(self, spelled: tuple[Spelled, ...]) -> dict[str, Any]:
        """The fields of a plan that these keys say, or the framework's defaults."""
        found: dict[str, Any] = {}
        for one in spelled:
            self._told(one.key)
            value = self.get(one.key)
            if value is None:
                found[one.field] = one.default
            elif one.values is not None:
                ours = {str(theirs).lower(): name for name, theirs in one.values.items()}
                word = str(value).lower()
                if word not in ours:
                    known = ", ".join(map(str, one.values.values()))
                    self.refuse(f"{one.key}: {value!r:.60} is not read (known: {known})")
                found[one.field] = ours[word]
            elif isinstance(one.default, bool):
                found[one.field] = self.flag(one.key)
            else:
                found[one.field] = self.whole(one.key)
        return found


def spell(plan: Plan, spelled: tuple[Spelled, ...], *, whole: bool = False) -> dict[str, Any]:
    """Return a framework's keys for the fields of a plan; what is its default only if `whole`."""
    found: dict[str, Any] = {}
    for one in spelled:
        value = getattr(plan, one.field)
        value = one.default if value is None else value
        if value == one.default and not whole:
            continue
        found[one.key] = one.values[value] if one.values is not None else value
    return found


_HABITS = {  # what a silent plan has as its software does -> how to go without
    **{name: f"--plan {name}=false" for name in ("tp_overlap", "ep_overlap")},
    **dict.fromkeys(("dispatcher", "fused_odds"), "--plan dispatcher=all-to-all"),
}
# What software does by itself, or where its file is silent.
_UNTOLD = (("dispatcher", "all-to-all"), ("tp_overlap", False), ("ep_overlap", False))


def refuse_unsaid(
    job: Job, framework: str, said: Mapping[str, Collection[Any]], whole_shards: str = ""
) -> None:
    """Refuse a job with a choice that a framework's file can't say.

    Parameters
    ----------
    said : fields that the file says, each with the values that it has words for; () means all. Of
        other fields it says what is their default, or what the software does by itself.
    whole_shards : what to write in place of a sharding that the file can't say.
    """
    values: dict[str, tuple[Any, Any]] = {"precision": (job.precision, "bf16")}
    values |= {one.name: (getattr(job.plan, one.name), one.default) for one in fields(Plan)}
    for name, (value, default) in values.items():
        has_word = not said[name] or value in said[name] if name in said else value == default
        if not has_word and (name, value) not in _UNTOLD:
            text = ", ".join(map(str, value)) if isinstance(value, tuple) else value
            cannot_say(framework, name, text, whole_shards if name == "sharding" else "")


def cannot_say(framework: str, name: str, value: object, remedy: str = "") -> NoReturn:
    """Refuse a choice that a framework's files have no word for."""
    if not remedy and name in _HABITS:
        remedy = f"a plan that leaves it open has it from its stack; give {_HABITS[name]}"
    remedy = remedy or "change it, or emit another framework's"
    raise InvalidInput(
        f"--emit {framework}: its files have no word for {name} {value!r:.40}; {remedy}"
    )
