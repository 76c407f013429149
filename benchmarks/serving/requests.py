"""CPU seconds and memory of requests as events: `python -m benchmarks.serving.requests [N]`.

72 GB200 answer N requests (100,000) at 80% of their capacity; the bar is 60 CPU s and 600 MB.
"""

import resource
import sys
import time
from typing import Any

import rackmodel

JOBS: dict[str, dict[str, Any]] = {
    "llama3.1-70b, 9 workers": {"model": "llama3.1-70b", "tp": 8, "gpus": 72},
    "deepseek-v3, 32 + 32": {
        "model": "deepseek-v3",
        "gpus": 64,
        "tp": 32,
        "ep": 32,
        "dp_attention": True,
        "prefill_gpus": 32,
        "prefill": {"tp": 8, "ep": 8, "dp_attention": True},
    },
}


def main() -> None:
    """Print a line for each job."""
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    rackmodel.serve("gb200-nvl72", model="llama3.1-70b", users=9, isl=64, osl=64, tp=8, gpus=72)
    for name, job in JOBS.items():
        words: dict[str, Any] = {**job, "isl": 1024, "osl": 1024}
        few = rackmodel.serve_requests("gb200-nvl72", **words, rate=1.0, requests=10)
        begin = time.process_time()
        rate = 0.8 * few.run.capacity
        found = rackmodel.serve_requests("gb200-nvl72", **words, rate=rate, requests=requests)
        told = found.to_dict()
        spent = time.process_time() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print(
            f"{name}: {requests:,} requests in {spent:.1f} CPU s, {peak:.0f} MB;"
            f" first token p99 {told['ttft_s']['p99']:.3f} s"
        )


if __name__ == "__main__":
    main()
