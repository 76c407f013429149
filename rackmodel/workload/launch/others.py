"""torchtitan TOML, DeepSpeed JSON, MaxText YAML: as jobs, and back.

In:  flat keys of a file.
Out: `Launch`; from a job the tables of a file.
Left out: optimizers, data, checkpoints. Sources: torchtitan, torchtitan/config/job_config.py;
DeepSpeed, docs/_pages/config-json.md; MaxText, configs/base.yml.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from rackmodel.workload.job import Job
from rackmodel.workload.launch.remat import remat_policy, remat_words
from rackmodel.workload.launch.words import Flat, Launch, cannot_say, refuse_unsaid
from rackmodel.workload.plan import Plan
from rackmodel.workload.schedules.schedule import default_schedule, schedule_of

_TABLES = ("parallelism.", "training.", "model.", "job.", "experimental.", "activation_checkpoint.")
_SCHEDULES = {
    "1f1b": "1F1B",
    "interleaved": "Interleaved1F1B",
    "gpipe": "GPipe",
    "zb-v": "ZBVZeroBubble",
    "dualpipev": "DualPipeV",
}


# Models of torchtitan that the catalog has under another name.
_TITAN = {"llama3-405b": "llama3.1-405b", "deepseek_v3-671b": "deepseek-v3"}
_STAGES = ("none", "zero1", "zero2", "zero3")  # of ZeRO
# FSDP2 and MaxText's fsdp axis cut weights, gradients and optimizer state alike.
_SHARDINGS = ("none", "zero3", "hsdp")
_WHOLE_SHARDS = "give --sharding zero3, hsdp or none, which is searched with the rest of the plan"


def _given(words: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in words.items() if value is not None}


def _has_tables(keys: Flat) -> None:
    if not any(name.startswith(_TABLES) or name.endswith("_parallel_degree") for name in keys.keys):
        keys.refuse("it has no table of torchtitan (training, parallelism, model); give its config")


def read_torchtitan(keys: Flat) -> Launch:
    """Return the job of a torchtitan config; it says no number of accelerators but its degrees."""
    _has_tables(keys)
    degrees = [f"{name}_parallel_degree" for name in ("tensor", "pipeline", "context")]
    tp, pp, cp = (keys.whole(name) or 1 for name in degrees)
    shard = keys.whole("data_parallel_shard_degree", default=-1) or 1
    copies = keys.whole("data_parallel_replicate_degree", default=1) or 1
    mode = str(keys.get("activation_checkpoint.mode", "mode", default="selective"))
    option = str(keys.get("selective_ac_option", default="op"))
    if mode not in ("none", "selective", "full"):
        keys.refuse(f"activation_checkpoint.mode {mode!r:.40} is not read (none, selective, full)")
    local = keys.whole("local_batch_size", "batch_size", default=1) or 1
    plan: dict[str, Any] = {
        "tp": tp,
        "pp": pp,
        "cp": cp,
        "ep": keys.whole("expert_parallel_degree") or 1,
        "etp": keys.whole("expert_tensor_parallel_degree") or 1,
        "vpp": 1,
        "micro_batch": keys.whole("pipeline_parallel_microbatch_size") or 1 if pp > 1 else local,
        # Weights are cut over context parallel ranks, too.
        "sharding": "none" if shard == cp == 1 else "hsdp" if copies > 1 else "zero3",
        "recompute": mode,
    }
    if plan["sharding"] == "hsdp":
        if shard < 0:
            keys.refuse("data_parallel_shard_degree must be a number beside replicas; -1 is open")
        plan["shard_size"] = shard * cp
    if keys.flag("enable_cpu_offload"):
        plan["offload"] = ["optimizer", "parameters"]
    if mode == "selective" and option.isdecimal():
        plan["recompute_modules"] = ["alternate"]
    if pp > 1:
        said = str(keys.get("pipeline_parallel_schedule", default="1F1B")).lower()
        names = {theirs.lower(): ours for ours, theirs in _SCHEDULES.items()}
        if said not in names:
            keys.refuse(
                f"pipeline_parallel_schedule {said!r:.40} is not read (known: {', '.join(names)})"
            )
        plan["schedule"] = names[said]
        plan["vpp"] = schedule_of(names[said]).chunks[0]  # as torchtitan, which knows 1 and 2
        if names[said] == default_schedule(plan["vpp"]):
            plan["schedule"] = ""
    gpus = None if shard < 0 else tp * pp * cp * shard * copies
    batch = keys.whole("global_batch_size", default=-1)
    if batch is not None and batch <= 0:
        batch = local * shard * copies if gpus else None
    if keys.flag("enable_async_tensor_parallel") and tp > 1:
        plan["tp_overlap"] = True
    model = "-".join(str(keys.get(f"model.{part}")) for part in ("name", "flavor"))
    named = keys.get("model.name") and keys.get("model.flavor")
    narrow = "float8" in str(keys.get("converters", default=""))
    words = {
        "model": _TITAN.get(model.lower(), model) if named else None,
        "gpus": gpus,
        "global_batch": batch,
        "seq_len": keys.whole("seq_len"),
        "precision": "fp8" if narrow or keys.flag("enable_float8_linear") else "bf16",
        "stack": "torchtitan",
    }
    return Launch(_given(words), plan, per_replica=local)


def torchtitan_of(job: Job) -> dict[str, dict[str, Any]]:
    """Return the tables of a torchtitan config for a job."""
    plan = job.plan
    said: dict[str, Collection[Any]] = {
        **dict.fromkeys(("tp", "pp", "cp", "ep", "etp", "dp", "micro_batch"), ()),
        **dict.fromkeys(("shard_size", "recompute", "tp_overlap"), ()),
        "vpp": (1, schedule_of(plan.order).chunks[0]),
        "schedule": ("", *_SCHEDULES),
        "sharding": _SHARDINGS,
        "offload": ((), ("optimizer", "parameters")),
        "recompute_modules": ((), ("alternate",)),
        "precision": ("bf16", "fp8"),
    }
    refuse_unsaid(job, "torchtitan", said, _WHOLE_SHARDS)
    sharded = _sharded("torchtitan", plan)
    parallel: dict[str, Any] = {
        "data_parallel_replicate_degree": plan.replicas // sharded,
        "data_parallel_shard_degree": sharded,
        "tensor_parallel_degree": plan.tp,
        "pipeline_parallel_degree": plan.pp,
        "context_parallel_degree": plan.cp,
        "expert_parallel_degree": plan.ep,
        "expert_tensor_parallel_degree": plan.etp,
    }
    if plan.tp_overlap:
        parallel["enable_async_tensor_parallel"] = True
    local = plan.micro_batch
    if plan.pp > 1:
        parallel["pipeline_parallel_schedule"] = _SCHEDULES[plan.order]
        parallel["pipeline_parallel_microbatch_size"] = plan.micro_batch
        local = job.global_batch // plan.replicas
    checkpoint: dict[str, Any] = {"mode": plan.recompute}
    if plan.recompute == "selective":
        checkpoint["selective_ac_option"] = "2" if "alternate" in plan.recompute_modules else "op"
    name, _, flavor = job.model.name.rpartition("-")
    return {
        "model": {"name": name or job.model.name, "flavor": flavor.upper()},
        "training": {
            "local_batch_size": local,
            "global_batch_size": job.global_batch,
            "seq_len": job.seq_len,
            **({"enable_cpu_offload": True} if plan.offload else {}),
        },
        "parallelism": parallel,
        "activation_checkpoint": checkpoint,
        **({"quantize": {"enable_float8_linear": True}} if job.precision == "fp8" else {}),
    }


def _sharded(framework: str, plan: Plan, within: int = 1) -> int:
    """Replicas that hold one copy of the weights, where context parallel ranks hold parts, too.

    within : ranks of a replica's own that a copy is cut over besides.
    """
    if plan.sharding == "none":
        if plan.cp * within > 1:
            cannot_say(framework, "sharding", "none beside cp or ep, over which weights are cut")
        return 1
    sharded, left = divmod(plan.shard_size, plan.cp)
    if plan.sharding == "zero3":
        sharded, left = plan.replicas, 0
    if left or sharded % within or plan.replicas % max(1, sharded):
        cannot_say(framework, "shard_size", plan.shard_size)
    return sharded


def read_deepspeed(keys: Flat) -> Launch:
    """Return the job of a DeepSpeed config; its model and sequence length stand elsewhere."""
    given = set(keys.keys)
    keys.keys = {name: value for name, value in keys.keys.items() if value != "auto"}
    _beyond_zero(keys)
    stage = keys.whole("zero_optimization.stage", "stage", default=0) or 0
    if not 0 <= stage <= 3:
        keys.refuse(f"zero_optimization.stage: expected 0 to 3, found {stage}")
    micro = keys.whole("train_micro_batch_size_per_gpu")
    batch = keys.whole("train_batch_size")
    steps = keys.whole("gradient_accumulation_steps", default=1) or 1
    tp = keys.whole("autotp_size", "tp_size") or 1
    cp = keys.whole("sequence_parallel_size") or 1
    pp = keys.whole("pipeline.stages", "num_stages") or 1
    if not given & {"train_micro_batch_size_per_gpu", "train_batch_size"}:
        keys.refuse("it needs train_micro_batch_size_per_gpu or train_batch_size")
    plan: dict[str, Any] = {
        "tp": tp,
        "pp": pp,
        "vpp": 1,
        "cp": cp,
        "ep": keys.whole("ep_size", "expert_parallel_size") or 1,
        "etp": 1,
        **({"micro_batch": micro or 1} if micro or batch else {}),  # "auto" is left open
        "sharding": _STAGES[stage],
        "recompute": "none" if not keys.get("partition_activations") else "full",
        "dp_overlap": keys.flag("overlap_comm") if "overlap_comm" in keys.keys else stage == 3,
    }
    if cp > 1:
        plan["cp_method"] = "all-to-all"  # Ulysses
    if str(keys.get("zero_optimization.offload_optimizer.device", default="none")) == "cpu":
        plan["offload"] = ["optimizer"]
    if str(keys.get("zero_optimization.offload_param.device", default="none")) == "cpu":
        plan["offload"] = [*plan.get("offload", ()), "parameters"]
    half = keys.flag("fp16.enabled")
    gpus = None
    if micro and batch and "gradient_accumulation_steps" in keys.keys:
        if batch % (micro * steps):
            keys.refuse(f"train_batch_size {batch} is no multiple of micro x accumulation steps")
        gpus = batch // (micro * steps) * tp * cp * pp
    words = {
        "gpus": gpus,
        "global_batch": batch,
        "precision": "fp16" if half else "bf16" if keys.flag("bf16.enabled") else None,
        "stack": "deepspeed",
    }
    return Launch(_given(words), plan, per_replica=float(micro * steps if micro else 0))


def _beyond_zero(keys: Flat) -> None:
    """Refuse what ZeRO++ and MiCS add, which moves other bytes than the stages."""
    for name in ("zero_hpz_partition_size", "mics_shard_size"):
        if (keys.whole(name) or 1) > 1:
            keys.refuse(f"{name} is not read; take it out, or give --sharding hsdp and shard_size")
    for name in ("zero_quantized_weights", "zero_quantized_gradients"):
        if keys.flag(name):
            keys.refuse(f"{name} is not modelled; take it out")


def deepspeed_of(job: Job) -> dict[str, Any]:
    """Return a DeepSpeed config for a job."""
    plan = job.plan
    said: dict[str, Collection[Any]] = {
        **dict.fromkeys(("tp", "pp", "cp", "ep", "dp", "micro_batch", "dp_overlap", "offload"), ()),
        "sharding": _STAGES,
        "cp_method": ("all-to-all",) if plan.cp > 1 else (),
        "recompute": ("none", "full"),
        "precision": ("bf16", "fp16"),
    }
    refuse_unsaid(job, "deepspeed", said)
    stage = _STAGES.index(plan.sharding)
    zero: dict[str, Any] = {"stage": stage, "overlap_comm": plan.dp_overlap}
    if "activations" in plan.offload:
        cannot_say("deepspeed", "offload", "activations")
    for part, theirs in (("optimizer", "optimizer"), ("parameters", "param")):
        if part in plan.offload:
            zero[f"offload_{theirs}"] = {"device": "cpu"}
    found: dict[str, Any] = {
        "train_batch_size": job.global_batch,
        "train_micro_batch_size_per_gpu": plan.micro_batch,
        "gradient_accumulation_steps": job.micro_batches,
        "zero_optimization": zero,
        job.precision: {"enabled": True},
    }
    if plan.tp > 1:
        found["tensor_parallel"] = {"autotp_size": plan.tp}
    if plan.cp > 1:
        found["sequence_parallel_size"] = plan.cp
    if plan.pp > 1:
        found["pipeline"] = {"stages": plan.pp}
    if plan.ep > 1:
        found["moe"] = {"ep_size": plan.ep}
    if plan.recompute == "full":
        found["activation_checkpointing"] = {"partition_activations": True}
    return found


_AXES = {
    "tensor": "tp",
    "tensor_transpose": "tp",
    "pipeline": "pp",
    "context": "cp",
    "expert": "ep",
    "fsdp": "fsdp",
    "fsdp_transpose": "fsdp",
    "data": "data",
}


def read_maxtext(keys: Flat) -> Launch:
    """Return the job of a MaxText config; an axis of -1 takes what is left of --gpus."""
    sizes = dict.fromkeys(("tp", "pp", "cp", "ep", "fsdp", "data"), 1)
    # Of a file that names no axis those of base.yml hold: fsdp takes all.
    named = any(re.fullmatch(r"(ici|dcn)_\w+_parallelism", key) for key in keys.keys)
    open_axis = "" if named else "fsdp"
    for axis, ours in _AXES.items():
        for network in ("ici", "dcn"):
            size = keys.whole(f"{network}_{axis}_parallelism", default=1)
            if size == -1:
                open_axis = ours
            else:
                sizes[ours] *= max(1, size or 1)
    # Weights are cut over fsdp and, for other parts of the model, over expert and context.
    shards = sizes["fsdp"] * sizes["cp"] * sizes["ep"] > 1 or open_axis == "fsdp"
    plan: dict[str, Any] = {
        "tp": sizes["tp"],
        "pp": sizes["pp"],
        "cp": sizes["cp"],
        "ep": sizes["ep"],
        "etp": 1,
        "vpp": keys.whole("num_pipeline_repeats", default=1) or 1,
        "micro_batch": 1,
        "sharding": "none" if not shards else "hsdp" if sizes["data"] > 1 else "zero3",
        **remat_words(keys),
    }
    if plan["sharding"] == "hsdp":
        if open_axis:
            keys.refuse(f"ici and dcn {open_axis} parallelism: give a number beside replicas")
        plan["shard_size"] = sizes["fsdp"] * sizes["cp"] * sizes["ep"]
    each = float(keys.get("per_device_batch_size", default=1))
    ranks = sizes["tp"] * sizes["pp"] * sizes["cp"]
    gpus = None if open_axis else sizes["fsdp"] * sizes["data"] * sizes["ep"] * ranks
    steps = keys.whole("gradient_accumulation_steps", default=1) or 1
    passes = keys.whole("num_pipeline_microbatches") or 0
    passes = max(1, passes) if plan["pp"] > 1 else steps
    plan["micro_batch"] = max(1, int(each * ranks * steps / passes))
    batch = None
    if gpus:
        whole = each * gpus * steps
        if not whole.is_integer() or whole < 1:
            keys.refuse(f"per_device_batch_size {each} x {gpus} devices is no whole batch")
        batch = int(whole)
    quant = str(keys.get("quantization", default="") or "").lower()
    precision = "int8" if "int8" in quant else "fp8" if "fp8" in quant else "bf16"
    words = {
        "model": keys.get("model_name"),
        "gpus": gpus,
        "global_batch": batch,
        "seq_len": keys.whole("max_target_length"),
        "precision": precision,
        "stack": "maxtext",
    }
    return Launch(_given(words), plan, per_replica=each * steps * ranks)


def maxtext_of(job: Job) -> dict[str, Any]:
    """Return a MaxText config for a job."""
    plan = job.plan
    said: dict[str, Collection[Any]] = {
        **dict.fromkeys(("tp", "pp", "vpp", "cp", "ep", "dp", "micro_batch"), ()),
        **dict.fromkeys(("shard_size", "recompute", "recompute_modules"), ()),
        "sharding": _SHARDINGS,
        "precision": ("bf16", "fp8", "int8"),
    }
    refuse_unsaid(job, "maxtext", said, _WHOLE_SHARDS)
    shards = _sharded("maxtext", plan, plan.ep) // plan.ep
    found: dict[str, Any] = {
        "model_name": job.model.name,
        "per_device_batch_size": job.global_batch / job.gpus / _accumulation(job),
        "max_target_length": job.seq_len,
        "remat_policy": remat_policy(plan),
        "dcn_data_parallelism": plan.replicas // plan.ep // shards,
        "ici_fsdp_parallelism": shards,
        "ici_tensor_parallelism": plan.tp,
        "ici_context_parallelism": plan.cp,
        "ici_expert_parallelism": plan.ep,
        "ici_pipeline_parallelism": plan.pp,
        "gradient_accumulation_steps": _accumulation(job),
        "dtype": "bfloat16",
    }
    if plan.pp > 1:
        found["num_pipeline_microbatches"] = job.micro_batches
        found["num_pipeline_repeats"] = plan.vpp
    if job.precision != "bf16":
        found["quantization"] = job.precision
    return found


def _accumulation(job: Job) -> int:
    """Passes of a replica that a pipeline does not take as its own micro-batches."""
    return 1 if job.plan.pp > 1 else job.micro_batches
