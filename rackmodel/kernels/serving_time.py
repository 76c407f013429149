"""How long the kernels of serving take: a floor and a rate, for few rows and for many.

In:  an accelerator, kernels with FLOPs, bytes and shapes; data/serving.toml.
Out: `ServingTimes`: seconds of a kernel and of a `Compute`.
Left out: exchanges, the time between steps (rackmodel.serving).

Products of a few rows never reach the rate of HBM: 15 MB of weights take 5 us more than their bytes
do. A kernel takes its floor and the longer of its bytes and its arithmetic, a smooth maximum.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from rackmodel.hardware.power_model import peak_flops_per_s
from rackmodel.kernels.gemm_time import smooth_max
from rackmodel.kernels.kernel_constants import AcceleratorLike, kernel_constants
from rackmodel.kernels.operand_bytes import Traffic
from rackmodel.workload.operations import Compute, Kernel, Role

SMOOTH = 4.0  # power of the smooth maximum of bytes and arithmetic
LATEST = "flash4"  # generation of attention kernels that serving software has


@cache
def serving_constants() -> Mapping[str, Any]:
    """Return the shipped constants."""
    return tomllib.loads(
        files("rackmodel.kernels").joinpath("data/serving.toml").read_text("utf-8")
    )


def of_software(table: Mapping[str, Any], stack: str) -> Mapping[str, Any]:
    """Return the row of a table by software; `stack` may name a release too.

    Software that nobody knows has that of `default`.
    """
    found: Mapping[str, Any] = next(
        (row for name, row in table.items() if name in stack), table["default"]
    )
    return found


class ServingTimes:
    """Seconds of the kernels of serving on one accelerator.

    Parameters
    ----------
    accelerator : a part of the catalog, or anything with the same fields.
    graphs : kernels are replayed from CUDA graphs; else the host launches each one.
    constants : other than the shipped ones (for fitting).
    """

    def __init__(
        self,
        accelerator: AcceleratorLike,
        *,
        graphs: bool = True,
        constants: Mapping[str, Any] | None = None,
    ) -> None:
        self.accelerator, self.graphs = accelerator, graphs
        self.constants = constants or serving_constants()
        self._kernel_s: dict[Kernel, float] = {}
        self._peaks: dict[str, tuple[float, str]] = {}
        family = accelerator.family
        self.traffic = Traffic.of(accelerator, kernel_constants().gemm(family))
        like = self.constants["like"]
        known = family in self.constants["gemm"]
        self._family = family if known else str(like.get(family, like["default"]))
        self._scaled = not known and family not in like["measured"]

    def compute_s(self, compute: Compute) -> float:
        """Return the time of kernels that follow one another. [s]"""
        device = sum(kernel.count * self.kernel_s(kernel) for kernel in compute.kernels)
        if self.graphs:
            return device
        launches = sum(kernel.count for kernel in compute.kernels)
        return max(device, launches * float(self.constants["small"]["launch_s"]))

    def kernel_s(self, kernel: Kernel) -> float:
        """Return the time of one launch of a kernel. [s]"""
        known = self._kernel_s.get(kernel)
        if known is None:
            floor_s, hbm_s, arithmetic_s = self.limits_s(kernel)
            known = floor_s + smooth_max(arithmetic_s, hbm_s, SMOOTH)
            self._kernel_s[kernel] = known
        return known

    def limits_s(self, kernel: Kernel) -> tuple[float, float, float]:
        """Return a kernel's floor, what its bytes take, what its arithmetic takes. [s]"""
        match kernel.family:
            case "gemm":
                return self._product_s(kernel, "gemm", kernel.flops)
            case "grouped_gemm":
                _, n, k, groups = kernel.shape
                padding = 2.0 * groups * self._of("grouped")["tile"] * n * k
                return self._product_s(kernel, "grouped", kernel.flops + padding)
            case "attention" if kernel.role == Role.DECODE:
                return self._decode_s(kernel)
            case "attention":
                return self._prompt_s(kernel)
        small = self.constants["small"]
        return float(small["floor_s"]), self._moved_s(kernel) / float(small["hbm"]), 0.0

    def _moved_s(self, kernel: Kernel) -> float:
        """Return the time of a kernel's bytes at the full rate of HBM. [s]"""
        return self.traffic.moved_bytes(kernel) / self.accelerator.hbm_bytes_per_s

    def _of(self, kind: str) -> Mapping[str, Any]:
        """Return the constants of a kind of kernel for the family, or for the one it is like."""
        found: Mapping[str, Any] = self.constants[kind][self._family]
        return found

    def _slower(self, key: str) -> float:
        """Return the share of its peak that a family without tables reaches over the other one's.

        What whole training steps and long products of both show (`kernels.toml`).
        """
        if not self._scaled:
            return 1.0
        constants = kernel_constants()
        mine, other = (
            constants.gemm(family).efficiency for family in (self.accelerator.family, self._family)
        )
        return _by_format(mine, key) / _by_format(other, key)

    def _peak(self, precision: str) -> tuple[float, str]:
        if precision not in self._peaks:
            self._peaks[precision] = peak_flops_per_s(self.accelerator, precision)
        return self._peaks[precision]

    def _product_s(self, kernel: Kernel, kind: str, flops: float) -> tuple[float, float, float]:
        table = self._of(kind)
        peak, key = self._peak(kernel.precision)
        floor, slower = table["floor_s"], self._slower(key)
        if kernel.precision in table["matrix"]:  # weights narrower than their arithmetic
            key = kernel.precision
        return (
            floor if isinstance(floor, float) else _by_format(floor, key),
            self._moved_s(kernel) / _by_format(table["hbm"], key),
            flops / (peak * _by_format(table["matrix"], key) * slower),
        )

    def _decode_s(self, kernel: Kernel) -> tuple[float, float, float]:
        table = self._of("decode")
        peak, key = self._peak(kernel.precision)
        share = _by_format(table["hbm"], "fp8" if kernel.precision == "fp8" else "bf16")
        if kernel.shape[2] == 1 and kernel.shape[5] != kernel.shape[6]:  # one latent for all heads
            share = table.get("latent_hbm", share)
        arithmetic_s = kernel.flops / (peak * _by_format(table["matrix"], key))
        return float(table["floor_s"]), self._moved_s(kernel) / share, arithmetic_s

    def _prompt_s(self, kernel: Kernel) -> tuple[float, float, float]:
        table = self._of("prompt")
        peak, _ = self._peak("bf16")
        if self._scaled:
            mine, other = (
                kernel_constants().attention_efficiency(LATEST, family)
                for family in (self.accelerator.family, self._family)
            )
            peak *= mine / other
        rate = peak * table["matrix"] / (1.0 + table["half"] / max(1, kernel.shape[4]))
        return float(table["floor_s"]), self._moved_s(kernel), float(kernel.flops / rate)


def _by_format(table: Mapping[str, float], key: str) -> float:
    """Return the value of a number format; of the narrowest known where it has none."""
    if key == "int8":
        key = "fp8"
    return float(table.get(key, table.get("bf16" if key in ("fp16", "tf32") else "fp8", 0.0)))
