"""Run every line of the README's shell blocks, in the order in which they stand.

In:  README.md; the console script `rackmodel` on the PATH.
Out: one line a command with its seconds; exit 1 where one fails, with what it printed.
Left out: the two set-up lines (`python3 -m venv ...`), which `.ci/run` and a fresh machine do. The
     study and the claims run in their quick forms, on fewer points; the whole takes a quarter hour.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
KEPT = ("benchmarks", "examples", "rackmodel", "topologies")  # what the lines name
LONGEST_S = 1800
QUICK = ("scale_up_vs_scale_out.study ", "rackmodel claims ")  # commands that have a --quick form


def lines(text: str) -> Iterator[str]:
    """Yield the commands of the ```sh blocks, continued lines joined, comments left out."""
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            command = re.sub(r"\s+# .*", "", line).strip()
            if command and not command.startswith(("#", "python3 -m venv")):
                quick = any(name in command for name in QUICK) and "--quick" not in command
                yield f"{command} --quick" if quick else command


def main() -> None:
    wanted = list(lines((ROOT / "README.md").read_text("utf-8")))
    with tempfile.TemporaryDirectory() as folder:
        for name in KEPT:
            shutil.copytree(ROOT / name, Path(folder) / name)
        for command in wanted:
            begin = time.perf_counter()
            # The README is ours; the shell is there for its quoting and redirections.
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=LONGEST_S,
                check=False,
            )
            print(f"{time.perf_counter() - begin:7.1f} s  {command}", flush=True)
            if done.returncode:
                print(done.stdout + done.stderr)
                sys.exit(1)
    print(f"{len(wanted)} lines of the README run")


if __name__ == "__main__":
    main()
