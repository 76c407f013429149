"""Run the smallest size of every benchmark once: `python -m benchmarks.smoke`.

In:  benchmarks/speed/*.py (asv style), a few claims, one validation row.
Out: a table of times; exit code 1 if anything raised.
Left out: judging the times; a busy machine is not a slow program (see benchmarks/README.md).
"""

from __future__ import annotations

import importlib
import itertools
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CLAIMS = ("nvl72-structure", "copper-returns", "a800-cluster-cost", "a800-links")
HERE = Path(__file__).parent


def classes(module: Any) -> Iterator[type]:
    """Benchmark classes of a module: those with a public name and a `time_` method."""
    for name, value in vars(module).items():
        own = isinstance(value, type) and value.__module__ == module.__name__ and name[0] != "_"
        if own and any(method.startswith("time_") for method in dir(value)):
            yield value


def smallest(benchmark: type) -> tuple[Any, ...]:
    """First value of each parameter: the smallest, as the classes list them."""
    params = getattr(benchmark, "params", [])
    if not params:
        return ()
    axes = params if isinstance(params[0], list | tuple) else [params]
    return next(itertools.product(*axes))


def speed_jobs() -> Iterator[tuple[str, Callable[[], None]]]:
    """One job for every `time_` method."""
    for path in sorted((HERE / "speed").glob("bench_*.py")):
        module = importlib.import_module(f"benchmarks.speed.{path.stem}")
        for benchmark in classes(module):
            for method in (name for name in dir(benchmark) if name.startswith("time_")):
                yield f"{benchmark.__name__}.{method}", _timed(benchmark, method)


def _timed(benchmark: type, method: str) -> Callable[[], None]:
    def run() -> None:
        case, sizes = benchmark(), smallest(benchmark)
        try:
            if hasattr(case, "setup"):
                case.setup(*sizes)
        except NotImplementedError:  # asv's word for "not here"
            return
        getattr(case, method)(*sizes)
        if hasattr(case, "teardown"):
            case.teardown(*sizes)

    return run


def claim_jobs() -> Iterator[tuple[str, Callable[[], None]]]:
    """The cheapest claims, quickly."""
    from rackmodel.argument.verdicts import run_claim

    for name in CLAIMS:
        yield f"claim {name}", lambda name=name: print(_verdict(run_claim(name, quick=True)))


def _verdict(verdict: Any) -> str:
    return f"{verdict.id}: {verdict.verdict}, {verdict.value:.4g} {verdict.unit}"


ROW = (
    "id,stack,topology,gpus,model,layers,hidden,ffn,heads,kv_heads,head_dim,gated_ffn,vocab,seq_len,"
    "global_batch,micro_batch,tp,pp,dp,sharding,recompute,precision,measured_step_s,tier\n"
    # Narayanan et al. 2021, arXiv:2104.04473, Table 1: 39.1 B on 512 A100 at 138 TFLOP/s.
    "megatron-39b,megatron-lm-2021.4,dgx-a100-80,512,GPT 39B,48,8192,32768,64,64,128,0,51200,2048,"
    "1536,4,8,2,32,none,full,fp16,14.7,core\n"
)


def validate_row() -> None:
    """Predict one published run."""
    import tempfile

    from rackmodel.validation.errors import validate

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.csv"
        path.write_text(ROW)
        row = validate(path)["rows"][0]
    if row["predicted_step_s"] is None:
        raise RuntimeError(row["reason"])
    predicted_s, measured_s = row["predicted_step_s"], row["measured_step_s"]
    print(f"validation: {predicted_s:.1f} s predicted, {measured_s} measured")


def main() -> int:
    """Run everything; print a table of times."""
    rows, failed = [], 0
    jobs = itertools.chain(speed_jobs(), claim_jobs(), [("validate one run", validate_row)])
    for name, job in jobs:
        started_s = time.perf_counter()
        try:
            job()
            word = "ok"
        except Exception:  # a broken benchmark is told with its trace; the others still run
            traceback.print_exc()
            word, failed = "FAILED", failed + 1
        rows.append((name, time.perf_counter() - started_s, word))
    width = max(len(name) for name, *_ in rows)
    for name, seconds, word in rows:
        print(f"{name:<{width}}  {seconds:8.3f} s  {word}")
    print(f"{'all':<{width}}  {sum(row[1] for row in rows):8.3f} s  {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
