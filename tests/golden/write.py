"""Write the golden results, or tell which figures moved.

In:  `python -m tests.golden.write [NAME ...]`, with `--diff` to compare instead of writing,
     `--stop` to leave at the first job that differs (exit code 1), `--times` for seconds per job.
Out: files in results/, or a table of moved figures by job and, over all jobs, by path.
Left out: judging whether a figure may move.
"""

from __future__ import annotations

import argparse
import fnmatch
import re
import sys
import time
from collections import defaultdict
from collections.abc import Sequence

from tests.golden import stored
from tests.golden.jobs import JOBS, figures_of
from tests.golden.stored import Move


def main(words: Sequence[str] | None = None) -> int:
    """Run the jobs that are asked for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden.write", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="jobs, or patterns such as moe-*")
    parser.add_argument("--diff", action="store_true", help="compare instead of writing")
    parser.add_argument("--stop", action="store_true", help="with --diff: stop at the first job")
    parser.add_argument("--times", action="store_true", help="tell the seconds of each job")
    parser.add_argument("--top", type=int, default=20, help="figures shown for each job")
    asked = parser.parse_args(words)
    names = chosen(asked.names)
    moves: dict[str, list[Move]] = {}
    for name in names:
        start = time.process_time()
        figures = figures_of(JOBS[name])
        if asked.times:
            print(f"{time.process_time() - start:6.2f} s  {name}", file=sys.stderr, flush=True)
        if not asked.diff:
            stored.write(name, figures)
            continue
        moves[name] = stored.moved(stored.read(name), figures)
        if moves[name]:
            print(told(name, moves[name], asked.top), flush=True)
            if asked.stop:
                return 1
    if asked.diff:
        print(by_path(moves))
    elif not asked.names:
        for path in stored.RESULTS.glob("*.json"):
            if path.stem not in JOBS:
                path.unlink()
    return int(any(moves.values()))


def chosen(patterns: Sequence[str]) -> list[str]:
    """Return the jobs that the patterns name, in the order of the patterns; all without them."""
    names = [name for pattern in patterns or ["*"] for name in fnmatch.filter(JOBS, pattern)]
    if not names:
        raise SystemExit(
            f"no golden job is named {' or '.join(patterns)}; known: {', '.join(JOBS)}"
        )
    return list(dict.fromkeys(names))


def told(name: str, moves: Sequence[Move], top: int) -> str:
    """Return the largest moves of a job, one a line."""
    more = [f"{'':>12}  and {len(moves) - top} more"] if len(moves) > top else []
    return "\n".join([f"{name}: {len(moves)} figures moved", *map(str, moves[:top]), *more])


def by_path(moves: dict[str, list[Move]]) -> str:
    """Return, for each path of figures (numbers of rows left out), in how many jobs it moved."""
    jobs: dict[str, set[str]] = defaultdict(set)
    largest: dict[str, float] = defaultdict(float)
    for name, some in moves.items():
        for move in some:
            path = re.sub(r"\[\d+\]", "[]", move.path)
            jobs[path].add(name)
            largest[path] = max(largest[path], abs(move.relative))
    count = sum(bool(some) for some in moves.values())
    lines = [f"{count} of {len(moves)} jobs differ"]
    for path in sorted(jobs, key=lambda path: (-len(jobs[path]), -largest[path], path)):
        lines.append(f"{len(jobs[path]):4d} jobs, at most {largest[path]:.3e}  {path}")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
