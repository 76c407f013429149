"""How much of the arithmetic do the golden results notice?

In:  `python -m benchmarks.mutations [--number 40] [--seed 0] [--packages simulate network ...]`.
Out: a table of swapped operators (+ for -, * for /) and the golden job that noticed each; exit
     code 1 where fewer than 9 of 10 are noticed.
Left out: other kinds of mistakes; strings, annotations and docstrings are not touched.

Each mutation is made in a copy of the tree, and the golden jobs run there, quick ones first, until
one differs. A mutation that no job notices is code that no figure depends on (a message, a
tolerance, a branch that no job takes) or a job that is missing.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parent.parent
# Packages of today and of the layout to come; those that are not on disk are passed over.
PACKAGES = (
    "simulate",
    "engine",
    "kernels",
    "result",
    "network",
    "workload",
    "assess",
    "hardware/power_model.py",
)
SWAPS: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
}
COPIED = ("rackmodel", "topologies", "tests/golden", "tests/published/hf", "examples")
CPU_S = 240  # a loop that never ends; processor time, since a busy machine is not a failure
BAR = 0.9


@dataclass(frozen=True, slots=True)
class Mutation:
    """One operator of one file, and where its character stands in the file's bytes."""

    file: str
    line: int
    offset: int
    before: str
    after: str
    text: str  # the line as it is


def mutations_of(path: Path) -> Iterator[Mutation]:
    """Yield every operator of a file that can be swapped."""
    source = path.read_bytes()
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    for node in arithmetic(ast.parse(source)):
        if isinstance(node, ast.BinOp):
            first, last = node.left, node.right
        else:
            first, last = node.target, node.value
        begin = starts[first.end_lineno - 1] + first.end_col_offset
        end = starts[last.lineno - 1] + last.col_offset
        before, after = SWAPS[type(node.op)]
        offset = source.find(before.encode(), begin, end)
        if offset < 0 or b"#" in source[begin:offset]:
            continue
        line = source.count(b"\n", 0, offset) + 1
        text = lines[line - 1].decode().strip()
        yield Mutation(str(path.relative_to(ROOT)), line, offset, before, after, text)


def arithmetic(tree: ast.AST) -> Iterator[ast.BinOp | ast.AugAssign]:
    """Yield additions to divisions outside of strings and annotations."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns"):
            continue
        for node in value if isinstance(value, list) else [value]:
            if not isinstance(node, ast.AST) or isinstance(node, ast.JoinedStr):
                continue
            if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in SWAPS:
                operands = vars(node).values()
                if not any(is_text(operand) for operand in operands):
                    yield node
            yield from arithmetic(node)


def is_text(node: object) -> bool:
    """Whether an operand is a string, plain or formatted."""
    constant = isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
    return constant or isinstance(node, ast.JoinedStr)


def picked(packages: Sequence[str], number: int, seed: int) -> list[Mutation]:
    """Return random mutations of the packages that exist, the same for the same seed."""
    files: list[Path] = []
    for package in packages:
        place = ROOT / "rackmodel" / package
        files += sorted(place.rglob("*.py")) if place.is_dir() else [place] * place.is_file()
    every = [mutation for file in files for mutation in mutations_of(file)]
    return random.Random(seed).sample(every, min(number, len(every)))


class Copies:
    """Copies of the tree, one for each worker; a mutation borrows one."""

    def __init__(self, number: int, scratch: Path) -> None:
        self.free: SimpleQueue[Path] = SimpleQueue()
        self.stamps = itertools.count()
        for n in range(number):
            copy = scratch / f"copy-{n}"
            for part in COPIED:
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / part, copy / part, ignore=ignored)
            self.free.put(copy)

    def noticed_by(self, mutation: Mutation, names: Sequence[str]) -> str:
        """Return what noticed a mutation: a job, a crash or the time-out; "" if nothing did."""
        copy = self.free.get()
        file = copy / mutation.file
        source, begun = file.read_bytes(), file.stat().st_mtime
        end = mutation.offset + len(mutation.before)
        try:
            file.write_bytes(source[: mutation.offset] + mutation.after.encode() + source[end:])
            stamp = begun + 1 + next(self.stamps)  # bytecode is told apart by size and second
            os.utime(file, (stamp, stamp))
            return golden(copy, names)
        finally:
            file.write_bytes(source)
            os.utime(file, (begun, begun))
            self.free.put(copy)


def golden(copy: Path, names: Sequence[str]) -> str:
    """Run the golden jobs in a copy until one differs; return its name or what else stopped it."""
    command = [sys.executable, "-m", "tests.golden.write", "--diff", "--stop", "--top", "1", *names]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    run = subprocess.run(
        command,
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limited,
    )
    if run.returncode == 0:
        return ""
    if run.returncode < 0:
        return "time-out"
    if "figures moved" in run.stdout:
        return run.stdout.partition(":")[0]
    return "crash: " + (run.stderr.strip().splitlines() or ["?"])[-1][:60]


def limited() -> None:
    """Give a child so much processor time."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))


def quick_first(copy: Path) -> list[str]:
    """Return the golden jobs by their time; they must hold before anything is mutated."""
    command = [sys.executable, "-m", "tests.golden.write", "--diff", "--times"]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    run = subprocess.run(
        command, cwd=copy, env=environment, capture_output=True, text=True, check=False
    )
    if run.returncode:
        raise SystemExit(f"the golden results do not hold:\n{run.stdout[-2000:]}{run.stderr}")
    times = [line.split(" s  ") for line in run.stderr.splitlines() if " s  " in line]
    return [name for seconds, name in sorted(times, key=lambda row: float(row[0]))]


def main(words: Sequence[str] | None = None) -> int:
    """Print the table; return 1 where too little is noticed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutations")
    parser.add_argument("--number", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--packages", nargs="+", default=PACKAGES)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args(words)
    mutations = picked(asked.packages, asked.number, asked.seed)
    with tempfile.TemporaryDirectory() as scratch:
        copies = Copies(asked.workers, Path(scratch))
        first = copies.free.get()
        names = quick_first(first)
        copies.free.put(first)
        with ThreadPoolExecutor(asked.workers) as pool:
            found = pool.map(lambda mutation: copies.noticed_by(mutation, names), mutations)
            noticed = 0
            for mutation, job in zip(mutations, found, strict=True):
                noticed += bool(job)
                where = f"{mutation.file}:{mutation.line}"
                swap = f"{mutation.before} -> {mutation.after}"
                told = job or "NOT NOTICED  " + mutation.text
                print(f"{where:48} {swap:8} {told}", flush=True)
    print(f"{noticed} of {len(mutations)} noticed (seed {asked.seed})")
    return int(noticed < BAR * len(mutations))


if __name__ == "__main__":
    raise SystemExit(main())
