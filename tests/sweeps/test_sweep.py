"""Sweeps: killed, resumed, shared, spread over processes, always the same rows."""

import json
import os
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pandas as pd
import pytest
import sweep_jobs

from rackmodel.errors import InvalidInput
from rackmodel.files import read_csv
from rackmodel.sweeps.api import sweep
from rackmodel.sweeps.run import job_key
from rackmodel.sweeps.spec import read_spec
from rackmodel.sweeps.store import Store

HERE = Path(__file__).parent


def spec_of(last=20, **base):
    return read_spec(
        {"base": base, "axes": {"a": {"from": 1, "to": last, "step": 1}}}, sweep_jobs.FIELDS
    )


def stored(out):
    """All lines of a sweep's directory."""
    return [
        json.loads(line)
        for part in (out / "rows").iterdir()
        for line in part.read_bytes().splitlines()
    ]


def test_every_job_is_a_row_and_a_misfit_has_its_reason(tmp_path):
    frame = sweep(spec_of(), tmp_path / "s", sweep_jobs.add)
    assert frame["a"].tolist() == list(range(1, 21))
    assert frame["status"].value_counts().to_dict() == {"done": 17, "infeasible": 2, "invalid": 1}
    assert frame.loc[6, "reason"] == "rank 0 needs 7 GB; there is less"
    assert frame.loc[0, "sum"] == 0.1
    again = read_csv(tmp_path / "s" / "results.csv")
    pd.testing.assert_frame_equal(
        again.drop(columns="even"), frame.drop(columns="even"), check_dtype=False
    )


def test_rows_are_the_same_bits_for_any_number_of_workers_and_order(tmp_path):
    for workers in (1, 2, 3):
        sweep(spec_of(40), tmp_path / str(workers), sweep_jobs.add, workers=workers, parquet=True)
    # a fourth time with half of the rows there already, written last to first
    with Store(tmp_path / "4") as store:
        store.describe({})
        for job in list(spec_of(40).jobs())[::-2]:
            if job["a"] % 7 and job["a"] % 11:
                row = job | {"status": "done", "reason": None} | sweep_jobs.add(job)
                store.append(job_key(job), row)
    sweep(spec_of(40), tmp_path / "4", sweep_jobs.add, resume=True, parquet=True)
    for name in ("results.csv", "results.parquet"):
        contents = {(tmp_path / str(n) / name).read_bytes() for n in (1, 2, 3, 4)}
        assert len(contents) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_sweep_resumes_with_every_row_kept_and_none_doubled(tmp_path, workers):
    out, marks = tmp_path / "s", tmp_path / "marks"
    marks.mkdir()
    command = [
        sys.executable,
        str(HERE / "sweep_jobs.py"),
        str(out),
        str(workers),
        str(marks),
        "--resume",
    ]
    kept = 0
    for wanted in (15, 50):
        process = subprocess.Popen(command)
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and (
            not (out / "rows").is_dir() or len(stored_safely(out)) < wanted
        ):
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        before = kept
        kept = len(stored_safely(out))
        assert before < kept <= 120  # in the middle, unless this process was kept waiting
    subprocess.run(command, check=True, timeout=280)
    keys = [line["key"] for line in stored_safely(out)]
    assert len(keys) == len(set(keys)) == 120
    # only what was under way when the killing came may have run twice
    runs = [len(mark.read_text()) for mark in marks.iterdir()]
    assert sum(runs) - len(runs) <= 2 * 2 * workers
    # and the result is that of a sweep nobody disturbed
    calm = tmp_path / "calm"
    spec = read_spec(
        {
            "base": {"wait_s": 0.01, "folder": str(marks)},
            "axes": {"a": {"from": 1, "to": 120, "step": 1}},
        },
        sweep_jobs.FIELDS,
    )
    sweep(spec, calm, sweep_jobs.add)
    assert (calm / "results.csv").read_bytes() == (out / "results.csv").read_bytes()


def stored_safely(out):
    """Whole lines of a directory into which someone writes, or died writing."""
    found = []
    for part in (out / "rows").iterdir():
        *whole, _ = part.read_bytes().split(b"\n")
        found += [json.loads(line) for line in whole]
    return found


def test_workers_of_a_killed_sweep_end_too(tmp_path):
    if not Path("/proc").is_dir():
        pytest.skip("needs /proc to see processes")
    marks = tmp_path / "marks"
    marks.mkdir()
    command = [sys.executable, str(HERE / "sweep_jobs.py"), str(tmp_path / "s"), "2", str(marks)]
    process = subprocess.Popen(command, env={**os.environ, "RACKMODEL_TEST_MARK": str(marks)})
    while not list(marks.iterdir()):
        time.sleep(0.02)
    assert len(marked(str(marks))) >= 3
    process.kill()
    process.wait()
    deadline = time.monotonic() + 120
    while marked(str(marks)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert marked(str(marks)) == []


def marked(mark):
    """Processes whose environment holds `mark`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                found.append(entry.name)
        except OSError:
            continue
    return found


def test_torn_and_changed_lines_count_as_unfinished(tmp_path):
    out = tmp_path / "s"
    whole = sweep(spec_of(), out, sweep_jobs.add)
    (part,) = (out / "rows").iterdir()
    lines = part.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b"done", b"dome")
    lines[5] = b'{"key": "' + lines[5][20:]
    part.write_bytes(b"".join(lines[:-1]) + lines[-1][:30])
    again = sweep(spec_of(), out, sweep_jobs.add, resume=True)
    pd.testing.assert_frame_equal(whole, again)
    assert len(list((out / "rows").iterdir())) == 2
    assert (
        len((sorted((out / "rows").iterdir(), key=os.path.getmtime)[-1]).read_bytes().splitlines())
        == 3
    )


def test_two_sweeps_may_fill_one_directory(tmp_path):
    out, marks = tmp_path / "s", tmp_path / "marks"
    marks.mkdir()
    command = [sys.executable, str(HERE / "sweep_jobs.py"), str(out), "1", str(marks), "--resume"]
    for process in [subprocess.Popen(command) for _ in range(2)]:
        assert process.wait(280) == 0
    frame = read_csv(out / "results.csv")
    assert frame["a"].tolist() == list(range(1, 121))


def test_a_worker_that_dies_costs_its_own_job_only(tmp_path):
    spec = spec_of(12, folder=str(tmp_path))
    frame = sweep(spec, tmp_path / "s", sweep_jobs.die_once, workers=2)
    lost = frame[frame["status"] != "done"]
    assert lost["a"].tolist() == [9]
    assert "worker died" in lost["reason"].iloc[0]
    # another try goes on with that job alone
    calm = sweep(spec, tmp_path / "s", sweep_jobs.add, resume=True)
    assert (calm["status"] != "lost").all()
    assert calm["square"].notna().sum() == 11


def test_a_bug_stops_the_sweep_and_keeps_the_rows(tmp_path):
    with pytest.raises(ZeroDivisionError):
        sweep(spec_of(), tmp_path / "s", sweep_jobs.bug)
    assert [line["row"]["a"] for line in stored(tmp_path / "s")] == [1, 2, 3]


def test_directories_that_are_not_ours_are_left_alone(tmp_path):
    sweep(spec_of(3), tmp_path / "s", sweep_jobs.add)
    with pytest.raises(InvalidInput, match="add --resume"):
        sweep(spec_of(3), tmp_path / "s", sweep_jobs.add)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(InvalidInput, match="holds no sweep"):
        sweep(spec_of(3), tmp_path / "other", sweep_jobs.add)
    with pytest.raises(InvalidInput, match="is a file"):
        sweep(spec_of(3), tmp_path / "other" / "thesis.tex", sweep_jobs.add)


def test_rows_of_another_version_are_not_counted(tmp_path):
    sweep(spec_of(3), tmp_path / "s", sweep_jobs.add, salt="one")
    sweep(spec_of(3), tmp_path / "s", sweep_jobs.add, salt="two", resume=True)
    assert len(stored(tmp_path / "s")) == 6
    assert len(read_csv(tmp_path / "s" / "results.csv")) == 3


def test_progress_tells_rate_and_time_left(tmp_path):
    told = []
    sweep(spec_of(12, wait_s=0.1), tmp_path / "s", sweep_jobs.add, progress=told.append)
    assert told[-1].done == told[-1].total == 12
    assert told[-1].misfits == 2
    assert told[-1].left_s == 0
    middle = told[0]
    assert 0 < middle.done < 12
    assert middle.left_s == pytest.approx((12 - middle.done) / middle.rate_per_s)


def begun(out, last=6):
    """A sweep's directory with some rows in it."""
    sweep(spec_of(last), out, sweep_jobs.add)
    return (out / "results.csv").read_bytes()


@pytest.mark.parametrize("what", ["folder", "link to nowhere", "pipe"])
def test_what_is_no_file_of_rows_is_skipped(tmp_path, what):
    whole = begun(tmp_path / "s")
    path = tmp_path / "s" / "rows" / "d.jsonl"
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "nowhere")
    sweep(spec_of(6), tmp_path / "s", sweep_jobs.add, resume=True)
    assert (tmp_path / "s" / "results.csv").read_bytes() == whole


def test_lines_that_are_deep_foreign_or_incomplete_heal(tmp_path):
    whole = begun(tmp_path / "s")
    key = job_key(next(spec_of(6).jobs()))
    lines = ["[" * 5000, '{"key": 1}', "[1, 2]", '"key"', "\xff", '{"key":"x","check":0,"row":7}']
    for row in ({}, {"a": 1}, {"status": 3}, {"status": "done", "a": [1]}, []):
        text = json.dumps(row, separators=(",", ":"))
        check = zlib.crc32((key + text).encode())
        lines.append(f'{{"key":"{key}","check":{check},"row":{text}}}')
    (tmp_path / "s" / "rows" / "0.jsonl").write_text("\n".join(lines) + "\n", "latin-1")
    sweep(spec_of(6), tmp_path / "s", sweep_jobs.add, resume=True)
    assert (tmp_path / "s" / "results.csv").read_bytes() == whole


def test_a_full_disk_stops_a_sweep_that_resume_goes_on_with(tmp_path):
    """The largest size of a file stands for a disk: what is written beyond it fails alike."""
    import resource

    sweep(spec_of(20), tmp_path / "whole", sweep_jobs.add)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(InvalidInput, match=r"no space left.*--resume goes on"):
            sweep(spec_of(20), tmp_path / "s", sweep_jobs.add)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    kept = {entry["key"] for entry in stored(tmp_path / "s")}
    assert 0 < len(kept) < 20
    assert not (tmp_path / "s" / "results.csv").exists()
    sweep(spec_of(20), tmp_path / "s", sweep_jobs.add, resume=True)
    whole = (tmp_path / "whole" / "results.csv").read_bytes()
    assert (tmp_path / "s" / "results.csv").read_bytes() == whole


def test_texts_that_a_spreadsheet_would_run_are_quoted_in_the_table(tmp_path):
    frame = pd.DataFrame({"reason": ["=1+1", None], "a": [-1.5, 2.0]})
    with Store(tmp_path / "s") as store:
        store.write_tables(frame, parquet=False)
    assert (tmp_path / "s" / "results.csv").read_text() == "reason,a\n'=1+1,-1.5\n,2.0\n"
