"""Software of your own: a family with its habits.

    rackmodel --extend examples/extend/software.py simulate dgx-h100 --model llama2-13b --gpus 16 \
        --global-batch 32 --stack acme-trainer-2025-10
    rackmodel --extend examples/extend/software.py list stacks
"""

from rackmodel import extend

extend.software(
    "acme-trainer",
    aliases=["acme-trainer"],
    like="torchtitan",  # FSDP with PyTorch's kernels at its date
    gradients="bf16",  # reduced as they are
    logit_bytes=2.0,  # its loss is fused
)
