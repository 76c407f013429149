"""Whether a job can run at all: sizes that divide, options that go together.

In:  a job.
Out: nothing, or `InvalidPlan` that says what was wanted, what was found and what to try.
Left out: HBM (`memory.check_fits`), whether a machine has the accelerators.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rackmodel.errors import InvalidPlan, RackModelError
from rackmodel.fields import check_values
from rackmodel.workload.choices import IN_COPIES
from rackmodel.workload.job import Job
from rackmodel.workload.models import Model
from rackmodel.workload.plan import check_batch
from rackmodel.workload.schedules.schedule import schedule_of, schedules
from rackmodel.workload.silent import fused
from rackmodel.workload.stages import layers_of_stages


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
    >>> from rackmodel.workload import Job, Plan, load_model
    >>> llama = load_model("llama3.1-405b")
    >>> job = Job(model=llama, plan=Plan(tp=3, dp=1), seq_len=8192, global_batch=8)
    >>> check(job)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    rackmodel.errors.InvalidPlan: tp 3 does not divide the 128 heads of 'llama3.1-405b'; ...
    """
    check_values(job.plan)
    check_values(job)
    _learns(job)
    schedule_of(job.plan.order)  # an unknown one is refused
    check_cuts(job)
    check_batch(job.plan, job.global_batch)
    _pipeline(job)
    _refuse(_experts(job) if job.model.moe_layers else _dense(job))
    _refuse(_sharding(job))
    _refuse(_options(job))


def _learns(job: Job) -> None:
    """Refuse a job that trains nothing, or one of two ends that are the same matrix."""
    trained, model = job.trained, job.model
    if job.optimizer == "muon" and (trained.lora or "optimizer" in job.plan.offload):
        raise InvalidPlan("optimizer muon with lora or an offloaded optimizer is not modelled")
    if "experts" in trained.targets and not model.moe_layers:
        raise InvalidPlan(f"lora_targets experts: {model.name!r} is dense")
    ends = trained.learns("embedding"), trained.learns("head")
    if trained.first_layer(model.blocks) == model.layers and not ends[1]:
        raise InvalidPlan("freeze leaves nothing to train; leave a part of it out")
    if model.tied and ends[0] != ends[1]:
        raise InvalidPlan(
            f"embedding and head of {model.name!r} are one matrix; freeze both or none"
        )


Rule = tuple[object, str]  # what must not hold, and what to say if it does


def _refuse(rules: Iterable[Rule], error: type[RackModelError] = InvalidPlan) -> None:
    for broken, why in rules:
        if broken:
            raise error(why)


def _try(number: int, divisor: int, most: int = 16) -> str:
    """Divisors to try where `divisor` is none."""
    if number % divisor == 0:
        return ""
    return ", ".join(str(d) for d in range(1, min(number, most) + 1) if number % d == 0)


def tp_rules(model: Model, tp: int) -> Iterator[Rule]:
    """What tensor parallelism of that many ranks must divide in a model.

    Heads that attend, key-value heads (or be a multiple of them), widths of dense and shared
    feed-forward parts, and the units of layers with a state.
    """
    name = repr(model.name)
    for block in dict.fromkeys((*model.blocks, *model.mtp_blocks)):
        if block.attends:
            heads = model.heads_of(block).heads
            kv = heads if model.mla else model.heads_of(block).kv_heads
            yield (
                heads % tp,
                f"tp {tp} does not divide the {heads} heads of {name}; try tp {_try(heads, tp)}",
            )
            yield (
                kv % tp and tp % kv,
                f"tp {tp} neither divides nor is a multiple of the {kv} key-value heads of {name}",
            )
            groups = model.heads_of(block).out_groups
            yield (groups % tp, f"tp {tp} does not divide the {groups} output groups of {name}")
        kind = model.recurrent(block)
        for what, units in (kind.units if kind else {}).items():
            layers = f"{type(kind).__name__} layers of {name}"
            yield (
                units % tp,
                f"tp {tp} does not divide the {units} {what} of the {layers};"
                f" try tp {_try(units, tp)}",
            )
    dense = any(block.feed == "dense" for block in model.blocks)
    widths = {"ffn": model.ffn if dense else 0, "shared_expert_ffn": model.shared_expert_ffn}
    for what, width in widths.items():
        yield (width % tp, f"tp {tp} does not divide {what} {width}; try tp {_try(width, tp)}")


def cp_refusal(model: Model) -> str:
    """Why the sequence of a model can't be cut over ranks; empty where it can."""
    for block in dict.fromkeys(model.blocks):
        if (kind := model.recurrent(block)) is not None:
            return f"with {type(kind).__name__} layers is not modelled; use cp 1"
        if block.index or block.rate:
            return "with sparse attention is not modelled; use cp 1"
    return ""


def check_cuts(job: Job) -> None:
    """Refuse ranks that heads, widths or the sequence can't be cut over.

    Raises
    ------
    InvalidPlan
    """
    plan, model = job.plan, job.model
    tp, cp, heads, uncut = plan.tp, plan.cp, model.heads, cp_refusal(model)
    by_heads = cp > 1 and plan.cp_method == "all-to-all"
    pieces = cp * (2 if cp > 1 and not by_heads else 1) * plan.sp
    rules: list[Rule] = [
        *tp_rules(model, tp),
        (
            model.shared_block and plan.pp > 1,
            f"layers of {model.name!r} share blocks: on several stages each would hold its own,"
            " which is not modelled; use pp 1",
        ),
        (cp > 1 and uncut, f"cp {cp} {uncut}"),
        (
            job.seq_len % pieces,
            f"seq_len {job.seq_len} is not a multiple of {pieces} (tp {tp} with sequence"
            f" parallelism, cp {cp} twice for causal balance)",
        ),
        (
            by_heads and heads % (tp * cp),
            f"cp {cp} by all-to-all splits heads: tp {tp} x cp {cp} does not divide"
            f" {heads} heads; use cp_method ring",
        ),
        (
            job.document_len > job.seq_len or job.seq_len % job.attended,
            f"seq_len {job.seq_len} does not hold whole documents of {job.document_len} tokens;"
            " change seq_len or document_len",
        ),
        (
            not by_heads and job.attended % (2 * cp if cp > 1 else 1),
            f"document_len {job.attended} is not a multiple of {2 * cp}: each of cp {cp} ranks"
            " takes two parts of every document",
        ),
        (
            job.document_len and not job.fused_attention,
            f"document_len needs fused attention, stack {job.stack!r} has none",
        ),
        (
            cp > 1 and not job.fused_attention,
            f"cp {cp} needs fused attention, stack {job.stack!r} has none",
        ),
    ]
    _refuse(rules)


def _pipeline(job: Job) -> None:
    plan = job.plan
    layers_of_stages(job)
    if reason := schedule_of(plan.order).refuses(plan.pp, job.micro_batches, plan.vpp):
        raise InvalidPlan(reason)
    if plan.p2p_overlap and plan.pp == 1:
        raise InvalidPlan("p2p_overlap needs pp above 1")


def _experts(job: Job) -> list[Rule]:
    plan, model = job.plan, job.model
    ep, etp, inside = plan.ep, plan.etp, plan.dispatch_domain
    ranks = plan.tp * plan.cp * plan.replicas
    hiding = [each.name for each in schedules().values() if each.hides_exchanges]
    return [
        (
            model.experts % ep,
            f"ep {ep} does not divide the {model.experts} experts of {model.name!r};"
            f" try ep {_try(model.experts, ep, 1024)}",
        ),
        (model.moe_ffn % etp, f"etp {etp} does not divide moe_ffn {model.moe_ffn}"),
        (
            ranks % (ep * etp),
            f"ep {ep} x etp {etp} does not divide the {ranks} ranks of a pipeline stage"
            f" (tp {plan.tp} x cp {plan.cp} x dp {plan.replicas})",
        ),
        (
            plan.tp > 1 and not plan.sequence_parallel,
            "experts with tp above 1 need sequence_parallel, as in Megatron",
        ),
        *_token_routing(job),
        (
            plan.dispatcher not in ("", "all-to-all") and ep == 1,
            f"dispatcher {plan.dispatcher} needs ep above 1",
        ),
        (plan.ep_overlap and ep == 1, "ep_overlap needs ep above 1"),
        (
            plan.dispatch_format != "bf16" and plan.dispatcher != "deepep",
            f"dispatch_format {plan.dispatch_format} needs the dispatcher deepep",
        ),
        (
            plan.fused_odds is not None and (ep == 1 or bool(plan.dispatcher)),
            "fused_odds needs ep above 1 and no dispatcher: where one is stated there are no odds",
        ),
        (
            inside > 1 and not fused(plan),
            "dispatch_domain needs the dispatcher deepep or fused_odds above 0",
        ),
        (
            ep % max(1, inside),
            f"dispatch_domain {inside} must divide ep {ep}: it counts ranks of an ep group in one"
            " domain",
        ),
        (
            plan.ep_overlap and plan.dispatcher == "all-gather",
            "ep_overlap needs the dispatcher all-to-all or deepep",
        ),
        (
            plan.ep_overlap and plan.pp > 1 and not schedule_of(plan.order).hides_exchanges,
            f"ep_overlap with pp {plan.pp} needs {' or '.join(hiding)}: with {plan.order}"
            " the last stage has no second micro-batch to hide under",
        ),
    ]


def _token_routing(job: Job) -> list[Rule]:
    skewed = job.token_routing == "dropless-skewed"
    return [
        (
            skewed and job.routing_skew == 0.0,
            "token_routing dropless-skewed needs routing_skew above 0",
        ),
        (
            skewed and job.plan.ep == 1,
            "token_routing dropless-skewed needs ep above 1: with ep 1 every rank has all experts,"
            " and the same number of tokens for them",
        ),
        (
            not skewed and (job.routing_skew or job.routing_seed),
            "routing_skew and routing_seed need token_routing dropless-skewed",
        ),
        (
            job.token_routing != "drop" and job.capacity_factor != 1.0,
            "capacity_factor needs token_routing drop",
        ),
    ]


def _dense(job: Job) -> list[Rule]:
    plan = job.plan
    used = {
        f"ep {plan.ep} x etp {plan.etp}": plan.ep > 1 or plan.etp > 1,
        "ep_overlap": plan.ep_overlap,
        f"dispatcher {plan.dispatcher}": plan.dispatcher not in ("", "all-to-all"),
        f"dispatch_domain {plan.dispatch_domain}": plan.dispatch_domain > 1,
        f"fused_odds {plan.fused_odds}": plan.fused_odds is not None,
        f"token_routing {job.token_routing}": job.token_routing != "dropless-balanced",
        "routing_skew": job.routing_skew or job.routing_seed,
        "capacity_factor": job.capacity_factor != 1.0,
    }
    return [
        (is_used, f"{name} needs experts; {job.model.name!r} is dense")
        for name, is_used in used.items()
    ]


def _sharding(job: Job) -> list[Rule]:
    plan = job.plan
    size, hybrid, ahead = plan.shard_size, plan.sharding == "hsdp", plan.prefetch
    return [
        (
            size and plan.sharding not in IN_COPIES,
            f"shard_size {size} needs sharding {' or '.join(IN_COPIES)}",
        ),
        (
            hybrid and not size,
            f"sharding hsdp needs shard_size, a multiple of cp {plan.cp} that divides dp x cp",
        ),
        (
            size and (plan.dp_cp % size or size % plan.cp),
            f"shard_size {size} has to be a multiple of cp {plan.cp} that divides dp x cp"
            f" {plan.dp_cp}",
        ),
        (
            job.model.moe_layers and size * plan.tp % (plan.ep * plan.etp),
            f"tp {plan.tp} x shard_size {size} has to be a multiple of ep {plan.ep} x etp"
            f" {plan.etp}: each copy has all experts",
        ),
        (
            plan.reshard is not None and not plan.sharded_parameters,
            "reshard needs sharding zero3 or hsdp",
        ),
        (
            ahead != 1 and not plan.sharded_parameters,
            f"prefetch {ahead} needs sharding zero3 or hsdp",
        ),
        (
            ahead != 1 and not plan.reshards,
            f"prefetch {ahead} needs reshard=true: with pp {plan.pp} weights are gathered once a"
            " step, before the first pass",
        ),
        (ahead > 1 and not plan.dp_overlap, f"prefetch {ahead} needs dp_overlap"),
        (
            "parameters" in plan.offload and not plan.reshards,
            "offload parameters needs weights that are dropped after use: sharding zero3 or hsdp,"
            " with pp above 1 also reshard=true",
        ),
        (
            schedule_of(plan.order).splits_weights and plan.reduces_each_pass,
            f"schedule {plan.order} with {plan.sharding} is not modelled; use zero1 or"
            " reshard=False",
        ),
    ]


def _options(job: Job) -> list[Rule]:
    plan, name = job.plan, job.model.name
    layers, most = plan.recompute_layers, max(layers_of_stages(job))
    return [
        (plan.cp == 1 and plan.cp_method != "ring", f"cp_method {plan.cp_method} needs cp above 1"),
        (
            plan.tp_overlap and (plan.tp == 1 or not plan.sequence_parallel),
            "tp_overlap needs tp above 1 and sequence_parallel",
        ),
        (plan.fp8_head and job.precision != "fp8-mx", "fp8_head needs precision fp8-mx"),
        (
            plan.recompute_modules and plan.recompute != "selective",
            "recompute_modules need recompute selective",
        ),
        (
            layers is not None and plan.recompute != "full",
            "recompute_layers needs recompute full",
        ),
        (
            layers is not None and not 1 <= layers <= most,
            f"recompute_layers must be from 1 to the {most} layers of a chunk, found {layers}",
        ),
        (
            "mla_up_proj" in job.modules and job.model.mla is None,
            f"recompute module mla_up_proj needs MLA, which {name!r} lacks",
        ),
        (
            {"moe", "moe_act"} & set(plan.recompute_modules) and not job.model.moe_layers,
            "recompute modules moe and moe_act need experts",
        ),
    ]
