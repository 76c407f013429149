"""What a training step computes: `Job`, a model with a plan, a batch, a precision, the software.

In:  the words that a user gives; what is left out has the default that frameworks use.
Out: a frozen dataclass, and what follows from its fields alone.
Left out: how it is spread (`plan`), whether the sizes go together (`validity.check`), seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from rackmodel.errors import UnknownName
from rackmodel.fields import about, setting
from rackmodel.software import software_of
from rackmodel.workload import choices
from rackmodel.workload.models import Model
from rackmodel.workload.plan import Plan, check_batch
from rackmodel.workload.precision import PRECISIONS, precision_of
from rackmodel.workload.trained import Learning, Trained


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Learning):
    """One training step: a model, a plan for it, a batch, a precision, the software."""

    model: Model
    plan: Plan
    seq_len: int = field(
        metadata=about(
            "Tokens per sequence; 8k is 8,192. Default: as many positions as the model has learned "
            "(GPT-3: 2,048), else 4,096.",
            "8k",
            unit="tokens",
            option="--seq-len",
        )
    )
    global_batch: int = field(
        metadata=about("Sequences per step, over all accelerators.", 512, unit="sequences")
    )
    precision: str = setting(
        "bf16",
        "Number format of the matrix products. Default: bf16.",
        "fp8",
        choices=tuple(PRECISIONS),
        option="--precision",
    )
    stack: str = setting(
        "default",
        "Software, release (rackmodel list stacks); undated: its machine's. Default: new Megatron.",
        "megatron-bridge-26.06",
        option="--stack",
    )
    document_len: int = setting(
        0,
        "Tokens of each document packed into a sequence: attention stays inside. Default: one.",
        "2k",
        unit="tokens",
        option="--document-len",
    )
    attention: str = setting(
        "",
        "Attention as one kernel or several. Default: as the software does.",
        "unfused",
        choices=("fused", "unfused"),
    )
    cuda_graphs: bool | None = setting(
        None, "Launch captured graphs. Default: as the software does.", option="--cuda-graphs"
    )
    transposes: bool | None = setting(
        None, "fp8 weights kept in both orientations. Default: as hardware needs.", False
    )
    token_routing: str = setting(
        "dropless-balanced",
        "How tokens fall on experts.",
        "drop",
        choices=choices.TOKEN_ROUTINGS,
        option="--token-routing",
    )
    routing_skew: float = setting(
        0.0, "dropless-skewed: Zipf's exponent of their popularity.", 0.5, least=0.0, most=9.99
    )
    routing_seed: int = setting(0, "dropless-skewed: which experts are popular.", 1, least=0)
    capacity_factor: float = setting(
        1.0, "drop: slots per expert over the balanced load.", 1.25, least=1e-3, most=1000.0
    )

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
        """FLOPs that the step needs: causal mask, no recompute, no adapters. [FLOP]"""
        return self.tokens * self.model.model_flops(self.attended, trained=self.trained)

    @property
    def trained(self) -> Trained:
        """What of the model learns."""
        return Trained.of(self.freeze, self.lora, self.lora_targets, self.model.layers)

    @property
    def attended(self) -> int:
        """Tokens of a document, which attention does not leave."""
        return self.document_len or self.seq_len

    @property
    def fused_attention(self) -> bool:
        """Whether attention runs as one kernel without writing its scores."""
        return (self.attention or software_of(self.stack).attention) == "fused"

    @property
    def fused_mxfp8(self) -> bool:
        """Whether this is a mixture in MXFP8 of whose whole iterations recipes make one graph.

        They turn on FP8 attention with it (fp8_dot_product_attention), and kernels that go from
        one grouped product to the next (TransformerEngine, ForwardGroupedMLP_CuTeGEMMSwiGLU_MXFP8).
        """
        narrow = software_of(self.stack).fused_mxfp8 and self.precision == "fp8-mx"
        captured = self.cuda_graphs is not False and not self.plan.sharded_parameters
        return narrow and captured and self.model.experts > 0

    @property
    def fp8_attention(self) -> bool:
        """Whether attention is in FP8 too, with `fused_mxfp8`: no such kernel has windows or sinks.

        TransformerEngine's get_attention_backend leaves none for sliding windows or a learned
        softmax where fp8_dpa is on (dot_product_attention/utils.py@002a3e5).
        """
        return self.fused_mxfp8 and not (self.model.window or self.model.attention_sinks)

    @property
    def gradient_bytes(self) -> int:
        """Bytes of one accumulated gradient."""
        software, said = software_of(self.stack), self.plan.gradients
        as_run = not said and self.precision == "fp16" and software.fp16_gradients
        return 2 if as_run or (said or software.gradients) == "bf16" else 4

    @property
    def weight_bytes(self) -> float:
        """Bytes of the compute copies of one weight inside a layer."""
        precision = precision_of(self.precision)
        return precision.weight_bytes - (self.transposes is False) * precision.transpose_bytes

    @property
    def modules(self) -> frozenset[str]:
        """Modules that selective recompute runs again."""
        software, plan = software_of(self.stack), self.plan
        wanted = (plan.recompute_modules or software.selective) * (plan.recompute == "selective")
        return choices.run_again(wanted, by_tensor=software.remat_by_tensor)

    def replace(self, **changes: Any) -> Job:
        """Return a job with fields of the job or of its plan changed.

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
        changed = {"plan": replace(own.get("plan", self.plan), **plan)} if plan else {}
        return replace(self, **(own | changed))
