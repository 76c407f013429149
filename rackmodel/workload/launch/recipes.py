"""Python recipes as flat tables of keys, worked out as far as their own file tells.

In:  the text of a recipe: Megatron-Bridge, NeMo.
Out: {key: value}: what is assigned (`cfg.model.x = 8`), passed by name (`x=8`) or stands in a
table; `UNTOLD` for what follows from elsewhere; `classes` and `calls` that are handed on.
Left out: running anything. Constants, sums, lists, defaults of arguments, conditions, and calls of
functions of the same file are worked out; loops, classes and imports are not.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.workload.launch.words import ARITHMETIC, COMPARED, UNTOLD

_DEEPEST, _MOST_STEPS, _LONGEST = 24, 20_000, 10_000
_BY_CALL = ("plugins", "mixed_precision", "precision")  # also said by the name of a function
# Recipes of Megatron-Bridge and NeMo that another file holds.
_BEGUN = re.compile(r"(?:pretrain|finetune|sft|peft)_(?:config|recipe)$")
_DEGREE = "tensor_model_parallel_size"
_OPERATORS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    **COMPARED,
    **ARITHMETIC,
    ast.Is: operator.eq,
    ast.IsNot: operator.ne,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}


def of_python(text: str, file: str, recipe: str = "") -> dict[str, Any]:
    """Return the constants of a recipe by the last part of their names.

    recipe : the function to read, where a file has several.

    >>> of_python("cfg.model.tensor_model_parallel_size = 8\\nf(seq_length=4096, to=None)", "f")
    {'tensor_model_parallel_size': 8, 'seq_length': 4096}
    >>> two = "def t(tp=4):\\n  f(x=tp)\\ndef recipe(n=2):\\n  t(tp=2 * n)\\n"
    >>> of_python(two, "f", "recipe"), of_python(two, "f", "t")
    ({'x': 4}, {'x': 4})
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InvalidInput(f"{file}: not valid Python: {str(error)[:120]}") from None
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    reader = _Reader(functions)
    reader.block(tree.body, {"__name__": "__main__"}, 0)
    if recipe and recipe not in functions:
        raise UnknownName.among(f"function of {file}", recipe, functions)
    if not recipe and _DEGREE not in reader.keys:
        recipe = _only(functions, file)
    if recipe:
        reader.call(functions[recipe], [], {}, 0)
    elif not reader.keys:
        for function in functions.values():
            reader.call(function, [], {}, 0)
    if not reader.keys:
        raise InvalidInput(f"{file}: no constant of a recipe stands in it; give the recipe")
    return reader.keys


def _only(functions: Mapping[str, ast.FunctionDef], file: str) -> str:
    """The one function of a file that is a recipe; empty where there is none."""
    calls = [
        (_called(node), bool(node.args or node.keywords))
        for name, function in functions.items()
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and _called(node) != name
    ]
    helpers = {name for name, given in calls if given or name.startswith("_")}
    recipes = [
        name
        for name, function in functions.items()
        if (function.decorator_list or name not in helpers) and _says(functions, name, set())
    ]
    if len(recipes) > 1:
        raise InvalidInput(
            f"{file}: it holds {len(recipes)} recipes; give {file}:{recipes[0]}"
            f" (others: {', '.join(recipes[1:4])}{', ...' if len(recipes) > 4 else ''})"
        )
    return recipes[0] if recipes else ""


def _says(functions: Mapping[str, ast.FunctionDef], name: str, seen: set[str]) -> bool:
    """Whether a function, or one that it calls, says a degree of parallelism."""
    seen.add(name)
    nodes = list(ast.walk(functions[name]))
    words = (
        getattr(one, "attr", getattr(one, "arg", getattr(one, "value", None))) for one in nodes
    )
    called = {_called(one) for one in nodes if isinstance(one, ast.Call)} & set(functions)
    return _DEGREE in words or any(_says(functions, one, seen) for one in called if one not in seen)


def _called(node: ast.Call) -> str:
    """The last name of what is called."""
    return str(getattr(node.func, "attr", getattr(node.func, "id", "")))


class _Reader:
    """Walks through a recipe; `keys` holds what it said so far."""

    def __init__(self, functions: Mapping[str, ast.FunctionDef]) -> None:
        self.functions = functions
        self.keys: dict[str, Any] = {}
        self.names: dict[str, Any] = {}
        self.steps = 0
        self.sure = True

    def put(self, name: str, value: Any) -> None:
        """Keep what a key is; null says nothing, and what may be overwritten is untold."""
        called = isinstance(value, _Name) and name not in _BY_CALL
        if value is None or called or isinstance(value, Mapping):
            return
        if not self.sure and self.keys.get(name) != value:
            value = UNTOLD
        self.keys[name] = value

    def call(
        self, function: ast.FunctionDef, given: list[Any], named: Mapping[str, Any], depth: int
    ) -> Any:
        """Walk through a function with these arguments; what it returns."""
        if depth > _DEEPEST:
            return UNTOLD
        told = function.args
        places = [one.arg for one in (*told.posonlyargs, *told.args)]
        by_name = [one.arg for one in told.kwonlyargs]
        names: dict[str, Any] = dict.fromkeys((*places, *by_name), UNTOLD)
        defaults = [*zip(places[len(places) - len(told.defaults) :], told.defaults, strict=True)]
        defaults += [
            (one.arg, node)
            for one, node in zip(told.kwonlyargs, told.kw_defaults, strict=True)
            if node is not None
        ]
        names |= {name: self.value(node, self.names, depth) for name, node in defaults}
        names |= dict(zip(places, given, strict=False))
        if told.kwarg:
            names[told.kwarg.arg] = {k: v for k, v in named.items() if k not in names}
        names |= {name: value for name, value in named.items() if name in names}
        return self.block(function.body, names, depth + 1)

    def block(self, body: list[ast.stmt], names: dict[str, Any], depth: int) -> Any:
        """Walk through statements; what they return, None where they return nothing."""
        if depth == 0:
            self.names = names
        for node in body:
            self.steps += 1
            if self.steps > _MOST_STEPS:
                return UNTOLD
            match node:
                case ast.Assign(targets=targets, value=of):
                    value = self.value(of, names, depth)
                    for target in targets:
                        self._assign(target, value, names)
                case ast.AnnAssign(target=target, value=of) if of is not None:
                    self._assign(target, self.value(of, names, depth), names)
                case ast.Expr(value=of):
                    self.value(of, names, depth)
                case ast.Return(value=of):
                    return None if of is None else self.value(of, names, depth)
                case ast.If():
                    ended, value = self._branch(node, names, depth)
                    if ended:
                        return value
                case ast.With(body=inner) | ast.Try(body=inner):
                    self.block(inner, names, depth + 1)
                case ast.For(body=inner):
                    self._unsure(inner, names, depth)
        return None

    def _branch(self, node: ast.If, names: dict[str, Any], depth: int) -> tuple[bool, Any]:
        """Take the branch that holds: whether it returned, and what."""
        holds = self.value(node.test, names, depth)
        if holds is UNTOLD:
            for body in (node.body, node.orelse):
                self._unsure(body, names, depth)
            return False, None
        body = node.body if holds else node.orelse
        value = self.block(body, names, depth + 1)
        return any(isinstance(one, ast.Return) for one in body), value

    def _unsure(self, body: list[ast.stmt], names: dict[str, Any], depth: int) -> None:
        """Walk through what may be run: a key that it changes is untold after it."""
        before, self.sure = self.sure, False
        self.block(body, dict(names), depth + 1)
        self.sure = before

    def _assign(self, target: ast.AST, value: Any, names: dict[str, Any]) -> None:
        if isinstance(target, ast.Attribute):
            self.put(target.attr, value)
        elif isinstance(target, ast.Name):
            names[target.id] = value
            if isinstance(value, int | float | str) and target.id.lower() not in _BY_CALL:
                self.put(target.id.lower(), value)

    def value(self, node: ast.AST, names: dict[str, Any], depth: int) -> Any:
        """What an expression is, as far as it can be told."""
        self.steps += 1
        if depth > _DEEPEST or self.steps > _MOST_STEPS:
            return UNTOLD
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return names.get(name, self.names.get(name, UNTOLD))
            case ast.Attribute(value=ast.Name(id="torch"), attr=name):
                return name  # a type
            case ast.Attribute(value=of, attr=name):
                self.value(of, names, depth + 1)
                return self.keys.get(name, UNTOLD)
            case ast.List(elts=parts) | ast.Tuple(elts=parts):
                found = [self.value(one, names, depth + 1) for one in parts]
                whole = UNTOLD not in found
                return (tuple(found) if isinstance(node, ast.Tuple) else found) if whole else UNTOLD
            case ast.Dict():
                return self._table(node, names, depth)
            case ast.Call():
                return self._call(node, names, depth)
            case ast.IfExp(test=test, body=body, orelse=other):
                holds = self.value(test, names, depth + 1)
                both = [self.value(one, names, depth + 1) for one in (body, other)]
                return UNTOLD if holds is UNTOLD else both[0] if holds else both[1]
            case ast.BoolOp(op=op, values=parts):
                return self._either(isinstance(op, ast.Or), parts, names, depth)
            case ast.UnaryOp(operand=of, op=ast.Not() | ast.USub() as op):
                inner = self.value(of, names, depth + 1)
                return _worked(operator.not_ if isinstance(op, ast.Not) else operator.neg, inner)
            case ast.BinOp(left=left, op=op, right=right):
                pair = [self.value(one, names, depth + 1) for one in (left, right)]
                does = _times if isinstance(op, ast.Mult) else _OPERATORS.get(type(op))
                return _worked(does, *pair)
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                pair = [self.value(one, names, depth + 1) for one in (left, right)]
                return _worked(_OPERATORS.get(type(op)), *pair)
            case ast.Subscript(value=of, slice=at):
                pair = [self.value(one, names, depth + 1) for one in (of, at)]
                return _worked(operator.getitem, *pair)
        return UNTOLD

    def _either(
        self, any_of: bool, parts: list[ast.expr], names: dict[str, Any], depth: int
    ) -> Any:
        """The value of `a or b`, `a and b`."""
        found: Any = UNTOLD
        for part in parts:
            found = self.value(part, names, depth + 1)
            if found is UNTOLD or bool(found) == any_of:
                return found
        return found

    def _table(self, node: ast.Dict, names: dict[str, Any], depth: int) -> Any:
        """A table; what it says by name is a key, too."""
        found: dict[Any, Any] = {}
        for key, of in zip(node.keys, node.values, strict=True):
            value = self.value(of, names, depth + 1)
            if key is None:  # **other
                if not isinstance(value, Mapping):
                    continue
                found |= value
                for name, one in value.items():
                    self.put(name, one)
                continue
            name = self.value(key, names, depth + 1)
            if isinstance(name, str | int | tuple):
                found[name] = value
            if isinstance(name, str):
                self.put(name, value)
        return found

    def _call(self, node: ast.Call, names: dict[str, Any], depth: int) -> Any:
        """What a call gives: of the file's own functions; of others their name."""
        name = _called(node)
        given = [self.value(one, names, depth + 1) for one in node.args]
        named: dict[str, Any] = {}
        for keyword in node.keywords:
            value = self.value(keyword.value, names, depth + 1)
            if keyword.arg:
                named[keyword.arg] = value
            elif isinstance(value, Mapping):
                named |= value
        if isinstance(node.func, ast.Name) and name in self.functions:
            return self.call(self.functions[name], given, named, depth)
        if name == "getattr" and len(given) > 1 and isinstance(given[1], str):
            return self.keys.get(given[1], given[2] if len(given) > 2 else UNTOLD)
        if isinstance(node.func, ast.Attribute):
            of = self.value(node.func.value, names, depth + 1)
            if name in ("lower", "upper") and isinstance(of, str):
                return getattr(of, name)()
        for word, value in named.items():
            self.put(word, value)
        if name == "from_hf_pretrained" and given:
            self.put(name, given[0])
        if name in ("int", "float", "str", "bool") and given:
            return given[0]
        self._classes(node)
        if _BEGUN.search(name):
            of = getattr(node.func, "value", None)
            whole = [getattr(of, "attr", getattr(of, "id", "")), name]
            self.keys.setdefault("begun", []).append(".".join(filter(None, whole)))
        return _Name(name)

    def _classes(self, node: ast.Call) -> None:
        """Keep the names of classes that are handed on: `run.Config(Llama31Config405B)`."""
        for one in (node.func, *node.args):
            word = getattr(one, "attr", getattr(one, "id", ""))
            if word == "LoRA" or ("Config" in word and word != "Config"):
                self.keys.setdefault("classes", []).append(word)
        if _called(node).startswith("distributed_"):  # an optimizer that is sharded
            self.keys.setdefault("calls", []).append(_called(node))


class _Name(str):
    """What an unknown function gives, by the name of the function: `bf16_mixed`."""

    __slots__ = ()


def _times(a: Any, b: Any) -> Any:
    longest = max(len(one) if isinstance(one, list | str) else 1 for one in (a, b))
    repeated = longest > 1 and any(
        isinstance(one, int) and one * longest > _LONGEST for one in (a, b)
    )
    return UNTOLD if repeated else a * b


def _worked(does: Callable[..., Any] | None, *values: Any) -> Any:
    """Work something out of values that are all told."""
    if does is None or any(one is UNTOLD or isinstance(one, _Name) for one in values):
        return UNTOLD
    try:
        return does(*values)
    except (TypeError, ValueError, KeyError, IndexError, ArithmeticError):
        return UNTOLD
