"""The part of config.json files of DeepSeek-V4.

In:  the keys of a config.
Out: fields of `Model`, as a mapping.
Left out: hashed routing of the first layers, which costs what learned routing does.

Keys and defaults: transformers 5.24, configuration_deepseek_v4.
"""

from __future__ import annotations

from rackmodel.workload.attention_kinds import Indexer
from rackmodel.workload.huggingface.keys import Keys
from rackmodel.workload.huggingface.parts import HEADS, LAYERS, Fields, ends, experts
from rackmodel.workload.variants import Compression

LIGHT, HEAVY = "compressed_sparse_attention", "heavily_compressed_attention"


def deepseek_v4(keys: Keys) -> Fields:
    """Windows beside compressed keys, one key-value head, several residual streams, all experts."""
    rates = keys.table("compress_rates") if keys.get("compress_rates") else keys
    rate = rates.whole(LIGHT, "compress_rate_csa", default=4)
    heavy = rates.whole(HEAVY, "compress_rate_hca", default=128)
    routed = experts(keys)
    keys.get("num_hash_layers", "hc_sinkhorn_iters", "qk_rope_head_dim", "qk_nope_head_dim")
    keys.get("intermediate_size", "num_key_value_heads", "kv_lora_rank", "v_head_dim")
    return {
        **ends(keys),
        **{name: value for name, value in routed.items() if name != "feeds"},
        **{"dense_layers": 0, "moe_every": 1, "ffn": 0},
        "heads": keys.whole(*HEADS),
        "kv_heads": 1,
        "head_dim": keys.whole("head_dim", default=512),
        "query_rank": keys.whole("q_lora_rank"),
        "out_groups": keys.whole("o_groups"),
        "out_rank": keys.whole("o_lora_rank"),
        "window": keys.whole("sliding_window", default=128),
        "mixers": _layers(keys, rate, heavy),
        "mtp_pattern": _drafts(keys),
        "streams": keys.whole("hc_mult", default=4),
        "compression": Compression(rate=rate, heavy_rate=heavy),
        "index": Indexer(
            heads=keys.whole("index_n_heads", default=64),
            head_dim=keys.whole("index_head_dim", default=128),
            topk=keys.whole("index_topk", default=512),
            rate=rate,
        ),
        **dict.fromkeys(("one_kv", "qk_norm", "attention_sinks"), True),
    }


def _layers(keys: Keys, rate: int, heavy: int) -> str:
    """Letters of the layers: by their words, by their rates, or as the class has them."""
    layers = keys.whole(*LAYERS)
    said = keys.spell("layer_types", {"sliding_attention": "W", LIGHT: "Z", HEAVY: "z"}, layers)
    ratios = keys.sequence("compress_ratios")
    if said or not ratios:
        return said or ("zz" + "zZ" * layers)[:layers]
    letters = {0: "W", rate: "Z", heavy: "z"}
    if unknown := [one for one in ratios[:layers] if one not in letters]:
        raise keys.refuse(f"compress_ratios has {unknown[0]!r:.60}, which is not modelled")
    if len(ratios) < layers:
        raise keys.refuse(f"compress_ratios names {len(ratios)} of {layers} layers; give all")
    return "".join(letters[one] for one in ratios[:layers])


def _drafts(keys: Keys) -> str:
    """The MTP layer, which the ratios name after the others: it looks within the window."""
    rest = keys.sequence("compress_ratios")[keys.whole(*LAYERS) :]
    if any(rest):
        raise keys.refuse(f"an MTP layer of compress_ratio {rest[0]!r:.60} is not modelled; give 0")
    return "*E"
