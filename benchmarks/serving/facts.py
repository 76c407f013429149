"""What served machines are known to do, predicted: `python -m benchmarks.serving.facts [--front]`.

In:  the serving runs that ship with the package: phases alone (decode, or prompts), and MLPerf's.
Out: one line a fact, tokens/s of an accelerator printed and predicted, and how many lie within 20%;
with --front, DeepSeek-R1 on 72 GB200 beside nodes of 8 B200 over speeds that users see.
Left out: whole runs (`table`).
"""

import argparse
from typing import Any

import pandas as pd

from rackmodel.validation.accuracy import SERVED
from rackmodel.validation.serving_errors import validate_serving
from rackmodel.validation.serving_runs import ACCEPTED, PHASES

BAR = 0.2
OVERLAP = "; two-batch overlap"
# What the sources say of these runs beyond the table's cells.
# sv-0003 to 0005: CloudMatrix-Infer, arXiv:2506.12708, sections 4 and 5: 160 packages (320 ranks)
# decode with 96 or 8 sequences each of 4,096 tokens and one drafted token (70% right), 16 run
# prompts of 4,096 with balanced experts; micro-batches under each other's exchanges, not of the 8.
# sv-0006 to 0009: DeepSeek's open-infra-index and profile-data: two micro-batches in both phases.
# sv-3561, 3565: the same deployment as sv-3560 and sv-3564.
SAID: dict[str, dict[str, Any]] = {
    "sv-0003": {
        **{"gpus": 160, "isl": 4096, "dp_attention": 1, "concurrency": 96 * 160},
        "notes": f"mtp 1; acceptance 70%{OVERLAP}",
    },
    "sv-0004": {
        **{"gpus": 160, "isl": 4096, "dp_attention": 1, "concurrency": 8 * 160},
        "notes": "mtp 1; acceptance 70%",
    },
    "sv-0005": {
        **{"gpus": 16, "tp": 1, "ep": 32, "isl": 4096, "dp_attention": 1, "mtp": "none"},
        "notes": f"perfect expert balance{OVERLAP}",
    },
    **{name: {"notes": OVERLAP} for name in ("sv-0006", "sv-0007", "sv-3561")},
    **{name: {"notes": f"balanced experts{OVERLAP}"} for name in ("sv-0008", "sv-0009", "sv-3565")},
}
FRONT: dict[str, Any] = {
    **{
        "model": "deepseek-v3",
        "weights": "nvfp4",
        "isl": 1024,
        "osl": 1024,
        "stack": "tensorrt-llm",
    },
    "mtp": 3,
}
# A rack, 72 in nodes divided as is best, nodes divided as in most published runs without drafts.
SETS = (("gb200-nvl72", 72, 0), ("dgx-b200", 72, 0), ("dgx-b200", 12, 4), ("dgx-b200", 16, 8))
SPEEDS = (30, 40, 50, 60, 75, 100, 125, 150, 200, 250, 300)
MLPERF = {  # DeepSeek-R1, v6.0: rows of 72 GB200 and of 8 B300
    "offline": ("sv-3459", "sv-3406"),
    "interactive (15 ms, MTP 3)": ("sv-3457", "sv-3403"),
}


def told(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs with what was printed and what is predicted beside it."""
    found = pd.DataFrame(validate_serving(runs)["rows"]).set_index(runs.index)
    return runs[["id", "system", "model", "weights_precision", "mode", "ep", "isl"]].assign(
        published=found["measured_tokens_per_s_per_gpu"],
        predicted=found["predicted_tokens_per_s_per_gpu"],
        error=found["error_tokens_per_s_per_gpu"],
        reason=found["reason"].str.slice(0, 40),
    )


def phases(runs: pd.DataFrame) -> None:
    """Print the phases."""
    runs = runs[runs["mode"].isin(PHASES)].copy()
    for name, cells in SAID.items():
        for column, value in cells.items():
            runs.loc[runs["id"] == name, column] = value
    table = told(runs)
    size = table["error"].dropna().abs()
    table["within"] = (table["error"].abs() <= BAR).map({True: "yes", False: "no"})
    print(table.round(3).to_string(index=False))
    print(f"{(size <= BAR).sum()} of {len(table)} within {BAR:.0%}, median {size.median():.1%}\n")


def ratios(runs: pd.DataFrame) -> None:
    """Print MLPerf's tokens/s of an accelerator, 72 GB200 to 8 B300."""
    for name, (rack, nodes) in MLPERF.items():
        table = told(runs[runs["id"].isin((rack, nodes))]).set_index("id")
        of = (
            table.loc[rack, ["published", "predicted"]]
            / table.loc[nodes, ["published", "predicted"]]
        )
        print(table.round(3).to_string())
        print(
            f"MLPerf v6.0 DeepSeek-R1 {name}: {of['published']:.2f},"
            f" predicted {of['predicted']:.2f}\n"
        )


def fronts(acceptance: float) -> None:
    """Print tokens/s of an accelerator over speeds: a rack, and nodes in several divisions."""
    from rackmodel.serving.pareto import at_speed, front_points, rate
    from rackmodel.serving.words import job_of_words
    from rackmodel.topology import load_topology

    lines: dict[str, list[float | None]] = {}
    for name, gpus, prompts in SETS:
        machine = load_topology(name)
        words = {**FRONT, "users": 1, "gpus": gpus, "kv": "fp8", "acceptance": acceptance}
        job, fixed = job_of_words(machine, {**words, "prefill_gpus": prompts})
        points = front_points(machine, job, fixed, speeds=SPEEDS, disaggregated=True)
        title = f"{name} {gpus}" + f", {prompts} for prompts" * bool(prompts)
        for point in points:
            apart = f"{point.job.prefill_gpus} for prompts" if point.job.prefill else "together"
            speed = 1.0 / point.state.tpot_s
            print(f"{title}: {speed:.0f} {rate(point):.0f} {point.job.worker} {apart}")
        lines[title] = [at_speed(points, speed) for speed in SPEEDS]
    table = pd.DataFrame(lines, index=pd.Index(SPEEDS, name="tokens/s a user"), dtype=float)
    rack, *nodes = table
    print(table.assign(**{f"over {name}": table[rack] / table[name] for name in nodes}).round(2).T)


def main() -> None:
    """Print the facts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--front", action="store_true", help="also over speeds (minutes)")
    words = parser.parse_args()
    runs = pd.read_csv(SERVED, low_memory=False)
    phases(runs)
    ratios(runs)
    if words.front:
        fronts(ACCEPTED)


if __name__ == "__main__":
    main()
