"""Megatron-LM arguments, and Megatron-Bridge and NeMo recipes, which have the same words.

In:  flat keys with underscores.
Out: `Launch`; from a job the keys back, its model's included.
Left out: data, learning rates, logging, checkpoints. Source: Megatron-LM, megatron/training/
arguments.py; Megatron-Bridge, ConfigContainer.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from rackmodel.workload.choices import OPTIMIZERS
from rackmodel.workload.job import Job
from rackmodel.workload.launch.layout import layout_of, stages_said
from rackmodel.workload.launch.megatron_model import model_said, published
from rackmodel.workload.launch.words import (
    UNTOLD,
    Flat,
    Launch,
    Spelled,
    refuse_unsaid,
    spell,
)
from rackmodel.workload.shipped_models import name_spelled, shipped_models

SPELLED = (
    Spelled("tp", "tensor_model_parallel_size", 1),
    Spelled("pp", "pipeline_model_parallel_size", 1),
    Spelled("cp", "context_parallel_size", 1),
    Spelled("ep", "expert_model_parallel_size", 1),
    Spelled("micro_batch", "micro_batch_size", 1),
    Spelled("sequence_parallel", "sequence_parallel", False),
    Spelled("tp_overlap", "tp_comm_overlap", False),
    Spelled("ep_overlap", "overlap_moe_expert_parallel_comm", False),
    Spelled("fp8_head", "fp8_output_proj", False),
    Spelled(
        *("cp_method", "cp_comm_type", "ring"),
        {"ring": "p2p", "all-to-all": "a2a", "all-gather": "all_gather"},
    ),
    Spelled(
        *("rank_order", "use_tp_pp_dp_mapping", "tp-cp-ep-dp-pp"),
        {"tp-cp-ep-dp-pp": False, "tp-cp-ep-pp-dp": True},
    ),
)
_MODULES = {"layernorm": "norm"}
_FP8 = {
    "fp8": "delayed",
    "fp8-cs": "tensorwise",
    "mxfp8": "mxfp8",
    "fp8-block": "blockwise",
}
SAID_OPTIMIZERS = ("adam-bf16", "adam-8bit", "sgd", "muon")
_EXPERTS = ("num_experts", "num_moe_experts")
_NEEDED = {"tensor_model_parallel_size", "pipeline_model_parallel_size", "micro_batch_size"}
_NEEDED |= {"num_layers", "global_batch_size", "seq_length", "recompute_granularity"}


def read(keys: Flat, *, with_model: bool = True, gpus: int | None = None) -> Launch:
    """Return the job of Megatron's keys; its model only where that is asked for.

    gpus : accelerators, where they are not those of the file.
    """
    _rename(keys)
    if not _NEEDED & set(keys.keys):
        keys.refuse("it has no arguments of Megatron; give the script or file that they stand in")
    _begun_elsewhere(keys)
    plan = keys.plan(SPELLED)
    layers = stated = keys.whole("num_layers", "num_hidden_layers")
    plan["sequence_parallel"] = plan["sequence_parallel"] or plan["tp"] == 1
    plan["etp"] = keys.whole("expert_tensor_parallel_size", "expert_tensor_parallel") or plan["tp"]
    mixture = any(name in keys for name in ("expert_tensor_parallel_size", *_EXPERTS))
    if plan["ep"] == 1 and not mixture:
        plan["etp"] = 1
    known = name_spelled(str(published(keys))) if with_model else None
    layers = layers or shipped_models().get(known or "", {}).get("layers")
    vpp = _chunks(keys, layers, plan["pp"])
    plan["vpp"], stages = stages_said(keys, layers, plan["pp"], vpp)
    if stages:
        plan["stage_layers"] = stages
    gpus = gpus or _gpus(keys)
    plan |= _sharding(keys, plan, gpus) | _recompute(keys) | _dispatcher(keys)
    if keys.flag("optimizer_cpu_offload"):
        plan["offload"] = ["optimizer"]
    if keys.flag("cpu_offloading") or keys.flag("fine_grained_activation_offloading"):
        keys.refuse(
            "offloading of some activations is not read; take it out for --plan offload=activations"
        )
    narrow = str(keys.get("main_grads_dtype", default="")).endswith(_HALF)
    if keys.flag("grad_reduce_in_bf16") or not keys.flag("grad_reduce_in_fp32", default=not narrow):
        plan["gradients"] = "bf16"
    words: dict[str, Any] = {
        "seq_len": keys.whole("seq_length", "seq_len"),
        "global_batch": keys.whole("global_batch_size"),
        "gpus": gpus,
        "precision": _precision(keys),
        "model": (model_said(keys, stated) or published(keys)) if with_model else None,
        "stack": "megatron",
    }
    words |= _adapters(keys)
    words["optimizer"] = _optimizer(keys)
    if keys.get("moe_expert_capacity_factor") is not None:
        words["token_routing"] = "drop"
        words["capacity_factor"] = float(keys.get("moe_expert_capacity_factor"))
    return Launch({name: value for name, value in words.items() if value is not None}, plan)


_HALF = ("bf16", "bfloat16", "fp16", "float16")
_MOMENTS = ("exp_avg_dtype", "exp_avg_sq_dtype")


def _optimizer(keys: Flat) -> str | None:
    """The optimizer with the width of its moments; None for Adam in fp32."""
    named = str(keys.get("optimizer", default="adam"))
    if named not in OPTIMIZERS and "adam" not in named:
        keys.refuse(f"--optimizer {named:.40} is not read (known: {', '.join(OPTIMIZERS)})")
    if str(keys.get("main_params_dtype", default="fp32")).endswith(_HALF):
        keys.refuse("main_params_dtype: master weights of two bytes are not modelled; take it out")
    said = [str(keys.get(name, default="fp32")) for name in _MOMENTS]
    widths = {2 if one.endswith(_HALF) else 1 if "8" in one else 4 for one in said}
    if len(widths) > 1:
        keys.refuse(f"moments in {' and '.join(said)} are not modelled; give both the same")
    if "adam" in named and widths != {4}:
        return "adam-bf16" if widths == {2} else "adam-8bit"
    return named if named in OPTIMIZERS and named != "adam" else None


def _chunks(keys: Flat, layers: int | None, pp: int) -> int:
    stated = keys.whole(
        "num_virtual_stages_per_pipeline_rank", "virtual_pipeline_model_parallel_size"
    )
    each = keys.whole("num_layers_per_virtual_pipeline_stage")
    if stated or not each:
        return stated or 1
    if not layers or layers % (pp * each):
        keys.refuse(f"num_layers_per_virtual_pipeline_stage {each} does not divide the layers")
    return layers // (pp * each)


def _gpus(keys: Flat) -> int | None:
    """Accelerators; None where a cluster's variables or a command say them."""
    of_nodes = ("nnodes", "num_nodes")
    of_each = ("nproc_per_node", "num_gpus_per_node", "gpus_per_node", "devices")
    if any(keys.keys.get(name) in (True, UNTOLD) for name in (*of_nodes, *of_each, "world_size")):
        return None
    nodes, each = keys.whole(*of_nodes), keys.whole(*of_each)
    if nodes is None and "nproc_per_node" in keys:
        nodes = 1  # torchrun's default
    return keys.whole("world_size") or (nodes * each if nodes and each else None)


_SECTIONS = ("mixed_precision.", "comm_overlap.")  # of Megatron-Bridge: they count more than model
# Keys of NeMo 1 and of forks by Megatron's.
_OTHER_NAMES = {
    "encoder_seq_length": "seq_length",
    "sequence_length": "seq_length",
    "activations_checkpoint_granularity": "recompute_granularity",
    "activations_checkpoint_method": "recompute_method",
    "activations_checkpoint_num_layers": "recompute_num_layers",
    "num_mtp_predictor": "mtp_num_layers",
    "qk_nope_head_dim": "qk_head_dim",
    "qk_rope_head_dim": "qk_pos_emb_head_dim",
}


def _rename(keys: Flat) -> None:
    """Put what other files of Megatron's kind say under Megatron's own keys."""
    for section in _SECTIONS:
        said = {name: value for name, value in keys.keys.items() if name.startswith(section)}
        keys.keys |= {n.removeprefix(section): v for n, v in said.items() if v is not None}
    for theirs, ours in _OTHER_NAMES.items():
        if theirs in keys and ours not in keys:
            keys.keys[ours] = keys.keys[theirs]
    for theirs, flag, says in (
        ("share_embeddings_and_output_weights", "untie_embeddings_and_output_weights", False),
        ("add_bias_linear", "disable_bias_linear", False),
        ("bias", "disable_bias_linear", False),
    ):
        if theirs in keys and flag not in keys:
            keys.keys[flag] = keys.flag(theirs) is says
    name = str(keys.get("model.optim.name", "optim.name", default=""))
    fused = [*keys.get("calls", default=()), name]
    if any(one.startswith(("distributed_fused_adam", "mcore_distributed_optim")) for one in fused):
        keys.keys.setdefault("use_distributed_optimizer", True)
    if "glu" in str(keys.get("activation", default="")):
        keys.keys["swiglu"] = True


_DEGREES = [one.key for one in SPELLED[:3]]


def _begun_elsewhere(keys: Flat) -> None:
    """Of a recipe that begins from one of another file: what it leaves out is not the default.

    All of Megatron-Bridge's and NeMo's shard the optimizer, and overlap that.
    """
    begun = next(iter(keys.get("begun", default=())), "")
    if not begun:
        return
    if lacking := [name for name in _DEGREES if name not in keys]:
        keys.refuse(f"{lacking[0]} is that of {begun}, which is not in the file; write its value")
    for name in ("use_distributed_optimizer", "overlap_grad_reduce", "overlap_param_gather"):
        keys.keys.setdefault(name, True)


_ADAPTED = {
    **dict.fromkeys(("linear_qkv", "linear_proj", "attention_qkv"), "attention"),
    **dict.fromkeys(("linear_fc1", "linear_fc2"), "mlp"),
}


def _adapters(keys: Flat) -> dict[str, Any]:
    """Words of LoRA where a recipe has it."""
    if "LoRA" not in keys.get("classes", default=()) and keys.get("peft_scheme") != "lora":
        return {}
    found: dict[str, Any] = {"lora": keys.whole("dim", "adapter_dim", default=32)}
    modules = keys.get("target_modules")
    if modules:
        targets = {_ADAPTED.get(str(one).rpartition(".")[2], "") for one in modules}
        if "" in targets:
            keys.refuse(f"target_modules {modules!r:.80} are not read; name --lora-targets instead")
        found["lora_targets"] = sorted(targets)
    return found


def _precision(keys: Flat) -> str | None:
    form, recipe = keys.get("fp8_format", "fp8"), str(keys.get("fp8_recipe", default=""))
    mixed = str(keys.get("mixed_precision", "precision", "plugins", default="")).lower()
    if keys.get("fp4_format", "fp4") or "nvfp4" in mixed:
        return "nvfp4"
    if form or "fp8" in mixed:
        names = {"current_scaling": "tensorwise", "subchannel_scaling": "blockwise"}
        names |= {name: name for name in _FP8.values()}
        said = recipe or next((ours for word, ours in names.items() if word in mixed), "delayed")
        return next((ours for ours, theirs in _FP8.items() if theirs == said), "fp8")
    if keys.flag("fp16") or mixed in ("16", "16-mixed", "fp16_mixed"):
        return "fp16"
    return "bf16" if keys.flag("bf16") or "bf16" in mixed else None


def _sharding(keys: Flat, plan: dict[str, Any], gpus: int | None) -> dict[str, Any]:
    strategy = str(keys.get("data_parallel_sharding_strategy", default="")).lower()
    if keys.flag("use_torch_fsdp2") or keys.flag("use_megatron_fsdp", "use_custom_fsdp"):
        known = {"": "zero3", "optim": "zero1", "optim_grads": "zero2", "no_shard": "none"}
        sharding = known.get(strategy, "zero3")
    else:
        stage = keys.whole("zero_stage", default=int(keys.flag("use_distributed_optimizer"))) or 0
        sharding = ("none", "zero1", "zero2", "zero3")[min(stage, 3)]  # of Megatron-DeepSpeed
    overlap = keys.flag("overlap_grad_reduce", "overlap_param_gather")
    found: dict[str, Any] = {"sharding": sharding, "dp_overlap": overlap}
    copies = keys.whole(_COPIES) or 1
    if copies > 1 and sharding != "none":
        found |= _in_copies(keys, sharding, copies, gpus and gpus // (plan["tp"] * plan["pp"]))
    return found


_COPIES = "num_distributed_optimizer_instances"


def _in_copies(keys: Flat, sharding: str, copies: int, ranks: int | None) -> dict[str, Any]:
    """What is sharded once in each of several copies over ranks of dp x cp."""
    if ranks is None:
        keys.refuse(f"{_COPIES}: their size follows from the accelerators; give --gpus")
    if sharding == "zero2":
        keys.refuse(f"{_COPIES} {copies} beside optim_grads is not modelled; take one out")
    outer = str(keys.get("outer_dp_sharding_strategy", default="no_shard"))
    if sharding == "zero3" and outer != "no_shard":
        keys.refuse(f"outer_dp_sharding_strategy {outer:.40} is not modelled; give no_shard")
    if ranks % copies:
        keys.refuse(f"{_COPIES} {copies} does not divide the {ranks} ranks of dp x cp")
    return {
        "sharding": "zero1" if sharding == "zero1" else "hsdp",
        "shard_size": ranks // copies,
    }


def _recompute(keys: Flat) -> dict[str, Any]:
    kind = keys.get("recompute_granularity")
    if keys.flag("recompute_activations"):
        kind = kind or "selective"
    if kind not in (None, "none", "selective", "full"):
        keys.refuse(f"recompute_granularity: {kind!r:.40} is not read (known: selective, full)")
    found: dict[str, Any] = {"recompute": kind or "none"}
    modules = keys.get("recompute_modules")
    if kind == "selective":
        names = modules if isinstance(modules, list) else str(modules or "core_attn").split()
        found["recompute_modules"] = [_MODULES.get(str(name), str(name)) for name in names]
    layers = keys.whole("recompute_num_layers")
    if kind == "full" and keys.get("recompute_method") == "block" and layers:
        found["recompute_layers"] = layers
    return found


def _dispatcher(keys: Flat) -> dict[str, Any]:
    kind = str(keys.get("moe_token_dispatcher_type", default="allgather")).lower()
    if not {"num_experts", "num_moe_experts", "moe_token_dispatcher_type"} & set(keys.keys):
        return {}
    if keys.flag("moe_enable_deepep") or kind == "flex" or keys.get("moe_flex_dispatcher_backend"):
        return {"dispatcher": "deepep"}
    return {"dispatcher": "all-gather" if kind == "allgather" else "all-to-all"}


_SAID: dict[str, Collection[Any]] = {
    **dict.fromkeys([one.field for one in SPELLED], ()),
    **dict.fromkeys(("etp", "vpp", "dp", "sharding", "dp_overlap", "precision"), ()),
    **dict.fromkeys(("recompute", "recompute_modules", "recompute_layers", "dispatcher"), ()),
    **dict.fromkeys(("shard_size", "stage_layers"), ()),
    "schedule": ("", "1f1b", "interleaved"),
    "offload": ((), ("optimizer",)),
    "gradients": ("", "bf16"),
}


def keys_of(job: Job, framework: str = "megatron") -> dict[str, Any]:
    """Return Megatron's keys for a job, its model left out; framework : who refuses."""
    plan = job.plan
    refuse_unsaid(job, framework, _SAID)
    found = {"world_size": job.gpus, **spell(plan, SPELLED, whole=framework == "nemo")}
    if plan.tp == 1:
        found.pop("sequence_parallel", None)
    if job.model.moe_layers:
        found["expert_tensor_parallel_size"] = plan.etp
        kinds = {"": "alltoall", "all-to-all": "alltoall", "all-gather": "allgather"}
        found["moe_token_dispatcher_type"] = kinds.get(plan.dispatcher, "flex")
        if plan.dispatcher == "deepep":
            found["moe_enable_deepep"] = True
    if framework == "nemo":  # which begins from a recipe with other values
        found["virtual_pipeline_model_parallel_size"] = plan.vpp if plan.vpp > 1 else None
    elif plan.vpp > 1:
        found["num_virtual_stages_per_pipeline_rank"] = plan.vpp
    if plan.stage_layers:
        found["pipeline_model_parallel_layout"] = layout_of(job)
    found |= _sharding_keys(job, framework) | _recompute_keys(job, framework)
    if "optimizer" in plan.offload:
        found["optimizer_cpu_offload"] = True
    if plan.gradients:
        found["grad_reduce_in_bf16"] = True
    found |= {"seq_length": job.seq_len, "global_batch_size": job.global_batch}
    return found | _optimizer_keys(job) | _precision_keys(job)


def _optimizer_keys(job: Job) -> dict[str, Any]:
    if job.optimizer in SAID_OPTIMIZERS[2:]:
        return {"optimizer": job.optimizer}
    width = {"adam-bf16": "bf16", "adam-8bit": "fp8"}.get(job.optimizer)
    if width is None:
        return {}
    return {"use_precision_aware_optimizer": True, **dict.fromkeys(_MOMENTS, width)}


def _sharding_keys(job: Job, framework: str) -> dict[str, Any]:
    plan = job.plan
    found: dict[str, Any] = {}
    if (copies := plan.dp_cp // plan.shards) > 1:
        found[_COPIES] = copies
    if plan.sharding == "zero1" or framework == "nemo":
        found["use_distributed_optimizer"] = plan.sharding == "zero1"
    if plan.sharding in ("zero2", "zero3", "hsdp"):
        strategy = "optim_grads" if plan.sharding == "zero2" else "optim_grads_params"
        found |= {"use_megatron_fsdp": True, "data_parallel_sharding_strategy": strategy}
    if plan.dp_overlap or framework == "nemo":
        found["overlap_grad_reduce"] = plan.dp_overlap
        if plan.sharding == "zero1":
            found["overlap_param_gather"] = plan.dp_overlap
    return found


def _recompute_keys(job: Job, framework: str) -> dict[str, Any]:
    plan = job.plan
    if plan.recompute == "none":
        return {"recompute_granularity": None} if framework == "nemo" else {}
    found: dict[str, Any] = {"recompute_granularity": plan.recompute}
    if plan.recompute == "selective":
        back = {ours: theirs for theirs, ours in _MODULES.items()}
        modules = job.plan.recompute_modules or ("core_attn",)
        found["recompute_modules"] = [back.get(name, name) for name in modules]
    elif plan.recompute_layers:
        found |= {"recompute_method": "block", "recompute_num_layers": plan.recompute_layers}
    else:
        found |= {"recompute_method": "uniform", "recompute_num_layers": 1}
    return found


def _precision_keys(job: Job) -> dict[str, Any]:
    if job.precision in _FP8:
        form = "e4m3" if job.precision in ("mxfp8", "fp8-block") else "hybrid"
        return {"bf16": True, "fp8_format": form, "fp8_recipe": _FP8[job.precision]}
    if job.precision == "nvfp4":
        return {"bf16": True, "fp4_format": "e2m1"}
    return {"fp16" if job.precision == "fp16" else "bf16": True}
