"""Launch files as flat tables of keys: shell scripts, Python recipes, YAML, JSON, TOML.

In:  a text.
Out: {key: value}, keys by their last part, with underscores.
Left out: what the keys mean. Nothing is run: of a shell only assignments, $NAME, ${NAME:-default},
$((sums)) and comparisons of words are worked out, of Python only constants that are assigned or
passed by name.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Mapping
from typing import Any

from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.workload.launch.branches import Branches

_ASSIGNED = re.compile(
    r"^\s*(?:export\s+|local\s+|declare\s+(?:-\w+\s+)?)?([A-Za-z_]\w*)=([^\s(].*)?$"
)
_VARIABLE = re.compile(r"\$\{(\w+)(?::?-([^{}]*))?\}|\$(\w+)")
_SUM = re.compile(r"\$\(\(([^()]*(?:\([^()]*\)[^()]*)*)\)\)")


def of_shell(text: str, file: str) -> dict[str, Any]:
    """Return the `--flags` of a script or of a file of arguments; a flag alone is True.

    Of a flag that stands twice the last counts, as it does for argparse.

    >>> of_shell("TP=${1:-4}\\nargs=(--tensor-model-parallel-size $TP --bf16 --x $((2*$TP)))", "f")
    {'tensor_model_parallel_size': '4', 'bf16': True, 'x': '8'}
    """
    known: dict[str, str] = {}
    words: list[str] = []
    branches = Branches(lambda text: _expanded(text, known))
    for line in text.replace("\\\n", " ").splitlines():
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


def _is_flag(word: str) -> bool:
    """A word that begins with a dash and is no number, or the program that a launcher starts."""
    return bool(re.match(r"-+[A-Za-z]", word)) or word in (")", ";") or _is_program(word)


def _is_program(word: str) -> bool:
    """Whether a word is a script as `torchrun` takes it between its own flags and the script's."""
    return bool(re.fullmatch(r"[\w./${}-]+\.(py|sh)", word))


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
    for _ in range(8):
        once = _VARIABLE.sub(lambda m: known.get(m[1] or m[3], m[2] or ""), text)
        once = _SUM.sub(lambda m: _sum(m[1]), once)
        if once == text:
            break
        text = once
    return text.strip("\"'") if text[:1] == text[-1:] else text


def _sum(text: str) -> str:
    """Work out a sum of whole numbers; empty where it is none."""
    if not re.fullmatch(r"[\d\s+*/()%-]{1,80}", text) or "**" in text:
        return ""
    try:
        return str(_value(ast.parse(text.strip(), mode="eval").body))
    except (SyntaxError, ValueError, ZeroDivisionError):
        return ""


def _value(node: ast.AST) -> int:
    match node:
        case ast.Constant(value=int(number)):
            return number
        case ast.BinOp(left=left, op=op, right=right):
            a, b = _value(left), _value(right)
            match op:
                case ast.Add():
                    return a + b
                case ast.Sub():
                    return a - b
                case ast.Mult():
                    return a * b
                case ast.Div() | ast.FloorDiv():
                    return a // b
                case ast.Mod():
                    return a % b
    raise ValueError("no sum")


def of_python(text: str, file: str, recipe: str = "") -> dict[str, Any]:
    """Return constants that a recipe assigns (`cfg.model.x = 8`) or passes by name (`x=8`).

    recipe : the function to read, where several of the file set a degree of parallelism.

    >>> of_python("cfg.model.tensor_model_parallel_size = 8\\nf(seq_length=4096, to=None)", "f")
    {'tensor_model_parallel_size': 8, 'seq_length': 4096}
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InvalidInput(f"{file}: not valid Python: {str(error)[:120]}") from None
    body = _recipe(tree, file, recipe)
    keys: dict[str, Any] = {}

    def put(name: str, node: ast.AST) -> None:
        if isinstance(node, ast.Constant) and node.value is not None:
            keys[name] = node.value
        elif isinstance(node, ast.List | ast.Tuple):
            members = [one.value for one in node.elts if isinstance(one, ast.Constant)]
            if members and len(members) == len(node.elts):
                keys[name] = members

    for node in ast.walk(body):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Attribute):
                    put(target.attr, node.value)
                elif isinstance(target, ast.Name):
                    put(target.id.lower(), node.value)
        elif isinstance(node, ast.Call) and _called(node) == "from_hf_pretrained" and node.args:
            put("from_hf_pretrained", node.args[0])
        elif isinstance(node, ast.keyword) and node.arg:
            put(node.arg, node.value)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    put(key.value, value)
    if not keys:
        raise InvalidInput(f"{file}: no constant of a recipe stands in it; give the recipe")
    return keys


def _called(node: ast.Call) -> str:
    """The last name of what is called."""
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def _recipe(tree: ast.Module, file: str, name: str) -> ast.AST:
    """The function of a file that is asked for; the whole file where there is one recipe."""
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    if name:
        found = [node for node in functions if node.name == name]
        if not found:
            names = [node.name for node in functions]
            raise UnknownName.among(f"function of {file}", name, names)
        return found[0]
    recipes = [
        node.name
        for node in functions
        if any(
            isinstance(inner, ast.Attribute)
            and inner.attr == "tensor_model_parallel_size"
            and isinstance(inner.ctx, ast.Store)
            for inner in ast.walk(node)
        )
    ]
    if len(recipes) > 1:
        raise InvalidInput(
            f"{file}: it holds {len(recipes)} recipes; give {file}:{recipes[0]}"
            f" (others: {', '.join(recipes[1:4])}{', ...' if len(recipes) > 4 else ''})"
        )
    return tree


def of_table(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the leaves of a table by their last key, and by their whole path joined by dots."""
    keys: dict[str, Any] = {}
    for key, value in data.items():
        name = str(key).replace("-", "_")
        path = f"{prefix}.{name}" if prefix else name
        if isinstance(value, Mapping):
            keys |= of_table(value, path)
        else:
            keys |= {path: value, name: value}
    return keys
