"""Formats in which a model's weights and its KV cache are served.

In:  the word of a user.
Out: `WeightFormat`: bytes and arithmetic of attention, of feed-forward parts, of experts.
Left out: what a format does to answers.
"""

from __future__ import annotations

from dataclasses import dataclass

from rackmodel.errors import UnknownName


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One kind of weights: bytes of each with its scales, the format that it is multiplied in."""

    bytes: float
    arithmetic: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFormat:
    """What published checkpoints of a format hold: attention, dense parts, routed experts."""

    name: str
    attention: Stored
    feed: Stored
    experts: Stored
    latent: Stored | None = None  # attention of models with a latent cache, where unlike
    latent_out: Stored | None = None  # its output projection, where unlike
    drafts: str = ""  # the format of layers that draft tokens, where unlike


_BF16 = Stored(bytes=2.0, arithmetic="bf16")
_FP8 = Stored(bytes=1.0, arithmetic="fp8")
_INT8 = Stored(bytes=1.0, arithmetic="int8")
# A scale of 8 bits for 16 (nvfp4) and 32 elements (mxfp4). Source: OCP MX 1.0; NVIDIA's NVFP4.
_NVFP4 = Stored(bytes=0.5 + 1 / 16, arithmetic="nvfp4")
# 4 bits times activations of 8: the units run them as fp8 (gpt-oss: mxfp4 times mxfp8).
_MXFP4 = Stored(bytes=0.5 + 1 / 32, arithmetic="fp8-mxfp4")

WEIGHT_FORMATS = {
    one.name: one
    for one in (
        WeightFormat(name="bf16", attention=_BF16, feed=_BF16, experts=_BF16),
        WeightFormat(name="fp8", attention=_FP8, feed=_FP8, experts=_FP8),
        WeightFormat(name="int8", attention=_INT8, feed=_INT8, experts=_INT8),
        # NVIDIA's DeepSeek-R1-0528-FP4-v2 leaves attention in bf16, but for its output projection;
        # Llama's has every layer in nvfp4. Layers that draft stay bf16 (`model.layers.61*` of
        # hf_quant_config.json; vllm-project/vllm pull request 25987).
        WeightFormat(
            name="nvfp4",
            attention=_NVFP4,
            feed=_NVFP4,
            experts=_NVFP4,
            latent=_BF16,
            latent_out=_NVFP4,
            drafts="bf16",
        ),
        WeightFormat(name="mxfp4", attention=_BF16, feed=_BF16, experts=_MXFP4),  # as gpt-oss
    )
}
KV_BYTES = {"bf16": 2.0, "fp8": 1.0, "int8": 1.0, "nvfp4": 0.5 + 1 / 16}
DISPATCH_BYTES = {"bf16": 2.0, "fp8": 1.0, "int8": 1.0, "nvfp4": 0.5 + 1 / 16}


def weight_format(name: str) -> WeightFormat:
    """Return a format of weights.

    >>> weight_format("nvfp4").experts.bytes
    0.5625

    Raises
    ------
    UnknownName
    """
    UnknownName.check("format of weights", name, WEIGHT_FORMATS)
    return WEIGHT_FORMATS[name]
