"""What is served, and how it is spread over accelerators: `Worker` and `ServingJob`.

In:  the sizes that a user gives.
Out: frozen dataclasses; every field changes operations, memory or the steady state.
Left out: machines, seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from rackmodel.errors import InvalidInput, InvalidPlan
from rackmodel.fields import MOST_WHOLE, PLAN_PANEL, about, check_values, setting
from rackmodel.workload.models import Model
from rackmodel.workload.plan import Plan
from rackmodel.workload.serving.formats import KV_BYTES, WEIGHT_FORMATS, WeightFormat, weight_format

# Measured runs of few users read fewer experts than even routing would touch; of exponents from
# 0 to 1 those near this one leave the least error (python -m benchmarks.serving.fit).
ROUTING_SKEW = 0.6
MOST_SKEW = 10.0  # beyond, all tokens choose the same experts


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One copy of the model on `tp` x `pp` accelerators.

    With `dp_attention` every rank runs the attention of its own sequences, with all heads, and only
    the feed-forward parts are spread. Experts are spread over `ep` of the `tp` ranks, and each one
    is cut over the `tp / ep` that remain.
    """

    tp: int = setting(1, "Ranks that share a layer.", 8, option="--tp")
    pp: int = setting(1, "Pipeline stages.", 2, option="--pp")
    ep: int = setting(1, "Ranks over which experts are spread; divides tp.", 8, option="--ep")
    dp_attention: bool = setting(
        False, "Every rank runs the attention of its own sequences.", option="--dp-attention"
    )
    weights_offload: float = setting(
        0.0,
        "Share of layers whose experts (or all weights, where there are none) are in host memory.",
        0.5,
        option="--weights-offload",
        least=0.0,
        most=1.0,
    )

    @property
    def gpus(self) -> int:
        """Accelerators of one worker."""
        return self.tp * self.pp

    @property
    def heads_over(self) -> int:
        """Ranks over which attention heads are spread."""
        return 1 if self.dp_attention else self.tp

    def plan(self, workers: int) -> Plan:
        """Return where the ranks of so many workers stand, as a training plan says it."""
        if self.dp_attention:
            return Plan(tp=1, pp=self.pp, ep=self.tp, dp=workers * self.tp)
        return Plan(tp=self.tp, pp=self.pp, dp=workers)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingJob:
    """A model that serves a closed loop of users: each sends a prompt when it has its answer."""

    model: Model
    worker: Worker
    gpus: int
    users: int = field(
        metadata=about(
            "Requests in flight, over all workers.", 256, option="--users", most=MOST_WHOLE
        )
    )
    isl: int = field(metadata=about("Tokens of a prompt.", 1024, unit="tokens", option="--isl"))
    osl: int = field(metadata=about("Tokens of an answer.", 1024, unit="tokens", option="--osl"))
    weights: str = setting(
        "fp8", "Format of weights.", "nvfp4", choices=tuple(WEIGHT_FORMATS), option="--weights"
    )
    kv: str = setting("fp8", "Format of the KV cache.", choices=tuple(KV_BYTES), option="--kv")
    stack: str = setting("default", "Serving software.", "sglang", option="--stack")
    cached: float = setting(
        0.0, "Share of a prompt that is cached already.", 0.5, option="--cached"
    )
    mtp: int = setting(0, "Tokens drafted in a step.", 3, option="--mtp")
    acceptance: float = setting(
        0.8,
        "Probability that a drafted token is right, if those before are.",
        0.6,
        option="--acceptance",
        least=0.0,
        most=1.0,
    )
    cuda_graphs: bool = setting(
        True,
        "Steps are replayed from CUDA graphs, or the host launches every kernel.",
        option="--cuda-graphs",
    )
    prefill: Worker | None = None  # None: prompts and answers run in the same workers
    prefill_gpus: int = setting(
        0,
        "Accelerators that run prompts only; 0: prompts run beside decode.",
        8,
        option="--prefill-gpus",
        panel=PLAN_PANEL,
    )
    chunk: int = setting(
        8192,
        "Most tokens of prompts in one step.",
        2048,
        unit="tokens",
        option="--chunk",
        panel=PLAN_PANEL,
    )
    max_sequences: int = setting(
        0,
        "Most sequences of a data-parallel rank at once; 0: the software's default.",
        256,
        option="--max-sequences",
        panel=PLAN_PANEL,
    )
    admit_every: int = setting(
        1,
        "Decode steps from one that may admit prompts to the next, in TensorRT-LLM from the first"
        " that waits; sooner where each data-parallel rank has one.",
        30,
        unit="steps",
        option="--admit-every",
        panel=PLAN_PANEL,
    )
    redundant_experts: int = setting(
        0,
        "Copies of busy experts beside all experts.",
        32,
        option="--redundant-experts",
        panel=PLAN_PANEL,
    )
    routing_skew: float = setting(
        ROUTING_SKEW,
        "Exponent of the experts' popularity (Zipf); 0: all alike.",
        0.5,
        option="--routing-skew",
        least=0.0,
        most=MOST_SKEW,
        panel=PLAN_PANEL,
    )
    routing_seed: int = setting(
        0, "Which experts are popular.", 1, option="--routing-seed", panel=PLAN_PANEL
    )
    two_batch: bool = setting(
        False,
        "Half of a batch computes while the other exchanges tokens.",
        option="--two-batch",
        panel=PLAN_PANEL,
    )

    @property
    def format(self) -> WeightFormat:
        """What the weights are stored in."""
        return weight_format(self.weights)

    @property
    def drafting(self) -> ServingJob:
        """The job with the weights of its layers that draft tokens."""
        return replace(self, weights=self.format.drafts or self.weights)

    @property
    def kv_bytes(self) -> float:
        """Bytes of one element of the KV cache."""
        return KV_BYTES[self.kv]

    @property
    def decode_gpus(self) -> int:
        """Accelerators that decode."""
        return self.gpus - self.prefill_gpus

    @property
    def begins(self) -> tuple[int, int]:
        """At which of the job's accelerators those that run prompts begin, and those that decode.

        The larger workers stand first: what stands before others is then whole numbers of these, so
        that no worker that fits into a node or a rack is torn apart.
        """
        if self.prefill is not None and self.prefill.gpus >= self.worker.gpus:
            return 0, self.prefill_gpus
        return self.decode_gpus, 0

    @property
    def workers(self) -> int:
        """Workers that decode."""
        return self.decode_gpus // self.worker.gpus

    @property
    def prompt_tokens(self) -> float:
        """Tokens of a prompt that are not cached."""
        return self.isl * (1.0 - self.cached)

    @property
    def tokens_a_step(self) -> float:
        """Tokens that a decode step gives a sequence, drafted ones included.

        Source: Leviathan et al., arXiv:2211.17192, eq. 1.
        """
        return sum(self.acceptance**i for i in range(self.mtp + 1))

    @property
    def decoded(self) -> int:
        """Tokens of an answer that decode steps make: the first one comes with the prompt."""
        return max(1, self.osl - 1)

    @property
    def context(self) -> float:
        """Tokens in the cache of a running sequence, on average."""
        return self.isl + self.osl / 2.0

    @property
    def shape(self) -> ServingJob:
        """The job without what no single step depends on: users, lengths, other workers."""
        return replace(
            self,
            gpus=1,
            users=1,
            isl=1,
            osl=1,
            prefill=None,
            prefill_gpus=0,
            chunk=1,
            max_sequences=0,
            admit_every=1,
            cached=0.0,
            acceptance=0.0,
        )

    def replace(self, **changes: Any) -> ServingJob:
        """Return a job with some fields changed."""
        return replace(self, **changes)


def check_serving(job: ServingJob) -> None:
    """Refuse a job whose sizes do not go together, whatever the machine.

    Raises
    ------
    InvalidInput
        For sizes that mean nothing. InvalidPlan : for axes that do not divide.
    """
    check_values(job)
    model = job.model
    if not 0.0 <= job.cached < 1.0:
        raise InvalidInput(f"cached: expected a share below 1 of the prompt, found {job.cached:g}")
    if job.mtp and not model.mtp_layers:
        raise InvalidInput(
            f"mtp {job.mtp}: {model.name} has {model.mtp_layers or 'no'} layers that draft tokens;"
            " leave mtp out"
        )
    if job.redundant_experts and not model.experts:
        raise InvalidInput(f"redundant_experts: {model.name} has no experts; leave them out")
    if job.mtp >= job.osl:
        raise InvalidInput(f"mtp {job.mtp} has to be below the tokens of the answer, {job.osl}")
    for worker, gpus in ((job.worker, job.decode_gpus), (job.prefill, job.prefill_gpus)):
        if worker is not None:
            check_worker(worker, model, gpus, job.redundant_experts)
    if job.two_batch and not (job.worker.dp_attention and model.experts):
        raise InvalidPlan("two_batch: only dp_attention exchanges tokens with experts")
    if job.prefill_gpus and job.prefill is None:
        raise InvalidInput("prefill_gpus needs a plan of prefill workers")


def check_worker(worker: Worker, model: Model, gpus: int, copies: int = 0) -> None:
    """Refuse a worker that this model can't be cut into, or that these accelerators do not hold.

    copies : of experts beside all of them.
    """
    for name in ("tp", "pp", "ep"):
        if getattr(worker, name) < 1:
            raise InvalidPlan(f"{name} must be at least 1, found {getattr(worker, name)}")
    if gpus < worker.gpus or gpus % worker.gpus:
        raise InvalidPlan(
            f"workers of tp {worker.tp} x pp {worker.pp} = {worker.gpus} accelerators do not"
            f" divide {gpus}"
        )
    if worker.tp % worker.ep:
        raise InvalidPlan(
            f"ep {worker.ep} does not divide tp {worker.tp}, the accelerators of a stage; give a "
            "tp that it divides (with --dp-attention attention is not cut by it)"
        )
    if worker.ep > 1 and not model.experts:
        raise InvalidPlan(f"ep {worker.ep}: {model.name} has no experts; leave them out")
    if worker.ep > max(1, model.experts + copies):
        raise InvalidPlan(
            f"ep {worker.ep} is more than the {model.experts} experts; see redundant_experts"
        )
    if not worker.dp_attention and model.heads % worker.tp:
        raise InvalidPlan(f"tp {worker.tp} does not divide {model.heads} heads; see dp_attention")
    if worker.pp > 1 and model.shared_block:
        raise InvalidPlan(f"pp {worker.pp}: layers of {model.name} share blocks; use pp 1")
    if worker.pp > model.layers:
        raise InvalidPlan(f"pp {worker.pp} is more than the {model.layers} layers")
