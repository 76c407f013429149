"""How the package is built: imports run downwards, without cycles; files and functions stay small.

`known.toml` lists what does not hold yet. It only shrinks: an entry that holds now fails too, so
that it is taken out.
"""

import ast
import inspect
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import rackmodel
from benchmarks.structure import (
    FILES,
    MODULES,
    PACKAGE,
    cycles,
    functions_of,
    imports_of,
    layers_of,
    package_graph,
    package_of,
    tree,
)

KNOWN = tomllib.loads((Path(__file__).parent / "known.toml").read_text("utf-8"))
ALWAYS = {
    "annotations",
    "columns",
    "errors",
    "fields",
    "files",
    "gate",
    "shipped",
    "sizes",
    "stages",
    "units",
}
_MACHINE = {"hardware", "topology", "network"}
_STEP = _MACHINE | {"software", "workload", "kernels"}
_ALL = _STEP | {"engine", "result", "assess", "planning", "api", "schema", "extend"}
MAY_IMPORT = {
    "hardware": set(),
    "software": set(),
    "topology": {"hardware"},
    "network": {"hardware", "topology"},
    "workload": {"software"},
    "kernels": _MACHINE | {"software", "workload"},
    "engine": _STEP,
    "result": _STEP | {"engine"},
    "assess": _STEP | {"engine", "result"},
    "planning": _STEP | {"engine", "result", "assess"},
    "api": _ALL,
    "schema": _ALL,
    "extend": _ALL,
    "serving": _STEP | {"engine", "result", "assess", "planning", "api"},
    "requests": _STEP | {"engine", "result", "assess", "planning", "api", "serving"},
    "halls": _STEP | {"engine", "result", "assess", "planning", "api", "serving", "requests"},
    "traces": _STEP | {"engine", "result"},
    "sweeps": _ALL,
    "validation": _ALL | {"serving"},
    "study": _ALL,
    "argument": _ALL | {"serving", "sweeps", "validation", "study"},
    "reporting": set(),
    "verbs": _ALL
    | {"serving", "requests", "sweeps", "validation", "study", "argument", "reporting", "traces"},
    "cli": _ALL
    | {
        "serving",
        "requests",
        "halls",
        "sweeps",
        "validation",
        "study",
        "argument",
        "reporting",
        "traces",
        "verbs",
    },
}
MOST_PARAMETERS = 8
MOST_LINES = 400
BESIDE = ("tests", "benchmarks", "examples", "docs", ".ci")
MOST_FUNCTION_LINES = 60


def compare(found, name):
    """Compare what does not hold with the list of what is known not to."""
    assert sorted(set(found) - set(KNOWN[name])) == [], "new; mend it"
    assert sorted(set(KNOWN[name]) - set(found)) == [], f"mended; take it out of known.toml: {name}"


def test_imports_run_downwards():
    found = [
        f"{module} -> {other}"
        for module, path in MODULES.items()
        for other in imports_of(path)
        if (package := package_of(module)) in MAY_IMPORT
        and package_of(other) not in MAY_IMPORT[package] | ALWAYS | {package, ""}
    ]
    compare(found, "upward")


def test_every_package_has_its_place():
    packages = {
        path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.suffix != ".typed"
    }
    assert packages - {"__init__", "__main__", "__pycache__", "topologies"} - ALWAYS <= set(
        MAY_IMPORT
    )


def test_network_and_workload_are_strangers():
    assert "workload" not in MAY_IMPORT["network"]
    assert "network" not in MAY_IMPORT["workload"]


def test_no_modules_import_each_other():
    compare([module for part in cycles() for module in part], "cycles")


def test_no_relative_imports():
    nodes = [node for path in FILES for node in ast.walk(tree(path))]
    assert [n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.level] == []


def test_no_module_bears_the_name_of_a_public_function():
    functions = {n for n in rackmodel.__all__ if not n[0].isupper() and not n.startswith("_")}
    assert [name for name in MODULES if name.rpartition(".")[2] in functions] == []


def _public_verb(path):
    """Whether a file holds verbs of the front door: their words are named keywords."""
    return path.name == "api.py" or path.parent.name == "verbs"


def test_functions_have_few_parameters():
    found = []
    for path in FILES:
        for name, node in functions_of(path):
            both = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            count = len([one for one in both if one.arg not in ("self", "cls")])
            if count > MOST_PARAMETERS and not (_public_verb(path) and "._" not in name):
                found.append(name)
    compare(found, "parameters")


def test_files_are_short():
    rest = [p for part in BESIDE for p in (PACKAGE.parent / part).rglob("*.py")]
    paths = {**MODULES, **{str(p.relative_to(PACKAGE.parent)): p for p in rest}}
    found = [m for m, p in paths.items() if len(p.read_text("utf-8").splitlines()) > MOST_LINES]
    compare(found, "files")


def test_functions_are_short():
    """Longer ones stand in the list with a reason beside them; docstrings do not count."""
    found = []
    for path in FILES:
        for name, node in functions_of(path):
            first = node.body[0]
            said = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) else 0
            if node.end_lineno - node.lineno + 1 - said > MOST_FUNCTION_LINES:
                found.append(name)
    compare(found, "functions")


def test_the_formatter_wins():
    assert [str(path) for path in FILES if "# fmt:" in path.read_text("utf-8")] == []


def test_nothing_hangs_on_addresses_in_memory():
    """Operations have ids of their own; the network's memo of machines still uses the builtin."""
    found = {
        module
        for module, path in MODULES.items()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "id"
    }
    assert found - {"rackmodel.engine.networks", "rackmodel.network.graph"} == set()


def test_paths_are_asked_by_the_module_of_files():
    """`Path.is_file` raises on names that no file can have; `files.is_file` says no."""
    asked = {"is_file", "is_dir", "exists"}
    found = {
        module
        for module, path in MODULES.items()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not node.args
        if node.func.attr in asked
    }
    assert found - {"rackmodel.files"} == set()


def test_digits_are_those_that_int_reads():
    """`"²".isdigit()` is true and `int("²")` raises; `isdecimal` is what is meant."""
    found = {
        module
        for module, path in MODULES.items()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and node.attr == "isdigit"
    }
    assert found == set()


def _reads_name(node):
    """Return whether a node is `.name` of something other than a dataclass field."""
    if not isinstance(node, ast.Attribute) or node.attr != "name":
        return False
    return not (isinstance(node.value, ast.Name) and node.value.id == "field")


def test_no_physics_hangs_on_display_names():
    """Of kernels, operations, steps and units: times and programs read roles and kinds."""
    packages = ("workload", "kernels", "engine", "result", "planning")
    found = []
    for module, path in MODULES.items():
        if package_of(module) not in packages:
            continue
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Compare):
                texts = [one for one in [node.left, *node.comparators] if _text(one)]
                names = [one for one in [node.left, *node.comparators] if _reads_name(one)]
                tested = bool(texts and names)
            else:
                tested = (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in ("startswith", "endswith", "find", "removeprefix")
                    and _reads_name(node.func.value)
                )
            if tested:
                found.append(f"{module}:{node.lineno}")
    assert found == []


def _text(node):
    """Return whether a node is a literal text, or a tuple, list or set of such."""
    parts = getattr(node, "elts", [node])
    return any(isinstance(part, ast.Constant) and isinstance(part.value, str) for part in parts)


def test_tests_read_no_private_names():
    tests = Path(__file__).parents[1]
    found = []
    for path in sorted(tests.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            module = getattr(node, "module", None) or ""
            names = [a.name for a in node.names] if isinstance(node, ast.ImportFrom) else []
            if module.startswith("rackmodel"):
                found += [
                    f"{path.relative_to(tests)}: {module}.{name}"
                    for name in names
                    if name.startswith("_") and not name.startswith("__")
                ]
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                private = node.attr.startswith("_") and not node.attr.endswith("_")
                if private and node.value.id not in ("self", "cls", "os", "ax"):
                    found.append(f"{path.relative_to(tests)}: {node.value.id}.{node.attr}")
    compare(found, "private")


@pytest.mark.parametrize("heavy", ["pandas", "scipy", "matplotlib", "networkx", "simpy", "numba"])
def test_importing_the_package_loads_nothing_heavy(heavy):
    code = f"import sys, rackmodel; sys.exit({heavy!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("gpus", "ask"), [(8, "result.to_json()"), (4096, "result.to_dict()")])
def test_a_step_whose_frames_nobody_reads_loads_no_pandas(gpus, ask):
    code = (
        "import sys, rackmodel\n"
        f"result = rackmodel.simulate('dgx-h100', model='gpt3-13b', gpus={gpus}, "
        f"global_batch={gpus}, seq_len=2048, plan={{'tp': 8, 'pp': 1, 'micro_batch': 1}})\n"
        f"{ask}\n"
        "print(sorted({'pandas', 'networkx', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_imports_no_package():
    code = (
        "import sys\nfrom rackmodel.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted(one for one in sys.modules if one.startswith(('rackmodel.', 'pydantic'))))"
    )
    words = [sys.executable, "-c", code, "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    imported = set(ast.literal_eval(done.stdout.splitlines()[-1]))
    of_cli = {
        "rackmodel.cli",
        *(f"rackmodel.cli.{one}" for one in ("app", "runner", "waiting", "light_options")),
    }
    assert imported == of_cli | {"rackmodel.errors", "rackmodel.stages"}


def test_the_command_loads_nothing_that_it_does_not_use():
    code = (
        "import sys\nfrom rackmodel.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'pandas', 'pydantic', 'networkx', 'scipy', 'matplotlib', 'numba'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    job = "simulate dgx-h100 --model gpt3-13b --gpus 8 --global-batch 8 --seq-len 2048 --json"
    words = [sys.executable, "-c", code, *job.split()]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_says_of_a_command_what_its_function_says():
    from rackmodel.cli.app import COMMANDS

    assert [one.told for one in COMMANDS.values()] == [
        inspect.getdoc(one.function).split("\n")[0] for one in COMMANDS.values()
    ]


def test_the_page_of_results_names_every_key():
    from rackmodel.result import records, serving_records

    page = (PACKAGE.parent / "docs" / "results.md").read_text("utf-8")
    named = {**vars(records), **vars(serving_records)}
    kinds = [kind for name, kind in named.items() if name.endswith("Record")]
    keys = {key for kind in kinds for key in kind.__annotations__}
    assert sorted(key for key in keys if f"| `{key}` |" not in page) == []


def test_packages_have_layers():
    """No package imports one that imports it, over however many others."""
    assert sum(len(layer) for layer in layers_of(package_graph())) == len(package_graph())
