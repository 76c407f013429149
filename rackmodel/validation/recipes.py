"""What benchmarks set where tables of their runs do not say: from their published scripts.

In:  the cells of a row; data/recipes.toml.
Out: `recipe_of`, the settings of the scripts that the row's run came from.
Left out: what settings do (`workload.serving.job`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def _recipes() -> Sequence[Mapping[str, Any]]:
    table = files("rackmodel.validation").joinpath("data/recipes.toml").read_text("utf-8")
    found: Sequence[Mapping[str, Any]] = tomllib.loads(table)["recipe"]
    return found


def recipe_of(cells: Mapping[str, str], users: float) -> dict[str, Any]:
    """Return the settings that hold for a run; cells : its row as words, "" for empty ones.

    >>> run = {"source": "InferenceX", "software": "tensorrt-llm", "model": "deepseek-r1"}
    >>> recipe_of(run, 64), recipe_of({"source": "MLPerf"}, 64)
    ({'kv': 'fp8', 'chunk': 'prompt'}, {})
    """
    settings: dict[str, Any] = {}
    for row in _recipes():
        holds = (_holds(name, cells.get(name, ""), words) for name, words in row["of"].items())
        if all(holds) and not users < row.get("users", 0):
            settings |= {name: value for name, value in row.items() if name not in ("of", "users")}
    return settings


def _holds(name: str, cell: str, words: Sequence[str]) -> bool:
    return cell in words or (name == "source" and any(word in cell for word in words))
