"""Words that a plan or a job may choose among, and what some of them stand for.

In:  nothing.
Out: one tuple a field; `WITHIN`, `OPTIMIZERS`; `AcceleratorLike`: what is asked of the machine.
Left out: schedules and number formats, which register themselves.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

SHARDINGS = ("none", "zero1", "zero2", "zero3", "hsdp")
SPLIT = (
    "What replicas split: zero1 optimizer states, zero2 gradients too, zero3 weights too; "
    "hsdp: as zero3 within copies of shard_size ranks."
)
SHARDED = ("zero3", "hsdp")  # of these, weights too
IN_COPIES = ("zero1", "hsdp")  # which may be cut over a part of the replicas (shard_size)
RECOMPUTES = ("none", "selective", "full")
CP_METHODS = ("ring", "all-gather", "all-to-all")
RANK_ORDERS = ("tp-cp-ep-dp-pp", "tp-cp-ep-pp-dp")
DISPATCHERS = ("all-to-all", "deepep", "all-gather")
OFFLOADS = ("optimizer", "activations", "parameters")
TOKEN_ROUTINGS = ("dropless-balanced", "dropless-skewed", "drop")

# A part that runs again takes its activation function along; "alternate" (torchtitan's) all cheap.
WITHIN = {
    "layernorm": ("norm",),  # Megatron's word for norm
    "mlp": ("act",),
    "moe": ("moe_act",),
    "alternate": ("norm", "act", "moe_act"),
}
RECOMPUTE_MODULES = (*WITHIN, "core_attn", "norm", "act", "moe_act", "mla_up_proj")

# Parts of a model that can be frozen, and those whose linear layers can have adapters (LoRA); the
# first two have them unless others are named.
FROZEN_PARTS = ("embedding", "attention", "mlp", "router", "experts", "norms", "head")
LORA_TARGETS = ("attention", "mlp", "experts")

# Of those that keep less: what embedding and head have, which AdamW updates.
OUTSIDE_LAYERS = {"muon": 8.0}
# Bytes of state that an optimizer keeps of a parameter beside the master weight.
OPTIMIZERS = {
    "adam": 8.0,  # two fp32 moments
    "adam-bf16": 4.0,  # two bf16 moments; arXiv:2412.19437, 3.3.3; Megatron's --exp-avg-dtype
    "adam-8bit": 2.0 + 2 * 4.0 / 256,  # two of a byte, scales by block; arXiv:2110.02861, 2.1
    "lion": 4.0,  # one fp32 momentum; arXiv:2302.06675, algorithm 2
    "sgd": 4.0,  # one fp32 momentum
    "muon": 4.0,  # one fp32 momentum of the matrices of layers; arXiv:2502.16982, section 2.3
}
NARROW_STATE = ("adam-bf16", "adam-8bit")  # whose state has its own format, whatever the software


def run_again(modules: Collection[str], *, by_tensor: bool) -> frozenset[str]:
    """Return all modules that run again with those named.

    by_tensor : what is kept is told by the names of tensors, which experts share with dense layers.

    >>> sorted(run_again(("mlp",), by_tensor=True))
    ['act', 'mlp', 'moe', 'moe_act']
    """
    of_experts = {"act": "moe_act", "mlp": "moe"} if by_tensor else {}
    wanted = {*modules, *(of_experts[module] for module in modules if module in of_experts)}
    return frozenset(wanted).union(*(WITHIN.get(module, ()) for module in wanted))


class AcceleratorLike(Protocol):
    """What a job asks of an accelerator (rackmodel.hardware.Accelerator has it all)."""

    @property
    def family(self) -> str:
        """Its architecture, which software has kernels for."""

    @property
    def year(self) -> int:
        """Since when there are any."""

    @property
    def fp8_either_orientation(self) -> bool | None:
        """Whether its fp8 products read operands along either side."""

    @property
    def fused_attention(self) -> bool | None:
        """False: nobody wrote kernels of fused attention for it."""
