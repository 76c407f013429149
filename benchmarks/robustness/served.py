"""Laws between runs of random served jobs: what may never get slower, what must stay equal.

In:  a number for each job, from which everything about it follows.
Out: the laws that a job breaks, with by how much.
Left out: accuracy; training (`laws`).

    python -m benchmarks.robustness.served 0 200
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterator
from typing import Any

import rackmodel
from benchmarks.robustness.fuzz import odd_figures
from rackmodel.errors import CannotRun, RackModelError
from rackmodel.hardware import load_catalog
from rackmodel.sweeps.jobs import flat_row
from rackmodel.topology import load_topology

CLOSE = 0.01  # of a steady state: its fixed point is found to 0.3% in sequences
EXACT = 1e-6
LITTLE = 0.02
MACHINES = (
    *("dgx-h100", "dgx-h200", "dgx-b200", "dgx-b300", "gb200-nvl72", "gb300-nvl72", "dgx-a100-80"),
    *("mi300x-platform", "mi355x-platform", "tpu-v6e-pod", "tpu-v5p-pod", "trn2-ultraserver"),
    *("cloudmatrix384", "gaudi3-node", "hgx-h20", "vr200-nvl72", "ualink72", "gb200-nvl36x2"),
)
DENSE = ("llama3.1-8b", "llama3.1-70b", "gpt3-13b")
EXPERTS = ("gpt-oss-120b", "mixtral-8x7b", "qwen3-235b-a22b", "deepseek-v3", "minimax-m2.5")
ASIDE = ("simulation", "links", "notes", "title", "changes", "made_with")
Words = dict[str, Any]


def made(number: int) -> Words:
    """Return the words of a random job."""
    dice = random.Random(f"served {number}")
    model = dice.choice(DENSE + EXPERTS)
    tp = dice.choice([1, 2, 4, 4, 8, 8, 16])
    experts = model in EXPERTS
    spread = experts and tp > 1 and dice.random() < 0.4
    words: Words = {
        "topology": dice.choice(MACHINES),
        "model": model,
        "tp": tp,
        "pp": dice.choice([1, 1, 1, 2]),
        "ep": dice.choice([1, tp]) if experts and not spread else tp if experts else 1,
        "dp_attention": spread,
        "isl": dice.choice([16, 128, 1024, 1024, 8192, 65536]),
        "osl": dice.choice([4, 64, 1024, 1024, 8192]),
        "users": dice.choice([1, 3, 8, 32, 64, 256, 1024]),
        "weights": dice.choice(["bf16", "fp8", "fp8", "nvfp4"]),
        "kv": dice.choice(["fp8", "bf16"]),
        "stack": dice.choice(["default", "vllm", "sglang", "tensorrt-llm"]),
        "chunk": dice.choice([2048, 8192, 16384]),
        "cached": dice.choice([0.0, 0.0, 0.5]),
    }
    workers = dice.choice([1, 1, 2])
    words["gpus"] = tp * words["pp"] * workers
    if model == "deepseek-v3" and dice.random() < 0.4:
        words |= {"mtp": dice.choice([1, 3]), "acceptance": dice.choice([0.0, 0.7, 1.0])}
    if dice.random() < 0.25:  # prompts on as many accelerators again
        words |= {"prefill_gpus": words["gpus"], "gpus": 2 * words["gpus"]}
        words["prefill"] = {name: words[name] for name in ("tp", "pp", "ep", "dp_attention")}
    if spread and dice.random() < 0.3:
        words["two_batch"] = True
    return words


def _run(words: Words, **changes: Any) -> Any:
    return rackmodel.serve(**{**words, **changes})


def _scaled(words: Words, by: float, *fields: str) -> Any:
    """Return a catalog in which figures of the job's accelerator are `by` times as large."""
    catalog, name = load_catalog(), load_topology(words["topology"]).accelerator
    table = catalog.tables["accelerators"][name]
    keys = [key for key in table if key.partition(".")[0] in fields]
    return load_catalog(
        overrides={f"accelerators.{name}.{key}": table[key].value * by for key in keys}
    )


def broken(number: int) -> Iterator[str]:
    """Yield the laws that a job breaks; nothing for a job that can't be served."""
    words = made(number)
    try:
        base = _run(words)
    except CannotRun:
        return
    state, job, told = base.steady, base.job, base.to_dict()
    for name in odd_figures(told):
        yield f"odd figure: {name}"
    if base.hbm_bandwidth_utilisation > 1.0:
        yield f"reads more than HBM gives: {base.hbm_bandwidth_utilisation:.2f}"
    if job.model.experts == 0:
        ends = job.model.embedding_parameters * 2.0 / job.worker.heads_over
        least = (base.hbm["weights"] - ends) / base.accelerator.hbm_bytes_per_s
        if job.tokens_a_step * base.tpot_s < least:
            yield f"quicker than its weights: {base.tpot_s:.3g} of {least:.3g} s"
    waits = state.ttft_s + job.decoded * state.tpot_s
    if abs(state.requests_per_s * waits / job.users - 1.0) > LITTLE:
        yield f"users are {state.requests_per_s * waits:.1f} of {job.users}"
    parts = math.fsum(base.breakdown_s.values())
    if abs(parts / base.tpot_s - 1.0) > CLOSE:
        yield f"parts of the time per token add up to {parts / base.tpot_s:.3f}"
    yield from _slower(words, base)
    yield from _more(words, base)
    if words["gpus"] <= 32:
        yield from _unfolded(words, told)


def _slower(words: Words, base: Any) -> Iterator[str]:
    """What more of something may not slow."""
    for what, fields in (
        ("HBM", ("hbm_bytes_per_s",)),
        ("scale-up links", ("scale_up_bytes_per_s",)),
        ("matrix units", ("flops_per_s",)),
    ):
        fast = _run(words, catalog=_scaled(words, 2.0, *fields))
        # Of a closed loop whole answers: where prompts wait less, more sequences decode at once.
        ratio = fast.steady.requests_per_s / base.steady.requests_per_s
        if ratio < 1.0 - CLOSE:
            yield f"twice the {what} makes {ratio - 1:+.2%} answers"
        ratio = fast.tpot_s / base.tpot_s
        if base.job.prefill is None and ratio > 1.0 + CLOSE:
            yield f"twice the {what} makes tpot_s {ratio - 1:+.2%}"


def _more(words: Words, base: Any) -> Iterator[str]:
    """What more users and longer prompts do."""
    try:
        more = _run(words, users=2 * words["users"])
    except CannotRun:
        more = None
    if more is not None:
        if more.output_tokens_per_s < base.output_tokens_per_s * (1.0 - CLOSE):
            ratio = more.output_tokens_per_s / base.output_tokens_per_s
            yield f"twice the users make {ratio - 1:+.2%} tokens"
        if more.tpot_s < base.tpot_s * (1.0 - CLOSE):
            yield f"twice the users make tpot_s {more.tpot_s / base.tpot_s - 1:+.2%}"
    try:
        longer = _run(words, isl=2 * words["isl"])
    except CannotRun:
        return
    if longer.output_tokens_per_s > base.output_tokens_per_s * (1.0 + CLOSE):
        ratio = longer.output_tokens_per_s / base.output_tokens_per_s
        yield f"twice the prompts make {ratio - 1:+.2%} tokens"


def _unfolded(words: Words, told: Any) -> Iterator[str]:
    rows = [flat_row(one) for one in (told, _run(words, fold=False).to_dict())]
    for name in sorted(set(rows[0]) & set(rows[1])):
        if name.startswith(ASIDE):
            continue
        one, other = rows[0][name], rows[1][name]
        same = one == other
        if isinstance(one, float | int) and isinstance(other, float | int):
            same = math.isclose(one, other, rel_tol=EXACT, abs_tol=1e-12)
        if not same:
            yield f"{name} folded {one!r:.20}, unfolded {other!r:.20}"


def main() -> None:
    """Print what breaks in a range of jobs."""
    first, last = (int(word) for word in sys.argv[1:3])
    ran = bad = 0
    for number in range(first, last):
        try:
            found = list(broken(number))
        except RackModelError as reason:
            found = [f"{type(reason).__name__}: {reason}"]
        ran += 1
        bad += bool(found)
        for what in found[:6]:
            print(f"{number}: {what}", flush=True)
    print(f"{ran} jobs, {bad} break a law")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
