"""Software of your own: what it is like, and what it does otherwise.

Run it:  rackmodel --extend my-stack.py simulate dgx-h100 --model llama3-8b --gpus 64 --global-batch
64 \
             --stack my-stack-2026-01
"""

from rackmodel import extend

extend.software(
    "my-stack",
    aliases=["my-stack"],  # words that name it in --stack
    like="megatron",  # the family whose row this one begins with: `rackmodel list stacks`
    gradients="bf16",  # accumulation and reduction of gradients: fp32 or bf16
    # logit_bytes=2.0,  # bytes of a logit that the loss keeps; a fused loss keeps fewer
    # bucket_bytes=100e6,  # a bucket of gradients
)
