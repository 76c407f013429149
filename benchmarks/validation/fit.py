"""Fit the constants of the kernel model on published training steps, and say how well they hold.

    python benchmarks/validation/fit.py RUNS.csv [--write] [--rounds 2] [--workers 2]

In:  a table of published runs; rackmodel/simulate/data/kernels.toml and stacks.toml as they stand.
Out: errors in fold and on rows left out (at random, by topology, by stack); with --write, the new
constants in the same two files.
Left out: matrix products and attention alone (their efficiencies are taken from microbenchmarks).

Every run is simulated once with the constants as they stand; `surrogate.py` tells, as seconds by
class of kernel along its critical path, how the step moves with each of them. A parameter is a
factor on the classes that it moves, with a prior that keeps it near 1; all rows of a stack together
weigh n^0.6, so that a large stack does not drown a small one.
Deterministic. Fit again after --write: the derivatives are those of the constants that stand.
"""

from __future__ import annotations

import argparse
import math
import re
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import least_squares
from surrogate import CLASSES, INDEX, Machine, Surrogate

import rackmodel.simulate
from rackmodel.door import simulate
from rackmodel.errors import RackModelError
from rackmodel.hardware import accelerator
from rackmodel.simulate.kernel_constants import kernel_constants
from rackmodel.simulate.kernel_time import KernelTimes, graphs_by_default
from rackmodel.simulate.stacks import read_stack
from rackmodel.simulate.step_level import expected_maximum, fixed_s
from rackmodel.study.published_runs import filled_in, read_run
from rackmodel.topology import load_topology
from rackmodel.workload import Job

DATA = Path(rackmodel.simulate.__file__).parent / "data"
SPREAD = (0.006, 0.003)  # (prior, its deviation)
FIXED = (0.03, 0.4)  # a software's fixed seconds, and the deviation of their logarithm
NOISE = 0.04  # what two equal runs differ by


@dataclass(frozen=True)
class Case:
    """A published run with its critical path."""

    row: dict
    family: str
    seconds: np.ndarray
    simulated_s: float  # the step less what it adds as a whole
    fixed_s: float
    recompute: str


def cases(path: Path, workers: int) -> list[Case]:
    """Work out every run of a table that is not composed; rows that can't run are named."""
    frame = pd.read_csv(path)
    rows = frame[frame.tier != "composed"].to_dict("records")
    with ProcessPoolExecutor(workers) as pool:
        found = list(pool.map(case, rows, chunksize=4))
    for row, answer in zip(rows, found, strict=True):
        if isinstance(answer, str):
            print(f"left out: {row['id']}: {answer}")
    return [c for c in found if isinstance(c, Case)]


def case(row: dict) -> Case | str:
    """Return the fastest of the jobs that a row may have been, or why there is none."""
    topology = load_topology(row["topology"])
    part = accelerator(topology.accelerator)
    try:
        run = read_run(row, topology.domain_accelerators, part.family, part.host_link)
    except RackModelError as error:
        return str(error)
    best: tuple[float, Job] | None = None
    reason = ""
    for job in run.jobs:
        try:
            job = filled_in(run, job, part)
            step_s = simulate(topology, job, check_memory=False, repeat="estimate").step_s
        except RackModelError as error:
            reason = str(error)
            continue
        if best is None or step_s < best[0]:
            best = (step_s, job)
    if best is None:
        return reason
    step_s, job = best
    times = KernelTimes(part, job.stack, cuda_graphs=graphs_by_default(job, part))
    seconds = Surrogate(job, Machine.of(topology, part, job), times).step()
    step = kernel_constants()["step"]
    fixed = fixed_s(job.stack, step)
    slow = 1.0 + step["spread"] * expected_maximum(job.gpus)
    return Case(row, part.family, seconds, (step_s - fixed) / slow, fixed, job.plan.recompute)


def parameters(family: str, stack: str, topology: str) -> dict[str, list[tuple[str, float, float]]]:
    """Return, per class of kernel, (parameter, prior deviation of its logarithm.

    How much of it).
    """
    era = read_stack(stack)
    kind = era.family.split("-")[0]
    age = max(0.0, 2026.45 - era.date)
    part = load_topology(topology).accelerator
    released = kernel_constants()["training"]["released"]
    moved: dict[str, list[tuple[str, float, float]]] = {}
    for name in CLASSES:
        if name.startswith(("gemm", "grouped")):
            form = name.split("_")[1]
            moved[name] = [("gemm", 0.1, 1.0), (f"training.gemm.{family}", 0.06, 1.0)]
            if family in released:
                fresh = math.exp(-max(0.0, era.date - released[family]))
                moved[name].append(("young", 0.1, fresh))
            if name.startswith("grouped") and kind == "jax":
                moved[name].append(("factor.grouped.jax", 0.3, 1.0))
            if form != "bf16":
                moved[name].append((f"training.narrow.{family}", 0.06, 1.0))
            if form == "nvfp4":
                moved[name].append(("training.other.nvfp4", 0.1, 1.0))
        elif name in ("attention", "attention_backward"):
            known = era.attention in ("flash3", "flash4") and family.startswith("nvidia")
            path = f"attention.efficiency.{era.attention}.{family}"
            moved[name] = [(path, 0.04 if known else 0.1, 1.0)]  # measured alone, or read across
            if part in kernel_constants()["attention"]["part"]:
                moved[name].append(("attention.part", 0.05, 1.0))
            if name.endswith("backward"):
                moved[name].append(("attention.backward", 0.05, 1.0))
        elif name == "elementwise":
            moved[name] = [("hbm.elementwise", 0.1, 1.0), (f"factor.elementwise.{kind}", 0.2, 1.0)]
        elif name in ("unfused", "cast"):
            moved[name] = [(f"training.other.{name}", 0.15, 1.0)]
        elif name == "permute":
            moved[name] = [("hbm.permute", 0.2, 1.0), ("permute by age", 0.1, age)]
        elif name == "host_expert":
            moved[name] = [("host of experts", 0.3, 1.0), ("host of experts by age", 0.1, age)]
    return moved


class Fit:
    """Classes of seconds times factors, plus what a step costs as a whole."""

    def __init__(self, found: list[Case]) -> None:
        self.cases = found
        self.seconds = np.stack([c.seconds for c in found])
        self.measured = np.array([c.row["measured_step_s"] for c in found])
        self.simulated_s = np.array([c.simulated_s for c in found])
        self.fixed_s = np.array([c.fixed_s for c in found])
        table = kernel_constants()["step"]["fixed_s"]
        families = [read_stack(c.row["stack"]).family for c in found]
        own = [f if f in table else f.split("-")[0] for f in families]
        own = [f if f in table else "default" for f in own]
        self.kinds = sorted(set(own))
        self.kind = np.array([self.kinds.index(f) for f in own])
        self.slowest = np.array([expected_maximum(int(c.row["gpus"])) for c in found])
        prior: dict[str, float] = {}
        entries = []
        for i, c in enumerate(found):
            for name, moved in parameters(c.family, c.row["stack"], c.row["topology"]).items():
                if c.seconds[INDEX[name]] <= 0:
                    continue
                for parameter, deviation, much in moved:
                    prior.setdefault(parameter, deviation)
                    entries.append((i, INDEX[name], parameter, much))
        self.names = sorted(prior)
        self.deviation = np.array([prior[name] for name in self.names])
        self.center = np.zeros(len(self.names))
        self.design = np.zeros((len(found), len(CLASSES), len(self.names)))
        for i, c, parameter, much in entries:
            self.design[i, c, self.names.index(parameter)] = much
        stacks = [c.row["stack"] for c in found]
        share = np.array([stacks.count(s) for s in stacks], dtype=float)
        core = np.array([c.row["tier"] == "core" for c in found])
        self.weight = np.sqrt(share**-0.4) * np.where(core, 1.0, 0.6)
        self.weight /= np.sqrt((self.weight**2).mean())

    def predict(self, x: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return predicted seconds of a step."""
        k, kinds = len(self.names), len(self.kinds)
        seconds = self.seconds[rows]
        moved = (seconds * np.exp(self.design[rows] @ x[:k])).sum(1) / seconds.sum(1)
        fixed = self.fixed_s[rows] * np.exp(x[k : k + kinds])[self.kind[rows]]
        return self.simulated_s[rows] * moved * (1.0 + x[-1] * self.slowest[rows]) + fixed

    def start(self) -> np.ndarray:
        """Return the parameters of the constants as they stand."""
        spread = kernel_constants()["step"]["spread"]
        return np.concatenate([np.zeros(len(self.names) + len(self.kinds)), [spread]])

    def solve(self, rows: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
        """Return the parameters that fit some rows best; outliers count by their size.

        Not its square.
        """
        deviation = np.concatenate([self.deviation, np.full(len(self.kinds), FIXED[1])])
        table = kernel_constants()["step"]["fixed_s"]
        stands = np.log([table[kind] / FIXED[0] for kind in self.kinds])
        prior = np.concatenate([self.center, -stands])

        def residuals(x: np.ndarray) -> np.ndarray:
            error = np.log(np.maximum(self.predict(x, rows), 1e-9) / self.measured[rows])
            away = [(x[-1] - SPREAD[0]) / SPREAD[1]]
            return np.concatenate(
                [self.weight[rows] * error / NOISE, (x[:-1] - prior) / deviation, away]
            )

        low = np.concatenate([np.full(len(deviation), -3.0), [0.0]])
        high = np.concatenate([np.full(len(deviation), 3.0), [0.05]])
        return least_squares(
            residuals, self.start() if start is None else start, bounds=(low, high),
            loss="soft_l1", x_scale="jac", max_nfev=40,
        ).x  # fmt: skip

    def errors(self, x: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return signed relative errors."""
        return self.predict(x, rows) / self.measured[rows] - 1.0

    def left_out(self, groups: np.ndarray, start: np.ndarray) -> np.ndarray:
        """Return the error of every row when its whole group is left out of the fit."""
        errors = np.zeros(len(self.cases))
        for group in sorted(set(groups)):
            inside, outside = np.where(groups == group)[0], np.where(groups != group)[0]
            errors[inside] = self.errors(self.solve(outside, start), inside)
        return errors


def line(errors: np.ndarray) -> str:
    """Return the figures of a group in one line."""
    size = np.abs(errors) * 100
    if not len(size):
        return "none"
    return (
        f"{len(size):4d} rows  MAPE {size.mean():5.1f}  median {np.median(size):5.1f}"
        f"  p90 {np.quantile(size, 0.9):5.1f}  bias {100 * errors.mean():+5.1f}"
    )


def report(fit: Fit, errors: np.ndarray, title: str, *, full: bool = False) -> None:
    """Print errors by group."""
    rows = pd.DataFrame([c.row for c in fit.cases])
    core, moe = (rows.tier == "core").to_numpy(), (rows.experts.fillna(0) > 0).to_numpy()
    rack = rows.topology.isin(["gb200-nvl72", "gb300-nvl72"]).to_numpy()
    print(title)
    for name, mask in (
        ("core", core),
        ("wide", ~core),
        ("core dense", core & ~moe),
        ("core MoE", core & moe),
        ("core NVL72", core & rack),
        ("core >= 1,000", core & (rows.gpus >= 1000).to_numpy()),
    ):
        print(f"  {name:14s} {line(errors[mask])}")
    for column in ("stack", "topology") if full else ():
        for name in sorted(rows[column].unique()):
            print(f"  {name:24s} {line(errors[(rows[column] == name).to_numpy()])}")


def scale(text: str, path: str, factor: float) -> str:
    """Multiply one number (or every value of a list of points) of a TOML text, in place."""
    section, key = path.rsplit(".", 1)
    lines, inside = text.splitlines(), False
    for i, content in enumerate(lines):
        if content.startswith("["):
            inside = content.split("]")[0].strip("[") == section
            continue
        if not inside:
            continue
        if re.match(rf"{re.escape(key)}\s*=\s*[0-9.e+-]+", content):
            lines[i] = re.sub(
                r"=\s*([0-9.e+-]+)", lambda m: f"= {float(m[1]) * factor:.4g}", content, count=1
            )
            return "\n".join(lines) + "\n"
        if content.startswith(f"{key} = [["):
            lines[i] = re.sub(
                r"\[([0-9.]+), ([0-9.e+-]+)\]",
                lambda m: f"[{m[1]}, {float(m[2]) * factor:.4g}]",
                content,
            )
            return "\n".join(lines) + "\n"
    raise KeyError(path)


def scale_in_row(text: str, section: str, row: str, key: str, factor: float) -> str:
    """Multiply one number of an inline table, in place; a family without one gets the default's."""
    lines, inside = text.splitlines(), False
    for i, content in enumerate(lines):
        if content.startswith("["):
            inside = content.split("]")[0].strip("[") == section
        elif inside and content.startswith(f"{row} = {{"):
            if f" {key} = " not in content:
                default = re.search(r"default = ([0-9.]+)", content)
                assert default is not None
                content = content.replace(" }", f", {key} = {default[1]} }}")
            lines[i] = re.sub(
                rf"( {re.escape(key)} = )([0-9.]+)",
                lambda m: f"{m[1]}{float(m[2]) * factor:.4g}",
                content,
            )
            return "\n".join(lines) + "\n"
    raise KeyError(f"{section}.{row}.{key}")


def write(fit: Fit, x: np.ndarray) -> None:
    """Put the fitted constants into kernels.toml and stacks.toml."""
    kernels, stacks = DATA / "kernels.toml", DATA / "stacks.toml"
    text, table = kernels.read_text("utf-8"), stacks.read_text("utf-8")
    factors = {name: math.exp(v) for name, v in zip(fit.names, x, strict=False)}
    common = factors.pop("gemm", 1.0)
    families = re.findall(r"(?m)^([a-z0-9-]+) = ", _section(text, "training.gemm"))
    for family in families:
        text = scale(text, f"training.gemm.{family}", common)
    for name, factor in factors.items():
        words = name.split(".")
        if name.startswith("attention.efficiency."):
            text = scale_in_row(text, "attention.efficiency", words[2], words[3], 1 / factor)
        elif name.startswith(("hbm.", "attention.backward")):
            text = scale(text, name, 1 / factor)
        elif name.startswith("training."):
            text = scale(text, _known(text, name), factor)
        elif name.startswith(("factor.", "launch_s.")):
            table = scale(table, _known(table, name, "other"), factor)
        elif name == "attention.part":
            for part in kernel_constants()["attention"]["part"]:
                text = scale_in_row(text, "attention", "part", part, 1 / factor)
        elif name == "young":  # the same at the release date; factors are powers of e^-age
            old = kernel_constants()["training"]["other"]["young"]
            new = (1.0 + old) * factor - 1.0
            text = re.sub(r"(?m)^(young = )[0-9.e-]+", rf"\g<1>{max(0.0, new):.4g}", text)
        elif name == "host of experts":
            for key in ("expert_launches", "expert_s"):
                text = scale(text, f"host.{key}", factor)
        elif name.endswith("by age"):
            section = "factor.permute" if "permute" in name else "factor.expert_host"
            table = _age(table, f"{section}.megatron", factor)
    for kind, value in zip(fit.kinds, x[len(fit.names) :], strict=False):
        text = scale_in_row(text, "step", "fixed_s", kind, math.exp(value))
    text = re.sub(r"(?m)^(spread = )[0-9.e-]+", rf"\g<1>{x[-1]:.4g}", text)
    kernels.write_text(text, "utf-8")
    stacks.write_text(table, "utf-8")


def _section(text: str, name: str) -> str:
    return text.split(f"[{name}]", 1)[1].split("\n[", 1)[0]


def _known(text: str, name: str, default: str = "default") -> str:
    """Return the path itself if the file has it, else that of the section's default."""
    section, key = name.rsplit(".", 1)
    has = re.search(rf"(?m)^{re.escape(key)} = ", _section(text, section))
    return name if has else f"{section}.{default}"


def _age(text: str, path: str, per_year: float) -> str:
    """Multiply the points of a release curve by `per_year` for every year before the latest."""
    section, key = path.rsplit(".", 1)
    old = re.search(rf"(?m)^{re.escape(key)} = .*$", _section(text, section))
    assert old is not None
    new = re.sub(
        r"\[([0-9.]+), ([0-9.e+-]+)\]",
        lambda m: f"[{m[1]}, {float(m[2]) * per_year ** max(0.0, 2026.45 - float(m[1])):.4g}]",
        old[0],
    )
    head, tail = text.split(f"[{section}]", 1)
    return f"{head}[{section}]{tail.replace(old[0], new, 1)}"


def main() -> None:
    """Fit, report, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--no-folds", action="store_true")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    fit = Fit(cases(arguments.runs, arguments.workers))
    everything = np.arange(len(fit.cases))
    report(fit, fit.errors(fit.start(), everything), "as the constants stand")
    x = fit.solve(everything)
    errors = fit.errors(x, everything)
    report(fit, errors, "in fold", full=True)
    print(f"{len(x)} parameters")
    for name, value in zip(fit.names, x, strict=False):
        print(f"  {name:50s} x {math.exp(value):.3f}")
    for kind, value in zip(fit.kinds, x[len(fit.names) :], strict=False):
        print(f"  fixed_s.{kind:42s} x {math.exp(value):.3f}")
    print(f"  spread {x[-1]:.4f}")
    order = np.argsort(-np.abs(errors))[:40]
    for i in order:
        row = fit.cases[i].row
        print(f"  {errors[i]:+.3f} {row['stack']:24s} {row['topology']:22s} {row['model']:28s} "
              f"{row['gpus']:5d} {row['precision']:7s} tp {row['tp']} pp {row['pp']} "
              f"mb {row['micro_batch']} seq {row['seq_len']} {fit.cases[i].recompute}")  # fmt: skip
    if not arguments.no_folds:
        rows = pd.DataFrame([c.row for c in fit.cases])
        shape = (
            rows[["topology", "model", "gpus", "tp", "pp", "ep", "precision"]]
            .fillna(-1)
            .astype(str)
        )
        runs = shape.agg("|".join, axis=1).to_numpy()
        fold = {
            key: i % 5
            for i, key in enumerate(np.random.default_rng(0).permutation(sorted(set(runs))))
        }
        groups = {
            "5 random folds over configurations": np.array([fold[r] for r in runs]),
            "one topology left out": rows.topology.to_numpy(),
            "one stack left out": rows["stack"].to_numpy(),
            "one model left out": rows.model.str.split(r"[ _-]").str[0].str.lower().to_numpy(),
        }
        for title, names in groups.items():
            report(fit, fit.left_out(np.asarray(names), x), title)
    if arguments.write:
        write(fit, x)


if __name__ == "__main__":
    main()
