"""Extensions: every command of examples/extend runs, and what is registered is known everywhere."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rackmodel import extend
from rackmodel.errors import InvalidInput, UnknownName

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "examples" / "extend").glob("*.*"))


def commands(file: Path) -> Iterator[str]:
    """Yield the `rackmodel ...` lines that the head of an example shows, continued ones joined."""
    text = re.sub(r"\\\n#?\s*", "", file.read_text("utf-8"))
    for line in text.splitlines():
        if line.strip("# ").startswith("rackmodel "):
            yield line.strip("# ")


def run(command: str) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command)[1:]
    return subprocess.run(
        [sys.executable, "-m", "rackmodel", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={k: v for k, v in os.environ.items() if k != extend.VARIABLE},
    )


@pytest.mark.parametrize("command", [c for file in FILES for c in commands(file)])
def test_the_commands_of_an_example_run(command):
    done = run(command)
    assert done.returncode == 0, done.stderr
    assert any(letter.isdigit() for letter in done.stdout)


@pytest.mark.parametrize(
    ("file", "kind", "name", "asks"),
    [
        ("schedule.py", "schedules", "one-ahead", "simulate --help"),
        ("collective.py", "collectives", "star", "collective --help"),
        ("builder.py", "builders", "hypercube", ""),
    ],
)
def test_lists_and_help_know_what_an_extension_adds(file, kind, name, asks):
    for extended in (f"--extend examples/extend/{file} ", ""):
        listed = json.loads(run(f"rackmodel {extended}list {kind} --json").stdout)["rows"]
        files = {row["name"]: row["from"] for row in listed}
        assert files.get(name, "").endswith(file) if extended else name not in files
        assert list(files.values()).count("") == len(files) - bool(extended)
        if asks:
            assert (name in run(f"rackmodel {extended}{asks}").stdout) == bool(extended)


def test_there_is_an_example_of_each_kind():
    assert {file.stem for file in FILES} >= {
        "accelerator",
        "assessment",
        "builder",
        "collective",
        "schedule",
        "software",
    }


def test_an_error_knows_a_schedule_of_a_file():
    words = "--model gpt3-13b --gpus 8 --global-batch 8 --schedule one-ahad"
    done = run(f"rackmodel --extend examples/extend/schedule.py simulate dgx-h100 {words}")
    assert done.returncode == 2
    assert "did you mean 'one-ahead'" in done.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1 / 0\n", r"mine\.py:1: ZeroDivisionError"),
        ("import nothing_there\n", r"mine\.py:1: ModuleNotFoundError"),
        (
            "from rackmodel import extend\n"
            "extend.software('titan', aliases=['titan'], kind='fdsp')\n",
            "did you mean 'fsdp'",
        ),
    ],
)
def test_a_file_that_fails_is_one_line(tmp_path, monkeypatch, text, says):
    monkeypatch.setenv(extend.VARIABLE, "")
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=says) as caught:
        extend.load(file)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="expected a Python file"):
        extend.load(tmp_path / "none.py")


def test_software_that_cannot_be_is_refused():
    with pytest.raises(InvalidInput, match="already"):
        extend.software("nemo", aliases=["nemo"], like="default")
    with pytest.raises(UnknownName, match="gradients"):
        extend.software("x", aliases=["x"], like="default", gradient="bf16")
