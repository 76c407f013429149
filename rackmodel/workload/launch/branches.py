"""Which lines of a shell script are run, as far as its conditions can be told.

In:  lines one after another, what variables stand for.
Out: whether a line is run: yes, no, or not known.
Left out: loops and functions, whose lines count as run once; conditions on files and commands.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from rackmodel.workload.launch.words import COMPARED

_TEST = re.compile(r"\[\[?\s+(.*?)\s+\]\]?")
_COMPARED = re.compile(r"(\S*)\s*(==|=|!=|-eq|-ne|-gt|-ge|-lt|-le)\s*(\S*)")
_NUMBERS = {
    "-eq": ast.Eq,
    "-ne": ast.NotEq,
    "-gt": ast.Gt,
    "-ge": ast.GtE,
    "-lt": ast.Lt,
    "-le": ast.LtE,
}
_EMPTY = re.compile(r"-([nz])\s*(.*)")


@dataclass(slots=True)
class _Frame:
    """A case or an if: what it compares, whether a branch was taken, whether this one is."""

    word: str | None
    taken: bool | None
    on: bool | None


class Branches:
    """Follows the branches of a script; `expanded` puts values for variables."""

    def __init__(self, expanded: Callable[[str], str]) -> None:
        self.expanded = expanded
        self.frames: list[_Frame] = []

    def runs(self, line: str) -> bool | None:
        """Take the next line: whether it is run; None where a condition can't be told."""
        text = line.strip()
        if found := re.match(r"case\s+(.+?)\s+in\b", text):
            self.frames.append(_Frame(_bare(self.expanded(found[1])), False, False))
            return False
        if found := re.match(r"(if|elif)\s+(.*?)(?:;\s*then\b.*)?$", text):
            holds = self._holds(found[2])
            if found[1] == "if":
                self.frames.append(_Frame(None, holds, holds))
            elif self.frames:
                frame = self.frames[-1]
                frame.on, frame.taken = _next(frame.taken, holds)
            return False
        if text == "else" and self.frames:
            frame = self.frames[-1]
            frame.on, frame.taken = _next(frame.taken, True)
            return False
        if re.match(r"(fi|esac)\b", text) and self.frames:
            self.frames.pop()
            return False
        if self.frames and self.frames[-1].word is not None:
            self._branch(self.frames[-1], text)
        states = [frame.on for frame in self.frames]
        return False if False in states else None if None in states else True

    def _branch(self, frame: _Frame, text: str) -> None:
        """Begin a branch of a case, or end it."""
        found = re.match(r"\(?([^()=\s]+(?:\s*\|\s*[^()=\s]+)*)\)(?:\s|$)", text)
        if found:
            patterns = [_bare(one.strip()) for one in found[1].split("|")]
            matches = any(fnmatchcase(frame.word or "", one) for one in patterns)
            frame.on, frame.taken = _next(frame.taken, matches)
        elif text.startswith(";;"):
            frame.on = False

    def _holds(self, condition: str) -> bool | None:
        """Whether comparisons of words hold; None for all else."""
        first, *rest = re.split(r"\s*(\|\||&&)\s*", condition)
        found = self._test(first)
        for link, test in zip(rest[::2], rest[1::2], strict=True):
            found = _joined(found, self._test(test), either=link == "||")
        return found

    def _test(self, text: str) -> bool | None:
        inside = _TEST.fullmatch(text)
        return self._one(self.expanded(inside[1])) if inside else None

    def _one(self, text: str) -> bool | None:
        if found := _EMPTY.fullmatch(text):
            return bool(_bare(found[2])) == (found[1] == "n")
        if found := _COMPARED.fullmatch(text):
            one, other = _bare(found[1]), _bare(found[3])
            if found[2] not in _NUMBERS:
                return (one == other) == (found[2] != "!=")
            if all(re.fullmatch(r"-?\d{1,18}", word) for word in (one, other)):
                return COMPARED[_NUMBERS[found[2]]](int(one), int(other))
        return None


def _joined(first: bool | None, second: bool | None, *, either: bool) -> bool | None:
    if either:
        return True if True in (first, second) else None if None in (first, second) else False
    return False if False in (first, second) else None if None in (first, second) else True


def _next(taken: bool | None, holds: bool | None) -> tuple[bool | None, bool | None]:
    """Whether a further branch is run, and whether one was: none after one that was."""
    on = False if taken else holds if taken is False else None if holds is not False else False
    return on, True if True in (taken, on) else None if None in (taken, on) else False


def _bare(word: str) -> str:
    return word.strip().strip("\"'")
