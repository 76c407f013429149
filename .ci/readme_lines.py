"""Run every line of the shell blocks of README.md and docs/, in the order in which they stand.

In:  the pages; the console script `rackmodel` on the PATH.
Out: one line a command with its seconds; exit 1, once all have run, where one fails, says nothing
     (without --out), does not print the figure that its comment promises ("+8.6%", "1.97 times"),
     or not each line of the ```text block that follows it (spaces, and what stands after "...",
     aside).
Left out: set-up lines (`python3 -m venv ...`, `pip install`), which a fresh machine does. The
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
SET_UP = ("#", "python3 -m venv", "pip install")  # what a fresh machine and `.ci/run` do
QUICK = ("rackmodel study ", "rackmodel claims ")  # commands that have a --quick form


def lines(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield the commands of the ```sh blocks, continued lines joined, each with its comment.

    Third is the ```text block below, which shows what the last command of a block prints.
    """
    blocks = re.findall(r"```sh\n(.*?)```(?:\n+```text\n(.*?)```)?", text, re.DOTALL)
    for block, shown in blocks:
        found = list(commands(block))
        yield from ((*line, "") for line in found[:-1])
        yield from ((*line, shown) for line in found[-1:])


def commands(block: str) -> Iterator[tuple[str, str]]:
    """Yield the commands of one block with their comments."""
    for line in block.replace("\\\n", " ").splitlines():
        command, _, comment = re.sub(r"\s+# ", "\0", line, count=1).partition("\0")
        command = command.strip()
        if command and not command.startswith(SET_UP):
            quick = any(name in command for name in QUICK) and "--quick" not in command
            yield f"{command} --quick" if quick else command, comment


def unprinted(shown: str, printed: str) -> str:
    """Return the first line of a page that the output does not have; "" if it has all.

    >>> unprinted("MFU   44% of 2,500\\n...", "step 1 s\\nMFU  44% of 2,500 TFLOP/s")
    ''
    >>> unprinted("MFU   45%", "step 1 s\\nMFU  44%")
    'MFU 45%'
    """
    have = " ".join(printed.split())
    wanted = (" ".join(line.partition("...")[0].split()) for line in shown.splitlines())
    return next((line for line in wanted if line not in have), "")


def missed(comment: str, printed: str) -> str:
    """Return the gain that a comment promises and the output does not print; "" if it does.

    >>> missed("18.9 M tokens a step: +8.6% (7.3 to 10.0)", "72  +8.58% (+7.3% +10.0%)")
    ''
    >>> missed("served: 1.97 times", "72  +90.2%")
    '1.97 times'
    """
    found = re.search(r": ([+-]?[\d.]+)(%| times)", comment)
    if found is None:
        return ""
    value, times = float(found[1]), found[2] == " times"
    step = 10.0 ** -len(found[1].partition(".")[2])
    wanted, room = (100 * (value - 1), 100 * step) if times else (value, step)
    gains = [float(one) for one in re.findall(r"([+-]\d+(?:\.\d+)?)%", printed)]
    near = any(abs(one - wanted) <= 0.5 * room + 0.06 for one in gains)
    return "" if near else f"{found[1]}{found[2]}"


def main() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    wanted = [line for page in pages for line in lines(page.read_text("utf-8"))]
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in KEPT:
            shutil.copytree(ROOT / name, Path(folder) / name)
        for command, comment, shown in wanted:
            begin = time.perf_counter()
            # The pages are ours; the shell is there for its quoting and redirections.
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=LONGEST_S,
                check=False,
            )
            print(f"{time.perf_counter() - begin:7.1f} s  {command}", flush=True)
            other = missed(comment, done.stdout) or unprinted(shown, done.stdout)
            silent = not (done.stdout or done.stderr) and " --out " not in command
            if done.returncode or other or silent:
                print(done.stdout + done.stderr)
                print(f"the page says {other}" if other else f"exit code {done.returncode}")
                failed += 1
    print(f"{len(wanted)} lines of README.md and docs/ run, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
