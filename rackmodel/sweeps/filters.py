"""Filters of a sweep: comparisons over the names of a job, read by a small parser.

In:  a line such as ``tp * pp <= 64 and schedule != 'gpipe'`` and the names that it may use.
Out: a `Filter` that says of each job whether it stays.
Left out: function calls, attributes, assignments. Nothing is ever handed to Python's own evaluator.

Grammar (loosest first): ``or``, ``and``, ``not``, comparisons (``< <= > >= == != in``, ``not in``;
chains as in Python), ``+ -``, ``* / // %``, unary ``-``, then numbers, 'strings', true, false,
names, ( ), [ , ].
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
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
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_SUM = {"+": operator.add, "-": operator.sub}
_PRODUCT = {
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
}
_WORDS = {"and", "or", "not", "in", "true", "false"}


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


def parse_filter(text: str, names: Collection[str], *, where: str = "filter") -> Filter:
    """Read one filter.

    Parameters
    ----------
    text : the comparison.
    names : what it may speak of; anything else is an error with the nearest name.
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
    parser = _Parser(text, names, where)
    test = parser.whole()
    return Filter(text, where, frozenset(parser.used), test)


class _Parser:
    """Recursive descent over the tokens of one filter."""

    def __init__(self, text: str, names: Collection[str], where: str) -> None:
        self.text, self.names, self.where = text, names, where
        self.used: set[str] = set()
        self.depth = 0
        self.tokens: list[tuple[str, str]] = []
        at = 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            if match is None or match.lastgroup is None:
                self.fail(f"can't be read at {text[at:].strip()[:12]!r}")
            self.tokens.append((match.lastgroup, match[match.lastgroup]))
            at = match.end()
        self.tokens.append(("end", ""))
        self.at = 0

    def fail(self, problem: str) -> NoReturn:
        raise InvalidInput(
            f"{self.where} = {self.text!r} {problem}; write a comparison such as "
            "'tp * pp <= 64' or \"schedule != 'gpipe'\""
        )

    def peek(self) -> str:
        kind, token = self.tokens[self.at]
        return "" if kind == "string" else token

    def take(self) -> tuple[str, str]:
        token = self.tokens[self.at]
        self.at = min(self.at + 1, len(self.tokens) - 1)
        return token

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            self.fail(f"is nested deeper than {DEEPEST}")

    def whole(self) -> _Node:
        node = self.either()
        if self.tokens[self.at][0] != "end":
            self.fail(f"goes on with {self.tokens[self.at][1]!r} after its end")
        return node

    def either(self) -> _Node:
        node = self.both()
        while self.peek() == "or":
            self.take()
            node = self._logic(node, self.both(), stop=True)
        return node

    def both(self) -> _Node:
        node = self.negation()
        while self.peek() == "and":
            self.take()
            node = self._logic(node, self.negation(), stop=False)
        return node

    @staticmethod
    def _logic(left: _Node, right: _Node, *, stop: bool) -> _Node:
        def decide(job: Mapping[str, Value]) -> object:
            first = left(job)
            if not isinstance(first, bool):
                raise TypeError(f"{first!r} is not true or false")
            return first if first is stop else right(job)

        return decide

    def negation(self) -> _Node:
        if self.peek() != "not":
            return self.comparison()
        self.take()
        self.deeper()
        inner = self.negation()

        def decide(job: Mapping[str, Value]) -> object:
            value = inner(job)
            if not isinstance(value, bool):
                raise TypeError(f"{value!r} is not true or false")
            return not value

        return decide

    def comparison(self) -> _Node:
        terms = [self.sum()]
        tests: list[Callable[[object, object], bool]] = []
        while (sign := self.peek()) in _COMPARE or sign in ("in", "not"):
            self.take()
            if sign == "not" and self.take()[1] != "in":
                self.fail("has 'not' where 'not in' is wanted")
            if sign in _COMPARE:
                tests.append(_ordered(sign))
            else:
                tests.append(_within(sign == "in"))
            terms.append(self.sum())
        if not tests:
            return terms[0]

        def compare(job: Mapping[str, Value]) -> object:
            values = [term(job) for term in terms]
            return all(test(a, b) for test, a, b in zip(tests, values, values[1:], strict=False))

        return compare

    def sum(self) -> _Node:
        node = self.product()
        while (sign := self.peek()) in _SUM:
            self.take()
            node = _arithmetic(_SUM[sign], node, self.product())
        return node

    def product(self) -> _Node:
        node = self.unary()
        while (sign := self.peek()) in _PRODUCT:
            self.take()
            node = _arithmetic(_PRODUCT[sign], node, self.unary())
        return node

    def unary(self) -> _Node:
        if self.peek() != "-":
            return self.atom()
        self.take()
        self.deeper()
        return _arithmetic(operator.sub, lambda _: 0, self.unary())

    def atom(self) -> _Node:
        kind, token = self.take()
        if kind == "number":
            number = float(token) if set(token) & set(".eE") else int(token)
            return lambda _: number
        if kind == "string":
            return lambda _: token[1:-1]
        if kind == "name" and token in ("true", "false"):
            return lambda _: token == "true"
        if kind == "name" and token not in _WORDS:
            if token not in self.names:
                raise UnknownName(
                    f"{self.where} = {self.text!r}: {UnknownName.among('name', token, self.names)}"
                )
            self.used.add(token)
            return lambda job: job[token]
        if token == "(":
            self.deeper()
            node = self.either()
            self.expect(")")
            self.depth -= 1
            return node
        if token == "[":
            self.deeper()
            items = [self.sum()]
            while self.peek() == ",":
                self.take()
                items.append(self.sum())
            self.expect("]")
            self.depth -= 1
            return lambda job: [item(job) for item in items]
        self.fail(f"has {token or 'its end'!r} where a number, text or name is wanted")

    def expect(self, token: str) -> None:
        if self.peek() != token:
            self.fail(f"lacks {token!r} before {self.tokens[self.at][1] or 'its end'!r}")
        self.take()


def _number(value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    return value


def _arithmetic(
    act: Callable[[int | float, int | float], object], left: _Node, right: _Node
) -> _Node:
    return lambda job: act(_number(left(job)), _number(right(job)))


def _ordered(sign: str) -> Callable[[object, object], bool]:
    test = _COMPARE[sign]

    def compare(left: object, right: object) -> bool:
        if isinstance(left, list) or isinstance(right, list):
            raise TypeError("a list can only stand after 'in'")
        return bool(test(left, right))

    return compare


def _within(wanted: bool) -> Callable[[object, object], bool]:
    def test(item: object, items: object) -> bool:
        if not isinstance(items, list):
            raise TypeError(f"'in' wants a list, not {items!r}")
        return (item in items) is wanted

    return test
