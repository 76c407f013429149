"""What a file is that users give for a model and that describes none.

In:  the mapping that the file holds.
Out: what it is and what to give instead; nothing for a config of a language model.
Left out: families of decoders that are not modelled (`families.BEYOND`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ENCODERS = frozenset(
    [
        "bert",
        "roberta",
        "xlm-roberta",
        "xlm-roberta-xl",
        "camembert",
        "distilbert",
        "albert",
        "electra",
        "deberta",
        "deberta-v2",
        "modernbert",
        "nomic_bert",
        "xlm",
        "flaubert",
        "squeezebert",
        "mobilebert",
        "mpnet",
        "longformer",
        "big_bird",
        "reformer",
        "funnel",
        "esm",
        "layoutlm",
        "layoutlmv2",
        "layoutlmv3",
        "roformer",
        "convbert",
        "rembert",
        "ibert",
        "megatron-bert",
        "xlnet",
        "eurobert",
        "neobert",
        "gte",
        "new",
        "jina_bert",
    ]
)
BOTH_WAYS = frozenset(
    [
        "t5",
        "mt5",
        "umt5",
        "longt5",
        "switch_transformers",
        "bart",
        "mbart",
        "pegasus",
        "pegasus_x",
        "marian",
        "m2m_100",
        "nllb-moe",
        "blenderbot",
        "prophetnet",
        "led",
        "fsmt",
        "encoder-decoder",
        "t5gemma",
        "bigbird_pegasus",
    ]
)
SENSES = frozenset(
    [
        "vit",
        "clip",
        "siglip",
        "siglip2",
        "dinov2",
        "dinov3_vit",
        "deit",
        "beit",
        "swin",
        "swinv2",
        "convnext",
        "resnet",
        "detr",
        "sam",
        "sam2",
        "segformer",
        "wav2vec2",
        "hubert",
        "wavlm",
        "whisper",
        "clap",
        "audio-spectrogram-transformer",
        "videomae",
        "depth_anything",
        "encodec",
        "mimi",
        "bark",
        "vits",
        "speecht5",
        "seamless_m4t",
    ]
)


def not_a_model(data: Mapping[str, Any]) -> str:
    """What the file is, where it is no config of a decoder language model; else empty.

    >>> not_a_model({"model_type": "bert"})
    "an encoder ('bert'), not a decoder language model"
    """
    family = str(data.get("model_type", "")).lower()
    if "peft_type" in data:
        base = data.get("base_model_name_or_path")
        return (
            f"a {str(data['peft_type']).upper()} adapter (PEFT), which has no layers of its own;"
            f" give the config.json of its base model{f' {base!r:.80}' if base else ''}"
        )
    if family in ENCODERS:
        return f"an encoder ({family!r}), not a decoder language model"
    if family in BOTH_WAYS or data.get("is_encoder_decoder") is True:
        return f"an encoder with a decoder ({family!r:.40}), not a decoder language model"
    if family in SENSES:
        return f"a model of images or sound ({family!r}), not a decoder language model"
    if "_class_name" in data or "_diffusers_version" in data:
        return "a part of a diffusion model, not a decoder language model"
    if "model_type" in data or "architectures" in data:
        return ""
    for keys, what in _BY_KEYS:
        if keys & set(map(str, data)):
            return f"{what}, not a model's; give the config.json that lies beside it"
    return ""


_BY_KEYS: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"weight_map"}), "an index of weight files"),
    (
        frozenset({"tokenizer_class", "added_tokens_decoder", "chat_template"}),
        "a tokenizer's config",
    ),
    (
        frozenset({"image_processor_type", "feature_extractor_type", "processor_class"}),
        "a processor's",
    ),
    (
        frozenset({"_from_model_config", "do_sample", "temperature", "top_p", "eos_token_id"}),
        "a generation config",
    ),
    (frozenset({"train_batch_size", "log_history", "zero_optimization"}), "a trainer's file"),
)
