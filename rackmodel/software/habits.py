"""What a software family does where a plan is silent: gradients, attention kernel, stored weights.

In:  the `stack` of a job ("megatron-bridge-26.04", "titan", "default").
Out: `Software`, by the longest family name that the stack begins with.
Left out: how fast its kernels are (kernel times), single releases.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Software:
    """Habits of a family of training software, from its documentation and default settings.

    `prints` says what the memory figure in its logs counts: "allocated" (tensors at their peak),
    "reserved" (what the allocator holds, with what it can't reuse), or "device" (all of it, with
    context and communicators, as nvidia-smi shows).
    """

    gradients: str = "fp32"  # accumulation and reduction
    gradient_copy_bytes: float = 0.0  # per parameter, kept beside those gradients
    attention: str = "fused"
    master_bytes: int = 4  # fp32 master weights; 0 where the optimizer works on what is stored
    shard_bytes: int = 4  # a sharded weight under zero3 (it is the master)
    shard_gradient_bytes: float = 0.0  # per updated parameter: gradients copied for the update
    allocator_slack: float = 0.03  # of activations and buffers: blocks that don't fit together
    fixed_bytes: float = 4e9  # CUDA context, NCCL buffers, workspaces
    bucket_bytes: float = 0.0  # communication buffers that are always there
    sequence_parallel: bool = True  # has it at all (Megatron since mid 2022)
    selective: tuple[str, ...] = ("core_attn",)  # what "selective" recompute means here
    logit_bytes: float = 6.0  # kept per logit: bf16 logits, fp32 softmax
    narrow_activation_input: bool = False  # fp8 training keeps the input of GELU or SwiGLU in fp8
    gathered_share: float = 1.0  # of a sharded layer: what is whole at one time under zero3
    both_ways: bool = (
        False  # overlapped products take two shards at a time, one from each neighbour
    )
    early_stop: bool = False  # recompute ends with the last tensor that the backward pass reads
    prints: Literal["allocated", "reserved", "device"] = "device"


_MEGATRON_DEEPSPEED = Software(
    # fp16 (or bf16) gradients; ZeRO-1 copies those of its partition to fp32 beside a flat 16-bit
    # copy; reduce_bucket_size and allgather_bucket_size of 5e8 elements, two of the first with
    # overlap_comm. No expandable segments before PyTorch 2.1: the slack is assumed, and large.
    attention="unfused",
    sequence_parallel=False,
    gradients="bf16",
    shard_gradient_bytes=6.0,
    bucket_bytes=3 * 2 * 5e8,
    allocator_slack=0.12,
)

_FAMILIES: dict[str, Software] = {
    "default": Software(),
    # accumulate_allreduce_grads_in_fp32; fused softmax, no flash attention before 2022.
    # The 2020 release reduced gradients as they were (--fp32-allreduce came off by default).
    "mlm-2020": Software(gradients="bf16", attention="unfused", sequence_parallel=False),
    "mlm-a100": Software(attention="unfused", sequence_parallel=False),
    "megatron-deepspeed": _MEGATRON_DEEPSPEED,
    # DeepSpeed's BF16_Optimizer (runtime/bf16_optimizer.py) accumulates whole fp32 gradients beside
    # the bf16 ones; the prequel ran before it was written.
    "bloom": replace(_MEGATRON_DEEPSPEED, gradients="fp32", gradient_copy_bytes=2.0),
    "bloom-prequel": _MEGATRON_DEEPSPEED,
    # grad_reduce_in_fp32 = False in the bf16_mixed and fp8 recipes.
    "nemo": Software(gradients="bf16"),
    "megatron-bridge": Software(gradients="bf16"),
    # MLPerf submissions on NeMo: activation_func_fp8_input_store. What their memory figure counts
    # is not said; allocated tensors fit it (assumed).
    "mlperf": Software(gradients="bf16", narrow_activation_input=True, prints="allocated"),
    "moezoo": Software(),
    # FSDP2: sharded fp32 weights are the masters; reduce in fp32. "selective" saves every second
    # matrix product and the attention output; the loss is PyTorch's (fp32 logits and their
    # log-softmax). Logs print torch.cuda's max_reserved. Non-reentrant checkpoints of PyTorch stop
    # early (torch.utils.checkpoint, set_checkpoint_early_stop, default True); Megatron's own run
    # the whole layer again.
    "titan": Software(
        selective=("alternate",), logit_bytes=8.0, early_stop=True, prints="reserved"
    ),
    # Of June 2025: the loss is compiled, so that no fp32 copy of the logits is kept.
    "titan-h200": Software(
        selective=("alternate",), logit_bytes=2.0, early_stop=True, prints="reserved"
    ),
    "automodel": Software(gradients="bf16", early_stop=True),
    "fms": Software(gradients="bf16", early_stop=True),
    # Composer "PURE" mixed precision: gradients reduced and kept as the weights are.
    "mpt": Software(gradients="bf16", early_stop=True),
    # XLA removes what a rematerialised layer computes for nobody, gathers a sharded layer matrix by
    # matrix (about a third of it at a time) and plans memory ahead, with no CUDA context beside it
    # (assumed). Its collective products run round the ring both ways (Wang et al., "Overlap
    # Communication with Dependent Computation via Decomposition", ASPLOS 2023).
    "maxtext": Software(
        gradients="bf16",
        early_stop=True,
        both_ways=True,
        gathered_share=1 / 3,
        fixed_bytes=1e9,
        logit_bytes=2.0,
        allocator_slack=0.02,
    ),
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
