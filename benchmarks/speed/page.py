"""How long the local page takes to start, to tell its first answer and to answer a slider.

In:  `rackmodel app` with its extra; Linux, for the CPU seconds of its processes.
Out: `python -m benchmarks.speed.page`: wall and CPU seconds of each stage; exit code 1 where both
     are above the bar (a busy machine is not a slow program).
Left out: drawing, which the browser does in milliseconds.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FIRST = "simulate gb200-nvl72 --model llama3-70b --gpus 72 --global-batch 144 --seq-len 4096"
THOUSAND = (
    "simulate dgx-h100 --model gpt3-175b --gpus 1024 --global-batch {batch} --seq-len 2048"
    " --default-plan --tp 8 --pp 8 --vpp 12 --micro-batch 1"
)
START_S, SLIDER_S = 5.0, 1.0


def processes(root: int) -> Iterator[int]:
    """Yield a process and all below it."""
    yield root
    for child in Path(f"/proc/{root}/task/{root}/children").read_text("ascii").split():
        yield from processes(int(child))


def cpu_s(root: int) -> float:
    """Return the CPU seconds of a process and all below it."""
    ticks = 0
    for process in processes(root):
        told = Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()
        ticks += int(told[11]) + int(told[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def ask(address: str, path: str, words: str = "") -> Any:
    there = http.client.HTTPConnection(address, timeout=300)
    if words:
        body = json.dumps({"words": words.split()})
        there.request("POST", path, body, {"content-type": "application/json"})
    else:
        there.request("GET", path)
    reply = there.getresponse().read()
    return json.loads(reply) if path not in ("/", "/page.js", "/page.css") else reply


def stages(
    server: subprocess.Popen[str], began: float
) -> Iterator[tuple[str, float, float, float]]:
    """Yield what was waited for, its wall and CPU seconds, its bar (of start and first answer: from
    the command on)."""
    assert server.stderr is not None
    found = re.search(r"http://([\d.]+:\d+)/", server.stderr.readline())
    assert found is not None
    address = found[1]
    for path in ("/", "/page.css", "/page.js"):
        ask(address, path)
    assert ask(address, "/form")["tabs"]
    yield "page with its form", time.monotonic() - began, cpu_s(server.pid), START_S
    assert ask(address, "/run", FIRST)["ok"]
    yield "first answer, its plan searched", time.monotonic() - began, cpu_s(server.pid), START_S
    assert ask(address, "/run", THOUSAND.format(batch=512))["ok"]
    for batch in (640, 768):
        spent_s, at = cpu_s(server.pid), time.monotonic()
        assert ask(address, "/draft", THOUSAND.format(batch=batch))["figures"]
        told = f"slider: batch of 1,024 accelerators to {batch}"
        yield told, time.monotonic() - at, cpu_s(server.pid) - spent_s, SLIDER_S


def main() -> int:
    """Start the page, ask, print."""
    began, good = time.monotonic(), True
    words = [sys.executable, "-m", "rackmodel", "app", "--port", "0", "--no-browser"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as server:
        try:
            for told, wall_s, spent_s, bar_s in stages(server, began):
                met = min(wall_s, spent_s) <= bar_s
                good &= met
                more = "" if met else "  MISSED"
                print(f"{told:45} {wall_s:6.2f} s, {spent_s:5.2f} CPU s, bar {bar_s:g}{more}")
        finally:
            server.terminate()
    print(f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
