"""Fit the constants of serving kernels near their microbenchmarks on published runs.

    python -m benchmarks.serving.fit serving.csv            errors, and factors on the constants
    python -m benchmarks.serving.fit serving.csv --worth    errors without each constant of our own

The steady state of every run is worked out once with the shipped constants; then the seconds of its
kernels are added up anew for each trial. A constant may move by about a quarter from its place in
the kernel tables (`STRAY`), so that no run decides one. Nothing is written: what is worth
taking over goes into rackmodel/kernels/data/serving.toml by hand, rounded.
"""

from __future__ import annotations

import argparse
import copy
import math
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from rackmodel.engine.step import Step
from rackmodel.errors import RackModelError
from rackmodel.kernels.serving_time import ServingTimes, serving_constants
from rackmodel.serving.outcome import kernels_of
from rackmodel.serving.run import habits_of, running, settle, steps_of
from rackmodel.serving.steady import admission
from rackmodel.serving.steps import Steps
from rackmodel.topology import load_topology
from rackmodel.validation.serving_errors import compared
from rackmodel.validation.serving_runs import Case, case_of
from rackmodel.workload.operations import Kernel
from rackmodel.workload.serving.load import Load

STRAY = 0.25  # of a constant from its kernel table, one standard deviation
NOISE = 0.15  # of a run, the same
FIRST = 0.3  # weight of the time to the first token beside that per token
STEP = 0.03  # of a factor, for derivatives
FREE = 20.0  # what no kernel table holds may stray so many times further
NO_TABLE = ("a request", "between steps")
APART = ("queued", "specul", "twin")
SOFTWARE = ("sglang", "vllm", "tensorrt-llm")
HOPPER, BLACKWELL = "nvidia-hopper", "nvidia-blackwell"
FACTORS: dict[str, list[tuple[str, ...]]] = {
    "products, floor, Hopper": [("gemm", HOPPER, "floor_s", f) for f in ("bf16", "fp8")],
    "products, floor, Blackwell": [("gemm", BLACKWELL, "floor_s", f) for f in ("bf16", "fp8")],
    "products, floor, nvfp4": [("gemm", BLACKWELL, "floor_s", "nvfp4")],
    "products, HBM, Hopper": [("gemm", HOPPER, "hbm", f) for f in ("bf16", "fp8")],
    "products, HBM, Blackwell": [("gemm", BLACKWELL, "hbm", f) for f in ("bf16", "fp8", "nvfp4")],
    "experts, floor, Hopper": [("grouped", HOPPER, "floor_s", f) for f in ("bf16", "fp8")],
    "experts, floor, Blackwell": [("grouped", BLACKWELL, "floor_s", f) for f in ("bf16", "fp8")],
    "experts, floor, nvfp4": [("grouped", BLACKWELL, "floor_s", "nvfp4")],
    "experts, HBM, Hopper": [("grouped", HOPPER, "hbm", f) for f in ("bf16", "fp8")],
    "experts, HBM, Blackwell": [("grouped", BLACKWELL, "hbm", f) for f in ("bf16", "fp8")],
    "experts, HBM, nvfp4": [("grouped", BLACKWELL, "hbm", "nvfp4")],
    "experts, arithmetic, Hopper": [("grouped", HOPPER, "matrix", f) for f in ("bf16", "fp8")],
    "experts, arithmetic, Blackwell": [("grouped", BLACKWELL, "matrix", "bf16")],
    "experts, arithmetic, fp8, Blackwell": [
        ("grouped", BLACKWELL, "matrix", f) for f in ("fp8", "fp8-deepgemm")
    ],
    "experts, arithmetic, nvfp4": [("grouped", BLACKWELL, "matrix", "nvfp4")],
    "experts, arithmetic, mxfp4, Hopper": [("grouped", HOPPER, "matrix", "fp8-mxfp4")],
    "experts, arithmetic, mxfp4, Blackwell": [("grouped", BLACKWELL, "matrix", "fp8-mxfp4")],
    "products, arithmetic, Hopper": [("gemm", HOPPER, "matrix", f) for f in ("bf16", "fp8")],
    "products, arithmetic, Blackwell": [
        ("gemm", BLACKWELL, "matrix", f) for f in ("bf16", "fp8", "nvfp4")
    ],
    "prompt attention": [("prompt", family, "matrix") for family in (HOPPER, BLACKWELL)],
    "small kernels, HBM": [("small", "hbm")],
    "decode attention, floor": [("decode", HOPPER, "floor_s"), ("decode", BLACKWELL, "floor_s")],
    "latent attention, HBM": [("decode", BLACKWELL, "latent_hbm")],
    "latent attention, arithmetic": [
        ("decode", family, "matrix", f) for family in (HOPPER, BLACKWELL) for f in ("bf16", "fp8")
    ],
    "small kernels": [("small", "floor_s")],
    **{f"between steps, {s}": [("software", s, "host_s")] for s in SOFTWARE},
    **{f"a request, {s}": [("software", s, "request_s")] for s in SOFTWARE},
}
# What no kernel table says, and what stands in its place where it is left out.
OWN: dict[str, tuple[list[tuple[str, ...]], float]] = {
    "small kernels, floor": ([("small", "floor_s")], 0.0),
    "small kernels, share of HBM": ([("small", "hbm")], 1.0),
    "between steps, SGLang": ([("software", "sglang", "host_s")], 0.1e-3),
    "between steps, others": ([("software", s, "host_s") for s in SOFTWARE[1:]], 0.0),
    **{f"a request, {s}": ([("software", s, "request_s")], 0.0) for s in SOFTWARE},
}

# The same of what is no seconds of a kernel: runs are settled again. What balancers do not know
# (two constants) acts on wide groups only: `benchmarks.serving.facts`.
WORLD: dict[str, tuple[str, float]] = {
    "skew of popularity": ("rackmodel.validation.serving_runs.ROUTING_SKEW", 0.0),
    "workspace": ("rackmodel.workload.serving.memory.WORKSPACE_BYTES", 0.0),
    "usable HBM": ("rackmodel.workload.serving.memory.USABLE", 1.0),
}


@dataclass(frozen=True, slots=True)
class Part:
    """A step: how often it runs each kernel, and the seconds of all else."""

    kernels: dict[Kernel, float]
    other_s: float


@dataclass(frozen=True, slots=True)
class Run:
    """One published run, ready to be predicted with other constants."""

    row: dict[str, Any]
    case: Case
    part: Any
    decode: Part
    mixed: Part | None
    share: float  # of decode steps that carry prompts of others
    pieces: int  # steps that a prompt takes
    turn: float  # decode steps that a prompt waits for one that admits some
    burst: float  # prompts before one's own on average, over all requests of a user
    measured_s: float  # per token; where only tokens/s are printed, what gives as many

    @property
    def waits(self) -> bool:
        """Whether its time to the first token is compared."""
        return self.mixed is not None and self.row["ttft_ms"] > 0


def read(path: str, each: int) -> pd.DataFrame:
    """Return `each` runs of every kind of run that counts."""
    frame = pd.read_csv(path, low_memory=False)
    plain = ~frame["quality"].fillna("").str.contains("|".join(APART))
    modes = frame["mode"].isin(["aggregated", "disaggregated"])
    frame = frame[(frame["tier"] == "core") & frame["tpot_ms"].notna() & plain & modes]
    kinds = ["system", "software", "model", "weights_precision", "mode"]
    return frame.groupby(kinds, group_keys=False)[list(frame)].apply(
        lambda g: g.sample(min(len(g), each), random_state=3)
    )


def prepared(frame: pd.DataFrame, stack: str | None = None) -> list[Run]:
    """Return the runs that can be predicted, with their steps, of `stack` if one is given."""
    machines: dict[str, Steps] = {}
    runs = []
    for row in frame.to_dict("records"):
        name = str(row["system"])
        if name not in machines:
            machines[name] = steps_of(load_topology(name))
        try:
            runs.append(_run({str(k): v for k, v in row.items()}, machines[name], stack))
        except RackModelError as reason:
            print(f"{row['id']}: {reason}")
    return runs


def _run(row: dict[str, Any], steps: Steps, stack: str | None) -> Run:
    case, part = case_of(row), steps.part
    if case.open_plan:
        raise RackModelError("its plan is not stated")
    if stack is not None:
        case = replace(case, job=case.job.replace(stack=stack))
    job = case.job
    most = float(running(job, part))
    if most < 1:
        raise RackModelError("it does not fit")
    if case.kind == "full":
        job = job.replace(users=int(most * job.workers))
    if case.kind == "rate":
        most = max(most, job.users / job.workers)
    state = settle(job, steps, most)
    measured_s = row["tpot_ms"] / 1e3
    if math.isnan(measured_s):
        rate = compared(row, {})["measured_tokens_per_s_per_gpu"]
        measured_s = state.tpot_s * state.requests_per_s * job.osl / job.gpus / rate

    def seconds_of(load: Load) -> Part:
        step = steps.step(job, job.worker, job.decode_gpus, load, job.worker.pp)
        whole_s = steps.seconds(job, job.worker, job.decode_gpus, load)
        return Part(*_split(step, whole_s, steps.kernels))

    mixed = None
    if job.prefill is None:
        asked = replace(
            state.decode,
            prompts=state.prompt.prompts,
            piece=state.prompt.piece,
            before=state.prompt.before,
        )
        mixed = seconds_of(state.prompt if habits_of(job.stack).alternates else asked)
    pieces = max(1, math.ceil(job.prompt_tokens / job.chunk))
    together = settle(job, steps, most, case.rounds)
    burst = max(0.0, together.ttft_s - state.ttft_s) / state.prompt_s
    admits = admission(job, habits_of(job.stack), state.mixed * state.prompt.prompts)
    decode = seconds_of(state.decode)
    return Run(
        *(row, replace(case, job=job), part, decode, mixed),
        *(state.beside, pieces, admits.waited, burst, measured_s),
    )


def _split(step: Step, whole_s: float, times: ServingTimes) -> tuple[dict[Kernel, float], float]:
    found = kernels_of(step)
    return found, whole_s - sum(n * times.kernel_s(kernel) for kernel, n in found.items())


def changed(factors: np.ndarray) -> dict[str, Any]:
    """Return the shipped constants, each group times its factor."""
    table: dict[str, Any] = copy.deepcopy(dict(serving_constants()))
    for paths, factor in zip(FACTORS.values(), factors, strict=True):
        for *way, last in paths:
            inner = table
            for word in way:
                inner = inner[word]
            inner[last] *= float(factor)
    return table


def without(name: str) -> dict[str, Any]:
    """Return the shipped constants, one of our own replaced by what says nothing."""
    table: dict[str, Any] = copy.deepcopy(dict(serving_constants()))
    paths, value = OWN[name]
    for *way, last in paths:
        inner = table
        for word in way:
            inner = inner[word]
        inner[last] = value
    return table


def worth(frame: pd.DataFrame) -> None:
    """Print the errors of runs without each constant of our own."""
    runs = prepared(frame)
    measured = np.array([(run.row["tpot_ms"] / 1e3, run.row["ttft_ms"] / 1e3) for run in runs])
    waits = np.array([run.waits for run in runs])

    def line(name: str, seconds: np.ndarray) -> dict[str, Any]:
        size = np.abs(seconds / measured - 1.0)
        token, first = size[:, 0], size[waits, 1]
        return {
            "without": name,
            "per token, mean": token.mean(),
            "median": np.median(token),
            "first token, median": np.median(first),
        }

    lines = [line("nothing", predicted(runs, table=dict(serving_constants())))]
    lines += [line(name, predicted(runs, table=without(name))) for name in OWN]
    for name, (where, value) in WORLD.items():
        with patch(where, value):
            again = {run.row["id"]: run for run in prepared(frame)}
        same = [again.get(run.row["id"], run) for run in runs]
        lines.append(line(name, predicted(same, table=dict(serving_constants()))))
    print(pd.DataFrame(lines).round(3).to_string(index=False))
    print(f"{len(runs)} runs")


def predicted(
    runs: list[Run], factors: np.ndarray | None = None, *, table: dict[str, Any] | None = None
) -> np.ndarray:
    """Return the times per token and to the first one of all runs. [s, shape (runs, 2)]

    factors : on the shipped constants, or table : other ones.
    """
    if table is None:
        assert factors is not None
        table = changed(factors)
    times: dict[str, ServingTimes] = {}
    found = []
    for run in runs:
        kernels = times.setdefault(run.part.name, ServingTimes(run.part, constants=table))
        habits = habits_of(run.case.job.stack, table)

        def seconds(part: Part, kernels: ServingTimes = kernels) -> float:
            return part.other_s + sum(n * kernels.kernel_s(k) for k, n in part.kernels.items())

        decode = seconds(run.decode) + habits.host_s
        step, first = decode, math.nan
        if run.mixed is not None:
            extra = seconds(run.mixed) + habits.host_s
            both = decode + extra if habits.alternates else extra
            step = decode * (1.0 - run.share) + both * run.share
            first = habits.first_token_s(decode, both, run.share, run.pieces, run.turn)
            first += run.burst * run.pieces * both
        found.append((step / run.case.job.tokens_a_step, first))
    return np.array(found)


def fitted(runs: list[Run]) -> np.ndarray:
    """Return the factors that fit best, held near one."""
    measured = np.array([(run.row["tpot_ms"] / 1e3, run.row["ttft_ms"] / 1e3) for run in runs])
    waits = np.array([run.waits for run in runs])
    start = np.ones(len(FACTORS))
    wide = np.array([FREE if name.startswith(NO_TABLE) else 1.0 for name in FACTORS])

    def residuals(factors: np.ndarray) -> np.ndarray:
        errors = np.log(predicted(runs, factors) / measured)
        held = (factors - 1.0) / STRAY / wide * NOISE * np.sqrt(len(runs) / 200.0)
        return np.concatenate([errors[:, 0], errors[waits, 1] * FIRST, held])

    bounds = (0.2 * start, 3.0 * wide)
    how: dict[str, Any] = {"loss": "soft_l1", "f_scale": 0.1, "max_nfev": 4}
    found = least_squares(residuals, start, bounds=bounds, diff_step=STEP * start, **how)
    return np.asarray(found.x)


def told(runs: list[Run], seconds: np.ndarray) -> pd.DataFrame:
    """Print the errors of predictions by kind of run."""
    table = pd.DataFrame([run.row for run in runs])
    table["error"] = 1e3 * seconds[:, 0] / table["tpot_ms"] - 1.0
    waits = np.array([run.waits for run in runs])
    table["first"] = np.where(waits, 1e3 * seconds[:, 1] / table["ttft_ms"] - 1.0, math.nan)
    table["first_size"] = table["first"].abs()
    table["size"] = table["error"].abs()
    by = table.groupby(["system", "software", "model", "weights_precision", "mode"])
    print(
        by.agg(
            n=("size", "size"),
            median=("size", "median"),
            bias=("error", "median"),
            first=("first_size", "median"),
            first_bias=("first", "median"),
        ).round(3)
    )
    print(
        f"{len(table)} runs: median {table['size'].median():.3f}, mean {table['size'].mean():.3f},"
        f" bias {table['error'].median():+.3f}; median of the systems' medians"
        f" {table.groupby('system')['size'].median().median():.3f}; first token: median"
        f" {table['first_size'].median():.3f}, bias {table['first'].median():+.3f}"
    )
    return table


def slopes(runs: list[Run]) -> tuple[np.ndarray, np.ndarray]:
    """Return the logarithms of times per token, and by how much each factor moves them."""
    ones = np.ones(len(FACTORS))
    base = np.log(predicted(runs, ones)[:, 0])
    moved = [np.log(predicted(runs, ones + STEP * row)[:, 0]) for row in np.eye(len(ones))]
    return base, (np.array(moved).T - base[:, None]) / STEP


def refitted(residuals: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Return how far the factors move to fit residuals, held near where they are (soft L1)."""
    wide = np.array([FREE if name.startswith(NO_TABLE) else 1.0 for name in FACTORS])
    held = np.diag((NOISE / STRAY / wide) ** 2 * len(residuals) / 200.0)
    moves = np.zeros(len(FACTORS))
    for _ in range(20):
        weights = 1.0 / np.sqrt(1.0 + ((residuals - slope @ moves) / 0.1) ** 2)
        normal = slope.T @ (weights[:, None] * slope) + held
        moves = np.linalg.solve(normal, slope.T @ (weights * residuals))
    return moves


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs")
    parser.add_argument("--each", type=int, default=8, help="runs of every kind")
    parser.add_argument("--worth", action="store_true")
    words = parser.parse_args()
    frame = read(words.runs, words.each)
    if words.worth:
        worth(frame)
        return
    runs = prepared(frame)
    told(runs, predicted(runs, np.ones(len(FACTORS))))
    factors = fitted(runs)
    for name, factor in zip(FACTORS, factors, strict=True):
        print(f"{name}: x {factor:.2f}")
    told(runs, predicted(runs, factors))


if __name__ == "__main__":
    main()
