"""The steps at the two ends of a model: embedding, head with loss, prediction of more tokens.

In:  local sizes.
Out: `Step`s; parameters of one tensor-parallel rank.
Left out: the reduction of tied embeddings between first and last stage (`data_parallel`).
"""

from __future__ import annotations

from math import ceil

from rackmodel.software import Software, software_of
from rackmodel.workload.job import Job
from rackmodel.workload.kernels import ELEMENT, Local, Work, linear, moving, norm
from rackmodel.workload.parts import column_comm, row_comm
from rackmodel.workload.steps import Comm, Step
from rackmodel.workload.variant_steps import joining_steps


def local_vocab(job: Job) -> int:
    """Vocabulary of one tp rank: padded to whole multiples, as its software does."""
    multiple = software_of(job.stack).vocab_multiple
    return ceil(job.model.vocab / (multiple * job.plan.tp)) * multiple


def embedding_parameters(local: Local) -> float:
    """Parameters of the token embedding on one tp rank."""
    return float(local_vocab(local.job) * local.model.hidden)


def embedding_steps(local: Local) -> list[Step]:
    """Look up the tokens, add positions, share the sum out over tp."""
    model = local.model
    out = local.tokens * model.hidden * ELEMENT
    learned = model.learned_positions * model.hidden
    # Backward: sort, then add rows into fp32 gradients.
    launches = (2.0 if learned else 1.0, 3.0)
    steps = [
        Step(
            name="embedding",
            kind="row",
            work=moving("embedding", (out, out), (out + 2 * out, 2 * out), launches=launches),
            comm=row_comm(local, "embedding"),
            saved_bytes=local.tokens_sp * model.hidden * (1.0 if model.dropout else 0.0),
            parameters=embedding_parameters(local) + learned,
        )
    ]
    if model.embedding_norm:
        steps.append(
            Step(
                name="embedding_norm",
                work=norm(local, local.tokens_sp, model.hidden),
                saved_bytes=local.tokens_sp * model.hidden * ELEMENT,
            )
        )
    return steps


def head_steps(local: Local, *, own_matrix: bool) -> list[Step]:
    """Final norm, logits, cross-entropy over the split vocabulary.

    Logits are in the base format, or in that of the layers with `Plan.fp8_head`: their operands and
    gradient are cast then, what leaves is in 16 bits as before (TELMHeadColumnParallelLinear in
    Megatron-Core).

    own_matrix : the head's weights are parameters of this rank (untied, or tied on another rank).
    """
    model = local.model
    vocab = local_vocab(local.job)
    # Of a loss in chunks, one part's logits at a time are there where the head is in it too.
    software, chunks = software_of(local.job.stack), local.plan.loss_chunks
    heads = chunks if software.head_in_chunks else 1
    logits = local.tokens * vocab / chunks
    shape, wide = (local.tokens / heads, vocab, model.hidden), not local.plan.fp8_head
    head = linear(local, "head", shape, wide=wide)
    steps = [
        *joining_steps(local),
        Step(
            name="final_norm",
            work=norm(local, local.tokens_sp, model.hidden),
            saved_bytes=2 * local.tokens_sp * model.hidden * ELEMENT,
            parameters=float(model.norm_parameters),
        ),
        Step(
            name="head",
            kind="column",
            comm=column_comm(local, "head"),
            work=_times(head, heads),
            saved_bytes=local.tokens * vocab / heads * ELEMENT,
            parameters=float(vocab * model.hidden) if own_matrix else 0.0,
        ),
    ]
    if local.plan.tp > 1:
        for name, values in (("loss_max", 1.0), ("loss_sum", 2.0)):
            reduce = Comm(
                name=name,
                axis="tp",
                forward="all-reduce",
                backward=None,
                bytes=4.0 * values * local.tokens,
            )
            steps.append(Step(name=name, comm=reduce))
    steps.append(
        Step(
            name="cross_entropy",
            # fp32 logits in and out of the softmax, kept in fp32 for backward.
            work=_times(
                moving(
                    "cross_entropy",
                    ((ELEMENT + 8) * logits, 8 * logits),
                    (4 * logits, ELEMENT * logits),
                    launches=(6.0, 2.0),
                ),
                chunks,
            ),
            saved_bytes=_loss_bytes(software, chunks) * local.tokens * vocab / heads,
            gradient_bytes=_loss_gradient_bytes(software, chunks) * local.tokens * vocab / heads,
        )
    )
    return steps


def _loss_bytes(software: Software, chunks: int) -> float:
    """Bytes that a loss keeps per logit beside the logits; as many again come while it runs."""
    beside = software.logit_bytes - ELEMENT
    if chunks == 1 or software.head_in_chunks or not beside:
        return beside
    # The log-softmax of all parts and one part in fp32 (4 + 4 / chunks) beside whole logits, in
    # whose room the gradients then fit part by part.
    return 2.0 + 2.0 / chunks


def _loss_gradient_bytes(software: Software, chunks: int) -> float:
    """Bytes per logit that come while the loss runs backward.

    In place, the gradient takes the room of the softmax, and a copy in two bytes leaves for the
    head (Megatron-Core, tensor_parallel/cross_entropy.py); else as many as the loss keeps.
    """
    kept = _loss_bytes(software, chunks)
    return min(kept, ELEMENT) if software.loss_in_place else kept


def _times(work: Work, count: int) -> Work:
    """Every kernel that many times."""
    if count == 1:
        return work
    parts = (work.forward, work.backward, work.weight)
    return Work(*(tuple(k._replace(count=k.count * count) for k in part) for part in parts))


def mtp_entry_steps(local: Local) -> list[Step]:
    """What joins the hidden state and the next token's embedding before an MTP layer.

    Each has a matrix of its own; of several residual streams each passes that of the hidden state
    (DeepSeek-V4, the code beside its weights).
    """
    model, tokens, parts = local.model, local.tokens_sp, 1 + local.model.streams
    size = tokens * model.hidden * ELEMENT
    return [
        Step(
            name="mtp_embedding",
            work=moving("embedding", (size, size), (3 * size, 2 * size), launches=(1.0, 3.0)),
        ),
        Step(
            name="mtp_norms",
            work=norm(local, tokens, parts * model.hidden),
            saved_bytes=2 * parts * size,
            parameters=2.0 * model.norm_parameters,
        ),
        Step(
            name="mtp_join",
            work=linear(local, "mtp_join", (tokens, model.hidden, parts * model.hidden)),
            parameters=2.0 * model.hidden * model.hidden,
        ),
    ]
