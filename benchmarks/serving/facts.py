"""Phases that are published apart, predicted: `python -m benchmarks.serving.facts`.

In:  the serving runs that ship with the package: those that only decode, or only run prompts.
Out: one line a run, tokens/s of an accelerator printed and predicted; how many are within 20%.
Left out: whole runs (`table`), ratios of machines (`rackmodel front`, `domains --serve`).
"""

import pandas as pd

from rackmodel.validation.accuracy import SERVED
from rackmodel.validation.serving_errors import validate_serving
from rackmodel.validation.serving_runs import PHASES

BAR = 0.2


def main() -> None:
    """Print the phases."""
    runs = pd.read_csv(SERVED, low_memory=False)
    runs = runs[runs["mode"].isin(PHASES)]
    found = pd.DataFrame(validate_serving(runs)["rows"]).set_index(runs.index)
    told = runs[["id", "system", "model", "weights_precision", "mode", "ep", "isl"]].assign(
        published=found["measured_tokens_per_s_per_gpu"],
        predicted=found["predicted_tokens_per_s_per_gpu"],
        error=found["error_tokens_per_s_per_gpu"],
        reason=found["reason"].str.slice(0, 40),
    )
    print(told.round(3).to_string(index=False))
    size = told["error"].dropna().abs()
    print(f"{(size <= BAR).sum()} of {len(told)} within {BAR:.0%}, median {size.median():.1%}")


if __name__ == "__main__":
    main()
