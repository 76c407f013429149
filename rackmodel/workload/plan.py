"""How a job is spread over accelerators: `Plan` and `Job`.

In:  the sizes that a user gives; what is left out has the default that frameworks use.
Out: frozen dataclasses; every field changes the program, the memory or the placement.
Left out: whether the sizes go together (see `validity.check`), seconds, machines.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from rackmodel.errors import InvalidInput, InvalidPlan, UnknownName
from rackmodel.software import software_of
from rackmodel.workload.models import Model
from rackmodel.workload.precision import precision_of
from rackmodel.workload.schedules.schedule import default_schedule, schedule_of

SHARDINGS = ("none", "zero1", "zero2", "zero3", "hsdp")
RECOMPUTES = ("none", "selective", "full")
RECOMPUTE_MODULES = (
    "alternate",
    "core_attn",
    "layernorm",  # Megatron's word for norm
    "norm",
    "act",
    "mlp",
    "moe",
    "moe_act",
    "mla_up_proj",
)
CP_METHODS = ("ring", "all-gather", "all-to-all")
RANK_ORDERS = ("tp-cp-ep-dp-pp", "tp-cp-ep-pp-dp")
DISPATCHERS = ("all-to-all", "deepep", "all-gather")
OFFLOADS = ("optimizer", "activations")
EITHER_ORIENTATION = (
    "nvidia-blackwell",
    "nvidia-rubin",
    "nvidia-feynman",
)  # families of accelerators
ROUTINGS = ("dropless-balanced", "dropless-skewed", "drop")

# A part that runs again takes its activation function along; "alternate" (every second matrix
# product, as torchtitan does) all that is cheap.
_WITHIN = {
    "layernorm": ("norm",),
    "mlp": ("act",),
    "moe": ("moe_act",),
    "alternate": ("norm", "act", "moe_act"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Sizes of each parallel axis and the choices that frameworks offer.

    `dp` counts replicas of the attention part (experts are spread inside it, as in Megatron); None
    is filled by `complete`.
    """

    tp: int = 1
    pp: int = 1
    vpp: int = 1  # model chunks per pipeline rank
    cp: int = 1
    ep: int = 1
    etp: int = 1  # tensor parallelism inside an expert
    dp: int | None = None
    micro_batch: int = 1  # sequences
    sharding: str = "zero1"
    shard_size: int = 0  # hsdp: ranks of dp x cp that share one copy; 0 with other shardings
    recompute: str = "none"
    recompute_modules: tuple[str, ...] = ()  # selective: () as the software does
    recompute_layers: int | None = None  # full: layers of each chunk; None means all
    schedule: str = ""  # "": the usual one for so many chunks
    sequence_parallel: bool = True  # in effect where tp > 1
    tp_overlap: bool = False  # GEMMs pipelined with their all-gather or reduce-scatter
    ep_overlap: bool = False  # all-to-all of one micro-batch under the compute of another
    dp_overlap: bool = True  # gradient reduction and parameter gathering beside compute
    p2p_overlap: bool | None = None  # None: as the schedule does
    prefetch: int = 1  # zero3, hsdp: layers gathered ahead; 0 gathers when needed
    reshard: bool | None = None  # zero3, hsdp: drop gathered weights after use; None: if pp is 1
    cp_method: str = "ring"
    dispatcher: str = "all-to-all"
    dispatch_domain: int = 0  # deepep: ranks of an ep group in one domain; 0: as they will stand
    gradients: str = ""  # "fp32" or "bf16": accumulation and reduction; "" as the software does
    offload: tuple[str, ...] = ()  # "optimizer", "activations" to host memory
    stage_layers: tuple[int, ...] = ()  # layers of each of pp x vpp chunks in order; () spreads
    rank_order: str = "tp-cp-ep-dp-pp"

    def __post_init__(self) -> None:
        """Take lists for tuples; refuse what is no list of words or of layers."""
        for name, kind, wanted in (
            ("recompute_modules", str, "names of modules"),
            ("offload", str, "names of what is offloaded"),
            ("stage_layers", int, "whole numbers of layers"),
        ):
            value = getattr(self, name)
            if isinstance(value, str | bytes) or not isinstance(value, Iterable):
                raise InvalidInput(f"{name}: expected a list of {wanted}, found {value!r:.60}")
            members = tuple(value)
            if any(isinstance(one, bool) or not isinstance(one, kind) for one in members):
                raise InvalidInput(f"{name}: expected {wanted}, found {members!r:.60}")
            object.__setattr__(self, name, members)

    def complete(self, gpus: int, global_batch: int | None = None) -> Plan:
        """Fill `dp` from the number of accelerators; with a batch, check that it divides.

        Raises
        ------
        InvalidPlan
            If the other axes don't divide `gpus`, or replicas and micro-batch the global batch.

        Examples
        --------
        >>> Plan(tp=8, pp=8).complete(512).dp
        8
        """
        replica = self.tp * self.pp * self.cp
        shape = f"tp {self.tp} x pp {self.pp} x cp {self.cp}"
        if self.dp is None:
            if gpus % replica or gpus < replica:
                raise InvalidPlan(
                    f"{shape} = {replica} accelerators per replica do not divide {gpus};"
                    " change tp, pp, cp or the number of accelerators"
                )
            plan = replace(self, dp=gpus // replica)
        elif replica * self.dp != gpus:
            raise InvalidPlan(
                f"{shape} x dp {self.dp} needs {replica * self.dp} accelerators, the job has"
                f" {gpus}; leave dp out to have it filled"
            )
        else:
            plan = self
        if global_batch is not None:
            check_batch(plan, global_batch)
        return plan

    @property
    def replicas(self) -> int:
        """`dp`, which must be filled by now."""
        if self.dp is None:
            raise InvalidPlan("dp is not set; use Plan.complete(gpus) or give dp")
        return self.dp

    @property
    def gpus(self) -> int:
        """Accelerators used."""
        return self.tp * self.pp * self.cp * self.replicas

    @property
    def chunks(self) -> int:
        """Model chunks in all: virtual stages (each held twice where both ends take in)."""
        return self.pp * self.vpp

    @property
    def order(self) -> str:
        """The schedule in effect."""
        return self.schedule or default_schedule(self.vpp)

    @property
    def dp_cp(self) -> int:
        """Ranks that hold the same attention weights."""
        return self.replicas * self.cp

    @property
    def edp(self) -> int:
        """Ranks that hold the same experts."""
        return self.tp * self.dp_cp // (self.etp * self.ep)

    @property
    def sharded_parameters(self) -> bool:
        """Whether weights are sharded over data-parallel ranks."""
        return self.sharding in ("zero3", "hsdp")

    @property
    def reshards(self) -> bool:
        """Whether gathered weights are dropped after each use."""
        if not self.sharded_parameters:
            return False
        return self.pp == 1 if self.reshard is None else self.reshard

    @property
    def overlaps_p2p(self) -> bool:
        """Whether pipeline transfers run beside compute."""
        if self.p2p_overlap is None:
            return not schedule_of(self.order).batched
        return self.p2p_overlap

    @property
    def sp(self) -> int:
        """Ranks over which the sequence is cut outside of the tensor-parallel parts."""
        return self.tp if self.sequence_parallel else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One training step to simulate: a model, a plan for it, a batch, a precision, the software."""

    model: Model
    plan: Plan
    seq_len: int
    global_batch: int  # sequences
    precision: str = "bf16"
    stack: str = "default"  # software and release, read by kernel times too
    attention: str = ""  # "fused" or "unfused"; "" as the software does
    cuda_graphs: bool | None = None  # None: as the software does
    transposes: bool | None = None  # fp8 weights kept in both orientations; None: as hardware needs
    routing: str = "dropless-balanced"
    routing_skew: float = 0.0  # dropless-skewed: exponent of the experts' popularity (Zipf)
    routing_seed: int = 0  # dropless-skewed: which experts are popular
    capacity_factor: float = 1.0  # drop: slots per expert over the balanced load

    @property
    def gpus(self) -> int:
        """Accelerators used: tp x pp x cp x dp."""
        return self.plan.gpus

    @property
    def tokens(self) -> int:
        """Tokens of a step."""
        return self.seq_len * self.global_batch

    @property
    def micro_batches(self) -> int:
        """Micro-batches that each replica runs in a step."""
        check_batch(self.plan, self.global_batch)
        return self.global_batch // (self.plan.replicas * self.plan.micro_batch)

    @property
    def model_flops(self) -> float:
        """FLOPs that the step needs, causal mask counted, without recompute. [FLOP]"""
        return self.tokens * self.model.model_flops(self.seq_len)

    @property
    def fused_attention(self) -> bool:
        """Whether attention runs as one kernel without writing its scores."""
        return (self.attention or software_of(self.stack).attention) == "fused"

    @property
    def gradient_bytes(self) -> int:
        """Bytes of one accumulated gradient."""
        return 2 if (self.plan.gradients or software_of(self.stack).gradients) == "bf16" else 4

    @property
    def weight_bytes(self) -> float:
        """Bytes of the compute copies of one weight inside a layer."""
        precision = precision_of(self.precision)
        return precision.weight_bytes - (
            precision.transpose_bytes if self.transposes is False else 0.0
        )

    @property
    def modules(self) -> frozenset[str]:
        """Modules that selective recompute runs again."""
        if self.plan.recompute != "selective":
            return frozenset()
        wanted = set(self.plan.recompute_modules or software_of(self.stack).selective)
        return frozenset(wanted.union(*(_WITHIN.get(module, ()) for module in wanted)))

    def on(self, accelerator_family: str, domain: int = 0) -> Job:
        """Return the job with what the machine decides where the job is silent.

        domain : accelerators of a scale-up domain; 0 leaves open what depends on it.

        Blackwell's fp8 products read operands in either orientation, Hopper's only one: there a
        second copy of each weight is kept for the gradients. DeepEP sends a token once to each
        domain and forwards it there, where a group leaves its domain.
        Source: Transformer Engine 2.2, is_non_tn_fp8_gemm_supported; deepseek-ai/DeepEP.
        """
        job, plan = self, self.plan
        if job.transposes is None:
            job = replace(job, transposes=accelerator_family not in EITHER_ORIENTATION)
        if domain and plan.dispatcher == "deepep" and not plan.dispatch_domain:
            # The most ranks of a group that domains hold in equal parts: 32 of 64 where 36 fit.
            most = min(plan.ep, max(1, domain // plan.etp))
            inside = max(d for d in range(1, most + 1) if plan.ep % d == 0)
            job = job.replace(dispatch_domain=inside if inside < plan.ep else 1)
        return job

    def replace(self, **changes: Any) -> Job:
        """Return a job with fields of the job or of its plan changed.

        Examples
        --------
        >>> from rackmodel.workload import load_model
        >>> job = Job(model=load_model("gpt3-13b"), plan=Plan(dp=8), seq_len=2048, global_batch=64)
        >>> job.replace(tp=2, dp=4, precision="fp16").plan.tp
        2
        """
        own = {key: value for key, value in changes.items() if key in Job.__dataclass_fields__}
        plan = {key: value for key, value in changes.items() if key not in own}
        if unknown := sorted(set(plan) - set(Plan.__dataclass_fields__)):
            known = (*Plan.__dataclass_fields__, *Job.__dataclass_fields__)
            raise UnknownName.among("field of a job or plan", unknown[0], known)
        if plan:
            own["plan"] = replace(own.get("plan", self.plan), **plan)
        return replace(self, **own)


def check_batch(plan: Plan, global_batch: int) -> None:
    """Raise `InvalidPlan` unless replicas x micro-batch divide the global batch."""
    if plan.micro_batch < 1 or global_batch < 1:
        raise InvalidPlan(
            f"micro_batch and global_batch must be at least 1, found {plan.micro_batch} and"
            f" {global_batch}"
        )
    share = plan.replicas * plan.micro_batch
    if global_batch % share:
        raise InvalidPlan(
            f"dp {plan.replicas} x micro_batch {plan.micro_batch} = {share} sequences do not divide"
            f" the global batch of {global_batch}; change dp, micro_batch or global_batch"
        )
