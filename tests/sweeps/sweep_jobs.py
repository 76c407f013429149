"""Jobs for the tests of sweeps: they need no simulator, and workers can import them."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from rackmodel.errors import DoesNotFit, InvalidInput

FIELDS = {"a": "int", "b": "int", "name": "str", "x": "float", "wait_s": "float", "folder": "str"}


def add(job):
    """A sum that is not exact, an infeasible job in seven, an invalid one in eleven."""
    if job["a"] % 7 == 0:
        raise DoesNotFit(f"rank 0 needs {job['a']} GB;\nthere is less")
    if job["a"] % 11 == 0:
        raise InvalidInput("a is a multiple of 11")
    time.sleep(job.get("wait_s", 0.0))
    return {"sum": 0.1 * job["a"] + job.get("b", 0) / 3, "even": None if job["a"] % 2 else True}


def count(job):
    """As `add`, and leaves a mark per run of a job, to see whether any ran twice."""
    with open(Path(job["folder"]) / f"{job['a']}", "a", encoding="utf-8") as file:
        file.write("x")
    return add(job)


def busy(job):
    """Work for a while on the processor."""
    end = time.process_time() + job["wait_s"]
    n = 0
    while time.process_time() < end:
        n += 1
    return {"square": job["a"] ** 2}


def die_once(job):
    """Kill the worker at the first try of job 5, and at every try of job 9."""
    mark = Path(job["folder"]) / "died"
    if job["a"] == 9 or (job["a"] == 5 and not mark.exists()):
        mark.touch()
        time.sleep(0.05)
        os._exit(3)
    time.sleep(0.01)
    return {"square": job["a"] ** 2}


def bug(job):
    """A mistake in the program, which has to stop the sweep."""
    if job["a"] == 4:
        raise ZeroDivisionError("a bug")
    return {"square": job["a"] ** 2}


if __name__ == "__main__":  # one sweep in a process that a test kills
    import sweep_jobs

    from rackmodel.sweeps.api import sweep
    from rackmodel.sweeps.spec import read_spec

    out, workers, marks = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    spec = read_spec(
        {
            "base": {"wait_s": 0.01, "folder": marks},
            "axes": {"a": {"from": 1, "to": 120, "step": 1}},
        },
        FIELDS,
    )
    sweep(spec, out, sweep_jobs.count, workers=workers, resume="--resume" in sys.argv)
