"""The model that Megatron's arguments and recipes describe, and the arguments of a model.

In:  flat keys with underscores; a `Model`.
Out: `Model`, or the name that the file leaves it to; keys.
Left out: plans (`megatron`). Source: Megatron-LM, megatron/training/arguments.py.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rackmodel.workload.attention_kinds import Mla
from rackmodel.workload.launch.words import Flat
from rackmodel.workload.models import Model
from rackmodel.workload.shipped_models import name_spelled, shipped_models

# Tokenizers of public recipes that say no vocab_size.
_VOCABULARIES = {"gpt2bpetokenizer": 50257, "llama2tokenizer": 32000}
_BEYOND = (
    *("window_size", "is_hybrid_model", "hybrid_override_pattern", "hybrid_layer_pattern"),
    *("hybrid_attention_ratio", "hybrid_mlp_ratio"),
)


_BEGUN = re.compile(r"[._](?:pretrain|finetune|sft|peft)_")


def published(keys: Flat) -> str | None:
    """The model that a recipe takes from Hugging Face or by its class, without its owner."""
    name = str(keys.get("from_hf_pretrained", "hf_model_id", default=""))
    begun = (_BEGUN.split(one)[0] for one in keys.get("begun", default=()))
    named = (name_spelled(one) for one in (*keys.get("classes", default=()), *begun))
    return name.rpartition("/")[2].removeprefix("Meta-") or next(filter(None, named), None)


def _vocabulary(keys: Flat) -> int:
    """Words of the tokenizer, by the model that it is of where nothing says them."""
    said = keys.whole("vocab_size", "padded_vocab_size")
    # NeMo 1 has a table of it: a kind of Megatron's, or a model on Hugging Face.
    nested = next((name for name in keys.keys if name.endswith("tokenizer.type")), "")
    typed = str(keys.get("tokenizer_type", nested, default=""))
    kind = typed.lower()
    named = "hf_model_id" in keys or any("tokenizer" in name for name in keys.keys)
    kind = kind if kind or named else "gpt2bpetokenizer"
    places = (keys.get("tokenizer_model"), keys.get("hf_model_id"), typed)
    name = next(filter(None, (name_spelled(str(one)) for one in places if one)), "")
    of_model = shipped_models()[name]["vocab"] if name else None
    found = said or _VOCABULARIES.get(kind) or of_model
    if not found:
        keys.refuse(
            "the tokenizer says no vocabulary; write vocab_size into it (--vocab-size in a script),"
            " or give --model"
        )
    return int(found)


def model_said(keys: Flat, layers: int | None) -> Model | None:
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
        "vocab": _vocabulary(keys),
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
    flags = {
        "swiglu": model.gated_ffn,
        "untie_embeddings_and_output_weights": not model.tied,
        "disable_bias_linear": not model.bias,
        "add_qkv_bias": model.qkv_bias and not model.bias,
        "qk_layernorm": model.qk_norm,
    }
    found |= {key: True for key, on in flags.items() if on}
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
