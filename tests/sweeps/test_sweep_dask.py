"""The same sweep on a Dask cluster: a scheduler and two workers on loopback, one of them killed."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sweep_jobs
from test_sweep import spec_of, stored

from rackmodel.errors import InvalidInput
from rackmodel.sweeps.api import sweep

distributed = pytest.importorskip("distributed")
HERE = Path(__file__).parent


def start(*words, log):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    with open(log, "wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "distributed.cli." + words[0], *words[1:]],
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )


@pytest.fixture
def cluster(tmp_path):
    """Address of a scheduler, and its two worker processes."""
    log = tmp_path / "scheduler.log"
    started = [
        start("dask_scheduler", "--port", "0", "--no-dashboard", "--host", "127.0.0.1", log=log)
    ]
    address, deadline = None, time.monotonic() + 200
    while address is None and time.monotonic() < deadline:
        address = re.search(r"tcp://127\.0\.0\.1:\d+", log.read_text())
        time.sleep(0.05)
    assert address, log.read_text()
    for number in (1, 2):
        words = [
            "dask_worker",
            address[0],
            "--no-nanny",
            "--nthreads",
            "1",
            "--no-dashboard",
            "--local-directory",
            str(tmp_path / f"worker-{number}"),
        ]
        started.append(start(*words, log=tmp_path / f"worker-{number}.log"))
    yield address[0], started[1:]
    for process in started:
        process.kill()
        process.wait()


def test_a_lost_worker_loses_no_row(cluster, tmp_path):
    address, workers = cluster
    with distributed.Client(address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=200)
    spec = spec_of(150, wait_s=0.05)
    killed = []

    def kill_one(now):
        if not killed and now.done > 20:
            workers[0].kill()
            killed.append(now.done)

    frame = sweep(spec, tmp_path / "dask", sweep_jobs.add, dask=address, progress=kill_one)
    assert killed
    assert killed[0] < 120, "killed in the middle"
    assert len(frame) == 150
    keys = [line["key"] for line in stored(tmp_path / "dask")]
    assert len(keys) == len(set(keys)) == 150
    sweep(spec, tmp_path / "here", sweep_jobs.add)
    same = [(tmp_path / where / "results.csv").read_bytes() for where in ("dask", "here")]
    assert same[0] == same[1]


def test_no_scheduler_is_a_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr("rackmodel.sweeps.workers.CONNECT_S", 1)
    with pytest.raises(InvalidInput, match="no Dask scheduler answers at"):
        sweep(spec_of(3), tmp_path / "s", sweep_jobs.add, dask="tcp://127.0.0.1:9")
