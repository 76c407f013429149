"""The package as source: its modules, what they import, their functions.

In:  the files of `rackmodel`.
Out: `MODULES`, `imports_of`, `functions_of`, cycles.
Left out: what ought to be (test_structure).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import networkx as nx

import rackmodel

PACKAGE = Path(rackmodel.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    """Return the dotted name of a file: `rackmodel.network.routes`."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


@cache
def tree(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_of(path: Path) -> set[str]:
    """Return the modules of the package that a file imports, wherever in it, types included."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in MODULES else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name in MODULES} - {module_of(path)}


def import_graph() -> nx.DiGraph:
    """Return a graph with an edge from each module to those that it imports."""
    return nx.DiGraph([(name, other) for name in MODULES for other in imports_of(MODULES[name])])


def cycles() -> list[list[str]]:
    """Return the sets of modules that import each other, each sorted."""
    strong = nx.strongly_connected_components(import_graph())
    return sorted(sorted(part) for part in strong if len(part) > 1)


def room_of(module: str) -> str:
    """Return the room of a module: `network` for `rackmodel.network.routes`."""
    return module.split(".")[1] if "." in module else ""


def functions_of(path: Path) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Yield the functions and methods of a file as `module:Class.name`."""

    def walk(node: ast.AST, before: str) -> Iterator[tuple[str, ast.FunctionDef]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield before + child.name, child
                yield from walk(child, f"{before}{child.name}.")
            elif isinstance(child, ast.ClassDef):
                yield from walk(child, f"{before}{child.name}.")
            else:
                yield from walk(child, before)

    yield from walk(tree(path), f"{module_of(path)}:")
