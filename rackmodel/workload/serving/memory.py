"""Bytes of HBM that serving needs: weights of a rank, KV cache and states of a sequence.

In:  a job, a worker, tokens.
Out: bytes by what they are for; the most sequences that fit; bytes in host memory.
Left out: fragmentation beyond the share that is kept free.
"""

from __future__ import annotations

import math
from functools import lru_cache

from rackmodel.workload.blocks import Block
from rackmodel.workload.cache import cache_bytes
from rackmodel.workload.serving.job import ServingJob, Worker
from rackmodel.workload.serving.layers import STATE_BYTES
from rackmodel.workload.serving.load import experts_here

# Of HBM. The stacks take 0.9 by default (gpu_memory_utilization); DeepSeek-R1 in fp8 is served on 4
# GB200, which leaves 6 GB beside its weights.
USABLE = 0.95
WORKSPACE_BYTES = 3e9  # activations, graphs, libraries (assumed)
# Layers from host memory that stand in HBM: one in use, the next one on its way.
# Source: `--offload-prefetch-step 1`, the default of vLLM and SGLang.
STAGED = 2


def weight_bytes(job: ServingJob, worker: Worker) -> float:
    """Return the bytes of weights on one rank of the fullest pipeline stage."""
    return _weight_bytes(job.shape, worker)


@lru_cache(maxsize=1024)
def _weight_bytes(job: ServingJob, worker: Worker) -> float:
    """The same of a job without what its weights do not depend on."""
    model, over = job.model, worker.heads_over
    total = sum(_block_bytes(job, worker, block) for block in model.blocks)
    if job.mtp:
        drafting = [_block_bytes(job.drafting, worker, block) for block in model.mtp_blocks]
        total += sum(drafting) * min(job.mtp, model.mtp_layers)
    ends = model.embedding_parameters * (1 if model.tied else 2) * 2.0 / over
    away = host_bytes(job, worker)
    staged = min(away, STAGED * max(_movable_bytes(job, worker))) if away else 0.0
    return total / worker.pp + ends - away + staged


def host_bytes(job: ServingJob, worker: Worker) -> float:
    """Return the bytes of a rank's weights that stand in host memory."""
    share = worker.weights_offload
    return share * sum(_movable_bytes(job, worker)) / worker.pp if share else 0.0


def _movable_bytes(job: ServingJob, worker: Worker) -> list[float]:
    """Return what each layer of a rank may have in host memory: experts, or else all weights."""
    held = _expert_bytes if job.model.experts else _block_bytes
    return [held(job, worker, block) for block in job.model.blocks]


def _expert_bytes(job: ServingJob, worker: Worker, block: Block) -> float:
    """Return the bytes of one layer's experts on a rank."""
    model = job.model
    if block.feed != "moe":
        return 0.0
    expert = model.feed_parameters(block, experts=1) - model.feed_parameters(block, experts=0)
    cut = worker.tp / worker.ep
    return expert * experts_here(job, worker) / cut * job.format.experts.bytes


def _block_bytes(job: ServingJob, worker: Worker, block: Block) -> float:
    """Return the bytes of one layer's weights on a rank."""
    model, form, over = job.model, job.format, worker.heads_over
    latent = form.latent if model.mla is not None and form.latent else form.attention
    total = model.mixer_parameters(block) * latent.bytes / over
    if block.attends and model.mla is not None and form.latent_out:
        narrower = latent.bytes - form.latent_out.bytes
        total -= model.hidden * model.heads * model.mla.v_dim * narrower / over
    if block.feed == "dense":
        total += model.feed_parameters(block) * form.feed.bytes / over
    elif block.feed == "moe":
        total += model.feed_parameters(block, experts=0) * form.feed.bytes / over
    return total + _expert_bytes(job, worker, block)


def sequence_bytes(job: ServingJob, worker: Worker, tokens: float) -> float:
    """Return what a sequence with so many tokens keeps on one rank that runs its attention."""
    kept = cache_bytes(
        job.model,
        tokens,
        tp=worker.heads_over,
        element_bytes=job.kv_bytes,
        state_bytes=STATE_BYTES,
    )
    return kept / worker.pp


def cache_room_bytes(job: ServingJob, worker: Worker, hbm_bytes: float) -> float:
    """Return what the weights leave of a rank's HBM to the cache; below 0 if they do not fit."""
    return USABLE * hbm_bytes - weight_bytes(job, worker) - WORKSPACE_BYTES


def most_sequences(job: ServingJob, worker: Worker, hbm_bytes: float, tokens: float) -> int:
    """Return how many sequences of so many tokens one worker holds; below 0: not even weights."""
    room = cache_room_bytes(job, worker, hbm_bytes)
    if room <= 0:
        return -1
    each = sequence_bytes(job, worker, tokens)
    ranks = worker.tp if worker.dp_attention else 1
    return math.floor(room / each) * ranks if each > 0 else 10**9
