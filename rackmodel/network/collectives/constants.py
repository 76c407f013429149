"""Constants of a collective library and of what it reaches on each generation of accelerators.

In:  data/library.toml.
Out: `nccl`, the tuner's numbers; `generation`, those of an accelerator.
Left out: how they make times; see `costs`.

The constants belong to a generation of accelerators and its library, never to a run. Times of steps
come from NCCL's own tuner.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rackmodel.shipped import shipped_toml


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What the library reaches on one generation of accelerators; see data/library.toml."""

    ring: float
    nvls: float
    nvls_rack: float
    fan_in: float
    p2p: float
    network: float
    rack_chunk_s: float
    launch_s: float
    hop_s: float
    chunk_bytes: float
    ramp_bytes: float
    ll_rate: tuple[float, float, float]
    kernel_s: float
    one_kernel: float
    sync_s: float
    sync: float
    exchange_s: float
    dispatch: float
    combine: float
    combine_bytes_per_s: float
    source: str


@cache
def _tables() -> dict[str, Any]:
    """Return the tables of data/library.toml."""
    return shipped_toml(Path(__file__).parents[1] / "data" / "library.toml")


def nccl(word: str) -> Any:
    """Return what the table of NCCL's tuner says of a word."""
    return _tables()["nccl"][word]


def _generation(table: dict[str, Any]) -> Generation:
    return Generation(**table | {"ll_rate": tuple(table["ll_rate"])})


@cache
def generation(part: str) -> Generation:
    """Return the constants for an accelerator, by its name in the catalog.

    >>> generation("h100").ring
    0.817
    """
    for table in _tables().values():
        if part in table.get("parts", ()):
            own = {k: v for k, v in table.items() if k != "parts"}
            return _generation(_tables()["default"] | own)
    return _generation(_tables()["default"])
