"""Matrix products alone, beside the measured tables of aiconfigurator-core.

    pip install aiconfigurator-core pyarrow
    python -m benchmarks.validation.gemm_tables

In:  gemm_perf.parquet of that package: latencies by machine, framework and shape, in milliseconds.
Out: mean error and bias by machine and format, over all shapes and over those above 4e11 FLOP.
Left out: shapes of inference, narrower than 512.

The quickest framework counts. Tables of 8- and 4-bit formats hold the quantisation of an operand
too, which training does elsewhere (`cast`): a bias below zero is expected there.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from rackmodel.hardware import accelerator
from rackmodel.kernels.kernel_time import KernelTimes
from rackmodel.workload.operations import Kernel

PARTS = {
    "a100_sxm": "a100-80",
    "h100_sxm": "h100",
    "h200_sxm": "h200",
    "b200_sxm": "b200",
    "b300_sxm": "b300",
    "gb200": "gb200",
    "gb300": "gb300",
}
FORMATS = {"bfloat16": ("bf16", 2.0), "fp8": ("fp8", 1.0), "nvfp4": ("nvfp4", 0.5625)}
FEWEST, LARGE_FLOPS = 512, 4e11


def tables() -> pd.DataFrame:
    """Return the quickest latency by machine, format and shape."""
    found = find_spec("aiconfigurator_core")
    if found is None or found.origin is None:
        raise SystemExit("this needs: pip install aiconfigurator-core pyarrow")
    frames = []
    for path in sorted(Path(found.origin).parent.glob("systems/data/*/gemm/*/*/gemm_perf.parquet")):
        machine = path.parts[-5]
        if machine in PARTS:
            frame = pd.read_parquet(path, columns=["gemm_dtype", "m", "n", "k", "latency"])
            frames.append(frame.assign(machine=machine))
    every = pd.concat(frames)
    wanted = every.gemm_dtype.isin(FORMATS) & (every[["m", "n", "k"]].min(axis=1) >= FEWEST)
    keys = ["machine", "gemm_dtype", "m", "n", "k"]
    return every[wanted].groupby(keys, as_index=False).latency.min()


def predicted_s(times: KernelTimes, form: str, size: float, m: int, n: int, k: int) -> float:
    """Return the time of one product alone. [s]"""
    return times.kernel_s(
        Kernel(
            family="gemm",
            name="product",
            flops=2.0 * m * n * k,
            shape=(m, n, k, 1),
            precision=form,
            read_bytes=size * (m * k + n * k),
            write_bytes=2.0 * m * n,
        )
    )


def main() -> None:
    """Print the table."""
    print(
        f"{'machine':10s} {'format':9s} {'shapes':>7s} {'error':>7s} {'bias':>7s}"
        f" {'large':>7s} {'error':>7s} {'bias':>7s}"
    )
    for (machine, dtype), group in tables().groupby(["machine", "gemm_dtype"]):
        form, size = FORMATS[dtype]
        times = KernelTimes(accelerator(PARTS[machine]), in_training=False)
        shapes = zip(group.m, group.n, group.k, strict=True)
        seconds = np.array([predicted_s(times, form, size, m, n, k) for m, n, k in shapes])
        error = seconds / (group.latency.to_numpy() * 1e-3) - 1.0
        large = (2.0 * group.m * group.n * group.k > LARGE_FLOPS).to_numpy()
        print(
            f"{machine:10s} {form:9s} {len(group):7,d} {np.abs(error).mean():7.1%}"
            f" {error.mean():+7.1%} {large.sum():7,d} {np.abs(error[large]).mean():7.1%}"
            f" {error[large].mean():+7.1%}"
        )


if __name__ == "__main__":
    main()
