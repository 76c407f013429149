"""The cache of what ships: the same values, healed where broken, never in the way."""

import os
import subprocess
import sys

import pytest

from rackmodel import shipped
from rackmodel.shipped import shipped_toml


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("RACKMODEL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("x = 1.5\n[t]\nnames = ['b', 'c']\n")
    return path


def files_of(folder):
    return sorted(folder.iterdir())


def test_what_is_kept_is_what_was_read(folder, source, monkeypatch):
    read = shipped_toml(source)
    monkeypatch.setattr(shipped.tomllib, "loads", lambda text: pytest.fail("read again"))
    assert shipped_toml(source) == read == {"x": 1.5, "t": {"names": ["b", "c"]}}
    assert len(files_of(folder)) == 1


def test_every_part_comes_back_from_the_cache(folder):
    code = "from rackmodel.hardware import load_catalog; print(load_catalog())"
    outs = []
    for place in ("off", folder, folder):  # read, read and kept, taken from the cache
        env = {**os.environ, "RACKMODEL_CACHE": str(place)}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, check=True
        )
        outs.append(done.stdout)
    assert files_of(folder)
    assert outs[0] == outs[1] == outs[2]


@pytest.mark.parametrize("broken", [b"", b"x", b"0" * 64 + b"\n{}", b"\xff" * 500])
def test_a_broken_cache_heals(folder, source, broken):
    shipped_toml(source)
    [file] = files_of(folder)
    whole = file.read_bytes()
    for content in (broken, whole[:-3], whole.replace(b"1.5", b"2.5")):
        file.write_bytes(content)
        assert shipped_toml(source)["x"] == 1.5
        assert file.read_bytes() == whole


def test_another_file_is_read_again(folder, source):
    shipped_toml(source)
    source.write_text("x = 3.5\n")
    os.utime(source, ns=(1, 1))
    assert shipped_toml(source) == {"x": 3.5}


def test_files_of_installations_that_are_gone_do_not_pile_up(folder, source):
    shipped_toml(source)
    (own,) = files_of(folder)
    name = own.stem[: -shipped.DIGITS]
    others = [folder / f"{name}{number:0{shipped.DIGITS}x}.json" for number in range(20)]
    longer = folder / f"{name}more-{'0' * shipped.DIGITS}.json"  # of a table of a longer name
    for age, other in enumerate([*others, longer]):
        other.write_bytes(own.read_bytes())
        os.utime(other, (age, age))
    shipped_toml(source)  # takes what is kept, and removes nothing
    assert len(files_of(folder)) == 22
    own.unlink()
    shipped_toml(source)
    newest = others[-shipped.MOST_INSTALLS + 1 :]
    assert files_of(folder) == sorted([own, longer, *newest])


def test_nothing_fails_where_nothing_can_be_kept(tmp_path, source, monkeypatch):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "below", "off", "/proc/none"):
        monkeypatch.setenv("RACKMODEL_CACHE", str(place))
        assert shipped_toml(source)["x"] == 1.5
    assert files_of(tmp_path) == [source, tmp_path / "file"]


def test_what_is_no_plain_data_is_not_kept(folder, source):
    source.write_text("day = 2024-01-01\n")
    assert str(shipped_toml(source)["day"]) == "2024-01-01"
    assert not folder.exists() or not files_of(folder)


def test_processes_side_by_side_find_all_or_nothing(folder):
    code = "from rackmodel.hardware import load_catalog; print(len(load_catalog().accelerators))"
    crew = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert len({one.communicate()[0] for one in crew}) == 1
    assert all(one.returncode == 0 for one in crew)
    assert all(file.suffix == ".json" and file.name[0] != "." for file in files_of(folder))
