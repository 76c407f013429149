"""What communication takes from the kernels that run beside it.

In:  an accelerator, a collective and its pace; what share of the kernels' time waits for HBM.
Out: how much slower kernels get while the collective is in flight, and why.
Left out: caches; kernels other than those of training.

Collective kernels of NCCL and RCCL occupy one compute unit (SM, CU) per channel: kernels bound by
arithmetic lose that share. In-switch reduction needs fewer channels, copies by engines none. TPU,
Gaudi, Trainium and Ascend move bytes by DMA engines, and Transformer Engine's userbuffers
(`Plan.tp_overlap`) gather by copy engines. All of them read and write HBM: kernels bound by HBM
lose that share of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from rackmodel.hardware import Accelerator
from rackmodel.kernels.kernel_time import KernelTimes
from rackmodel.workload import Job

# (algorithm, op, axis, bytes of the collective per second) -> share of the kernels' throughput
Taken: TypeAlias = Callable[[str, str, str, float], float]

# Channels that the library opens: rings 16, trees 16, in-switch reduction 8 (assumed from the
# defaults that NCCL prints for 8-GPU and multi-node communicators; releases differ by a factor of
# two).
CHANNELS = {"nvls": 8, "sharp": 8}
DEFAULT_CHANNELS = 16

# HBM bytes read and written on a rank per byte that it sends, from the data path of NCCL's Simple
# protocol: gathering writes what arrives and reads it to send it on; reducing writes what arrives
# into a buffer, reads it and its own part; all-reduce does one after the other; an exchange reads
# what leaves and writes what comes. (Counted, not measured.)
TOUCHES = {"all-gather": 2.0, "reduce-scatter": 3.0, "all-reduce": 2.5}
DEFAULT_TOUCHES = 2.0
SENT = {"all-reduce": 2.0}  # bytes sent per byte of the collective, in large groups; others 1
HBM_BOUND = 0.1  # share of the kernels' time where none is known: dense models reach 2 to 12%


class Contention(NamedTuple):
    """What collectives take on one accelerator from the kernels of one job.

    hbm_bound : share of the kernels' time that HBM bounds, see `hbm_bound_share`. by_engines :
    (op, axis) of collectives that copy engines carry.
    """

    accelerator: Accelerator
    hbm_bound: float = HBM_BOUND
    by_engines: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def of(cls, job: Job, kernels: KernelTimes, accelerator: Accelerator) -> Contention:
        """Return what collectives take from the kernels of a job."""
        bound = hbm_bound_share(job, kernels, accelerator.hbm_bytes_per_s)
        gathers = {("all-gather", "tp")} if job.plan.tp_overlap else set()
        return cls(accelerator, bound, frozenset(gathers))

    def units(self, algorithm: str, op: str = "", axis: str = "") -> int:
        """Return the compute units that a collective of `algorithm` occupies."""
        if self.accelerator.collective_engines or (op, axis) in self.by_engines:
            return 0
        channels = next((n for name, n in CHANNELS.items() if name in algorithm), DEFAULT_CHANNELS)
        return min(channels, self.accelerator.compute_units)

    def hbm_bytes_per_s(self, op: str, bytes_per_s: float) -> float:
        """Return the HBM traffic of a collective that moves so many of its bytes a second."""
        return TOUCHES.get(op, DEFAULT_TOUCHES) * SENT.get(op, 1.0) * bytes_per_s

    def share(
        self, algorithm: str, op: str = "", axis: str = "", bytes_per_s: float = 0.0
    ) -> float:
        """Return the share of the kernels' throughput that is gone beside a collective, 0 to 1.

        Parameters
        ----------
        op, axis, bytes_per_s : the collective, and its size over the time that it takes.

        Examples
        --------
        >>> from rackmodel.hardware import accelerator
        >>> h100 = Contention(accelerator("h100"), hbm_bound=0.1)
        >>> round(h100.share("ring", "reduce-scatter", "dp_cp", 40e9), 3)  # over the fabric
        0.113
        >>> round(h100.share("ring", "reduce-scatter", "dp_cp", 370e9), 3)  # inside the domain
        0.142
        """
        units = self.units(algorithm, op, axis) / self.accelerator.compute_units
        memory = self.hbm_bytes_per_s(op, bytes_per_s) / self.accelerator.hbm_bytes_per_s
        return (1.0 - self.hbm_bound) * units + self.hbm_bound * min(1.0, memory)


def hbm_bound_share(job: Job, kernels: KernelTimes, hbm_bytes_per_s: float) -> float:
    """Return the share of a layer's kernel time that HBM bounds: most of it moves bytes.

    Of one layer of each kind, forward and backward, weighted by how often it stands in the model.
    """
    from rackmodel.workload.kernels import Local
    from rackmodel.workload.layers import block_steps

    local, blocks = Local.of(job), job.model.blocks
    bound = total = 0.0
    for block, layers in Counter(blocks).items():
        for step in block_steps(local, block):
            for kernel in (*step.work.forward, *step.work.backward, *step.work.weight):
                seconds = layers * kernel.count * kernels.kernel_s(kernel)
                moved = kernels.traffic.moved_bytes(kernel)
                moving = layers * kernel.count * moved / hbm_bytes_per_s
                total += seconds
                bound += seconds if moving > 0.5 * seconds else 0.0
    return bound / total if total else 0.0
