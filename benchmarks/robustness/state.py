"""A campaign that may be stopped at any moment: what it has done so far, in one file.

In:  a directory; how many tries, and the number of the first; each first has its own file.
Out: the tally of all tries, written after every chunk. What broke before is tried first: what
     holds by now is no longer told.
Left out: what a try is (`fuzz`).

    python -m benchmarks.robustness.state DIR 200000     goes on where DIR stands
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.robustness.fuzz import Tally, tries

CHUNK = 500


def go_on(folder: Path, wanted: int, first: int = 0) -> Tally:
    """Run `wanted` tries from number `first` on, from where the state in `folder` stands."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / (f"fuzz-{first}.json" if first else "fuzz.json")
    tally = Tally.of(json.loads(file.read_text())) if file.exists() else Tally()
    tally.broken = {what: told for what, told in tally.broken.items() if _breaks(what, told[0])}
    while tally.tries < wanted:
        done = min(wanted, tally.tries + CHUNK)
        tries(first + tally.tries, first + done, tally)
        part = file.with_suffix(".part")
        part.write_text(json.dumps(tally.to_json(), indent=1))
        part.replace(file)
    return tally


def _breaks(what: str, number: int) -> bool:
    """Whether try `number` still ends in `what`."""
    return what in tries(number, number + 1, Tally()).broken


if __name__ == "__main__":
    done = go_on(Path(sys.argv[1]), int(sys.argv[2]))
    print(json.dumps(done.to_json(), indent=1))
