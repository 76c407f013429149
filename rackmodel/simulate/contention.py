"""What communication takes from the kernels that run beside it.

In:  an accelerator and a collective.
Out: the share of compute throughput that is gone while the collective is in flight.
Left out: HBM bandwidth taken by collectives (assumed small beside what kernels leave unused).

Collective kernels of NCCL and RCCL occupy one compute unit (SM, CU) per channel. In-switch
reduction needs fewer channels, copies by engines none. TPU, Gaudi and Trainium move bytes by DMA
engines.
"""

from __future__ import annotations

from dataclasses import dataclass

from rackmodel.hardware import Accelerator

# Channels that the library opens: rings 16, trees 16, in-switch reduction 8 (assumed from the
# defaults that NCCL prints for 8-GPU and multi-node communicators; releases differ by a factor of
# two).
CHANNELS = {"nvls": 8, "sharp": 8}
DEFAULT_CHANNELS = 16
ENGINE_FAMILIES = ("tpu", "gaudi", "trainium", "ascend")


@dataclass(frozen=True, slots=True)
class Contention:
    """Shares of compute throughput that collectives take on one accelerator."""

    accelerator: Accelerator

    def share(self, algorithm: str) -> float:
        """Return the share for a collective of `algorithm`, between 0 and 1."""
        if self.accelerator.family.startswith(ENGINE_FAMILIES):
            return 0.0
        channels = next((n for name, n in CHANNELS.items() if name in algorithm), DEFAULT_CHANNELS)
        return min(1.0, channels / self.accelerator.compute_units)
