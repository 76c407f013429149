"""What a shell completes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("simulate gb200-nvl7", "gb200-nvl72"),
        ("compare dgx-h100 mi300", "mi300x-platform"),
        ("simulate dgx-h100 --model llama3.1-4", "llama3.1-405b"),
        ("show quantum", "quantum2"),
        ("simulate examples/mach", "examples/machine.json"),
    ],
)
def test_names_and_files(words, found):
    asked = {
        "_RACKMODEL_COMPLETE": "complete_bash",
        "COMP_WORDS": f"rackmodel {words}",
        "COMP_CWORD": str(len(words.split())),
    }
    done = subprocess.run(
        [sys.executable, "-m", "rackmodel"],
        env={**os.environ, **asked},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert found in lines, done.stderr
    assert all(line.startswith(words.split()[-1]) for line in lines)
