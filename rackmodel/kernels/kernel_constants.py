"""The constants of the kernel model: data/kernels.toml, read once.

In:  data/kernels.toml; the family of an accelerator.
Out: `KernelConstants`, with the tables resolved for a family.
Left out: what they mean (gemm_time, attention_time, kernel_time say that).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from rackmodel.software.constant_files import kept, read_constants


class AcceleratorLike(Protocol):
    """What the kernel model reads of an accelerator (rackmodel.hardware.Accelerator has it all)."""

    @property
    def name(self) -> str:
        """Catalog id."""

    @property
    def family(self) -> str:
        """Architecture, for example "nvidia-hopper"."""

    @property
    def flops_per_s(self) -> Mapping[str, float]:
        """Dense peaks by number format."""

    @property
    def hbm_bytes_per_s(self) -> float:
        """HBM rate, both directions together."""

    @property
    def compute_units(self) -> int:
        """Streaming multiprocessors, compute units or cores."""

    @property
    def l2_bytes(self) -> float | None:
        """Last cache level before HBM, or what software fills in its place."""

    @property
    def power_w(self) -> float:
        """Power cap."""

    @property
    def collective_engines(self) -> bool | None:
        """Whether collectives take none of its compute units."""


class GemmConstants(NamedTuple):
    """How a family of accelerators runs matrix products."""

    tile: tuple[int, int]
    efficiency: Mapping[str, float]
    partial_wave: float
    fill_k: float
    start_s: float
    start_format_s: Mapping[str, float]
    cache_share: float
    scratchpad: bool


@dataclass(frozen=True, slots=True)
class KernelConstants:
    """The content of a kernels.toml."""

    table: Mapping[str, Any]

    def gemm(self, family: str) -> GemmConstants:
        """Return the matrix-product constants of a family.

        An unknown one gets those of the latest NVIDIA.
        """
        tables = self.table["gemm"]
        row = tables.get(family) or tables.get(family.split("-")[0]) or tables["nvidia-blackwell"]
        if "like" in row:
            row = tables[row["like"]]
        return GemmConstants(
            tile=(int(row["tile"][0]), int(row["tile"][1])),
            efficiency=row["efficiency"],
            partial_wave=float(row["partial_wave"]),
            fill_k=float(row["fill_k"]),
            start_s=float(row["start_s"]),
            start_format_s=row.get("start_format_s", {}),
            cache_share=float(row.get("cache_share", 1.0)),
            scratchpad=bool(row.get("scratchpad", False)),
        )

    def attention_efficiency(self, generation: str, family: str, part: str = "") -> float:
        """Return the long-sequence forward efficiency of a generation of attention kernels.

        A part with special-function units unlike its family's has a value of its own.
        """
        table = self.table["attention"]
        share = float(table["older"].get(generation, 1.0))
        row = table["efficiency"]["flash2" if generation in table["older"] else generation]
        value = float(row.get(family, row.get(family.split("-")[0], row["default"])))
        return value * share * float(table["part"].get(part, 1.0))

    def __getitem__(self, section: str) -> Any:
        return self.table[section]


@kept
def kernel_constants() -> KernelConstants:
    """Return the shipped constants."""
    return KernelConstants(read_constants("kernels.toml"))
