"""How a job is spread over accelerators: `Plan`.

In:  the sizes that a user gives; what is left out has the default that frameworks use.
Out: a frozen dataclass; every field changes the program, the memory or the placement.
Left out: whether the sizes go together (see `validity.check`), seconds, machines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rackmodel import gate
from rackmodel.errors import InvalidPlan
from rackmodel.fields import record, setting
from rackmodel.workload import choices
from rackmodel.workload.schedules.schedule import default_schedule, schedule_of, schedules

_LISTS = {"recompute_modules": '["norm"]', "offload": '["optimizer"]', "stage_layers": "[10, 14]"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Sizes of each parallel axis and the choices that frameworks offer.

    `dp` counts replicas of the attention part (experts are spread inside it, as in Megatron); None
    is filled by `complete`.
    """

    tp: int = setting(1, "Tensor parallel ranks.", 8, option="--tp")
    pp: int = setting(1, "Pipeline stages.", 8, option="--pp")
    vpp: int = setting(1, "Model chunks per pipeline stage (interleaving).", 2, option="--vpp")
    cp: int = setting(1, "Context parallel ranks.", 2, option="--cp")
    ep: int = setting(1, "Expert parallel ranks.", 8, option="--ep")
    etp: int = setting(1, "Tensor parallel ranks inside an expert.", 2, option="--etp")
    dp: int | None = setting(None, "Replicas of the model.", 16, option="--dp")
    micro_batch: int = setting(
        1, "Sequences per micro-batch.", 2, unit="sequences", option="--micro-batch"
    )
    sharding: str = setting(
        "zero1", choices.SPLIT, "zero3", choices=choices.SHARDINGS, option="--sharding"
    )
    shard_size: int = setting(0, "Ranks of dp x cp that share a copy; 0: all.", 8, least=0)
    recompute: str = setting(
        "none",
        "Activations computed again in backward.",
        "full",
        choices=choices.RECOMPUTES,
        option="--recompute",
    )
    recompute_modules: tuple[str, ...] = setting(
        (),
        "selective: what runs again; none named: as the software does.",
        "core_attn",
        choices=choices.RECOMPUTE_MODULES,
    )
    recompute_layers: int | None = setting(None, "full: layers of each chunk. Default: all.", 4)
    schedule: str = setting(
        "",
        lambda: f"{', '.join(sorted(schedules()))} or yours.",
        max(schedules()),
        option="--schedule",
    )
    sequence_parallel: bool = setting(
        True, "Cut the sequence between tensor parallel parts; tp > 1."
    )
    tp_overlap: bool | None = setting(
        None,
        "GEMMs pipelined with their all-gather or reduce-scatter. Default: as the software's "
        "recipes do.",
        True,
    )
    ep_overlap: bool | None = setting(
        None,
        "All-to-all of one micro-batch under the compute of another. Default: as the software's "
        "recipes do.",
        True,
    )
    dp_overlap: bool = setting(
        True, "Gradient reduction and parameter gathering beside compute.", False
    )
    p2p_overlap: bool | None = setting(
        None, "Pipeline transfers beside compute. Default: as the schedule does.", True
    )
    prefetch: int = setting(1, "zero3, hsdp: layers gathered ahead; 0: none.", 2, least=0)
    reshard: bool | None = setting(
        None, "zero3, hsdp: drop gathered weights after use. Default: where pp is 1.", True
    )
    cp_method: str = setting(
        "ring", "How context parallel ranks exchange.", "all-gather", choices=choices.CP_METHODS
    )
    dispatcher: str = setting(
        "",
        "How tokens reach experts. Default: as the software does.",
        "deepep",
        choices=choices.DISPATCHERS,
    )
    dispatch_format: str = setting("bf16", "deepep: to experts.", "fp8", choices=("bf16", "fp8"))
    dispatch_domain: int = setting(0, "deepep: ep ranks in a domain; 0: as they stand.", 8, least=0)
    fused_odds: float | None = setting(
        None, "Odds of deepep where no dispatcher is stated.", 0.5, least=0.0, most=1.0
    )
    gradients: str = setting(
        "",
        "Accumulation and reduction of gradients. Default: as the software does.",
        "bf16",
        choices=("fp32", "bf16"),
    )
    fp8_head: bool = setting(False, "fp8-mx: logits too (Megatron's fp8_output_proj).", True)
    offload: tuple[str, ...] = setting(
        (), "What goes to host memory.", "optimizer", choices=choices.OFFLOADS
    )
    loss_chunks: int = setting(1, "Parts of a micro-batch whose logits are held one at a time.", 8)
    stage_layers: tuple[int, ...] = setting(
        (), "Layers of each of pp x vpp chunks, MTP may count last; 0: an end.", "10,14", least=0
    )
    rank_order: str = setting(
        "tp-cp-ep-dp-pp",
        "Axes from the nearest ranks to the farthest.",
        choices=choices.RANK_ORDERS,
    )

    @classmethod
    def of(cls, words: Mapping[str, Any] | Plan) -> Plan:
        """Return a plan of what a user gave, every name and value checked.

        >>> Plan.of({"tp": 8}).tp
        8

        Raises
        ------
        UnknownName, InvalidInput
            For a field that plans do not have, or a value that it can't have.
        """
        return words if isinstance(words, Plan) else record(cls, words, "plan")

    def __post_init__(self) -> None:
        """Take lists for tuples; refuse what is no list."""
        for name, example in _LISTS.items():
            value = getattr(self, name)
            if type(value) is not tuple:
                members = map(gate.plain, gate.members(value, name, example))
                object.__setattr__(self, name, tuple(members))

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
        if self.dp is None and (gpus % replica or gpus < replica):
            raise InvalidPlan(
                f"{shape} = {replica} accelerators per replica do not divide {gpus};"
                " change tp, pp, cp or the number of accelerators"
            )
        plan = replace(self, dp=gpus // replica) if self.dp is None else self
        if replica * plan.replicas != gpus:
            raise InvalidPlan(
                f"{shape} x dp {self.dp} needs {plan.gpus} accelerators, the job has"
                f" {gpus}; leave dp out to have it filled"
            )
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
        """Model chunks in all (each held twice where both ends take in)."""
        return self.pp * self.vpp

    @property
    def order(self) -> str:
        """The schedule in effect."""
        return self.schedule or default_schedule(self.vpp)

    @property
    def paired(self) -> bool:
        """Whether passes of two micro-batches run side by side, to hide all-to-alls."""
        return bool(self.ep_overlap)

    @property
    def dp_cp(self) -> int:
        """Ranks that hold the same attention weights."""
        return self.replicas * self.cp

    @property
    def shards(self) -> int:
        """Ranks that hold one copy of the attention weights (zero1: their states) together."""
        return self.shard_size or self.dp_cp

    @property
    def edp(self) -> int:
        """Ranks that hold the same experts."""
        return self.tp * self.dp_cp // (self.etp * self.ep)

    @property
    def sharded_parameters(self) -> bool:
        """Whether weights are sharded over data-parallel ranks."""
        return self.sharding in choices.SHARDED

    @property
    def reshards(self) -> bool:
        """Whether gathered weights are dropped after each use."""
        drops = self.pp == 1 if self.reshard is None else self.reshard
        return self.sharded_parameters and drops

    @property
    def reduces_each_pass(self) -> bool:
        """Whether gradients leave a rank in every backward pass.

        Under a pipeline zero2 keeps whole gradients and reduces them once, as Megatron does.
        """
        return (self.sharding == "zero2" and self.pp == 1) or self.reshards

    @property
    def overlaps_p2p(self) -> bool:
        """Whether pipeline transfers run beside compute."""
        silent = self.p2p_overlap is None
        return not schedule_of(self.order).batched if silent else bool(self.p2p_overlap)

    @property
    def sp(self) -> int:
        """Ranks over which the sequence is cut outside of the tensor-parallel parts."""
        return self.tp if self.sequence_parallel else 1


def check_batch(plan: Plan, global_batch: int) -> None:
    """Raise `InvalidPlan` unless replicas x micro-batch divide the global batch."""
    share = plan.replicas * plan.micro_batch
    if global_batch % share:
        raise InvalidPlan(
            f"dp {plan.replicas} x micro_batch {plan.micro_batch} = {share} sequences do not divide"
            f" the global batch of {global_batch}; change dp, micro_batch or global_batch"
        )
