"""The package as source: its modules, what they import, their functions; a drawing of the packages.

    python -m benchmarks.structure                   statements and lines of each package
    python -m benchmarks.structure --draw FILE.svg   the packages, and an arrow for each import
    python -m benchmarks.structure --files           each file with the first line of its docstring

In:  the files of `rackmodel`.
Out: `MODULES`, `imports_of`, `functions_of`, cycles; a table; a picture.
Left out: what ought to be (tests/structure).
"""

from __future__ import annotations

import argparse
import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import networkx as nx

import rackmodel

PACKAGE = Path(rackmodel.__file__).parent
BOX = 0.24  # half the height of a box, of the distance between layers
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


def package_of(module: str) -> str:
    """Return the package of a module: `network` for `rackmodel.network.routes`."""
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


def statements(path: Path) -> int:
    """Return the number of Python statements of a file."""
    return sum(isinstance(node, ast.stmt) for node in ast.walk(tree(path)))


def summaries() -> Iterator[tuple[str, str]]:
    """Yield each file, from `rackmodel/` on, with the first line of its docstring."""
    for path in FILES:
        text = ast.get_docstring(tree(path)) or ""
        yield path.relative_to(PACKAGE.parent).as_posix(), text.split("\n")[0]


def package_graph() -> nx.DiGraph:
    """Return a graph of packages with the number of imports on each edge, types included."""
    both = ((package_of(a), package_of(b)) for a, b in import_graph().edges)
    counts = Counter((a, b) for a, b in both if a != b and "" not in (a, b) and a != "__main__")
    return nx.DiGraph([(a, b, {"imports": count}) for (a, b), count in counts.items()])


def layers_of(packages: nx.DiGraph) -> list[list[str]]:
    """Return the packages by layers, from the top: each imports only from layers below its own.

    Raises
    ------
    networkx.NetworkXUnfeasible
        If an arrow goes up: no order has all of them pointing down.
    """
    return [sorted(floor) for floor in nx.topological_generations(packages)]


def draw(file: Path) -> None:
    """Draw the packages, the lowest at the bottom, with an arrow from each to what it imports."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "rackmodel"  # same code, same bytes
    from matplotlib.figure import Figure

    whole = package_graph()
    layers = layers_of(whole)
    packages = nx.transitive_reduction(whole)  # an arrow that others imply would only hide them
    place = {
        package: ((column + 0.5) / len(layer) + 0.05 * (level % 2), len(layers) - 1 - level)
        for level, layer in enumerate(layers)
        for column, package in enumerate(layer)
    }
    figure = Figure(figsize=(9, 0.8 * len(layers) + 0.5))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, 1.06), ylim=(-0.6, len(layers) - 0.4))
    ax.axis("off")
    files, code = Counter(map(package_of, MODULES)), Counter[str]()
    for name, path in MODULES.items():
        code[package_of(name)] += statements(path)
    for above, below in packages.edges:
        (x, y), (to_x, to_y) = place[above], place[below]
        arrow = {"arrowstyle": "-|>", "color": "0.55", "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", (to_x, to_y + BOX), (x, y - BOX), arrowprops=arrow, zorder=1)
    for package, (x, y) in place.items():
        box = {"boxstyle": "round,pad=0.4", "facecolor": "white", "edgecolor": "0.3"}
        size = f"{code[package]:,} statements" + (
            f", {files[package]} files" if files[package] > 1 else ""
        )
        ax.text(x, y, f"$\\bf{{{package}}}$\n{size}", ha="center", va="center", size=8, bbox=box)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draw", type=Path, metavar="FILE", help="an .svg or .png")
    parser.add_argument("--files", action="store_true", help="what each file is for, in one line")
    options = parser.parse_args()
    if options.files:
        print("\n".join(f"{file:52}  {text}" for file, text in summaries()))
        return
    if options.draw:
        draw(options.draw)
        return
    code, lines = Counter[str](), Counter[str]()
    for name, path in MODULES.items():
        package = package_of(name) or "rackmodel"
        code[package] += statements(path)
        lines[package] += len(path.read_text("utf-8").splitlines())
    for package, count in sorted(code.items()):
        print(f"{package:12} {count:7,} statements {lines[package]:7,} lines")
    print(f"{'all':12} {code.total():7,} statements {lines.total():7,} lines")


if __name__ == "__main__":
    main()
