"""Test claims and write their tables: `python -m benchmarks.claims [ID ...] [--quick] [--out DIR]`.

In:  `rackmodel.argument.verdicts`, which holds the tests.
Out: claims.csv, claims.json and one CSV per claim with the rows behind its figure.
Left out: the tests themselves, so that `rackmodel claims` works from a wheel.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from rackmodel.argument.verdicts import claim_ids, claims_frame, run_claim


def main() -> None:
    parser = argparse.ArgumentParser(description="Test claims about scale-up and scale-out.")
    parser.add_argument("ids", nargs="*", help=f"of {', '.join(claim_ids())}; all by default")
    parser.add_argument("--quick", action="store_true", help="under a minute for all")
    parser.add_argument("--out", type=Path, default=Path("runs/claims"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    verdicts = []
    for name in options.ids or claim_ids():
        started_s = time.perf_counter()
        verdict = run_claim(name, options.quick)
        verdicts.append(verdict)
        verdict.frame.to_csv(options.out / f"{name}.csv", index=False)
        print(
            f"{name}: {verdict.verdict}, {verdict.value:.4g} ({verdict.low:.4g} to "
            f"{verdict.high:.4g}) {verdict.unit}; {time.perf_counter() - started_s:.0f} s\n"
            f"    {verdict.words}",
            flush=True,
        )
    claims_frame(verdicts=verdicts).to_csv(options.out / "claims.csv", index=False)
    answer = {"rows": [verdict.to_dict() for verdict in verdicts]}
    (options.out / "claims.json").write_text(json.dumps(answer, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
