"""Hugging Face `config.json` to `Model`, each family by its own keys.

In:  the mapping that a config.json holds.
Out: a `Model`.
Left out: weights and tokenizers; towers that see and hear (their text part is read).

A family is a row of `families`: parts that read its keys. Keys that no part reads and that may
change the shape of the model are refused, never ignored; and where the name of the model says its
size, the parameters that come out must be near it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.workload.huggingface.families import ALIASES, BEYOND, FAMILIES
from rackmodel.workload.huggingface.keys import Keys, class_values
from rackmodel.workload.huggingface.other import not_a_model
from rackmodel.workload.models import Model

_TEXT_PARTS = ("text_config", "language_config", "llm_config")
_FROM_NAME = 0.35  # a name may leave out embeddings or round: "7B" has been said of 5.8 and 8.5


def model_from_config(config: Mapping[str, Any], *, name: str = "model") -> Model:
    """Return the model that a Hugging Face config describes.

    Raises
    ------
    UnknownName
        If `model_type` is of no family that is known here.
    InvalidInput
        If it describes no decoder, a key that the family needs is missing or not a whole number, a
        key that seems to change shapes is not one of the family's, or the size that the name says
        is another.

    Examples
    --------
    >>> gpt2 = {"model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_head": 12,
    ...         "vocab_size": 50257, "n_positions": 1024}
    >>> round(model_from_config(gpt2).parameters / 1e6, 1)
    124.4
    """
    if what := not_a_model(config):
        remedy = "" if "; give" in what else "; give a decoder's config.json"
        raise InvalidInput(f"config of {name!r} is {what}{remedy}")
    text, family = _text_part(config), _family(config)
    if family in BEYOND:
        raise InvalidInput(
            f"config of {name!r}: model_type {family!r} has {BEYOND[family]}, which is not"
            " modelled; give another"
        )
    if family not in FAMILIES:
        raise UnknownName.among(
            "Hugging Face model_type", family or "(none)", [*FAMILIES, *ALIASES]
        )
    row = FAMILIES[family]
    usual = class_values(family, sizes=text is not config)
    keys = Keys(text, name, usual | dict(row.defaults))
    values: dict[str, Any] = {}
    for part in row.parts:
        values |= part(keys)
    if unread := keys.unread():
        raise InvalidInput(
            f"config of {name!r}: {family} models are not read by the key"
            f" {', '.join(map(repr, unread[:3]))}, which may change their shape; take it out if it"
            " does not, or write the model as TOML"
        )
    model = Model(
        name=name, source=f"config.json, model_type {family}", **(values | dict(row.always))
    )
    _check_name(model, config)
    return model


def _text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config that describes the language model; ties may be said outside of it."""
    for part in _TEXT_PARTS:
        inner = config.get(part)
        if isinstance(inner, Mapping) and len(inner) > 2:
            tied = {key: config[key] for key in ("tie_word_embeddings",) if key in config}
            return {**tied, **inner}
    return config


def _family(config: Mapping[str, Any]) -> str:
    """The row of `FAMILIES`: by the text part's own type, the whole's, or the class."""
    text = _text_part(config)
    classes = text.get("architectures") or config.get("architectures") or [""]
    first = str(classes[0]) if isinstance(classes, list | tuple) and classes else ""
    by_class = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", re.sub(r"(For|LMHead).*", "", first)).lower()
    said = [str(part.get("model_type") or "").lower() for part in (text, config)]
    if "grok" in by_class:  # Grok-2 calls itself "git", which is another model
        said = ["grok"]
    names = [one for one in said if one] or [by_class]
    spelled = [name for one in names for name in (one, one.removesuffix("_text"))]
    aliases = [ALIASES.get(one, one) for one in spelled]
    return next((one for one in aliases if one in FAMILIES or one in BEYOND), names[0])


def _check_name(model: Model, config: Mapping[str, Any]) -> None:
    """Refuse a model whose name says another size than its config gives.

    The size may be that of all parameters, of those that a token meets, or without embeddings; and
    "8x7B" counts what the experts share eight times.
    """
    said = [str(config.get("_name_or_path") or ""), model.name]
    sizes = [size for one in said for size in _sizes(one)]
    if not sizes:
        return
    outside = model.embedding_parameters * (1 if model.tied else 2)
    ours = [model.parameters, model.active_parameters, model.parameters - outside]
    if not any(abs(size / one - 1.0) < _FROM_NAME for size in sizes for one in ours):
        raise InvalidInput(
            f"config of {model.name!r} has {model.parameters / 1e9:.3g}e9 parameters, its name says"
            f" {sizes[0] / 1e9:.3g}e9: a key may be wrong, or rename the file"
        )


def _sizes(name: str) -> list[float]:
    """Sizes that a name says: "120B", "8x7b", "1.5T", "350m".

    >>> _sizes("Mixtral-8x7B-v0.1"), _sizes("nemotron-3-super-120b-a12b"), _sizes("gpt-4k")
    ([56000000000.0], [120000000000.0, 12000000000.0], [])
    """
    unit = {"m": 1e6, "b": 1e9, "t": 1e12}
    pattern = r"(?<![a-z0-9.])(?:(\d+)x)?a?(\d+(?:\.\d+)?)([mbt])(?![a-z0-9])"
    found = re.findall(pattern, Path(name).name.lower() if "/" in name else name.lower())
    return [float(times or 1) * float(size) * unit[letter] for times, size, letter in found]
