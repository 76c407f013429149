"""The operations of one layer of a serving step: kernels with FLOPs and bytes, exchanges.

In:  a job, a worker, the load of a step.
Out: operations of a layer, of the embedding and of the head.
Left out: order of layers (`programs`), seconds.

Kernels that only move activations are written as the stacks fuse them: norms with the residual,
rotary with the write into the cache, activation functions with what follows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from rackmodel.workload.blocks import Block
from rackmodel.workload.kernels import ELEMENT, elementwise
from rackmodel.workload.mixers import Recurrent
from rackmodel.workload.operations import Collective, CollectiveOp, Compute, Kernel, Operation, Role
from rackmodel.workload.serving.formats import DISPATCH_BYTES
from rackmodel.workload.serving.job import ServingJob, Worker
from rackmodel.workload.serving.load import PLAIN, Load, Ways, busiest, domains_reached, hit_experts
from rackmodel.workload.serving.products import DEEP_GEMM, MXFP4, NVFP4, WIDE, grouped, product

STATE_BYTES = 4.0  # of an element of a state-space layer's state: fp32


@dataclass(slots=True)
class LayerWriter:
    """Writes the operations of a step's layers on one rank."""

    job: ServingJob
    worker: Worker
    load: Load
    ways: Ways = PLAIN
    staged: bool = False  # parts of layers are told apart, shared experts run after tokens are sent
    operations: list[Operation] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    _kernels: list[Kernel] = field(default_factory=list)

    @property
    def own(self) -> Load:
        """The load of one rank's attention."""
        return self.load.on_rank(self.worker)

    def run(self, *kernels: Kernel) -> None:
        """Add kernels to those that follow one another without waiting."""
        self._kernels += kernels

    def small(self, name: str, elements: float, count: int = 1) -> None:
        """Add a kernel that reads and writes so many activations."""
        moved = elements * ELEMENT
        for _ in range(count):
            self.run(elementwise(name, moved, moved))

    def exchange(self, name: str, op: CollectiveOp, axis: str, size: float, role: Role) -> None:
        """End the run of kernels, exchange bytes."""
        self.flush()
        if size > 0:
            self.operations.append(
                Collective(
                    name=name,
                    op=op,
                    axis=axis,
                    bytes=float(round(size)),
                    phase="forward",
                    role=role,
                )
            )

    def flush(self) -> None:
        """End a run of kernels."""
        if self._kernels:
            self.operations.append(
                Compute(name="kernels", phase="forward", kernels=tuple(self._kernels))
            )
            self._kernels = []

    def cut(self) -> None:
        """End a part of a layer."""
        if self.staged:
            self.flush()
            self.cuts.append(len(self.operations))

    def layer(self, block: Block) -> None:
        """Write a whole layer."""
        kind = self.job.model.recurrent(block)
        if block.mixer != "none":
            self._streams()
        if block.attends:
            self._attention(block)
        if block.use:
            self._after_shared()
        if kind is not None:
            self._state(kind)
        if block.feed != "none":
            self._streams()
        if block.feed == "dense":
            self._dense()
        elif block.feed == "moe":
            self._experts()
        self.flush()

    def _streams(self) -> None:
        """Residual streams read and written around a sub-layer."""
        model = self.job.model
        if model.streams > 1:
            self.small("streams", self.own.tokens * model.hidden * model.streams, 3)

    def _after_shared(self) -> None:
        """The feed-forward part of a shared block with its adapter, and the layer's projection."""
        model, t, form = self.job.model, self.own.tokens, self.job.format.feed
        shared = model.shared_block
        assert shared is not None
        self._dense()
        self.run(product("adapter_down", (t, shared.adapter_rank, model.hidden), form))
        up = 2 * model.ffn / self.worker.heads_over
        self.run(product("adapter_up", (t, up, shared.adapter_rank), form))
        self.run(product("shared_out", (t, model.hidden, model.hidden), form))

    def _norm(self) -> None:
        """The norm of a sub-layer with the residual, where no sum has taken it along."""
        fused = self.ways.fused and not self.load.prompts
        if not fused or self.worker.heads_over == 1:
            self.small("norm", self.own.tokens * self.job.model.hidden)

    def _sum(self, name: str) -> None:
        """Add the parts of all ranks of a worker."""
        if self.worker.heads_over > 1:
            size = self.load.tokens * self.job.model.hidden * ELEMENT
            self.exchange(name, "all-reduce", "tp", size, Role.FORWARD)

    def _attention(self, block: Block) -> None:
        model, own, tp = self.job.model, self.own, self.worker.heads_over
        form, h = self.job.format.attention, model.hidden
        t = own.tokens
        self._norm()
        wide = model.heads_of(block)
        heads = wide.heads / tp
        if block.index == "own":
            self._indexer()
        if model.mla is not None:
            self._latent(block, model.heads / tp)
        else:
            kv_heads = max(1.0, wide.kv_heads / tp)
            keys, values = wide.head_dim, wide.value_dim
            row = kv_heads * wide.kept_width
            stored = kv_heads * wide.kv_width / wide.kv_heads
            query = wide.query_width / tp
            if wide.q_rank:
                self.run(product("q_down", (t, wide.q_rank, h), form))
                self.run(product("q_up", (t, query, wide.q_rank), form))
                query = 0.0
            stored += model.compressed_columns(block)
            into = h * (2 if block.use else 1)  # beside the embedding
            self.run(product("qkv", (t, query + stored, into), form))
            self.small("rotary", t * (heads * keys + row))
            self._cores(block, heads, kv_heads, (keys, values), row)
            inner = heads * values
            if wide.out_rank:
                groups = wide.out_groups / tp
                self.run(product("out_down", (t, wide.out_rank, inner / groups), form, groups))
                inner = groups * wide.out_rank
            self.run(product("proj", (t, h, inner), form))
        self._sum("attention")

    def _latent(self, block: Block, heads: float) -> None:
        """Attention over a latent cache, its projections absorbed (DeepSeek-V2, section 2.1.2)."""
        model, own = self.job.model, self.own
        a, t, h = model.mla, own.tokens, model.hidden
        assert a is not None
        form = self.job.format.latent or self.job.format.attention
        down = a.q_lora + a.kv_lora + a.qk_rope
        self.run(product("down", (t, down, h), form))
        self.small("norm", t * down)
        self.run(product("q_up", (t, heads * a.qk_dim, a.q_lora or h), form))
        self.small("rotary", t * heads * a.qk_dim)
        decoding = own.sequences * own.drafted
        if decoding:
            self.cut()
            self.run(product("k_absorbed", (decoding, a.kv_lora, a.qk_nope), WIDE, heads))
            latent = a.kv_lora + a.qk_rope
            self.run(self._decode(block, heads, 1.0, (latent, a.kv_lora), float(latent)))
            self.run(product("v_absorbed", (decoding, a.v_dim, a.kv_lora), WIDE, heads))
        if own.prompts:
            tokens = own.prompts * (own.piece + own.before)
            self.run(product("kv_up", (tokens, heads * (a.qk_nope + a.v_dim), a.kv_lora), form))
            self.run(self._prompt(block, heads, heads, (a.qk_dim, a.v_dim)))
        self.run(product("proj", (t, h, heads * a.v_dim), self.job.format.latent_out or form))

    def _cores(
        self,
        block: Block,
        heads: float,
        kv_heads: float,
        dims: tuple[int, int],
        row: float,
    ) -> None:
        self.cut()
        if self.own.sequences:
            self.run(self._decode(block, heads, kv_heads, dims, row))
        if self.own.prompts:
            self.run(self._prompt(block, heads, kv_heads, dims))

    def _decode(
        self, block: Block, heads: float, kv_heads: float, dims: tuple[int, int], row: float
    ) -> Kernel:
        """Attention of new tokens over the cache; row : cached elements of a token in a layer."""
        own = self.own
        window = 0 if block.rate else self.job.model.kept_window(block)
        span = self.job.model.seen(block, own.context)
        n, q = own.sequences, own.drafted
        seen = n * span * row * self.job.kv_bytes
        return Kernel(
            family="attention",
            name="decode_attention",
            role=Role.DECODE,
            flops=2.0 * n * q * heads * span * sum(dims),
            read_bytes=seen + n * q * heads * dims[0] * ELEMENT,
            write_bytes=n * q * heads * dims[1] * ELEMENT,
            shape=(
                *(max(1, round(n)), round(heads), round(kv_heads), q, max(1, round(span)), *dims),
                *(0, window),
            ),
            precision="fp8" if self.job.kv_bytes <= 1.0 else "bf16",
        )

    def _prompt(self, block: Block, heads: float, kv_heads: float, dims: tuple[int, int]) -> Kernel:
        """Attention of pieces of prompts over themselves and what is cached of them."""
        own = self.own
        n, q, model = own.prompts, own.piece, self.job.model
        seen = model.seen(block, own.before + q / 2.0)
        window = round(seen) if block.rate else model.kept_window(block)
        kept = model.seen(block, own.before + q) if block.rate else own.before + q
        cache = n * kept * kv_heads * (dims[0] if model.one_kv else sum(dims)) * ELEMENT
        shape = (round(n), round(heads), round(kv_heads), round(q), round(own.before + q), *dims)
        return Kernel(
            family="attention",
            name="prompt_attention",
            flops=2.0 * n * q * heads * seen * sum(dims),
            read_bytes=cache + n * q * heads * dims[0] * ELEMENT,
            write_bytes=n * q * heads * dims[1] * ELEMENT,
            shape=(*shape, 1, window),
            precision="bf16",
        )

    def _indexer(self) -> None:
        """Scores of all cached keys for each new token; each rank scores for its own queries."""
        model, own = self.job.model, self.own
        index, t = model.index, own.tokens
        assert index is not None
        form = self.job.format.latent or self.job.format.attention
        width = index.heads * index.head_dim
        self.run(product("index_query", (t, width, model.index_query), form))
        self.run(product("index_key", (t, index.key_columns + index.heads, model.hidden), form))
        scored = own.sequences * own.drafted * own.context
        scored += own.prompts * own.piece * (own.before + own.piece / 2.0)
        read = own.sequences * own.context + own.prompts * (own.before + own.piece)
        scored, read = (keys / max(1, index.rate) for keys in (scored, read))
        self.run(
            Kernel(
                family="scan",
                name="index",
                flops=scored * index.flops(1.0),
                read_bytes=read * index.head_dim,
                write_bytes=scored * ELEMENT,
            )
        )
        self.small("topk", scored)

    def _state(self, kind: Recurrent) -> None:
        """A mixer with a state: it is read and written once a step for each sequence."""
        model, own, tp = self.job.model, self.own, self.worker.heads_over
        t, h, form = own.tokens, model.hidden, self.job.format.attention
        inner = kind.inner / tp
        self.small("norm", t * h)
        self.run(product("in", (t, kind.in_width / tp, h), form))
        for name, width in kind.up_widths.items():
            self.run(product(name, (t, width / tp, kind.up_rank), form))
        self.small("conv", t * kind.mixed / tp)
        state = kind.kept_elements / tp * STATE_BYTES * (own.sequences + own.prompts)
        self.run(
            Kernel(
                family="scan",
                name="scan",
                flops=t * kind.flops() / tp,
                read_bytes=state + t * inner * ELEMENT,
                write_bytes=state + t * inner * ELEMENT,
            )
        )
        self.small("norm", t * inner)
        self.run(product("out", (t, h, inner), form))
        self._sum("state")

    def _feed(self, name: str, tokens: float, width: float) -> None:
        h, form = self.job.model.hidden, self.job.format.feed
        sides = 2 if self.job.model.gated_ffn else 1
        self.run(product(f"{name}_up", (tokens, sides * width, h), form))
        self.small("activation", tokens * width * 1.5)
        self.run(product(f"{name}_down", (tokens, h, width), form))

    def _dense(self) -> None:
        self._norm()
        self._feed("ffn", self.own.tokens, self.job.model.ffn / self.worker.heads_over)
        self._sum("ffn")

    def _experts(self) -> None:
        model, worker, own = self.job.model, self.worker, self.own
        h, t = model.hidden, own.tokens
        self._norm()
        self.run(product("router", (t, model.experts, h), WIDE))
        self.small("topk", t * model.experts)
        self.cut()
        spread = worker.dp_attention and worker.tp > 1
        form = self.job.format.experts
        out = DISPATCH_BYTES.get(form.arithmetic, 1.0)
        there: CollectiveOp = "dispatch"
        back: CollectiveOp = "combine"
        if spread and worker.ep > 1:
            copies = float(min(model.topk, worker.ep))
            domains = self.ways.domains
            if self.load.prompts and domains > 1:  # a token crosses once to each domain
                there = back = "all-to-all"
                copies = min(copies, domains_reached(model, domains))
            sent = t * copies * h
            self.exchange("dispatch", there, "ep", sent * out, Role.DISPATCH)
        elif spread:  # every rank has a part of every expert
            sent = t * worker.tp * h
            self.exchange("gather", "dispatch", "ep", sent * out, Role.DISPATCH)
        if self.staged and model.shared_expert_ffn:
            self._feed("shared", t, model.shared_expert_ffn / worker.heads_over)
        self.cut()
        if model.moe_latent:
            self.run(product("latent_in", (t, model.moe_latent, h), self.job.format.feed))
        self._grouped()
        if model.moe_latent:
            self.run(product("latent_out", (t, h, model.moe_latent), self.job.format.feed))
        if spread:
            self.exchange("combine", back, "ep", sent * ELEMENT, Role.COMBINE)
        else:
            self._sum("experts")

    def _grouped(self) -> None:
        """The experts of one rank: weights of those that some token hits, read once.

        Rows for experts are written in the experts' format, from tokens that are read once each,
        and added up into these.

        The one that all tokens pass through runs on a stream beside them, where layers are not told
        in parts: its bytes and FLOPs count, its floors hide under theirs. Source: TensorRT-LLM,
        modeling_deepseekv3.py (maybe_execute_in_parallel), SGLang (forward_normal_dual_stream),
        vLLM (shared_experts_stream). It is added to theirs by a kernel of its own
        (`shared_output + routed_output` there, torch.add, the same); see `Ways.finalized`.
        """
        job, model, worker = self.job, self.job.model, self.worker
        tokens, h = self.load.tokens, model.moe_latent or model.hidden
        hit = hit_experts(job, worker, tokens)
        width = model.moe_ffn * worker.ep / worker.tp
        rows = tokens * model.topk / worker.ep * busiest(job, worker, self.load)
        sides = 2 if model.gated_ffn else 1
        form, spread = job.format.experts, worker.dp_attention and worker.tp > 1
        precision = DEEP_GEMM if form.arithmetic == "fp8" and spread else form.arithmetic
        if precision == MXFP4:
            width = math.ceil(width / self.ways.columns) * self.ways.columns
        beside = 0.0 if self.staged else model.shared_expert_ffn / worker.heads_over * model.hidden
        narrow = min(form.bytes, ELEMENT)
        came = min(rows, tokens * (1.0 - (1.0 - 1.0 / worker.ep) ** model.topk))  # each token once
        self.run(elementwise("permute", came * h * ELEMENT, rows * h * narrow))
        for name, n, k in (("expert_up", sides * width, h), ("expert_down", h, width)):
            shared = beside * (sides if name == "expert_up" else 1)  # weights
            one = grouped(name, (rows, n, k, hit), form, precision)
            more = shared * job.format.feed.bytes
            flops = one.flops + 2.0 * self.own.tokens * shared
            self.run(one._replace(flops=flops, read_bytes=one.read_bytes + more))
            if name == "expert_up":
                self.run(elementwise("activation", rows * n * ELEMENT, rows * width * narrow))
        summed = worker.heads_over > 1 and precision == NVFP4
        if summed and tokens <= self.ways.finalized:
            return
        self.run(elementwise("unpermute", rows * h * ELEMENT, came * h * ELEMENT))
        if model.shared_expert_ffn:
            own = self.own.tokens * model.hidden * ELEMENT
            self.run(elementwise("shared_sum", 2.0 * own, own))

    def head(self) -> None:
        """The last norm and the head, cut over all ranks; then sampling."""
        model, load, own = self.job.model, self.load, self.own
        ranks = self.worker.heads_over
        sampled = load.sampled if ranks > 1 else own.sampled
        self.small("norm", sampled * model.hidden)
        self.run(product("head", (sampled, model.vocab / ranks, model.hidden), WIDE))
        self.small("sampling", sampled * model.vocab / ranks, 2)
        if ranks > 1:
            size = sampled * model.vocab * ELEMENT
            self.exchange("logits", "all-gather", "tp", size, Role.FORWARD)
        self.flush()
