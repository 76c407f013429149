"""Events against the steady state in closed loops: `python -m benchmarks.serving.closed_loops`.

30 settings; the bar is 2% in time per token and in requests per second. A prompt of the longest
length is one chunk, as one of the mean.
"""

import rackmodel
from rackmodel.requests.cluster import Objective
from rackmodel.requests.run import Arrivals, simulate_requests
from rackmodel.serving.run import check_users, settle, steps_of
from rackmodel.serving.words import job_of_words
from rackmodel.workload.serving.job import Worker

DENSE = {"model": "llama3.1-70b", "isl": 1024, "osl": 1024, "tp": 8, "gpus": 8}
WIDE = {
    "model": "deepseek-v3",
    "isl": 1024,
    "osl": 1024,
    "tp": 16,
    "ep": 16,
    "dp_attention": True,
    "gpus": 16,
}
APART = {
    **WIDE,
    "gpus": 32,
    "prefill_gpus": 16,
    "prefill": {"tp": 16, "ep": 16, "dp_attention": True},
}
SMALL = {**DENSE, "model": "gpt-oss-120b", "tp": 4, "gpus": 4, "dp_attention": False}
SETTINGS = [
    *[("dgx-h100", {**DENSE, "users": n}) for n in (1, 8, 32, 128)],
    *[("dgx-h100", {**DENSE, "users": n, "isl": 8192, "chunk": 16384}) for n in (8, 64)],
    *[("dgx-h100", {**DENSE, "users": n, "osl": 256}) for n in (8, 64)],
    *[("dgx-h100", {**DENSE, "users": n, "stack": "sglang"}) for n in (16, 64)],
    *[("dgx-h100", {**DENSE, "users": n, "stack": "vllm", "tp": 4}) for n in (64, 256)],
    *[("dgx-h100", {**DENSE, "users": n, "isl": 128, "osl": 512}) for n in (128, 1024)],
    *[("gb200-nvl72", {**WIDE, "users": n}) for n in (256, 1024, 4096)],
    *[("gb200-nvl72", {**WIDE, "users": n, "isl": 8192, "chunk": 16384}) for n in (256,)],
    *[("gb200-nvl72", {**WIDE, "users": n, "mtp": 2, "acceptance": 0.7}) for n in (64, 256)],
    *[("gb200-nvl72", {**DENSE, "users": n, "gpus": 64}) for n in (64, 512)],
    *[("gb200-nvl72", {**DENSE, "users": n, "gpus": 16, "pp": 2}) for n in (16, 64)],
    *[("gb200-nvl72", {**APART, "users": n}) for n in (64, 512)],
    *[("dgx-b200", {**SMALL, "users": n}) for n in (32, 128)],
    *[("dgx-b200", {**SMALL, "users": n, "osl": 8192}) for n in (32, 128)],
]


# Answers of unequal length: of equal ones, users who once share a step share it for ever.
UNEQUAL = Arrivals(lengths="uniform", spread=0.2, requests=10_000)


def main() -> None:
    """Print a line for each setting, then how many keep the bar."""
    kept = 0
    for topology, words in SETTINGS:
        machine = rackmodel.load_topology(topology)
        job, fixed = job_of_words(machine, words)
        job = job.replace(worker=Worker(**{"ep": 1, **fixed}))
        steps = steps_of(machine)
        most = check_users(job, steps)
        state = settle(job, steps, most / job.workers)
        run = simulate_requests(job, steps, UNEQUAL, Objective())
        tpot = run.cluster.seen.tpot.mean / state.tpot_s - 1.0
        rate = run.rates[1] / job.osl / state.requests_per_s - 1.0
        kept += max(abs(tpot), abs(rate)) <= 0.02
        print(f"{topology} {words}: per token {tpot:+.2%}, requests/s {rate:+.2%}", flush=True)
    print(f"{kept} of {len(SETTINGS)} within 2%")


if __name__ == "__main__":
    main()
