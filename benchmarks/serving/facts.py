"""What served machines are known to do, predicted: `python -m benchmarks.serving.facts [--front]`.

In:  the serving runs that ship with the package: phases alone (decode, or prompts), and MLPerf's.
Out: one line a fact, tokens/s of an accelerator printed and predicted, and how many lie within 20%;
DeepSeek-R1 on GB200 beside B200 over speeds that users see, by the plans of the published
comparison; with --front, by the best plans.
Left out: whole runs (`table`).
"""

import argparse
from typing import Any

import numpy as np
import pandas as pd

from rackmodel import load_model
from rackmodel.serving.quick_steps import QuickSteps
from rackmodel.serving.run import running, settle, steps_of
from rackmodel.topology import load_topology
from rackmodel.validation.accuracy import SERVED
from rackmodel.validation.serving_errors import validate_serving
from rackmodel.validation.serving_runs import PHASES, accepted
from rackmodel.workload.serving.job import ServingJob, Worker

BAR = 0.2
OVERLAP = "; two-batch overlap"
# What the sources say of these runs beyond the table's cells.
# sv-0003 to 0005: CloudMatrix-Infer, arXiv:2506.12708, sections 4 and 5: 160 packages (320 ranks)
# decode with 96 or 8 sequences each of 4,096 tokens and one drafted token (70% right), 16 run
# prompts of 4,096 with balanced experts; micro-batches under each other's exchanges, not of the 8.
# sv-0006 to 0009: DeepSeek's open-infra-index and profile-data: two micro-batches in both phases.
# sv-0007: 608 G tokens came in and 168 G went out that day, of 4,989 in the cache on average:
# prompts of 4,384 (isl + osl / 2 = 4,989).
# sv-3554: 768 sequences of a rank: --max-running-requests 36864 --cuda-graph-bs 768 on 48, in the
# launch files for this deployment (ai-dynamo/dynamo, sglang examples for GB200).
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
    "sv-0007": {"isl": 4384, "notes": f"56.3% cache hits{OVERLAP}"},
    "sv-3554": {"concurrency": 768 * 48},
    **{name: {"notes": OVERLAP} for name in ("sv-0006", "sv-3561")},
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
# What InferenceX ran for its comparison of 2026-05, DeepSeek-R1 in fp4, MTP, prompts and answers
# of 1,024: prefill workers of tp 4 with dp attention, decode workers, their ranks, dp attention,
# sequences of a rank at most, drafted tokens, copies of experts, users.
# Source: github.com/SemiAnalysisAI/InferenceX, .github/configs/nvidia-master.yaml (dsr1-fp4-b200-
# dynamo-trt, dsr1-fp4-gb200-dynamo-trt), with the names of srt-slurm's recipes.
AS_RUN: dict[str, list[tuple[int, int, int, bool, int, int, int, int]]] = {
    "gb200-nvl72": [
        *((1, 4, 8, False, 8, 3, 0, users) for users in (4, 8, 12, 24, 48)),
        (1, 1, 32, True, 4, 3, 0, 180),
        (3, 1, 32, True, 64, 1, 32, 2253),
        (2, 1, 16, True, 256, 1, 0, 4301),
        (3, 5, 4, True, 768, 1, 0, 16130),
    ],
    "dgx-b200": [
        (1, 5, 8, False, 1, 3, 0, 6),
        *((1, 5, 8, False, 32, 3, 0, users) for users in (10, 15, 25, 45, 90, 180)),
        (1, 5, 8, True, 16, 3, 0, 875),
        (1, 2, 8, True, 64, 2, 0, 1214),
        (3, 4, 8, True, 128, 1, 0, 4968),
        (3, 5, 4, True, 512, 1, 0, 10860),
    ],
}
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


def fronts() -> None:
    """Print tokens/s of an accelerator over speeds: a rack, and nodes in several divisions."""
    from rackmodel.serving.pareto import at_speed, front_points, rate
    from rackmodel.serving.words import job_of_words

    lines: dict[str, list[float | None]] = {}
    for name, gpus, prompts in SETS:
        machine = load_topology(name)
        words = {**FRONT, "users": 1, "gpus": gpus, "kv": "fp8"}
        words["acceptance"] = accepted(FRONT["mtp"])
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


def as_run() -> None:
    """Print the same of the plans that the published comparison ran, which leave gaps."""
    from scipy.interpolate import PchipInterpolator

    lines = {}
    for name, plans in AS_RUN.items():
        steps = QuickSteps.of(steps_of(load_topology(name)))
        points = []
        for prompts, workers, tp, spread, most, drafts, copies, users in plans:
            job = ServingJob(
                model=load_model("deepseek-v3"),
                worker=Worker(tp=tp, ep=tp, dp_attention=spread),
                gpus=4 * prompts + workers * tp,
                users=users,
                isl=922,  # lengths are uniform between 0.8 and 1.0 of the nominal ones
                osl=922,
                weights="nvfp4",
                stack="tensorrt-llm",
                prefill=Worker(tp=4, ep=4, dp_attention=True),
                prefill_gpus=4 * prompts,
                max_sequences=most,
                mtp=drafts,
                acceptance=accepted(drafts),
                redundant_experts=copies,
            )
            sequences = most * tp if spread else most
            state = settle(job, steps, min(running(job, steps.part), sequences))
            points.append((1.0 / state.tpot_s, state.requests_per_s * job.osl / job.gpus))
            print(f"{name}: {points[-1][0]:.0f} {points[-1][1]:.0f} {job.worker} {users} users")
        front = sorted(
            p for p in points if not any(min(q[0] - p[0], q[1] - p[1]) > 0 for q in points)
        )
        lines[name] = PchipInterpolator(*zip(*front, strict=True), extrapolate=False)
    speeds = np.arange(30, 301, 5)
    rack, nodes = (line(speeds) for line in lines.values())
    table = pd.DataFrame({"rack": rack, "nodes": nodes, "over": rack / nodes}, index=speeds)
    print(table.round(2).T.to_string())
    print(f"at most {table['over'].max():.2f} at {table['over'].idxmax()} tokens/s a user")


def main() -> None:
    """Print the facts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--front", action="store_true", help="also over speeds (minutes)")
    words = parser.parse_args()
    runs = pd.read_csv(SERVED, low_memory=False)
    phases(runs)
    ratios(runs)
    as_run()
    if words.front:
        fronts()


if __name__ == "__main__":
    main()
