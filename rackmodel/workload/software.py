"""What a software family does where a plan is silent: gradients, attention kernel, stored weights.

In:  the `stack` of a job ("megatron-bridge-26.04", "titan", "default").
Out: `Software`, by the longest family name that the stack begins with.
Left out: how fast its kernels are (kernel times), single releases.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Software:
    """Habits of a family of training software, from its documentation and default settings."""

    gradients: str = "fp32"  # accumulation and reduction
    attention: str = "fused"
    master_bytes: int = 4  # fp32 master weights; 0 where the optimizer works on what is stored
    shard_bytes: int = 4  # a sharded weight under zero3 (it is the master)
    allocator_slack: float = 0.03  # of activations and buffers: blocks that don't fit together
    fixed_bytes: float = 4e9  # CUDA context, NCCL buffers, workspaces
    sequence_parallel: bool = True  # has it at all (Megatron since mid 2022)
    selective: tuple[str, ...] = ("core_attn",)  # what "selective" recompute means here
    logit_bytes: float = 6.0  # kept per logit: bf16 logits, fp32 softmax
    narrow_activation_input: bool = False  # fp8 training keeps the input of GELU or SwiGLU in fp8
    gathered_share: float = 1.0  # of a sharded layer: what is whole at one time under zero3
    early_stop: bool = False  # recompute ends with the last tensor that the backward pass reads


_FAMILIES: dict[str, Software] = {
    "default": Software(),
    # accumulate_allreduce_grads_in_fp32; fused softmax, no flash attention before 2022.
    # The 2020 release reduced gradients as they were (--fp32-allreduce came off by default).
    "mlm-2020": Software(gradients="bf16", attention="unfused", sequence_parallel=False),
    "mlm-a100": Software(attention="unfused", sequence_parallel=False),
    "megatron-deepspeed": Software(attention="unfused", sequence_parallel=False),
    "bloom": Software(attention="unfused", sequence_parallel=False),
    # grad_reduce_in_fp32 = False in the bf16_mixed and fp8 recipes.
    "nemo": Software(gradients="bf16"),
    "megatron-bridge": Software(gradients="bf16"),
    # MLPerf submissions on NeMo: activation_func_fp8_input_store.
    "mlperf": Software(gradients="bf16", narrow_activation_input=True),
    "moezoo": Software(),
    # FSDP2: sharded fp32 weights are the masters; reduce in fp32. "selective" saves every second
    # matrix product and the attention output; the loss is PyTorch's (fp32 logits and their
    # log-softmax). Non-reentrant checkpoints of PyTorch stop early (torch.utils.checkpoint,
    # set_checkpoint_early_stop, default True); Megatron's own run the whole layer again.
    "titan": Software(selective=("alternate",), logit_bytes=8.0, early_stop=True),
    "automodel": Software(gradients="bf16", early_stop=True),
    "fms": Software(gradients="bf16", early_stop=True),
    # Composer "PURE" mixed precision: gradients reduced and kept as the weights are.
    "mpt": Software(gradients="bf16", early_stop=True),
    # XLA removes what a rematerialised layer computes for nobody, gathers a sharded layer matrix by
    # matrix (about a third of it at a time) and plans memory ahead, with no context beside it.
    "maxtext": Software(
        gradients="bf16",
        early_stop=True,
        gathered_share=1 / 3,
        fixed_bytes=1e9,
        logit_bytes=2.0,
        allocator_slack=0.02,
    ),  # fmt: skip
}

_JAX = ("maxtext", "trillium", "ironwood", "v5p", "v5e", "v6e", "v7x", "tpu", "jax", "pax")


def software_of(stack: str) -> Software:
    """Return the habits of a stack; an unknown family gets the defaults (Megatron-Core's).

    Examples
    --------
    >>> software_of("megatron-bridge-26.04").gradients
    'bf16'
    """
    if stack.startswith(_JAX) or (stack.startswith("mlperf") and "google" in stack):
        return _FAMILIES["maxtext"]
    families = [name for name in _FAMILIES if stack.startswith(name)]
    return _FAMILIES[max(families, key=len, default="default")]
