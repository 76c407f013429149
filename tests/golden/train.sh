#!/bin/bash
# What a Megatron-LM run of a 13B model is launched with; read by megatron_script.py, never run.
TP=2
PP=${PP:-4}
torchrun --nproc_per_node 8 --nnodes 8 pretrain_gpt.py \
    --tensor-model-parallel-size $TP --pipeline-model-parallel-size $PP --sequence-parallel \
    --num-layers 40 --hidden-size 5120 --num-attention-heads 40 --vocab-size 50257 \
    --seq-length 2048 --max-position-embeddings 2048 \
    --micro-batch-size 1 --global-batch-size 256 --bf16 --use-distributed-optimizer
