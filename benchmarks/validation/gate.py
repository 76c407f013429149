"""The accuracy gate: fails where errors or bands of published runs are worse than recorded.

    python -m benchmarks.validation.gate [--workers 2]

In:  the runs that ship with the package (core and wide), the record in rackmodel/validation/data.
Out: one line a held figure; exit 1 where one is worse by more than its margin.
Left out: making the record anew (`python -m benchmarks.validation.table --write`).
"""

from __future__ import annotations

import argparse
import sys

from rackmodel.validation.accuracy import HELD, RUNS, recorded, worse
from rackmodel.validation.errors import validate


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare errors of published runs with the record")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    before = recorded()
    summary = validate(RUNS, tiers=HELD, workers=options.workers)["summary"]
    for name in HELD:
        now, then = summary[name], before[name]
        print(
            f"{name}: {now['rows']} runs, mean error {now['mape']:.2%} (recorded "
            f"{then['mape']:.2%}), {now['inside_band']:.1%} inside the band "
            f"({then['inside_band']:.1%})"
        )
    lines = list(worse(summary, before))
    print("\n".join(f"WORSE {line}" for line in lines) or "no figure is worse than recorded")
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()
