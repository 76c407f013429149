"""How long attention takes: fused kernels, or the unfused one with its softmax through HBM.

In:  the shape of the attention, the efficiency that its generation of kernels reaches on long
     sequences.
Out: seconds of one launch.
Left out: dropout, masks other than causal and sliding window; the scores of unfused attention in
    HBM capacity.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rackmodel.errors import InvalidInput

Shape = tuple[float, float, float, float, float, float, float, bool, float]


def read_shape(shape: tuple[int, ...]) -> Shape:
    """Return (batch, heads, kv_heads, q_len, kv_len, qk_dim, v_dim, causal, window).

    Window 0 is none.
    """
    if len(shape) < 8:
        raise InvalidInput(
            "an attention kernel has to have a shape of 9 (batch, heads, kv_heads, q_len,"
            " kv_len, qk_dim, "
            f"v_dim, causal, window), not {shape}"
        )
    window = float(shape[8]) if len(shape) > 8 and shape[8] else 0.0
    b, h, kv, q, k, d, v = (float(x) for x in shape[:7])
    return b, h, kv, q, k, d, v, bool(shape[7]), window


def keys_per_query(q_len: float, kv_len: float, causal: bool, window: float) -> float:
    """Return how many keys a query looks at, on average.

    >>> keys_per_query(4, 4, True, 0), keys_per_query(4, 4, False, 0), keys_per_query(8, 8, True, 2)
    (2.5, 4, 1.875)
    """
    if causal and q_len <= kv_len:
        seen = kv_len - (q_len - 1.0) / 2.0
        if window and window < kv_len:
            # The first `window` queries see fewer keys than the window, all later ones see it
            # whole.
            ramp = max(0.0, window - (kv_len - q_len) - 1.0)
            seen = window - ramp * (ramp + 1.0) / 2.0 / q_len
        return seen
    return min(kv_len, 2.0 * window) if window else kv_len


def fused_efficiency(
    shape: Shape,
    long_efficiency: float,
    constants: Mapping[str, Any],
    backward: bool,
    generation: str = "flash4",
    gain: float = 1.0,
) -> float:
    """Return the fraction of the bf16 peak that a fused kernel of a generation reaches on a shape.

    gain : speed of its products against bf16. The exponentials between them gain nothing.
    """
    _, _, _, _, kv_len, qk_dim, v_dim, causal, window = shape
    half = constants["causal_length"] if causal else constants["half_length"]
    span = min(kv_len, max(window, 128.0)) if window else kv_len
    dim = (qk_dim + v_dim) / 2.0
    half_dim = constants["head_dim"][generation]
    head = gain / (1.0 + gain * (half_dim / dim) ** 2)
    reference = 1.0 / (1.0 + (half_dim / 128.0) ** 2)
    return float(
        long_efficiency
        * (constants["backward_of"].get(generation, constants["backward"]) if backward else 1.0)
        * head
        / reference
        / (1.0 + half / span)
        # efficiency is quoted at 16k keys, causal
        * (1.0 + constants["causal_length"] / 16384.0)
    )


def unfused_s(
    shape: Shape,
    *,
    peak_flops_per_s: float,
    hbm_bytes_per_s: float,
    constants: Mapping[str, Any],
    backward: bool,
) -> float:
    """Return the time of attention by batched products and a softmax that goes through HBM. [s]

    The products run over all keys, masked or not.
    """
    batch, heads, _, q_len, kv_len, qk_dim, v_dim, _, _ = shape
    scores = batch * heads * q_len * kv_len
    flops = 2.0 * scores * (qk_dim + v_dim) * (2.0 if backward else 1.0)
    passes = constants["score_passes"] * (2.0 if backward else 1.0)
    return float(
        flops / peak_flops_per_s
        + 2.0 * passes * scores / hbm_bytes_per_s
        + (8 if backward else 4) * constants["start_s"]
    )
