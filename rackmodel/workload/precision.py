"""What each training precision does to arithmetic, casts, storage and communication.

In:  a precision name of a job.
Out: `Precision`: formats of GEMM operands, bytes per element, casts per operand.
Left out: rates (hardware), efficiency of the casts (kernel times).

Recipes: Micikevicius et al. 2018 (fp16), NVIDIA Transformer Engine user guide (fp8 delayed,
current, block and mx scaling; nvfp4), Meta "rowwise" of torchao, MaxText AQT (int8).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rackmodel.errors import UnknownName


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """One recipe. Bytes are per element, block scales included."""

    name: str
    gemm_format: str  # of linear layers inside transformer layers
    base_format: str  # attention core, head, router, activations between layers
    operand_bytes: float  # of a cast GEMM operand
    stored_bytes: float  # of a linear layer's input kept for backward
    weight_bytes: float  # compute copies of a weight (both orientations)
    transpose_bytes: float = 0.0  # of those, a second orientation that only some hardware needs
    gather_bytes: float  # of a parameter on the wire in an all-gather
    # operands are cast before tp gathers them: with one scale for all ranks, or scales of blocks
    casts_first: bool = True
    cast_read_passes: float = 0.0  # times the cast kernel reads the operand
    cast_copies: float = 0.0  # copies that the cast writes (row and column orientation)
    cast_launches: float = 0.0  # kernels per cast (amax search, scale, cast)
    casts_weights: bool = False  # once a step; False: on the fly, with each product
    amax_reduce: bool = False  # a history of maxima is reduced over all ranks once a step
    loss_scaling: bool = False  # gradients are checked for infinities

    @property
    def casts(self) -> bool:
        """Whether operands are cast before each GEMM."""
        return self.cast_copies > 0


def _narrow(name: str, form: str, element: float, **more: float | bool | str) -> Precision:
    values: dict[str, Any] = {
        "name": name,
        "gemm_format": form,
        "base_format": "bf16",
        "operand_bytes": element,
        "stored_bytes": element,
        "weight_bytes": 2.0 * element,
        "gather_bytes": element,
        "cast_read_passes": 1.0,
        "cast_copies": 2.0,
        "cast_launches": 1.0,
        "casts_weights": True,
    }
    return Precision(**(values | more))


def _wide(name: str, **more: float | bool | str) -> Precision:
    return _narrow(
        name,
        name,
        2.0,
        base_format=name,
        weight_bytes=2.0,
        cast_read_passes=0.0,
        cast_copies=0.0,
        cast_launches=0.0,
        casts_weights=False,
        **more,
    )


PRECISIONS: dict[str, Precision] = {
    precision.name: precision
    for precision in (
        _wide("bf16"),
        _wide("fp16", loss_scaling=True),
        # Scale from the past: one pass.
        _narrow("fp8", "fp8", 1.0, amax_reduce=True, transpose_bytes=1.0),
        # amax, then cast.
        _narrow("fp8-cs", "fp8", 1.0, cast_read_passes=2.0, cast_launches=2.0, transpose_bytes=1.0),
        # Rows and columns have scales of their own: each orientation is searched and cast apart,
        # columns through strided reads at half the rate (assumed): their bytes count twice.
        _narrow(
            "fp8-rowwise",
            "fp8",
            1.0,
            cast_read_passes=6.0,
            cast_copies=3.0,
            cast_launches=4.0,
            gather_bytes=2.0,
            casts_first=False,
        ),
        # One fp32 scale per 128 elements of an activation, per 128 x 128 of a weight.
        _narrow(
            "fp8-block",
            "fp8",
            1.0 + 4.0 / 128,
            weight_bytes=2.0 + 8.0 / 128**2,
            gather_bytes=1.0 + 4.0 / 128**2,
        ),
        _narrow("fp8-mx", "fp8", 1.0 + 1.0 / 32),  # one e8m0 scale per 32
        # Half a byte and one e4m3 scale per 16; amax pass and Hadamard transform for the gradient;
        # weights are kept and gathered in bf16 beside the two cast copies.
        _narrow(
            "nvfp4",
            "nvfp4",
            0.5 + 1.0 / 16,
            cast_read_passes=2.0,
            cast_launches=3.0,
            weight_bytes=2.0 + 2 * 0.5625,
            gather_bytes=2.0,
        ),
        # Quantised on the fly for the GEMM; activations and weights stay bf16 (AQT).
        _narrow(
            "int8",
            "int8",
            1.0,
            stored_bytes=2.0,
            weight_bytes=2.0,
            gather_bytes=2.0,
            cast_read_passes=2.0,
            cast_launches=2.0,
            casts_weights=False,
            casts_first=False,
        ),
    )
}


def precision_of(name: str) -> Precision:
    """Return the recipe of that name.

    Raises
    ------
    UnknownName
        If there is none.

    Examples
    --------
    >>> precision_of("fp8-mx").operand_bytes
    1.03125
    """
    if name not in PRECISIONS:
        raise UnknownName.among("precision", name, PRECISIONS)
    return PRECISIONS[name]
