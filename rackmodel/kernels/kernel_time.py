"""How long kernels take on an accelerator with a given software stack.

In:  an accelerator, a stack name, operations of the workload (FLOPs, bytes, shapes).
Out: `KernelTimes`: seconds of a kernel, of the host that launches it, and of a whole `Compute`.
Left out: communication, other streams that take units or HBM bandwidth away (the simulator adds
    those).
"""

from __future__ import annotations

import math
from functools import lru_cache, partial

from rackmodel.hardware import accelerator
from rackmodel.hardware.power_model import peak_flops_per_s, sustained_clock
from rackmodel.kernels import attention_time, gemm_time, host_time
from rackmodel.kernels.kernel_constants import (
    AcceleratorLike,
    GemmConstants,
    KernelConstants,
    kernel_constants,
)
from rackmodel.kernels.operand_bytes import Traffic
from rackmodel.software import Software, software_of
from rackmodel.software.constant_files import kept
from rackmodel.workload import Job
from rackmodel.workload.operations import CASTS, Compute, Kernel, Role

MOST_KEPT = 16  # `KernelTimes` of parts, software and clocks
QUERIES = 128  # rows of queries that one unit works on (FlashAttention-2 and -3)
CLOCK = ("duty", "hbm_bytes_per_flop", "hot")  # of the table `clock`: what training draws


class KernelTimes:
    """Seconds of kernels on one accelerator with one software stack.

    Parameters
    ----------
    accelerator : a part of the catalog, or anything with the same fields.
    stack : name of the software; see `rackmodel.software.software_of`.
    clock : clock relative to the sustained one (1.0), for example of a part that throttles.
    cuda_graphs : True if kernel launches are captured once and replayed.
    in_training : False for kernels alone in a loop, as microbenchmarks run them.
    host_speed : launches per second of the host over what the software needs now.
    constants, software : other than the shipped ones (for fitting).

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from rackmodel.workload.operations import Kernel
    >>> part = SimpleNamespace(name="h100", family="nvidia-hopper", flops_per_s={"bf16": 989.4e12},
    ...     hbm_bytes_per_s=3.35e12, l2_bytes=50e6, compute_units=132, power_w=700.0)
    >>> square = Kernel(family="gemm", name="square", flops=2 * 8192**3,
    ...     shape=(8192, 8192, 8192, 1),
    ...     read_bytes=4 * 8192**2, write_bytes=2 * 8192**2)
    >>> seconds = KernelTimes(part).kernel_s(square)
    >>> 0.5 < square.flops / seconds / 989.4e12 < 0.9
    True
    """

    def __init__(
        self,
        accelerator: AcceleratorLike,
        stack: str = "default",
        clock: float = 1.0,
        cuda_graphs: bool = False,
        *,
        in_training: bool = True,
        host_speed: float = 1.0,
        constants: KernelConstants | None = None,
        software: Software | None = None,
    ) -> None:
        self.accelerator = accelerator
        self.clock = clock
        self.cuda_graphs = cuda_graphs
        self.in_training = in_training
        self.host_speed = host_speed
        self.constants = constants or kernel_constants()
        self.software = software or software_of(stack)
        self.others: dict[str, KernelTimes] = {}  # of the other accelerators of a mixed machine
        self._gemm = self.constants.gemm(accelerator.family)
        self.traffic = Traffic.of(accelerator, self._gemm)
        self._kernel_s: dict[Kernel, float] = {}
        self._times_s: dict[tuple[Kernel, ...], tuple[float, float]] = {}
        self._gemm_of: dict[str, GemmConstants] = {}
        self._sustained: dict[str, tuple[float, str]] = {}

    # -- public --------------------------------------------------------------------------------

    def compute_s(self, compute: Compute) -> float:
        """Return the time of a `Compute`: device and host together. [s]"""
        return self.times_s(compute)[0]

    def times_s(self, compute: Compute) -> tuple[float, float]:
        """Return the time of a `Compute`, and that of its device alone. [s]"""
        known = self._times_s.get(compute.kernels)
        if known is None:
            device = self.device_s(compute)
            value = self.together_s(compute, device, self.host_s(compute))
            known = self._times_s[compute.kernels] = (value, device)
        return known

    def device_s(self, compute: Compute) -> float:
        """Return the time that the accelerator is busy with a `Compute`. [s]

        Copies to and from host memory go through engines of their own, beside the kernels.
        """
        busy_s, copies_s = 0.0, 0.0
        for kernel in compute.kernels:
            if kernel.family == "copy":
                copies_s += kernel.count * self.kernel_s(kernel)
            else:
                busy_s += kernel.count * self.kernel_s(kernel)
        return max(busy_s, copies_s)

    def together_s(self, compute: Compute, device_s: float, host_s: float) -> float:
        """Return the time of a `Compute` of which device and host would take so long. [s]"""
        experts, host = host_time.has_experts(compute.kernels), self.constants["host"]
        return host_time.together_s(device_s, host_s, experts, host)

    def host_s(self, compute: Compute) -> float:
        """Return the time that the host needs to launch a `Compute`. [s]"""
        usual_s = host_time.launch_s(
            compute.kernels, self.software, self.constants["host"], self.cuda_graphs
        )
        return usual_s / self.host_speed

    def kernel_s(self, kernel: Kernel) -> float:
        """Return the time of one launch of a kernel on the accelerator (not times `count`). [s]"""
        known = self._kernel_s.get(kernel)
        if known is None:
            known = self._kernel_s[kernel] = self._time(kernel)
        return known

    def sustained_flops_per_s(self, precision: str) -> float:
        """Return peak x efficiency x sustained clock of long matrix products. [flops/s]"""
        return self._matrix_rate(precision)[0]

    @property
    def transfers_slower(self) -> float:
        """Time of a transfer's bytes in training over their time alone.

        Kernels beside it take units from the kernels that move it. Engines of their own have none
        to lose.
        """
        if not self.in_training or self.accelerator.collective_engines:
            return 1.0
        return float(self.constants["training"]["transfers"])

    # -- by family -----------------------------------------------------------------------------

    def _matrix_rate(self, precision: str) -> tuple[float, str]:
        known = self._sustained.get(precision)
        if known is None:
            peak, key = peak_flops_per_s(self.accelerator, precision)
            efficiency = self._gemm.efficiency.get(key, self._gemm.efficiency.get("bf16", 0.5))
            part = self.constants["gemm_part"].get(self.accelerator.name, {})
            efficiency *= part.get(key, 1.0)
            # A part with little arithmetic for its power runs closer to peak, but not beyond this.
            efficiency = min(0.95, float(efficiency) * self._relative_clock(key))
            rate = peak * efficiency * self.clock
            known = self._sustained[precision] = (rate, key)
        return known

    def _shaped(self, key: str) -> GemmConstants:
        """Return the matrix-product constants for a number format."""
        known = self._gemm_of.get(key)
        if known is None:
            peaks = self.accelerator.flops_per_s
            ratio = peaks[key] / peaks.get("bf16", peaks.get("fp16", peaks[key]))
            wave = self._gemm.partial_wave
            if wave and ratio > 1.5:
                wave = max(wave, self.constants["gemm_common"]["narrow_wave"])
            known = self._gemm_of[key] = self._gemm._replace(
                fill_k=self._gemm.fill_k * max(1.0, ratio),
                partial_wave=wave,
                start_s=self._gemm.start_format_s.get(key, self._gemm.start_s),
            )
        return known

    def _relative_clock(self, key: str) -> float:
        """Return the sustained clock against that of the family's reference part.

        Efficiencies are fitted on reference parts at their own clocks, so only the ratio may enter
        here.
        """
        clock = self.constants["clock"]
        reference = clock["reference"].get(self.accelerator.family)
        if reference is None or reference == self.accelerator.name:
            return 1.0
        if getattr(self.accelerator, "power", None) is None:
            return 1.0
        while_training = {name: float(clock[name]) for name in CLOCK}
        own = sustained_clock(self.accelerator, key, **while_training)
        return own / _reference_clock(reference, key, **while_training)

    def _time(self, kernel: Kernel) -> float:
        match kernel.family:
            case "gemm" | "grouped_gemm":
                return self._gemm_s(kernel)
            case "attention":
                return self._attention_s(kernel)
            case "copy":
                moved = kernel.read_bytes + kernel.write_bytes
                return float(moved / self._host_link_bytes_per_s())
            case "scan":
                hbm = self.constants["hbm"]
                arithmetic_s = kernel.flops / (self._matrix_rate(kernel.precision)[0] * hbm["scan"])
                return max(float(arithmetic_s), self._stream_s(kernel, "elementwise"))
            case "elementwise" | "permute" | "optimizer":
                return self._stream_s(kernel, kernel.family)

    def _gemm_s(self, kernel: Kernel) -> float:
        common = self.constants["gemm_common"]
        rate, key = self._matrix_rate(kernel.precision)
        shape = gemm_time.product_shape(kernel)
        batch = shape[3]
        if kernel.family == "gemm":
            rate *= self._aligned_share(gemm_time.row_elements(kernel), batch)
        elif batch > 1:  # of one group it is a plain product
            rate *= common["grouped"]
        moved = self.traffic.moved_bytes(kernel)
        return self._slowdown(key) * gemm_time.gemm_s(
            shape,
            peak_flops_per_s=rate,
            hbm_s=moved / (self.accelerator.hbm_bytes_per_s * common["operands_hbm"]),
            units=max(1, self.accelerator.compute_units),
            gemm=self._shaped(key),
            small_tile=common["small_tile"],
            smooth=common["smooth"],
        )

    def _aligned_share(self, elements: int, batch: float) -> float:
        """Return the speed of product(s) whose rows are multiples of so many 16-bit elements."""
        table, family = self.constants["gemm_misaligned"], self.accelerator.family
        odd, even = table.get(family, table["default"])
        if elements == 8 or odd == 1.0:
            return 1.0
        return float(table["batched"] if batch > 1 else odd if elements == 1 else even)

    def _slowdown(self, key: str) -> float:
        """Return the time of a product over its time alone with the latest libraries."""
        family = self.accelerator.family
        older = float(self.software.products.get(family, {}).get(key, 1.0))
        if not self.in_training:
            return older
        training = self.constants["training"]
        value = training["gemm"] * training["family"].get(family, 1.0)
        value *= training["part"].get(self.accelerator.name, 1.0)
        if key in ("fp8", "int8", "nvfp4"):
            value *= training["narrow"]
        value *= training["format"].get(key, 1.0)
        # Whatever the fit says, nothing runs faster in training than alone.
        return older * max(1.0, float(value))

    def _attention_s(self, kernel: Kernel) -> float:
        constants = self.constants["attention"]
        shape = attention_time.read_shape(kernel.shape)
        batch, heads, _, q_len, kv_len, qk_dim, v_dim, causal, window = shape
        keys = attention_time.keys_per_query(q_len, kv_len, causal, window)
        forward_flops = 2.0 * batch * heads * q_len * keys * (qk_dim + v_dim)
        # A backward kernel does 2.5 times the arithmetic of a forward one (5 products against 2).
        backward = kernel.role == Role.BACKWARD or kernel.flops > 1.8 * forward_flops
        generation = self.software.attention_kernels
        if generation == "unfused":
            rate, _ = self._matrix_rate("bf16")
            return attention_time.unfused_s(
                shape,
                peak_flops_per_s=rate,
                hbm_bytes_per_s=self.accelerator.hbm_bytes_per_s
                * self.constants["hbm"]["elementwise"],
                constants=constants,
                backward=backward,
            )
        peak, _ = peak_flops_per_s(self.accelerator, "bf16")
        _, key = peak_flops_per_s(self.accelerator, kernel.precision)
        long = self.constants.attention_efficiency(
            generation, self.accelerator.family, self.accelerator.name
        )
        gain = float(constants["fp8_gain"]) if key == "fp8" else 1.0
        rate = (
            peak
            * attention_time.fused_efficiency(shape, long, constants, backward, generation, gain)
            * self.clock
            * self._relative_clock("bf16")
        )
        hbm_s = (kernel.read_bytes + kernel.write_bytes) / (
            self.accelerator.hbm_bytes_per_s * self.constants["hbm"]["elementwise"]
        )
        flops = kernel.flops or forward_flops
        waves = batch * heads * math.ceil(q_len / QUERIES) / max(1, self.accelerator.compute_units)
        # A block of queries goes to one unit; half of the units idle in the last wave on average.
        idle = 0.5 / waves if q_len >= QUERIES else 0.0
        alone_s = max(flops / rate * (1.0 + idle), hbm_s) + constants["start_s"]
        return float(alone_s * self._attention_slowdown(generation))

    def _attention_slowdown(self, generation: str) -> float:
        """Return the time of fused attention in training over its time alone."""
        earlier = self.constants["attention"]["foreign"].get(generation, ())
        foreign = self.in_training and self.accelerator.family in earlier
        return float(self.constants["training"]["foreign"]) if foreign else 1.0

    def _stream_s(self, kernel: Kernel, kind: str) -> float:
        hbm, training = self.constants["hbm"], self.constants["training"]
        family, part = self.accelerator.family, self.accelerator
        rate = part.hbm_bytes_per_s * hbm[kind]
        # What a release fuses with its neighbours or finds in the cache shows in training only.
        factor = self.software.factors.get(kind, 1.0) if self.in_training else 1.0
        if self.in_training and kind == "elementwise":
            if kernel.role in (Role.SCORES, Role.COPY):
                # Scores are far larger than any cache; copies run as casts do alone (0.86 to 0.91
                # of HBM on Hopper from 30 MB on, aiconfigurator-core 0.12).
                factor = 1.0
            elif kernel.role in CASTS:
                factor = self.software.factors["cast"]
            else:
                factor *= training["elementwise"].get(family, 1.0)
                unit = training["elementwise_unit"].get(family, math.inf)
                rate = min(rate, part.compute_units * unit)
        elif kind == "permute":
            factor /= hbm["permute_on"].get(family, 1.0)
        moved = kernel.read_bytes + kernel.write_bytes
        return float(factor * moved / rate + hbm["start_s"])

    def _host_link_bytes_per_s(self) -> float:
        table = self.constants["host_link"]
        name = str(getattr(self.accelerator, "host_link", "")).lower()
        if "c2c" in name:
            return float(table["c2c"])
        for generation in "6543":
            if f"pcie{generation}" in name:
                return float(table[f"pcie{generation} x16"])
        return float(table["default"])


@partial(kept, most=MOST_KEPT)
def kernel_times(
    part: AcceleratorLike, stack: str, clock: float, cuda_graphs: bool, host_speed: float
) -> KernelTimes:
    """Return `KernelTimes`, kept with the kernels they have timed; of a part by all that it says.

    Not for mixed machines, whose `others` are the job's own.
    """
    return KernelTimes(part, stack, clock, cuda_graphs, host_speed=host_speed)


def graphs_by_default(job: Job, part: AcceleratorLike) -> bool:
    """Return whether launches are captured in CUDA graphs: as the job says, or as its software.

    Sharded weights are gathered into memory of each pass's own, and gradients leave it: no graph
    replays that by default (Megatron-FSDP was not compatible with replay before NVIDIA/Megatron-LM
    pull request 4663 of May 2026; Megatron-Bridge's FSDP recipes for GB200 and GB300 turn it off).
    """
    if job.cuda_graphs is not None:
        return bool(job.cuda_graphs)
    if job.plan.sharded_parameters:
        return False
    return software_of(job.stack).captures_graphs(part.family, job.model.experts > 0)


@lru_cache(maxsize=256)
def _reference_clock(name: str, key: str, **while_training: float) -> float:
    """Return the sustained clock of a reference part of the catalog."""
    return sustained_clock(accelerator(name), key, **while_training)
