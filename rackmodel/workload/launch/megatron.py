"""Megatron-LM arguments, and Megatron-Bridge and NeMo recipes, which have the same words.

In:  flat keys with underscores.
Out: `Launch`; from a job the keys back, its model's included.
Left out: data, learning rates, logging, checkpoints. Source: Megatron-LM, megatron/training/
arguments.py; Megatron-Bridge, ConfigContainer.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rackmodel.workload.attention_kinds import Mla
from rackmodel.workload.choices import OPTIMIZERS
from rackmodel.workload.launch.words import Flat, Launch, Spelled, cannot_say, spell, unsaid
from rackmodel.workload.models import Model
from rackmodel.workload.plan import Job

SPELLED = (
    Spelled("tp", "tensor_model_parallel_size", 1),
    Spelled("pp", "pipeline_model_parallel_size", 1),
    Spelled("cp", "context_parallel_size", 1),
    Spelled("ep", "expert_model_parallel_size", 1),
    Spelled("micro_batch", "micro_batch_size", 1),
    Spelled("sequence_parallel", "sequence_parallel", False),
    Spelled("tp_overlap", "tp_comm_overlap", False),
    Spelled("ep_overlap", "overlap_moe_expert_parallel_comm", False),
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
# Tokenizers of public recipes that say no vocab_size.
_VOCABULARIES = {"gpt2bpetokenizer": 50257, "llama2tokenizer": 32000}
_BEYOND = (
    *("window_size", "is_hybrid_model", "hybrid_override_pattern", "hybrid_layer_pattern"),
    *("hybrid_attention_ratio", "hybrid_mlp_ratio"),
)
_NEEDED = {"tensor_model_parallel_size", "pipeline_model_parallel_size", "micro_batch_size"}
_NEEDED |= {"num_layers", "global_batch_size", "seq_length", "recompute_granularity"}


def read(keys: Flat, *, with_model: bool = True) -> Launch:
    """Return the job of Megatron's keys; its model only where that is asked for."""
    if not _NEEDED & set(keys.keys):
        keys.refuse("it has no arguments of Megatron; give the script or file that they stand in")
    plan = keys.plan(SPELLED)
    layers = keys.whole("num_layers", "num_hidden_layers")
    plan["sequence_parallel"] = plan["sequence_parallel"] or plan["tp"] == 1
    plan["etp"] = keys.whole("expert_tensor_parallel_size", "expert_tensor_parallel") or plan["tp"]
    if keys.get("num_experts", "num_moe_experts") is None and plan["ep"] == 1:
        plan["etp"] = 1
    plan["vpp"] = _chunks(keys, layers, plan["pp"])
    plan |= _sharding(keys) | _recompute(keys) | _dispatcher(keys)
    if keys.flag("optimizer_cpu_offload"):
        plan["offload"] = ["optimizer"]
    if keys.flag("grad_reduce_in_bf16") or not keys.flag("grad_reduce_in_fp32", default=True):
        plan["gradients"] = "bf16"
    words: dict[str, Any] = {
        "seq_len": keys.whole("seq_length", "seq_len"),
        "global_batch": keys.whole("global_batch_size"),
        "gpus": _gpus(keys),
        "precision": _precision(keys),
        "model": (_model(keys, layers) or _published(keys)) if with_model else None,
        "stack": "megatron",
    }
    optimizer = str(keys.get("optimizer", default="adam"))
    if optimizer not in OPTIMIZERS and "adam" not in optimizer:
        keys.refuse(f"--optimizer {optimizer:.40} is not read (known: {', '.join(OPTIMIZERS)})")
    if optimizer in OPTIMIZERS and optimizer != "adam":
        words["optimizer"] = optimizer
    if keys.get("moe_expert_capacity_factor") is not None:
        words["token_routing"] = "drop"
        words["capacity_factor"] = float(keys.get("moe_expert_capacity_factor"))
    return Launch({name: value for name, value in words.items() if value is not None}, plan)


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
    nodes = keys.whole("nnodes", "num_nodes")
    each = keys.whole("nproc_per_node", "num_gpus_per_node", "gpus_per_node", "devices")
    if nodes is None and keys.get("nproc_per_node") is not None:
        nodes = 1  # torchrun's default
    return keys.whole("world_size") or (nodes * each if nodes and each else None)


def _precision(keys: Flat) -> str | None:
    form, recipe = keys.get("fp8_format", "fp8"), str(keys.get("fp8_recipe", default="delayed"))
    mixed = str(keys.get("mixed_precision", "precision", default="")).lower()
    if keys.get("fp4_format", "fp4") or "nvfp4" in mixed:
        return "nvfp4"
    if form or "fp8" in mixed:
        said = next((name for name in _FP8.values() if name in f"{recipe} {mixed}"), recipe)
        if "current_scaling" in mixed:
            said = "tensorwise"
        return next((ours for ours, theirs in _FP8.items() if theirs == said), "fp8")
    if keys.flag("fp16"):
        return "fp16"
    return "bf16" if keys.flag("bf16") or "bf16" in mixed else None


def _sharding(keys: Flat) -> dict[str, Any]:
    strategy = str(keys.get("data_parallel_sharding_strategy", default="")).lower()
    if keys.flag("use_torch_fsdp2") or keys.flag("use_megatron_fsdp", "use_custom_fsdp"):
        known = {"": "zero3", "optim": "zero1", "optim_grads": "zero2", "no_shard": "none"}
        sharding = known.get(strategy, "zero3")
    else:
        sharding = "zero1" if keys.flag("use_distributed_optimizer") else "none"
    overlap = keys.flag("overlap_grad_reduce", "overlap_param_gather")
    return {"sharding": sharding, "dp_overlap": overlap}


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


def _published(keys: Flat) -> str | None:
    """The model that a recipe takes from Hugging Face, by its name without its owner."""
    name = str(keys.get("from_hf_pretrained", default=""))
    return name.rpartition("/")[2].removeprefix("Meta-") or None


def _model(keys: Flat, layers: int | None) -> Model | None:
    """The model that the arguments describe; None where they leave it to a recipe."""
    hidden, heads = keys.whole("hidden_size"), keys.whole("num_attention_heads")
    if not layers or not hidden or not heads:
        return None
    if beyond := [name for name in _BEYOND if keys.get(name)]:
        keys.refuse(f"--{beyond[0].replace('_', '-')} is not read; name the model by --model")
    gated = keys.flag("swiglu", "gated_linear_unit")
    ffn = int(hidden * 4 * 2 / 3) // 64 * 64 if gated else 4 * hidden
    grouped = keys.flag("group_query_attention") or keys.get("num_query_groups")
    places = str(keys.get("position_embedding_type", default="learned_absolute"))
    rotary = places in ("rope", "yarn", "mrope") or keys.flag("use_rotary_position_embeddings")
    vocab = keys.whole("vocab_size", "padded_vocab_size") or _VOCABULARIES.get(
        str(keys.get("tokenizer_type", default="GPT2BPETokenizer")).lower()
    )
    if not vocab:
        keys.refuse("the tokenizer says no vocabulary; add --vocab-size, or name --model")
    positions = keys.whole("max_position_embeddings", "seq_length") or 0
    dropped = [keys.get(f"{part}_dropout", default=0.1) for part in ("hidden", "attention")]
    biases = not keys.flag("disable_bias_linear")
    experts = keys.whole("num_experts", "num_moe_experts") or 0
    sizes: dict[str, Any] = {
        "name": Path(keys.where).stem[:200] or "launch",
        "source": "arguments of Megatron",
        "layers": layers,
        "hidden": hidden,
        "heads": heads,
        "ffn": keys.whole("ffn_hidden_size") or ffn,
        "kv_heads": (keys.whole("num_query_groups") or heads) if grouped else heads,
        "head_dim": keys.whole("kv_channels") or hidden // heads,
        "vocab": vocab,
        "gated_ffn": gated,
        "norm": "rmsnorm" if keys.get("normalization") == "RMSNorm" else "layernorm",
        "rotary": rotary,
        "learned_positions": 0 if rotary or places == "none" else positions,
        "tied": not keys.flag("untie_embeddings_and_output_weights"),
        "bias": biases,
        "qkv_bias": biases or keys.flag("add_qkv_bias"),
        "qk_norm": keys.flag("qk_layernorm"),
        "dropout": any(float(one) > 0 for one in dropped),
        "mtp_layers": keys.whole("mtp_num_layers") or 0,
    }
    routed = _experts(keys, experts, layers) if experts > 1 else {}
    return Model(**(sizes | routed | _latent(keys)))


def _experts(keys: Flat, experts: int, layers: int) -> dict[str, Any]:
    shared = keys.whole("moe_shared_expert_intermediate_size") or 0
    found: dict[str, Any] = {
        "experts": experts,
        "topk": keys.whole("moe_router_topk") or 2,
        "moe_ffn": keys.whole("moe_ffn_hidden_size", "ffn_hidden_size"),
        "shared_expert_ffn": shared,
    }
    freq = keys.get("moe_layer_freq", default=1)
    text = str(freq).strip("\"'")
    if text.isdecimal():
        return found | {"moe_every": int(text)}
    parts = re.findall(r"\[([01](?:\s*,\s*[01])*)\]\s*(?:\*\s*(\d+))?", text)
    letters = "".join(
        "".join("E" if one.strip() == "1" else "-" for one in ones.split(",")) * int(times or 1)
        for ones, times in parts
    )
    if len(letters) != layers:
        keys.refuse(f"moe_layer_freq {text!r:.60} spells {len(letters)} of {layers} layers")
    return found | {"feeds": letters}


def _latent(keys: Flat) -> dict[str, Any]:
    if not keys.flag("multi_latent_attention"):
        return {}
    width = keys.whole("v_head_dim") or 128
    mla = Mla(
        q_lora=keys.whole("q_lora_rank") or 0,
        kv_lora=keys.whole("kv_lora_rank") or 32,
        qk_nope=keys.whole("qk_head_dim") or 128,
        qk_rope=keys.whole("qk_pos_emb_head_dim") or 64,
        v_dim=width,
    )
    return {"mla": mla, "head_dim": width}


def keys_of(job: Job) -> dict[str, Any]:
    """Return Megatron's keys for a job, its model left out."""
    plan = job.plan
    said = {one.field for one in SPELLED} | {"etp", "vpp", "dp", "sharding", "dp_overlap"}
    said |= {"recompute", "recompute_modules", "recompute_layers", "dispatcher", "schedule"}
    said |= {"shard_size"}
    others = {"offload": ("optimizer",), "gradients": "bf16"}
    unsaid(job, "megatron", said, lambda name, value: others.get(name) == value)
    found = {"world_size": job.gpus, **spell(plan, SPELLED)}
    if plan.tp == 1:
        found.pop("sequence_parallel", None)
    if job.model.moe_layers:
        found["expert_tensor_parallel_size"] = plan.etp
        kinds = {"": "alltoall", "all-to-all": "alltoall", "all-gather": "allgather"}
        found["moe_token_dispatcher_type"] = kinds.get(plan.dispatcher, "flex")
        if plan.dispatcher == "deepep":
            found["moe_enable_deepep"] = True
    if plan.vpp > 1:
        found["num_virtual_stages_per_pipeline_rank"] = plan.vpp
    if plan.order not in ("1f1b", "interleaved"):
        cannot_say("megatron", "schedule", plan.order)
    found |= _sharding_keys(job) | _recompute_keys(job)
    if "optimizer" in plan.offload:
        found["optimizer_cpu_offload"] = True
    if plan.gradients:
        found["grad_reduce_in_bf16"] = True
    found |= {"seq_length": job.seq_len, "global_batch_size": job.global_batch}
    return found | _precision_keys(job)


def _sharding_keys(job: Job) -> dict[str, Any]:
    plan = job.plan
    found: dict[str, Any] = {}
    if plan.sharding == "hsdp":
        cannot_say("megatron", "sharding", plan.sharding)
    if plan.sharding == "zero1":
        found["use_distributed_optimizer"] = True
    elif plan.sharding in ("zero2", "zero3"):
        strategy = {"zero2": "optim_grads", "zero3": "optim_grads_params"}[plan.sharding]
        found |= {"use_megatron_fsdp": True, "data_parallel_sharding_strategy": strategy}
    if plan.dp_overlap:
        found["overlap_grad_reduce"] = True
        if plan.sharding == "zero1":
            found["overlap_param_gather"] = True
    return found


def _recompute_keys(job: Job) -> dict[str, Any]:
    plan = job.plan
    if plan.recompute == "none":
        return {}
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


def model_keys(model: Model) -> dict[str, Any]:
    """Return Megatron's keys for a model of its GPT kind; empty where it is of another."""
    plain = not (model.mixers or model.pattern or model.window or model.full_heads)
    if not plain or model.query_rank or model.attention_gate or model.moe_latent:
        return {}
    found: dict[str, Any] = {
        "num_layers": model.layers,
        "hidden_size": model.hidden,
        "ffn_hidden_size": model.ffn or model.moe_ffn,
        "num_attention_heads": model.heads,
        "kv_channels": model.head_dim,
        "vocab_size": model.vocab,
        "normalization": "RMSNorm" if model.norm == "rmsnorm" else "LayerNorm",
        "position_embedding_type": "rope" if model.rotary else "none",
    }
    if model.learned_positions:
        found["position_embedding_type"] = "learned_absolute"
        found["max_position_embeddings"] = model.learned_positions
    if model.kv_heads != model.heads:
        found |= {"group_query_attention": True, "num_query_groups": model.kv_heads}
    for key, on in {
        "swiglu": model.gated_ffn,
        "untie_embeddings_and_output_weights": not model.tied,
        "disable_bias_linear": not model.bias,
        "add_qkv_bias": model.qkv_bias and not model.bias,
        "qk_layernorm": model.qk_norm,
    }.items():
        if on:
            found[key] = True
    if not model.dropout:
        found |= {"hidden_dropout": 0.0, "attention_dropout": 0.0}
    if model.mtp_layers:
        found["mtp_num_layers"] = model.mtp_layers
    return found | _expert_keys(model)


def _expert_keys(model: Model) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if model.moe_layers:
        ones = [int(block.feed == "moe") for block in model.blocks]
        spelled = "+".join(f"[{one}]*{ones.count(one)}" for one in sorted(set(ones)))
        every = ones == sorted(ones)
        found |= {
            "num_experts": model.experts,
            "moe_router_topk": model.topk,
            "moe_ffn_hidden_size": model.moe_ffn,
            "moe_layer_freq": f"({spelled if every else ones})",
        }
        if model.shared_expert_ffn:
            found["moe_shared_expert_intermediate_size"] = model.shared_expert_ffn
    if model.mla is not None:
        found |= {
            "multi_latent_attention": True,
            "kv_lora_rank": model.mla.kv_lora,
            "qk_head_dim": model.mla.qk_nope,
            "qk_pos_emb_head_dim": model.mla.qk_rope,
            "v_head_dim": model.mla.v_dim,
            **({"q_lora_rank": model.mla.q_lora} if model.mla.q_lora else {}),
        }
    return found
