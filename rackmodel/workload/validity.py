"""Whether a job can run at all: sizes that divide, options that go together.

In:  a job.
Out: nothing, or `InvalidPlan` that says what was wanted, what was found and what to try.
Left out: HBM (`memory.check_fits`), whether a machine has the accelerators.
"""

from __future__ import annotations

from rackmodel.errors import InvalidInput, InvalidPlan
from rackmodel.fields import check_values
from rackmodel.workload.plan import Job, Plan, check_batch
from rackmodel.workload.schedules.schedule import schedule_of, schedules
from rackmodel.workload.stages import layers_of_stages

_LIMIT = 10**9


def check(job: Job) -> None:
    """Raise unless the job can be turned into programs.

    Raises
    ------
    UnknownName, InvalidInput
        For a word or a number that no plan can have.
    InvalidPlan
        For sizes that don't divide or options that exclude each other.

    Examples
    --------
    >>> from rackmodel.workload import load_model
    >>> llama = load_model("llama3.1-405b")
    >>> job = Job(model=llama, plan=Plan(tp=3, dp=1), seq_len=8192, global_batch=8)
    >>> check(job)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    rackmodel.errors.InvalidPlan: tp 3 does not divide the 128 heads of 'llama3.1-405b'; ...
    """
    check_values(job.plan)
    check_values(job)
    schedule_of(job.plan.order)  # an unknown one is refused
    _numbers(job)
    _divides(job)
    _pipeline(job)
    _experts(job)
    _sharding(job)
    _options(job)


def _numbers(job: Job) -> None:
    plan = job.plan
    sizes = {
        **{
            key: getattr(plan, key) for key in ("tp", "pp", "vpp", "cp", "ep", "etp", "micro_batch")
        },
        "dp": plan.replicas,
        "seq_len": job.seq_len,
        "global_batch": job.global_batch,
    }
    for key, value in sizes.items():
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _LIMIT:
            raise InvalidInput(f"{key} must be a whole number from 1 to 1e9, found {value!r}")
    for key in ("prefetch", "shard_size", "dispatch_domain"):
        if getattr(plan, key) < 0:
            raise InvalidInput(f"{key} must not be negative, found {getattr(plan, key)}")
    if not 0.0 <= job.routing_skew < 10.0:
        raise InvalidInput(f"routing_skew must be from 0 to 10, found {job.routing_skew}")
    if not 0.0 < job.capacity_factor < 1000.0:
        raise InvalidInput(f"capacity_factor must be above 0, found {job.capacity_factor}")


def _try(number: int, most: int = 16) -> str:
    found = [str(d) for d in range(1, min(number, most) + 1) if number % d == 0]
    return ", ".join(found)


def _divides(job: Job) -> None:
    plan, model = job.plan, job.model
    if model.heads and model.heads % plan.tp:
        raise InvalidPlan(
            f"tp {plan.tp} does not divide the {model.heads} heads of {model.name!r};"
            f" try tp {_try(model.heads)}"
        )
    kv, tp = model.kv_heads, plan.tp
    if model.heads and kv % tp and tp % kv:
        raise InvalidPlan(
            f"tp {tp} neither divides nor is a multiple of the {kv} key-value heads of"
            f" {model.name!r}"
        )
    for width, what in ((model.ffn, "ffn"), (model.shared_expert_ffn, "shared_expert_ffn")):
        used = what != "ffn" or any(block.feed == "dense" for block in model.blocks)
        if used and width % tp:
            raise InvalidPlan(f"tp {tp} does not divide {what} {width}; try tp {_try(width)}")
    if model.mamba is not None and (model.mamba.heads % tp or model.mamba.groups % tp):
        raise InvalidPlan(
            f"tp {tp} does not divide the {model.mamba.heads} heads and {model.mamba.groups} groups"
            " of the Mamba layers"
        )
    if model.mamba is not None and plan.cp > 1:
        raise InvalidPlan(f"cp {plan.cp} with Mamba layers is not modelled; use cp 1")
    pieces = plan.cp * (2 if plan.cp > 1 and plan.cp_method != "all-to-all" else 1)
    pieces *= plan.sp
    if job.seq_len % pieces:
        raise InvalidPlan(
            f"seq_len {job.seq_len} is not a multiple of {pieces} (tp {plan.tp} with sequence"
            f" parallelism, cp {plan.cp} twice for causal balance)"
        )
    if plan.cp > 1 and plan.cp_method == "all-to-all" and model.heads % (tp * plan.cp):
        raise InvalidPlan(
            f"cp {plan.cp} by all-to-all splits heads: tp {tp} x cp {plan.cp} does not divide"
            f" {model.heads} heads; use cp_method ring"
        )
    if plan.cp > 1 and not job.fused_attention:
        raise InvalidPlan(f"cp {plan.cp} needs fused attention, stack {job.stack!r} has none")
    check_batch(plan, job.global_batch)


def _pipeline(job: Job) -> None:
    plan = job.plan
    layers_of_stages(job)
    if reason := schedule_of(plan.order).refuses(plan.pp, job.micro_batches, plan.vpp):
        raise InvalidPlan(reason)
    if plan.p2p_overlap and plan.pp == 1:
        raise InvalidPlan("p2p_overlap needs pp above 1")


def _experts(job: Job) -> None:
    plan, model = job.plan, job.model
    if not model.moe_layers:
        if plan.ep > 1 or plan.etp > 1:
            raise InvalidPlan(
                f"ep {plan.ep} x etp {plan.etp} needs experts; {model.name!r} is dense"
            )
        _refuse_for_dense(job)
        return
    if model.experts % plan.ep:
        raise InvalidPlan(
            f"ep {plan.ep} does not divide the {model.experts} experts of {model.name!r};"
            f" try ep {_try(model.experts, 1024)}"
        )
    if model.moe_ffn % plan.etp:
        raise InvalidPlan(f"etp {plan.etp} does not divide moe_ffn {model.moe_ffn}")
    ranks = plan.tp * plan.cp * plan.replicas
    if ranks % (plan.ep * plan.etp):
        raise InvalidPlan(
            f"ep {plan.ep} x etp {plan.etp} does not divide the {ranks} ranks of a pipeline stage"
            f" (tp {plan.tp} x cp {plan.cp} x dp {plan.replicas})"
        )
    if plan.tp > 1 and not plan.sequence_parallel:
        raise InvalidPlan("experts with tp above 1 need sequence_parallel, as in Megatron")
    if job.token_routing == "dropless-skewed" and job.routing_skew == 0.0:
        raise InvalidPlan("token_routing dropless-skewed needs routing_skew above 0")
    if job.token_routing == "dropless-skewed" and plan.ep == 1:
        raise InvalidPlan(
            "token_routing dropless-skewed needs ep above 1: with ep 1 every rank has all experts,"
            " and the same number of tokens for them"
        )
    if job.token_routing != "dropless-skewed" and (job.routing_skew or job.routing_seed):
        raise InvalidPlan("routing_skew and routing_seed need token_routing dropless-skewed")
    if job.token_routing != "drop" and job.capacity_factor != 1.0:
        raise InvalidPlan("capacity_factor needs token_routing drop")
    if plan.dispatcher != "all-to-all" and plan.ep == 1:
        raise InvalidPlan(f"dispatcher {plan.dispatcher} needs ep above 1")
    if plan.ep_overlap and plan.ep == 1:
        raise InvalidPlan("ep_overlap needs ep above 1")
    if plan.dispatch_domain > 1 and plan.dispatcher != "deepep":
        raise InvalidPlan("dispatch_domain needs the dispatcher deepep")
    if plan.dispatch_domain < 0 or plan.ep % max(1, plan.dispatch_domain):
        raise InvalidPlan(
            f"dispatch_domain {plan.dispatch_domain} must divide ep {plan.ep}:"
            " it counts ranks of an ep group in one domain"
        )
    if plan.ep_overlap and plan.dispatcher == "all-gather":
        raise InvalidPlan("ep_overlap needs the dispatcher all-to-all or deepep")
    if plan.ep_overlap and plan.pp > 1 and not schedule_of(plan.order).hides_exchanges:
        hiding = [each.name for each in schedules().values() if each.hides_exchanges]
        raise InvalidPlan(
            f"ep_overlap with pp {plan.pp} needs {' or '.join(hiding)}: with {plan.order}"
            " the last stage has no second micro-batch to hide under"
        )


def _refuse_for_dense(job: Job) -> None:
    plan = job.plan
    for name, used in (
        ("ep_overlap", plan.ep_overlap),
        (f"dispatcher {plan.dispatcher}", plan.dispatcher != "all-to-all"),
        (f"dispatch_domain {plan.dispatch_domain}", plan.dispatch_domain > 1),
        (f"token_routing {job.token_routing}", job.token_routing != "dropless-balanced"),
        ("routing_skew", job.routing_skew or job.routing_seed),
        ("capacity_factor", job.capacity_factor != 1.0),
    ):
        if used:
            raise InvalidPlan(f"{name} needs experts; {job.model.name!r} is dense")


def _sharding(job: Job) -> None:
    plan = job.plan
    if plan.sharding == "hsdp":
        size = plan.shard_size
        if not size or plan.dp_cp % size or size % plan.cp:
            raise InvalidPlan(
                f"hsdp needs shard_size, a multiple of cp {plan.cp} that divides dp x cp"
                f" {plan.dp_cp}; found {size}"
            )
    elif plan.shard_size:
        raise InvalidPlan(f"shard_size {plan.shard_size} needs sharding hsdp")
    if plan.reshard is not None and not plan.sharded_parameters:
        raise InvalidPlan("reshard needs sharding zero3 or hsdp")
    if plan.prefetch != 1:
        _prefetch(plan)
    if schedule_of(plan.order).splits_weights and (plan.sharding == "zero2" or plan.reshards):
        raise InvalidPlan(
            f"schedule {plan.order} with {plan.sharding} is not modelled; use zero1 or"
            " reshard=False"
        )


def _prefetch(plan: Plan) -> None:
    """Refuse to gather ahead where nothing is gathered in passes, or never beside them."""
    if not plan.sharded_parameters:
        raise InvalidPlan(f"prefetch {plan.prefetch} needs sharding zero3 or hsdp")
    if not plan.reshards:
        raise InvalidPlan(
            f"prefetch {plan.prefetch} needs reshard=true: with pp {plan.pp} weights are gathered"
            " once a step, before the first pass"
        )
    if plan.prefetch and not plan.dp_overlap:
        raise InvalidPlan(f"prefetch {plan.prefetch} needs dp_overlap")


def _options(job: Job) -> None:
    plan: Plan = job.plan
    if plan.cp == 1 and plan.cp_method != "ring":
        raise InvalidPlan(f"cp_method {plan.cp_method} needs cp above 1")
    if plan.tp_overlap and (plan.tp == 1 or not plan.sequence_parallel):
        raise InvalidPlan("tp_overlap needs tp above 1 and sequence_parallel")
    if plan.recompute_modules and plan.recompute != "selective":
        raise InvalidPlan("recompute_modules need recompute selective")
    if plan.recompute_layers is not None:
        if plan.recompute != "full":
            raise InvalidPlan("recompute_layers needs recompute full")
        most = max(layers_of_stages(job))
        if not 1 <= plan.recompute_layers <= most:
            raise InvalidPlan(
                f"recompute_layers must be from 1 to the {most} layers of a chunk, found"
                f" {plan.recompute_layers}"
            )
    if "mla_up_proj" in job.modules and job.model.mla is None:
        raise InvalidPlan(f"recompute module mla_up_proj needs MLA, which {job.model.name!r} lacks")
    if {"moe", "moe_act"} & set(plan.recompute_modules) and not job.model.moe_layers:
        raise InvalidPlan("recompute modules moe and moe_act need experts")
