"""Launch files as flat tables of keys: shell scripts, YAML, JSON, TOML (Python: `recipes`).

In:  a text; of a script the arguments that it is called with.
Out: {key: value}, keys by their last part, with underscores.
Left out: what the keys mean. Nothing is run: only assignments, $NAME, ${NAME:-default}, $((sums))
and comparisons are worked out; what a command would print is empty.
"""

from __future__ import annotations

import ast
import operator
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from rackmodel.errors import InvalidInput
from rackmodel.workload.launch.branches import Branches
from rackmodel.workload.launch.words import ARITHMETIC, COMPARED

_ASSIGNED = re.compile(
    r"^\s*(?:export\s+|local\s+|declare\s+(?:-\w+\s+)?)?([A-Za-z_]\w*)=([^\s(].*)?$"
)
_VARIABLE = re.compile(r"\$\{(\w+)(?::?-([^{}]*))?\}|\$(\w+)")
_COMMAND = re.compile(r"`[^`]*`|\$\((?!\()(?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)")
_TERNARY = re.compile(r"(.+?)\?([^?:]+):([^?:]+)")
_LAUNCHERS = {"torchrun", "python", "python3", "srun", "sbatch", "mpirun", "deepspeed", "bash"}
_LAUNCHERS |= {"echo", "eval", "exec", "nsys", "export", "mkdir", "set", "cd", "accelerate"}
_TOKENS = re.compile(r"""\$\([^()]*\)|'[^']*'|"(?:\\.|[^"\\])*"|\\.|;;|;|[^;'"\\$]+|['"\\$]""")
# What a branch begins with on the line of its first statement.
_BEGINS = re.compile(
    r"(^\s*case\s.+?\sin\b|^\s*(?:then|do|else)\b|(?:^|(?<=\sin))\s*\(?[\w.*?|\"'-]+\)(?=\s|$))"
)
_ELSEWHERE = re.compile(r"\$\{\.*([\w.]+)\}")
_ARITHMETIC = {**ARITHMETIC, ast.Mult: operator.mul, ast.Div: operator.floordiv}  # whole numbers
_SUM = re.compile(r"\$\(\(([^()]*(?:\([^()]*\)[^()]*)*)\)\)")


def of_shell(text: str, file: str, given: Sequence[str] = ()) -> dict[str, Any]:
    """Return the `--flags` of a script or of a file of arguments; a flag alone is True.

    Of a flag that stands twice the last counts, as it does for argparse.

    given : its arguments; those as NAME=VALUE are variables, too.

    >>> of_shell("TP=${1:-4}\\nargs=(--tensor-model-parallel-size $TP --bf16 --x $((2*$TP)))", "f")
    {'tensor_model_parallel_size': '4', 'bf16': True, 'x': '8'}
    """
    known = {str(place): word for place, word in enumerate(given, start=1)}
    known |= {word.partition("=")[0]: word.partition("=")[2] for word in given if "=" in word}
    words: list[str] = []
    branches = Branches(lambda text: _expanded(text, known))
    for line in statements(text):
        if line.lstrip().startswith("#") or (runs := branches.runs(line)) is False:
            continue
        found = _ASSIGNED.match(line)
        if found:
            value = _expanded((found[2] or "").split(" #")[0].strip().rstrip(";"), known)
            if runs or found[1] not in known:  # of branches that can't be told the first counts
                known[found[1]] = value
            line = value if "--" in value else ""
        for word in _split(_expanded(line, known)):
            words += _split(word) if "--" in word and " " in word else [word]
    words = [re.sub(r"^[A-Za-z_]\w*\+?=\(", "", word).lstrip("(") for word in words]
    keys: dict[str, Any] = {}
    place = 0
    while place < len(words):
        word, place = words[place], place + 1
        if not re.match(r"--[A-Za-z][\w-]*", word):
            continue
        name, equals, value = _closed(word[2:]).partition("=")
        values = [value] if equals else []
        while not equals and place < len(words) and not _is_flag(words[place]):
            values.append(_closed(words[place]))
            place += 1
            if values[-1] != words[place - 1] or len(values) > 32:
                break  # a list ends here
        values = [one for one in values if one not in ("", "|", "&&", ";")]
        key = name.replace("-", "_")
        keys[key] = True if not values else values[0] if len(values) == 1 else values
    if not keys:
        raise InvalidInput(f"{file}: no --flags of a launch stand in it")
    return keys


def statements(text: str) -> list[str]:
    """Return the lines of a script, with one statement or branch each, without comments.

    >>> statements("A=1; B='2;3' # x; C=4\\ncase $A in 1) D=5;; esac; if [ $A ]; then E=6; fi")[:4]
    ['A=1', " B='2;3'", 'case $A in', ' 1)']
    """
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        pieces, rest = [""], "" if line.lstrip().startswith("#") else line
        for token in _TOKENS.findall(rest):
            cut = re.search(r"(?:^|\s)#", token) if token[:1] not in "'\"" else None
            if token in (";", ";;"):
                pieces += ["", ""] if token == ";" else [token, ""]
                continue
            pieces[-1] += token[: cut.start()] if cut else token
            if cut:
                break
        for piece in pieces:
            parts = _BEGINS.split(piece)
            found += [one for one in parts if one.strip() not in ("", "then", "do", "done")]
    return found


def unset(text: str, keys: Mapping[str, Any]) -> dict[str, str]:
    """Return {flag without a value: the variable or the number of the argument that it lacks}.

    >>> unset("TP=${2}\\n--tp $TP --bf16", {"tp": True, "bf16": True})
    {'tp': '2'}
    """
    found = {}
    for key in (key for key, value in keys.items() if value is True):
        flag = re.search(rf"--{key.replace('_', '[-_]')}[ =]+[\"']?\$\{{?(\w+)", text)
        if flag:
            root = re.search(rf"^\s*{flag[1]}=[\"']?\$\{{?(\d+)\}}?", text, re.MULTILINE)
            found[key] = root[1] if root else flag[1]
    return found


def _is_flag(word: str) -> bool:
    """A word that begins with a dash and is no number, or the program that a launcher starts."""
    return bool(re.match(r"-+[A-Za-z]", word)) or word in (")", ";") or _is_program(word)


def _is_program(word: str) -> bool:
    """Whether a word is a script as `torchrun` takes it between its own flags and the script's."""
    return word in _LAUNCHERS or bool(re.fullmatch(r"[\w./${}-]+\.(py|sh)", word))


def _closed(word: str) -> str:
    """A word without the bracket that ends a list of the shell."""
    return word.rstrip(";") if "(" in word else word.rstrip(");")


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # a quote that ends on another line
        return line.split("#")[0].replace('"', " ").replace("'", " ").split()


def _expanded(text: str, known: Mapping[str, str]) -> str:
    """Put values for variables and sums, as far as they are known."""
    text = _COMMAND.sub("", text)
    for _ in range(8):
        once = _VARIABLE.sub(lambda m: known.get(m[1] or m[3]) or m[2] or "", text)
        once = _SUM.sub(lambda m: _sum(m[1]), once)
        if once == text:
            break
        text = once
    return text.strip("\"'") if text[:1] == text[-1:] else text


def _sum(text: str) -> str:
    """Work out a sum of whole numbers; empty where it is none."""
    if not re.fullmatch(r"[\d\s+*/()%?:<>=!-]{1,80}", text) or "**" in text:
        return ""
    if chosen := _TERNARY.fullmatch(text):  # condition ? one : other
        text = f"({chosen[2]}) if ({chosen[1]}) else ({chosen[3]})"
    try:
        return str(_value(ast.parse(text.strip(), mode="eval").body))
    except (SyntaxError, ValueError, KeyError, ZeroDivisionError):
        return ""


def _value(node: ast.AST) -> int:
    match node:
        case ast.Constant(value=int(number)):
            return number
        case ast.IfExp(test=test, body=one, orelse=other):
            return _value(one) if _value(test) else _value(other)
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return int(COMPARED[type(op)](_value(left), _value(right)))
        case ast.BinOp(left=left, op=op, right=right):
            return int(_ARITHMETIC[type(op)](_value(left), _value(right)))
    raise ValueError("no sum")


def of_table(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the leaves of a table by their last key, and by their whole path joined by dots.

    A null says nothing; `${.name}` stands for the value of another key.

    >>> of_table({"model": {"a": 1, "b": "${.a}"}, "x": {"a": None}})["b"]
    1
    """
    keys = _leaves(data)
    for _ in range(4):
        for key, value in keys.items():
            if isinstance(value, str) and (named := _ELSEWHERE.fullmatch(value)):
                keys[key] = keys.get(named[1], keys.get(named[1].rpartition(".")[2]))
    return keys


def _leaves(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    keys: dict[str, Any] = {}
    for key, value in data.items():
        name = str(key).replace("-", "_")
        path = f"{prefix}.{name}" if prefix else name
        inner = isinstance(value, Mapping)
        found = _leaves(value, path) if inner else {path: value, name: value}
        keys |= {key: one for key, one in found.items() if one is not None or key not in keys}
    return keys
