"""The borders between rooms: imports run one way, and starting up stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import rackmodel

PACKAGE = Path(rackmodel.__file__).parent
ALWAYS = {"errors", "units"}
MAY_IMPORT = {
    "hardware": set(),
    "topology": {"hardware"},
    "network": set(),
    "workload": set(),
    "simulate": {"network", "workload", "topology", "hardware"},
    "assess": {"hardware"},
    "study": {"simulate", "assess", "network", "workload", "topology", "hardware", "door"},
    "report": set(),
}


def imported_rooms(path: Path) -> set[str]:
    """Return the rooms that a module imports, wherever in it the import stands."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
            if node.module == "rackmodel":
                names = [f"rackmodel.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        rooms |= {n.split(".")[1] for n in names if n.startswith("rackmodel.")}
    return rooms


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_lies_below_it(room):
    files = list((PACKAGE / room).rglob("*.py"))
    assert files
    for path in files:
        strangers = imported_rooms(path) - MAY_IMPORT[room] - ALWAYS - {room}
        assert not strangers, f"{path.relative_to(PACKAGE)} imports {sorted(strangers)}"


def test_network_and_workload_are_strangers():
    assert "workload" not in MAY_IMPORT["network"]
    assert "network" not in MAY_IMPORT["workload"]


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, rackmodel;"
        "heavy = {'pandas', 'scipy', 'matplotlib', 'networkx', 'simpy', 'numba', 'pydantic'};"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
