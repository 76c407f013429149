"""Filters of a sweep: comparisons over the names of a job, read token by token.

In:  a line such as ``tp * pp <= 64 and schedule != 'gpipe'`` and the names that it may use.
Out: a `Filter` that says of each job whether it stays.
Left out: function calls, attributes, assignments. Nothing is ever handed to Python's own evaluator.

Grammar (loosest first): ``or``, ``and``, ``not``, comparisons (``< <= > >= == != in``, ``not in``;
chains as in Python), ``+ -``, ``* / // %``, unary ``-``, then numbers, 'strings', true, false,
names, ( ), [ , ].
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NoReturn, TypeAlias

from rackmodel.errors import InvalidInput, UnknownName

Value: TypeAlias = bool | int | float | str | None
_Node: TypeAlias = Callable[[Mapping[str, Value]], object]

LONGEST = 1000  # characters of one filter: more is a mistake or an attack
DEEPEST = 40  # nested parentheses, nots and minuses

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<string>'[^']*'|\"[^\"]*\")"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_.-]*[A-Za-z0-9_]|[A-Za-z_])"
    r"|(?P<sign><=|>=|==|!=|//|[-<>+*/%(),\[\]]))"
)
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], object]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_OPERATORS = {"and", "or", "not", "in"}


def _ordered(test: Callable[[Any, Any], Any]) -> Callable[[Any, Any], bool]:
    def compare(left: object, right: object) -> bool:
        if isinstance(left, list) or isinstance(right, list):
            raise TypeError("a list can only stand after 'in'")
        return bool(test(left, right))

    return compare


def _within(item: object, items: object) -> bool:
    if not isinstance(items, list):
        raise TypeError(f"'in' wants a list, not {items!r}")
    return item in items


_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: _ordered(operator.lt),
    ast.LtE: _ordered(operator.le),
    ast.Gt: _ordered(operator.gt),
    ast.GtE: _ordered(operator.ge),
    ast.Eq: _ordered(operator.eq),
    ast.NotEq: _ordered(operator.ne),
    ast.In: _within,
    ast.NotIn: lambda item, items: not _within(item, items),
}


@dataclass(frozen=True, slots=True)
class Filter:
    """One comparison, ready to be asked of many jobs."""

    text: str
    where: str
    names: frozenset[str]
    _test: _Node

    def keeps(self, job: Mapping[str, Value]) -> bool:
        """Whether `job` passes.

        Raises
        ------
        InvalidInput
            If the comparison makes no sense for this job (text with a number, division by zero).
        """
        try:
            answer = self._test(job)
        except (TypeError, ZeroDivisionError, OverflowError) as error:
            used = ", ".join(f"{name}={job.get(name)!r}" for name in sorted(self.names))
            raise InvalidInput(
                f"{self.where} = {self.text!r} can't be worked out for {used}: {error}; "
                "compare numbers with numbers and text with text"
            ) from None
        if not isinstance(answer, bool):
            raise InvalidInput(
                f"{self.where} = {self.text!r} gives {answer!r}, not true or false; "
                "write a comparison, for example 'tp * pp <= 64'"
            )
        return answer


def parse_filter(text: str, names: Collection[str] | None, *, where: str = "filter") -> Filter:
    """Read one filter.

    Parameters
    ----------
    text : the comparison.
    names : what it may speak of; anything else is an error with the nearest name. None: anything.
    where : file and key path, for messages.

    Raises
    ------
    InvalidInput
        If the text is not a comparison over `names`.

    Examples
    --------
    >>> small = parse_filter("tp * pp <= 16 and recompute in ['none', 'full']",
    ...                      ["tp", "pp", "recompute"])
    >>> small.keeps({"tp": 8, "pp": 2, "recompute": "none"})
    True
    >>> small.keeps({"tp": 8, "pp": 4, "recompute": "none"})
    False
    """
    if len(text) > LONGEST:
        raise InvalidInput(f"{where} has {len(text)} characters; at most {LONGEST} are read")
    reading = _Reading(text, names, where)
    test = reading.node(reading.tree())
    return Filter(text, where, frozenset(reading.used), test)


class _Reading:
    """One filter on its way from text to a test.

    Its own tokens decide what may stand in it; Python's parser only gives them their order: every
    number, text and name goes there as a placeholder, and nothing of it is ever run.
    """

    def __init__(self, text: str, names: Collection[str] | None, where: str) -> None:
        self.text, self.names, self.where = text, names, where
        self.used: set[str] = set()
        self.tokens: list[tuple[str, str]] = []
        at = 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            if match is None or match.lastgroup is None:
                self.fail(f"can't be read at {text[at:].strip()[:12]!r}")
            self.tokens.append((match.lastgroup, match[match.lastgroup]))
            at = match.end()

    def fail(self, problem: str) -> NoReturn:
        raise InvalidInput(
            f"{self.where} = {self.text!r} {problem}; write a comparison such as "
            "'tp * pp <= 64' or \"schedule != 'gpipe'\""
        )

    def tree(self) -> ast.expr:
        """The tokens in the order in which they act, each value as `_` and its place."""
        depth, operand = 0, False  # whether what stands before is one
        words = []
        for place, (kind, token) in enumerate(self.tokens):
            value = kind != "sign" and not (kind == "name" and token in _OPERATORS)
            if token in ("(", "[") or (token in ("not", "-") and not operand):
                depth += 1
            elif token in (")", "]"):
                depth -= 1
            if depth > DEEPEST:
                self.fail(f"is nested deeper than {DEEPEST}")
            operand = value or token in (")", "]")
            words.append(f"_{place}" if value else token)
        try:
            return ast.parse(" ".join(words), mode="eval").body
        except (SyntaxError, RecursionError, MemoryError) as error:
            place = " ".join(words)[: (getattr(error, "offset", None) or 1) - 1].count(" ")
            token = self.tokens[place][1] if place < len(self.tokens) else ""
            self.fail(f"can't be read at {token or 'its end'!r}")

    def node(self, part: ast.expr) -> _Node:
        """What a part of the tree gives for a job."""
        match part:
            case ast.Name():
                return self.leaf(*self.tokens[int(part.id[1:])])
            case ast.BoolOp():
                terms = [self.node(value) for value in part.values]
                return _logic(terms, stop=isinstance(part.op, ast.Or))
            case ast.UnaryOp(op=ast.Not()):
                inner = self.node(part.operand)
                return lambda job: not _truth(inner(job))
            case ast.UnaryOp(op=ast.USub()):
                return _arithmetic(operator.sub, lambda _: 0, self.node(part.operand))
            case ast.BinOp() if type(part.op) in _ARITHMETIC:
                act = _ARITHMETIC[type(part.op)]
                return _arithmetic(act, self.node(part.left), self.node(part.right))
            case ast.Compare():
                terms = [self.node(term) for term in (part.left, *part.comparators)]
                return _comparison(terms, [_COMPARE[type(sign)] for sign in part.ops])
            case ast.List() if part.elts:
                items = [self.node(item) for item in part.elts]
                return lambda job: [item(job) for item in items]
        self.fail("holds something else than comparisons")

    def leaf(self, kind: str, token: str) -> _Node:
        """A number, a text, true, false or the value of a name."""
        if kind == "number":
            number = float(token) if set(token) & set(".eE") else int(token)
            return lambda _: number
        if kind == "string":
            return lambda _: token[1:-1]
        if token in ("true", "false"):
            return lambda _: token == "true"
        if self.names is not None and token not in self.names:
            raise UnknownName(
                f"{self.where} = {self.text!r}: {UnknownName.among('name', token, self.names)}"
            )
        self.used.add(token)
        return lambda job: job[token]


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is not true or false")
    return value


def _number(value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    return value


def _logic(terms: Sequence[_Node], *, stop: bool) -> _Node:
    """`or` (stops at true) or `and` (stops at false) of several terms."""

    def decide(job: Mapping[str, Value]) -> object:
        for term in terms[:-1]:
            if _truth(term(job)) is stop:
                return stop
        return terms[-1](job)

    return decide


def _arithmetic(act: Callable[[Any, Any], object], left: _Node, right: _Node) -> _Node:
    return lambda job: act(_number(left(job)), _number(right(job)))


def _comparison(terms: Sequence[_Node], tests: Sequence[Callable[[Any, Any], bool]]) -> _Node:
    def compare(job: Mapping[str, Value]) -> object:
        values = [term(job) for term in terms]
        return all(test(*pair) for test, pair in zip(tests, pairwise(values), strict=True))

    return compare
