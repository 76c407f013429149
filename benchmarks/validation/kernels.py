"""Kernels alone in a loop: measured beside predicted.

    python -m benchmarks.validation.kernels EFFICIENCY.csv [--rows]

In:  a table of measured kernels: id, category, device, precision, config, value, unit.
Out: mean error by category and device; with --rows every one.
Left out: whole training steps (`table.py`), collectives (`collectives.py`).

Rows whose config names no shape are counted, not predicted. Attention rows give FLOP/s of the
unmasked half where they are causal, as their authors count.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from rackmodel.hardware import accelerator
from rackmodel.kernels.kernel_time import KernelTimes
from rackmodel.workload.operations import Kernel

PARTS = {"a100_80_sxm": "a100-80", "gb200_gpu": "gb200"}
FORMATS = {"fp4": "nvfp4"}
STACKS = {"FA2": "titan-2024-06", "FA3": "nemo-2024-12", "FA4": "default"}  # by kernels of the time
TOKENS = 16_384  # batch x length of the FlashAttention figures; 2,048 hidden


def part_of(device: str) -> str:
    """Return the catalog's name of a device."""
    return PARTS.get(device, device.removesuffix("_sxm"))


def product(row: pd.Series) -> Kernel | None:
    """Return the matrix product that a row measures."""
    cube = re.match(r"(\d+)\^3", row.config)
    shape = re.match(r"(\d+)x(\d+)x(\d+)", row.config)
    if not (cube or shape):
        return None
    m, n, k = (int(cube[1]),) * 3 if cube else map(int, shape.groups())
    form = FORMATS.get(row.precision, row.precision)
    size = {"fp8": 1.0, "nvfp4": 0.5625}.get(form, 2.0)
    return Kernel(
        family="gemm",
        name="product",
        flops=2.0 * m * n * k,
        shape=(m, n, k, 1),
        precision=form,
        read_bytes=size * (m * k + n * k),
        write_bytes=2.0 * m * n,
    )


def attention(row: pd.Series) -> tuple[Kernel, str] | None:
    """Return the attention that a row measures, and software with such kernels."""
    found = re.match(r"(FA\d) d(\d+)(?: b(\d+))?.*?(?:seq |s)(\d+)(k?)", row.config)
    if not found:
        return None
    generation, dim = found[1], int(found[2])
    length = int(found[4]) * (1024 if found[5] else 1)
    batch = int(found[3]) if found[3] else max(1, TOKENS // length)
    heads = 16 if "16 heads" in row.config else 2048 // dim
    causal = "non-causal" not in row.config and "causal" in row.config
    flops = 4.0 * batch * heads * length * length * dim * (0.5 if causal else 1.0)
    size = 2.0 * batch * heads * length * dim
    kernel = Kernel(
        family="attention",
        name="attention",
        flops=flops,
        precision=row.precision,
        read_bytes=3 * size,
        write_bytes=size,
        shape=(batch, heads, heads, length, length, dim, dim, int(causal), 0),
    )
    return kernel, STACKS[generation]


def predicted(row: pd.Series) -> float | None:
    """Return the predicted figure in the row's own unit, None where it names no shape."""
    part = accelerator(part_of(row.device))
    if row.category.startswith("gemm"):
        kernel, stack = product(row), "megatron-2024-06"  # when those of Hopper were measured
    elif row.category.startswith("attention"):
        known = attention(row)
        kernel, stack = known if known else (None, "default")
    elif row.category == "hbm":
        times = KernelTimes(part, in_training=False)
        moved = Kernel(family="elementwise", name="copy", read_bytes=4e9, write_bytes=4e9)
        return 8e9 / times.kernel_s(moved) / 1e12
    else:
        return None
    if kernel is None:
        return None
    times = KernelTimes(part, stack, in_training=False)
    return float(kernel.flops / times.kernel_s(kernel) / 1e12)


def table(path: Path) -> pd.DataFrame:
    """Return the rows about kernels with `predicted` and `error`."""
    frame = pd.read_csv(path)
    frame = frame[frame.category.str.match("gemm|attention|hbm")].copy()
    frame["predicted"] = [predicted(row) for _, row in frame.iterrows()]
    frame["error"] = frame.predicted / frame.value - 1.0
    return frame


def lines(frame: pd.DataFrame, *, rows: bool) -> Iterator[str]:
    """Yield a text table."""
    if rows:
        for _, row in frame.dropna(subset="error").iterrows():
            yield (
                f"{row.device:12s} {row.precision!s:5s} {row.config:46s} {row['value']:8.1f}"
                f" {row.predicted:8.1f} {row.unit:6s} {row.error:+6.1%}"
            )
    yield f"{'kernels':18s} {'device':12s} {'rows':>5s} {'mean error':>11s} {'bias':>7s}"
    known = frame.dropna(subset="error")
    for (category, device), group in known.groupby(["category", "device"]):
        size = group.error.abs().mean()
        yield f"{category:18s} {device:12s} {len(group):5d} {size:11.1%} {group.error.mean():+7.1%}"
    yield f"not predicted (no shape given): {len(frame) - len(known)}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("efficiency", type=Path)
    parser.add_argument("--rows", action="store_true")
    options = parser.parse_args()
    print("\n".join(lines(table(options.efficiency), rows=options.rows)))


if __name__ == "__main__":
    main()
