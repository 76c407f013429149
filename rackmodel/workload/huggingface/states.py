"""Parts of config.json families whose layers keep a state: Mamba, delta rule, short convolution.

In:  the keys of a config.
Out: fields of `Model`, as a mapping.
Left out: what all families share (`parts`), which family has which parts (`families`).
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from rackmodel import gate
from rackmodel.workload.huggingface.keys import Keys
from rackmodel.workload.huggingface.parts import (
    EXPERTS,
    FFN,
    HEADS,
    HIDDEN,
    LAYERS,
    MIXERS,
    SUB_LAYERS,
    Fields,
    Part,
    ends,
    experts,
    last_of,
    mixtral_experts,
)
from rackmodel.workload.mixers import Convolution, Delta, Mamba, Selective
from rackmodel.workload.variants import SharedBlock

# transformers 5 calls a Mamba layer by the name of all layers with a state.
HYBRID = MIXERS | {"linear_attention": "M"}


def mamba2(keys: Keys) -> Fields:
    """Sizes of Mamba-2 mixers, by any of the names that families give them."""
    hidden = keys.whole(*HIDDEN)
    inner = keys.whole(
        "mamba_d_ssm", default=keys.whole("mamba_expand", "expand", default=2) * hidden
    )
    names = ("mamba_d_head", "mamba_head_dim", "mamba_headdim")
    width = keys.get(*names)
    heads = keys.whole("mamba_n_heads", "mamba_num_heads", "n_mamba_heads")
    keys.get("mamba_conv_bias", "use_conv_bias", "mamba_proj_bias", "mamba_rms_norm")
    keys.get("mamba_norm_before_gate", "mamba_use_mlp")
    return {
        "mamba": Mamba(
            heads=heads,
            head_dim=inner // max(1, heads) if width in (None, "auto") else keys.whole(*names),
            state=keys.whole("mamba_d_state", "ssm_state_size"),
            groups=keys.whole("mamba_n_groups", "n_groups", "mamba_ngroups", default=1),
            conv=keys.whole("mamba_d_conv", "conv_kernel", default=4),
        )
    }


def delta(keys: Keys) -> Fields:
    """Gated delta rule in all layers but every n-th (Qwen3-Next, Qwen3.5)."""
    layers = keys.whole(*LAYERS)
    every = keys.whole("full_attention_interval", default=4)
    return {
        "mixers": keys.spell("layer_types", MIXERS, layers) or last_of(every, "D"),
        "attention_gate": keys.flag("attn_output_gate", default=True),
        "delta": Delta(
            key_heads=keys.whole("linear_num_key_heads"),
            value_heads=keys.whole("linear_num_value_heads"),
            key_dim=keys.whole("linear_key_head_dim"),
            value_dim=keys.whole("linear_value_head_dim"),
            conv=keys.whole("linear_conv_kernel_dim", default=4),
        ),
    }


def kimi_delta(keys: Keys) -> Fields:
    """Kimi Linear: delta rule with a decay a channel in all layers but those that a list names."""
    layers = keys.whole(*LAYERS)
    kinds = keys.spell("layer_types", MIXERS, layers)
    inside = keys.table("linear_attn_config") if keys.get("linear_attn_config") else keys
    full = inside.sequence("full_attn_layers")  # counted from 1
    inside.get("kda_layers")
    keys.get("head_dim", "mla_use_nope")
    if not kinds and not full:
        raise keys.refuse("it needs linear_attn_config, which says which layers attend")
    own = "" if inside is not keys else "linear_"
    heads, width = inside.whole(f"{own}num_heads"), inside.whole(f"{own}head_dim")
    return {
        "mixers": kinds or "".join("*" if n + 1 in full else "D" for n in range(layers)),
        "delta": Delta(
            key_heads=heads,
            value_heads=heads,
            key_dim=width,
            value_dim=width,
            conv=inside.whole("linear_conv_kernel_dim", "short_conv_kernel_size", default=4),
            decay_rank=width,
        ),
    }


def nemotron_h(keys: Keys) -> Fields:
    """One sub-layer a letter or word; experts in a latent space; MTP layers spelled likewise."""
    words = keys.sequence("layers_block_type")
    layers = len(words) or keys.whole(*LAYERS)
    letters = keys.spell("layers_block_type", SUB_LAYERS, layers)
    pattern = letters or keys.text("hybrid_override_pattern")
    if not pattern:
        raise keys.refuse("it needs hybrid_override_pattern or layers_block_type")
    mtp_words = keys.sequence("mtp_layers_block_type")
    mtp_letters = keys.spell("mtp_layers_block_type", SUB_LAYERS, len(mtp_words))
    mtp_pattern = mtp_letters or keys.text("mtp_hybrid_override_pattern")
    known = "".join(dict.fromkeys(SUB_LAYERS.values()))
    if other := next((one for one in pattern + mtp_pattern if one not in known), ""):
        raise keys.refuse(
            f"hybrid_override_pattern has {other!r}, which is not modelled (known: {known})"
        )
    values: Fields = {
        "layers": len(pattern),
        "pattern": pattern,
        "mtp_pattern": mtp_pattern,
        "mtp_layers": keys.whole("num_nextn_predict_layers", default=0),
    }
    routed = experts(keys)
    if "E" in pattern:
        values |= routed | {"moe_latent": keys.whole("moe_latent_size", default=0)}
        values |= {"dense_layers": 0, "moe_every": 1}
    return values


def only_layers(letter: str) -> Part:
    """A part for models whose every layer is one mixer and nothing else."""

    def part(keys: Keys) -> Fields:
        return {
            **ends(keys),
            **dict.fromkeys(("ffn", "heads", "kv_heads", "head_dim"), 0),
            "pattern": letter * keys.whole(*LAYERS),
        }

    return part


def mamba2_alone(keys: Keys) -> Fields:
    """Mamba-2 models name their heads as if they attended."""
    heads, hidden = keys.whole("num_heads"), keys.whole(*HIDDEN)
    keys.get("use_conv_bias", "use_bias", "rms_norm", "norm_before_gate", "norm_epsilon")
    expand = keys.whole("expand", default=2)
    width = keys.whole("intermediate_size", default=expand * hidden)
    if width != expand * hidden:
        raise keys.refuse(
            f"intermediate_size: expected expand x hidden_size, {expand * hidden}, found {width}"
        )
    return {
        "mamba": Mamba(
            heads=heads,
            head_dim=keys.whole("head_dim", default=expand * hidden // max(1, heads)),
            state=keys.whole("state_size"),
            groups=keys.whole("n_groups", default=1),
            conv=keys.whole("conv_kernel", default=4),
        )
    }


def mamba1_alone(keys: Keys) -> Fields:
    """Models of Mamba-1 alone say the width as if it were that of a feed-forward part."""
    kind = mamba1(keys)["selective"]
    width = keys.whole("intermediate_size", default=kind.width)
    return {"selective": replace(kind, width=width)}


def mamba1(keys: Keys) -> Fields:
    """Sizes of Mamba-1 mixers."""
    hidden = keys.whole(*HIDDEN)
    names = ("time_step_rank", "mamba_dt_rank")
    rank = keys.get(*names)
    expand = keys.whole("expand", "mamba_expand", default=2)
    keys.get("use_conv_bias", "mamba_conv_bias", "mamba_proj_bias", "use_mambapy")
    keys.get("mamba_inner_layernorms")
    return {
        "selective": Selective(
            width=expand * hidden,
            state=keys.whole("state_size", "mamba_d_state", default=16),
            rank=ceil(hidden / 16) if rank in (None, "auto") else keys.whole(*names),
            conv=keys.whole("conv_kernel", "mamba_d_conv", default=4),
        )
    }


def zamba2(keys: Keys) -> Fields:
    """Zamba2: Mamba-2 layers; before some a block of attention and feed-forward that they share."""
    hidden, heads = keys.whole(*HIDDEN), keys.whole(*HEADS)
    words = keys.sequence("layers_block_type", "layer_types")
    known = {"mamba": "M", "m": "M", "linear_attention": "M", "hybrid": "x", "g": "x"}
    name = "layers_block_type" if keys.get("layers_block_type") else "layer_types"
    letters = keys.spell(name, known, keys.whole(*LAYERS, default=len(words)))
    blocks = keys.whole("num_mem_blocks", default=1)
    keys.get("hybrid_layer_ids", "kv_channels", "num_query_groups")
    sizes = mamba2(keys)
    if not letters:
        raise keys.refuse("it needs layers_block_type, the kind of each layer")
    if keys.flag("add_bias_linear"):
        raise keys.refuse("add_bias_linear is not modelled")
    if keys.whole("attention_hidden_size", default=2 * hidden) != 2 * hidden:
        raise keys.refuse(f"attention_hidden_size is not twice hidden_size; give {2 * hidden}")
    if sizes["mamba"].inner != (inner := keys.whole("mamba_expand", default=2) * hidden):
        raise keys.refuse(f"mamba_headdim times n_mamba_heads is not {inner}; mend one of them")
    return {
        **ends(keys),
        **sizes,
        "heads": heads,
        "kv_heads": keys.whole("num_key_value_heads", default=heads),
        "head_dim": keys.whole("attention_head_dim", default=2 * hidden // max(1, heads)),
        "ffn": keys.whole(*FFN, default=4 * hidden),
        "rotary": keys.flag("use_mem_rope"),
        "pattern": letters.replace("x", "X", blocks),  # the first use of each is where it stands
        "shared_block": SharedBlock(
            adapter_rank=keys.whole("adapter_rank", "lora_rank", default=128),
            attention_adapters=keys.flag(
                "use_shared_attention_adapter", "use_shared_attention_lora"
            ),
        ),
    }


def jamba(keys: Keys) -> Fields:
    """Jamba: Mamba-1 with attention and experts at periods of their own."""
    layers = keys.whole(*LAYERS)

    def letters(kind: str, yes: str, no: str) -> str:
        period = max(1, keys.whole(f"{kind}_layer_period"))
        offset = keys.whole(f"{kind}_layer_offset")
        return "".join(yes if n % period == offset else no for n in range(layers))

    routed = mixtral_experts(keys)
    return {
        **routed,
        **{"selective": replace(mamba1(keys)["selective"], normed=True), "rotary": False},
        "mixers": letters("attn", "*", "S"),
        "feeds": letters("expert", "E" if routed.get("experts") else "-", "-"),
    }


def bamba(keys: Keys) -> Fields:
    """Bamba: Mamba-2 layers, attention in those that a list names."""
    layers = keys.whole(*LAYERS)
    chosen = keys.sequence("attn_layer_indices")
    keys.get("attn_rotary_emb")
    kinds = keys.spell("layer_types", HYBRID, layers)
    return mamba2(keys) | {
        "mixers": kinds or "".join("*" if n in chosen else "M" for n in range(layers))
    }


def granite_hybrid(keys: Keys) -> Fields:
    """Granite 4: Mamba-2 or attention by a list, experts beside a dense part, or that alone."""
    layers = keys.whole(*LAYERS)
    kinds = keys.spell("layer_types", HYBRID, layers) or keys.spell(
        "layers_block_type", MIXERS, layers
    )
    shared = keys.whole("shared_intermediate_size", default=0)
    rotary = keys.text("position_embedding_type") == "rope"
    states = mamba2(keys) if keys.get("mamba_n_heads") else {}
    values: Fields = {"mixers": kinds or "M" * layers, "rotary": rotary, **states}
    routed = mixtral_experts(keys)
    if not routed.get("experts"):
        return values | {"ffn": shared or keys.whole(*FFN)}
    return values | routed


def lfm2(keys: Keys) -> Fields:
    """LFM2: short convolutions, attention where a list says so, widths as it rounds them."""
    layers, hidden = keys.whole(*LAYERS), keys.whole(*HIDDEN)
    chosen = keys.sequence("full_attn_idxs") or range(layers)
    kinds = keys.spell("layer_types", HYBRID, layers)
    ffn = keys.whole(*FFN)
    multiple = max(1, keys.whole("block_multiple_of", default=256))
    scale = keys.get("block_ffn_dim_multiplier")
    if keys.flag("block_auto_adjust_ff_dim", default=not keys.whole(*EXPERTS, default=0)):
        where = keys.where("block_ffn_dim_multiplier")
        factor = 1.0 if scale is None else gate.number(scale, "1", where, least=0.0, most=100.0)
        ffn = int(factor * int(2 * ffn / 3))
        ffn = multiple * ceil(ffn / multiple)
    keys.get(
        "conv_bias",
        "conv_dim",
        "conv_dim_out",
        "block_dim",
        "block_norm_eps",
        "conv_use_xavier_init",
    )
    keys.get(
        "block_mlp_init_scale", "block_out_init_scale", "block_use_swiglu", "block_use_xavier_init"
    )
    return experts(keys) | {
        "ffn": ffn,
        "mixers": kinds or "".join("*" if n in chosen else "C" for n in range(layers)),
        "conv": Convolution(width=hidden, conv=keys.whole("conv_L_cache", default=3)),
    }
