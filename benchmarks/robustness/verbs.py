"""Verbs of Python with something wrong in their words: an answer, or a `RackModelError`.

In:  a number for each try, from which everything about it follows.
Out: what it came to.
Left out: the command line (`fuzz`).
"""

from __future__ import annotations

import copy
import random
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np

import rackmodel
from benchmarks.robustness import seeds
from benchmarks.robustness.values import WRONG, mutated
from rackmodel import units
from rackmodel.assess.site import Site
from rackmodel.errors import RackModelError
from rackmodel.hardware import load_catalog
from rackmodel.schema import check
from rackmodel.sweeps.design_spec import read_design
from rackmodel.sweeps.jobs import read_job_spec
from rackmodel.topology import load_topology
from rackmodel.workload import Plan, load_model

_STEP: dict[str, Any] = {
    "topology": "dgx-h100",
    "model": "gpt3-125m",
    "gpus": 4,
    "global_batch": 8,
    "seq_len": 512,
    "plan": {"tp": 2, "pp": 1, "micro_batch": 1, "stage_layers": [12], "offload": ["optimizer"]},
    "default_plan": True,
    "site": {"supply_c": 20.0, "facility_pue": 1.2, "usd_per_kwh": 0.1, "lengths_m": {}},
    "slow": {1: 1.2},
    "media": {},
    "run_tokens": 1e9,
    "power_cap_w": 600.0,
    "routing": "ecmp",
    "seed": 1,
    "precision": "bf16",
    "repeat": "exact",
    "limit_s": 1e9,
}
_SET = {
    "accelerators.h100.hbm_bytes": "90 GB",
    "chassis.dgx-h100.rack_chassis": 2,
    "chassis.dgx-h100.trays": "node:4*8",
    "prices.hall.usd_per_mw": 9e6,
    "links.ib-ndr.bytes_per_s": 5e10,
}
_SHAPE = {"host.cpus": 2, "nics.per_host": 8, "fabric.rails": 8, "title": "x"}


def _simulate(words: Any) -> Any:
    plain = isinstance(words, dict) and all(isinstance(name, str) for name in words)
    return rackmodel.simulate(**words) if plain else None


def _graph(words: Any) -> Any:
    """Read node-link data as a script would make it, without the checks of a file."""
    graph: nx.Graph[Any] = nx.Graph()
    try:
        graph.graph.update(words["graph"])
        graph.add_nodes_from((n["id"], dict(n)) for n in words["nodes"])
        graph.add_edges_from((e["source"], e["target"], dict(e)) for e in words["edges"])
    except (TypeError, KeyError, ValueError, AttributeError, nx.NetworkXError):
        return None
    return load_topology(graph).graph(4)


#: What is called with what; weights keep the costly ones rare.
VERBS: tuple[tuple[str, Callable[[Any], Any], Any, float], ...] = (
    ("simulate", _simulate, _STEP, 3),
    ("Plan.of", Plan.of, _STEP["plan"] | {"dp": 2, "prefetch": 1, "recompute": "full"}, 2),
    ("Site.of", Site.of, _STEP["site"] | {"media": {"scale-out": "aec"}}, 2),
    ("load_catalog", lambda words: load_catalog(overrides=words), _SET, 1),
    ("topology", lambda words: load_topology("dgx-h100", overrides=words), _SHAPE, 2),
    ("graph", _graph, seeds.graph(), 2),
    ("load_model", load_model, seeds.MODEL, 3),
    ("config", load_model, seeds.QWEN, 2),
    ("config of deepseek", load_model, seeds.DEEPSEEK, 2),
    ("sweep", read_job_spec, seeds.SWEEP, 3),
    ("design", read_design, seeds.DESIGN, 2),
    ("schema", lambda words: check("parts", words), seeds.PARTS, 1),
)


def made(number: int) -> tuple[str, Callable[[Any], Any], Any]:
    """Return the name, the verb and the words of a try."""
    dice = random.Random(f"verb {number}")
    if dice.random() < 0.15:
        dimension, value = dice.choice(units.dimensions()), dice.choice(WRONG)
        return "units.parse", lambda one: units.parse(one, dimension, where="x"), value
    name, verb, words, _ = dice.choices(VERBS, [one[3] for one in VERBS])[0]
    for _ in range(dice.choice([1, 1, 2])):
        words = mutated(words, dice)
    if dice.random() < 0.2:
        words = _numpy(words, dice)
    return name, verb, _bounded(words)


def _bounded(words: Any) -> Any:
    """Return words without what asks for thousands of passes one by one: that takes time."""
    batch = words.get("global_batch") if isinstance(words, dict) else None
    if isinstance(batch, int | float | np.number) and batch > 1000:
        return {key: value for key, value in words.items() if key != "repeat"}
    return words


def _numpy(words: Any, dice: random.Random) -> Any:
    """Return words with a number as one of numpy's."""
    if not isinstance(words, dict):
        return words
    changed = copy.copy(words)
    for key, value in changed.items():
        if isinstance(value, int | float) and abs(value) < 2**60:
            changed[key] = dice.choice([np.float64, np.int64, np.array])(value)
            break
    return changed


def run(
    number: int, limits: Callable[[], Any], signature: Callable[[BaseException], str]
) -> tuple[str, float, list[str], str]:
    """Run a try. Return how it ended, CPU seconds, what is wrong with it, and its traceback."""
    name, verb, words = made(number)
    begun_s, found, trace, code = time.process_time(), [], "", "answer"
    with warnings.catch_warnings(record=True) as told, limits():
        warnings.simplefilter("always")
        try:
            verb(words)
        except RackModelError as error:
            code = "refused"
            if not str(error).strip() or len(str(error)) > 700:
                found.append(f"message of {name}: {str(error)[:40]!r}")
        except Exception as error:  # what breaks is counted, with the number that shows it
            code, trace = "raised", "".join(traceback.format_exception(error))
            found.append(f"{name}: {signature(error)}")
        except BaseException as error:
            if type(error).__name__ != "_TooLong":
                raise
            code = "hang"
            found.append(f"hang: {name}")
    found += [f"warning leaks from {name}: {str(one.message)[:60]}" for one in told[:1]]
    return code, time.process_time() - begun_s, found, trace
