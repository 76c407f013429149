"""The campaign: `python -m benchmarks.robustness` runs all of it and prints one table.

In:  --tries, --kills, --jobs (the long form: 200,000, 500, 300), --state DIR to go on after a stop;
     --first N for seeds that no run has had: numbers from N on in place of 0.
Out: a table; exit code 1 if anything broke that is not known to.
Left out: what stays a test of every change (`tests/robustness`).

--quick is the short form, a step of CI. New seeds: `--quick --first 500000`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.robustness import kills, laws
from benchmarks.robustness.state import go_on

QUICK = {"tries": 2_000, "kills": 20, "jobs": 40}
LONG = {"tries": 200_000, "kills": 500, "jobs": 300}


def wanted_of(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for; a wrong word ends in code 2."""
    reader = argparse.ArgumentParser(prog="python -m benchmarks.robustness")
    for name, number in LONG.items():
        reader.add_argument(f"--{name}", type=int, default=number)
    reader.add_argument("--quick", action="store_true", help="2,000 tries, 20 kills, 40 jobs")
    reader.add_argument(
        "--first",
        type=int,
        default=0,
        metavar="N",
        help="number of the first try, kill and job, the seed of each; new ones: --first 500000",
    )
    reader.add_argument("--state", type=Path, default=Path(".benchmarks/robustness"))
    wanted = reader.parse_args(words)
    if wanted.first < 0:
        reader.error(f"argument --first: got {wanted.first}; give a number from 0 on")
    if wanted.quick:
        vars(wanted).update(QUICK)
    return wanted


def main(words: Sequence[str] | None = None) -> int:
    """Run the three parts; print what broke."""
    wanted = wanted_of(words)
    known, rows, new = laws.known(), [], 0
    for law, told in known.items():
        if not laws.still_broken(law, told["job"]):
            rows.append(("known failures", law, "holds", "take it out of known.toml"))
            new += 1

    tally = go_on(wanted.state, wanted.tries, wanted.first)
    new += len(tally.broken)
    codes = ", ".join(f"{code}: {often:,}" for code, often in sorted(tally.codes.items()))
    rows.append(("fuzzed tries", f"{tally.tries:,}", f"{len(tally.broken)} kinds", codes))
    rows += [("", f"try {n}", f"{often} times", what) for what, (n, often) in tally.broken.items()]
    rate = tally.tries / max(tally.cpu_s, 1e-9)
    rows.append(("", f"{rate:.0f} a CPU s", "", f"slowest {tally.slowest_s:.1f} CPU s"))

    begun_s = time.process_time()
    done, wrong = kills.campaign(wanted.kills, wanted.first)
    new += len(wrong)
    spent = f"{time.process_time() - begun_s:.0f} CPU s"
    rows.append(("kills", f"{done:,}", f"{len(wrong)} wrong", spent))
    rows += [("", "", "", what) for what in wrong]

    begun_s = time.process_time()
    ran, broken = laws.campaign(wanted.jobs, wanted.first)
    aside = set(broken) & set(known)
    new += len(set(broken) - aside)
    spent = f"{time.process_time() - begun_s:.0f} CPU s"
    rows.append(("random jobs", f"{ran:,}", f"{len(broken)} laws broken", spent))
    for law, (number, often, much) in broken.items():
        told = (
            f"known: {known[law]['issue']}" if law in aside else f"{much}: {laws.LAWS[law].__doc__}"
        )
        rows.append(("", f"{law}, job {number}", f"{often} times", told))

    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, (*widths, 0), strict=True)))
    return 1 if new else 0


if __name__ == "__main__":
    sys.exit(main())
