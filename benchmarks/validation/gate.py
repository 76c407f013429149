"""The accuracy gate: fails where errors or bands of published runs are worse than recorded.

    python -m benchmarks.validation.gate [--workers 2]

In:  the training runs that ship with the package (core and wide), a sample of those of serving; the
records in rackmodel/validation/data.
Out: one line a held figure; exit 1 where one is worse by more than its margin.
Left out: making the record anew (`python -m benchmarks.validation.table --write`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

import pandas as pd

from rackmodel.validation.accuracy import (
    EVERY,
    HELD,
    RUNS,
    SERVED,
    SERVED_RECORD,
    recorded,
    worse,
)
from rackmodel.validation.errors import validate
from rackmodel.validation.serving_errors import validate_serving


def told(what: str, summary: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """Print the held figures; return a line for each one that is worse."""
    for name in HELD:
        now, then = summary[name], before[name]
        print(
            f"{what}{name}: {now['rows']} runs, mean error {now['mape']:.2%} (recorded "
            f"{then['mape']:.2%}), {now['inside_band']:.1%} inside the band "
            f"({then['inside_band']:.1%})"
        )
    return [what + line for line in worse(summary, before)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare errors of published runs with the record")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    lines = told("", validate(RUNS, tiers=HELD, workers=options.workers)["summary"], recorded())
    sample = pd.read_csv(SERVED, low_memory=False)[::EVERY]
    served = validate_serving(sample, workers=options.workers)["summary"]
    lines += told("served, ", served, recorded(SERVED_RECORD)["sample"])
    print("\n".join(f"WORSE {line}" for line in lines) or "no figure is worse than recorded")
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()
