"""Laws between runs of random jobs: what may never get slower, what must stay equal.

In:  a number for each job, from which everything about it follows.
Out: the laws that a job breaks, with by how much.
Left out: accuracy; inputs that are wrong (`fuzz`), sweeps that are killed (`kills`).

    python -m benchmarks.robustness.laws 0 40
"""

from __future__ import annotations

import math
import random
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import networkx as nx

import rackmodel
from benchmarks.robustness.fuzz import odd_figures
from benchmarks.robustness.seeds import TOPOLOGIES
from rackmodel.errors import CannotRun, RackModelError
from rackmodel.hardware import load_catalog
from rackmodel.sweeps.jobs import flat_row, simulate_job
from rackmodel.topology import load_topology

EXACT = 1e-9
SLACK = 1e-6  # of "never slower": sums in another order
MACHINES = ("dgx-h100", "gb200-nvl72", "dgx-b200", "dgx-a100-80", "tpu-v5p-pod", "mi300x-node")
MODELS = ("gpt3-125m", "gpt3-1.3b", "llama3.1-8b", "mixtral-8x7b")
#: Figures that say how a result came about, not what it is.
ASIDE = ("simulation", "topology", "notes", "title", "changes", "stack", "placement")

Words = dict[str, Any]


def made(number: int) -> Words:
    """Return the words of a random job."""
    dice = random.Random(f"job {number}")
    machine = dice.choice([name for name in MACHINES if (TOPOLOGIES / f"{name}.toml").exists()])
    model = dice.choice(MODELS)
    tp, pp, dp = dice.choice([1, 2, 4]), dice.choice([1, 1, 2, 4]), dice.choice([1, 2, 4])
    micro = dice.choice([1, 2])
    plan: Words = {"tp": tp, "pp": pp, "micro_batch": micro}
    plan["recompute"] = dice.choice(["none", "selective", "full"])
    plan["sharding"] = dice.choice(["zero1", "zero1", "none", "zero3" if pp == 1 else "zero1"])
    if model.startswith("mixtral"):
        plan["ep"] = dice.choice([one for one in (1, 2, 4, 8) if one <= tp * dp])
    return {
        "topology": machine,
        "model": model,
        "gpus": tp * pp * dp,
        "global_batch": dp * micro * pp * dice.choice([1, 2, 4]),
        "seq_len": dice.choice([512, 1024, 2048]),
        "plan": plan,
        "default_plan": True,
        "check_memory": False,
    }


def _run(words: Words, **changes: Any) -> Any:
    return rackmodel.simulate(**{**words, **changes})


def _part_of(words: Words) -> str:
    return load_topology(words["topology"]).accelerator


def _scaled(words: Words, by: float, *fields: str) -> Any:
    """Return a catalog in which some figures of the job's accelerator are `by` times as large."""
    catalog, name = load_catalog(), _part_of(words)
    table = catalog.tables["accelerators"][name]
    keys = [key for key in table if key.partition(".")[0] in fields]
    return load_catalog(
        overrides={f"accelerators.{name}.{key}": table[key].value * by for key in keys}
    )


def _slower(words: Words, first_s: float, **changes: Any) -> float | None:
    """Return by how much a job gets slower by something that should not make it so."""
    now_s = _run(words, **changes).step_s
    return now_s / first_s - 1.0 if now_s > first_s * (1 + SLACK) else None


def more_flops(words: Words, first: Any) -> float | None:
    """Twice the FLOP/s is never slower."""
    return _slower(words, first.step_s, catalog=_scaled(words, 2.0, "flops_per_s"))


def more_hbm(words: Words, first: Any) -> float | None:
    """More HBM bandwidth is never slower: 1.25, 2 and 4 times, each beside the one before."""
    before_s = first.step_s
    for by in (1.25, 2.0, 4.0):
        catalog = _scaled(words, by, "hbm_bytes_per_s")
        if (much := _slower(words, before_s, catalog=catalog)) is not None:
            return much
        before_s = _run(words, catalog=catalog).step_s
    return None


def more_bandwidth(words: Words, first: Any) -> float | None:
    """Links twice as fast are never slower."""
    catalog = load_catalog()
    links = {
        f"links.{name}.bytes_per_s": link.bytes_per_s * 2.0 for name, link in catalog.links.items()
    }
    part = catalog.accelerators[_part_of(words)]
    rate = f"accelerators.{part.name}.scale_up_bytes_per_s"
    faster = load_catalog(overrides=links | {rate: part.scale_up_bytes_per_s * 2.0})
    return _slower(words, first.step_s, catalog=faster)


def doubled_batch(words: Words, first: Any) -> float | None:
    """Twice the batch takes once to twice the time."""
    ratio = _run(words, global_batch=2 * words["global_batch"]).step_s / first.step_s
    return None if 1 - SLACK <= ratio <= 2 + SLACK else ratio


def folded(words: Words, first: Any) -> float | None:
    """Ranks simulated once or each: every figure is the same, watts too."""
    return _unlike(first.to_dict(), _run(words, fold=False).to_dict())


def again(words: Words, first: Any) -> float | None:
    """The same job twice is the same to the last bit."""
    return _unlike(first.to_dict(), _run(words).to_dict(), exact=0.0)


def own_file(words: Words, first: Any) -> float | None:
    """A copy of a machine under another name is the same machine."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a copy.toml"
        path.write_bytes((TOPOLOGIES / f"{words['topology']}.toml").read_bytes())
        return _unlike(first.to_dict(), _run(words, topology=path).to_dict())


def set_rate_acts(words: Words, first: Any) -> float | None:
    """An accelerator at a hundredth of its FLOP/s is slower."""
    slow = _run(words, catalog=_scaled(words, 0.01, "flops_per_s"))
    return None if slow.step_s > first.step_s * (1 + SLACK) else slow.step_s / first.step_s


def renamed(words: Words, first: Any) -> float | None:
    """Names of nodes don't matter in a graph of the machine."""
    graph = load_topology(words["topology"]).graph(words["gpus"])
    if graph.number_of_edges() > 4000:
        return None
    names = {node: f"x{number}" for number, node in enumerate(graph)}
    plain = _run(words, topology=graph).step_s
    other = _run(words, topology=nx.relabel_nodes(graph, names)).step_s
    return None if math.isclose(plain, other, rel_tol=EXACT) else other / plain - 1.0


def above_bound(words: Words, first: Any) -> float | None:
    """No step is faster than its FLOPs at the peak of all accelerators."""
    mfu = first.to_dict()["mfu"]
    return None if 0.0 < mfu <= 1.0 else float(mfu)


def sums(words: Words, first: Any) -> float | None:
    """Parts add up: seconds to the step, bytes of HBM to what is used, watts to the heat."""
    told = first.to_dict()
    whole = math.fsum(told["breakdown_s"].values()) / told["step_s"] - 1.0
    if abs(whole) > 1e-6:
        return whole
    for rack in told["racks"]:
        halves = rack["liquid_w"] + rack["air_w"]
        if abs(halves / rack["heat_w"] - 1.0) > 1e-6:
            return halves / rack["heat_w"] - 1.0
    return None


def figures(words: Words, first: Any) -> float | None:
    """No figure is negative, or no number."""
    odd = list(odd_figures(first.to_dict()))
    if odd:
        raise AssertionError(", ".join(odd[:3]))
    return None


def sweep_row(words: Words, first: Any) -> float | None:
    """A row of a sweep is what simulate says."""
    flat = {key: value for key, value in words.items() if key not in ("plan", "check_memory")}
    row = simulate_job(flat | words["plan"])
    mine = flat_row(_run(words, check_memory=True).to_dict())
    return _unlike(mine, {key: row.get(key) for key in mine})


def winner(words: Words, first: Any) -> float | None:
    """The search's winner is the best of its list, and what simulate takes."""
    if words["gpus"] > 8 or words["model"] != "gpt3-125m":
        return None
    job = {key: words[key] for key in ("topology", "model", "gpus", "global_batch", "seq_len")}
    found = rackmodel.search(**job, top=3)
    best = min(one.result.step_s for one in found.candidates)
    taken = rackmodel.simulate(**job).step_s
    if found.best.step_s != best:
        return found.best.step_s / best - 1.0
    return None if math.isclose(best, taken, rel_tol=EXACT) else taken / best - 1.0


LAWS: dict[str, Callable[[Words, Any], float | None]] = {
    law.__name__: law
    for law in (
        *(more_flops, more_hbm, more_bandwidth, doubled_batch, folded, again, own_file),
        *(set_rate_acts, renamed, above_bound, sums, figures, sweep_row, winner),
    )
}


def _unlike(one: Mapping[str, Any], other: Mapping[str, Any], exact: float = EXACT) -> float | None:
    """Return the largest relative difference of two results' figures, None where they agree."""
    mine, theirs = dict(_leaves(one)), dict(_leaves(other))
    if mine.keys() != theirs.keys():
        return math.inf
    worst = 0.0
    for key, value in mine.items():
        found = theirs[key]
        numbers = isinstance(value, int | float) and isinstance(found, int | float)
        if numbers and not isinstance(value, bool):
            # Parts of a step are what is left of sums: the same to a share of the step.
            part = float(one.get("step_s", 0.0)) if key.startswith(".breakdown_s") else 0.0
            size = max(abs(value), abs(found), part, 1e-12)
            worst = max(worst, abs(value - found) / size)
        elif value != found:
            return math.inf
    return worst if worst > exact else None


def _leaves(part: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(part, Mapping):
        for key, value in part.items():
            if path or key not in ASIDE:
                yield from _leaves(value, f"{path}.{key}")
    elif isinstance(part, list | tuple):
        for number, value in enumerate(part):
            yield from _leaves(value, f"{path}.{number}")
    else:
        yield path, part


def broken(number: int) -> tuple[bool, dict[str, str]]:
    """Return whether a job runs, and {law: by how much} of those that it breaks."""
    words = made(number)
    try:
        first = _run(words)
    except CannotRun:
        return False, {}
    found = {}
    for name, law in LAWS.items():
        try:
            much = law(words, first)
        except CannotRun:
            continue
        except RackModelError as error:
            found[name] = f"refused: {error}"
            continue
        except Exception as error:  # a traceback is a broken law too; the others still run
            found[name] = f"{type(error).__name__}: {error}"
            continue
        if much is not None:
            found[name] = f"{much:.3g}"
    return True, found


def campaign(jobs: int, first: int = 0) -> tuple[int, dict[str, list[Any]]]:
    """Return how many jobs ran, and {law: [first job, how often, by how much at first]}."""
    ran, number, wrong = 0, first, dict[str, list[Any]]()
    while ran < jobs:
        runs, found = broken(number)
        ran += runs
        for law, much in found.items():
            wrong.setdefault(law, [number, 0, much])[1] += 1
        number += 1
    return ran, wrong


def still_broken(law: str, words: Words) -> bool:
    """Return whether a job breaks a law; for what is known to."""
    return LAWS[law](words, _run(words)) is not None


def known() -> dict[str, dict[str, Any]]:
    """Return the laws that are known to be broken, with the issue that mends them."""
    return tomllib.loads((Path(__file__).parent / "known.toml").read_text("utf-8"))


if __name__ == "__main__":
    start, number_of_jobs = (int(word) for word in sys.argv[1:3])
    done, rows = campaign(number_of_jobs, start)
    print(f"{done} jobs")
    for law, (number, often, much) in rows.items():
        print(f"{often:>5}  {law}: job {number}, {much}")
