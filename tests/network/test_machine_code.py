"""Machine code is compiled once, kept, and loaded without numba; what it was made from decides."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from rackmodel import shipped
from rackmodel.network import machine_code
from rackmodel.network.machine_code import Whole, part
from rackmodel.network.sharing import NUMBA

pytestmark = pytest.mark.skipif(not NUMBA, reason="numba is not installed")


class Pair(NamedTuple):
    table: np.ndarray
    flags: np.ndarray


@part
def twice(value):
    return 2.0 * value


def filled(pair, row, factor):
    """Write twice the factor where a flag is set; return how often."""
    count = 0
    for column in range(pair.table.shape[1]):
        if pair.flags[column]:
            pair.table[row, column] = twice(factor) + column
            count += 1
    return count


def pair():
    return Pair(np.zeros((2, 3)), np.array([True, False, True]))


@pytest.fixture
def whole(monkeypatch, tmp_path):
    monkeypatch.setenv("RACKMODEL_CACHE", str(tmp_path))
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return Whole(filled, [__name__.rpartition(".")[2]])


def test_it_does_what_python_does(whole):
    compiled, plain = pair(), pair()
    assert whole(compiled, 1, 0.5) == filled(plain, 1, 0.5) == 2
    assert np.array_equal(compiled.table, plain.table)
    again = whole.on(compiled, 0, 3.0)
    assert [again(), again()] == [2, 2]
    assert compiled.table[0].tolist() == [6.0, 0.0, 8.0]


def test_what_is_kept_runs_without_numba(whole, tmp_path):
    assert not whole.is_kept()
    assert not whole.is_loaded
    whole(pair(), 0, 1.0)
    assert whole.is_kept()
    assert whole.is_loaded
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "import test_machine_code as t\n"
        "whole = t.Whole(t.filled, ['test_machine_code'])\n"
        "assert whole.is_kept() and whole(t.pair(), 0, 1.0) == 2"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, check=True)


def test_other_sources_and_broken_files_are_compiled_anew(whole, tmp_path):
    whole(pair(), 0, 1.0)
    assert not Whole(filled, [*whole.modules, "test_fair_share"]).is_kept()
    (kept,) = tmp_path.glob("*.o")
    kept.write_bytes(kept.read_bytes()[:-1])
    assert shipped.unchanged(kept) is None
    assert Whole(filled, whole.modules)(pair(), 0, 1.0) == 2
    assert shipped.unchanged(kept)


def test_types_are_those_of_the_first_call(whole):
    whole(pair(), 0, 1.0)
    with pytest.raises(TypeError, match="other types"):
        whole(pair(), 0, 1)
    with pytest.raises(TypeError, match="C-contiguous"):
        whole(Pair(np.zeros((3, 2)).T, pair().flags), 0, 1.0)


def test_a_numba_that_calls_otherwise_runs_it_itself(whole, monkeypatch, tmp_path):
    monkeypatch.setattr(machine_code, "_c_types", lambda one: [])
    compiled, plain = pair(), pair()
    assert whole(compiled, 1, 0.5) == filled(plain, 1, 0.5) == 2
    assert np.array_equal(compiled.table, plain.table)
    assert whole(pair(), 0, 1.0) == 2
    assert not list(tmp_path.glob("*.o"))


def test_nothing_is_kept_where_the_user_wants_no_cache(whole, monkeypatch, tmp_path):
    monkeypatch.setenv("RACKMODEL_CACHE", "off")
    assert whole(pair(), 0, 1.0) == 2
    assert not whole.is_kept()
    assert not list(tmp_path.glob("*.o"))


def test_only_the_newest_versions_are_kept(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(machine_code, "MOST_VERSIONS", 2)
    whole(pair(), 0, 1.0)
    (first,) = tmp_path.glob("*.o")
    name, _, processor = first.name.split("-")
    for age, digest in enumerate("abc"):  # of other sources, the oldest first
        other = tmp_path / f"{name}-{digest * 16}-{processor}"
        other.write_bytes(first.read_bytes())
        os.utime(other, (age, age))
    strange = tmp_path / "filled-of-others.o"
    strange.touch()
    os.utime(first, (9, 9))
    fresh = Whole(filled, whole.modules)
    fresh(pair(), 0, 1.0)  # takes what is kept, and removes nothing
    assert len(list(tmp_path.glob("*.o"))) == 5
    assert first.stat().st_mtime > 9, "what is in use counts as new"
    newer = Whole(filled, [*whole.modules, "test_fair_share"])
    newer(pair(), 0, 1.0)
    kept = {path.name for path in tmp_path.glob("filled-*.o")}
    assert len(kept) == 3
    assert {first.name, strange.name} < kept
    assert newer.is_kept()
