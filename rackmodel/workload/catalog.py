"""Models by name, from files, from `config.json`, or from the columns of a table of runs.

In:  a name in the catalog, a path to TOML or JSON, or a mapping.
Out: `Model`; rows that list or describe models.
Left out: downloading anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from rackmodel import gate
from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.files import is_file, is_folder, read_json, read_toml
from rackmodel.workload.architecture import MOST_WIDE
from rackmodel.workload.attention_kinds import Heads, Indexer, Mla
from rackmodel.workload.mixers import Convolution, Delta, Mamba, Selective
from rackmodel.workload.models import Model
from rackmodel.workload.shipped_models import name_spelled, shipped_models
from rackmodel.workload.variants import Compression, SharedBlock

_FIELDS = {field.name: str(field.type) for field in fields(Model)}
_PARTS: dict[str, type[Any]] = {
    "mla": Mla,
    "mamba": Mamba,
    "selective": Selective,
    "delta": Delta,
    "conv": Convolution,
    "index": Indexer,
    "compression": Compression,
    "shared_block": SharedBlock,
    "full_heads": Heads,
}
_COUNTS = (
    *("layers", "hidden", "ffn", "heads", "kv_heads", "head_dim", "vocab", "experts"),
    *(
        "topk",
        "routing_groups",
        "routing_group_limit",
        "moe_ffn",
        "shared_expert_ffn",
        "dense_layers",
        "mtp_layers",
    ),
)
_LISTED = (
    *("name", "parameters", "active_parameters", "layers", "hidden", "heads", "kv_heads"),
    *("experts", "topk", "vocab", "assumed", "source"),
)
_NEEDED = ("layers", "hidden", "heads", "vocab")
_NORMS = ("rmsnorm", "layernorm")
_SUGAR = {"family", "ffn_ratio"}
_LAUNCHES = {".sh", ".txt", ".args", ".py", ".yml", ".yaml"}


def model_names() -> list[str]:
    """Names that `load_model` knows, sorted.

    >>> "gpt3-175b" in model_names()
    True
    """
    return sorted(shipped_models())


@gate.called
def load_model(source: str | Path | Mapping[str, Any] | Model) -> Model:
    """Return a model from the catalog, a TOML or JSON file, or a mapping.

    Parameters
    ----------
    source : a catalog name; a path ending in .toml (fields of `Model`, at the top or under
        `[model]`) or .json (a Hugging Face `config.json`), or a directory that holds a
        `config.json`; a mapping of either kind; or a `Model`, given back.

    Raises
    ------
    UnknownName
        If it is neither a name nor a file.
    InvalidInput
        If a value is missing, unknown, of the wrong kind or out of range.

    Examples
    --------
    >>> round(load_model("llama3.1-405b").parameters / 1e9, 2)
    405.85
    """
    if isinstance(source, Model):
        return source
    if isinstance(source, Mapping):
        return _from_mapping("model", gate.table(source, "model"))
    text = str(source)
    known = text if text in shipped_models() else text.lower()
    if known in shipped_models():
        return _from_catalog(known)
    path = Path(text)
    if is_folder(path):
        path = path / "config.json"
        if not is_file(path):
            raise InvalidInput(f"directory {text!r} holds no config.json; give a model's directory")
    if path.suffix in {".toml", ".json"}:
        return _from_file(path)
    if path.suffix.lower() in _LAUNCHES and is_file(path):
        return _from_launch(path)
    if spelled := name_spelled(text):
        return _from_catalog(spelled)
    if is_file(path):
        raise InvalidInput(
            f"{path}: no file of a model; give a .toml, a config.json or its directory, or a script"
        )
    unknown = UnknownName.among("model", text, model_names())
    if "/" in text:
        raise InvalidInput(f"{unknown}; nothing is fetched: give its config.json or its directory")
    raise unknown


def _from_launch(path: Path) -> Model:
    """The model that the arguments of a launch describe."""
    from rackmodel.workload.launch import read_launch

    found = read_launch(path).words.get("model")
    if found is None:
        raise InvalidInput(
            f"{path}: its arguments describe no model (num-layers, hidden-size,"
            " num-attention-heads); name one"
        )
    return replace(load_model(found), name=path.stem)


@cache
def _from_catalog(name: str) -> Model:
    return _from_fields(name, shipped_models()[name])


def _from_file(path: Path) -> Model:
    found = read_toml(path) if path.suffix == ".toml" else read_json(path, finite=False)
    data = gate.table(found, f"{path}: the file")
    inner = gate.table(data.get("model", data), f"{path}: model")
    name = path.parent.name if path.stem == "config" and path.parent.name else path.stem
    return _from_mapping(name, inner)


def _from_mapping(name: str, data: Mapping[str, Any]) -> Model:
    from rackmodel.workload.huggingface import model_from_config, other

    if "model_type" in data or "architectures" in data or other.not_a_model(data):
        return model_from_config(data, name=name)
    return _from_fields(name, data)


def _from_fields(name: str, data: Mapping[str, Any]) -> Model:
    if unknown := sorted(set(map(str, data)) - set(_FIELDS) - _SUGAR):
        raise UnknownName.among(f"key in model {name!r}", unknown[0], _FIELDS)
    values = {key: _checked(name, key, data[key]) for key in data if key not in _SUGAR}
    width, heads = values.get("hidden", 0), values.get("heads", 0)
    if "ffn" not in values:
        values["ffn"] = int(_checked(name, "ffn", data.get("ffn_ratio", 0)) * width)
    values.setdefault("kv_heads", heads)
    values.setdefault("head_dim", width // heads if heads else 0)
    if missing := [key for key in _NEEDED if key not in values]:
        raise InvalidInput(f"model {name!r}: key {missing[0]!r} is missing; add {missing[0]} = N")
    return Model(**{"name": name, **values})


def _checked(name: str, key: str, value: Any) -> Any:
    """Return `value` as the field `key` wants it, or say what is wrong."""
    kind = _FIELDS.get(key, "int")
    where = f"model {name!r}: {key}"
    if key in _PARTS:
        return _part(where, value, _PARTS[key])
    if kind in ("bool", "int"):
        return _as_kind(where, kind, value)
    return gate.text(value, where, choices=_NORMS if key == "norm" else ())


def _as_kind(where: str, kind: str, value: Any) -> bool | int:
    """A whole number, or true or false."""
    if kind == "bool":
        return gate.flag(value, where)
    return gate.whole(value, where, least=0, most=MOST_WIDE, words=False)


def _part(where: str, value: Any, kind: type[Any]) -> Any:
    wanted = {field.name: str(field.type) for field in fields(kind)}
    given = gate.table(value, where)
    if unknown := sorted(set(given) - set(wanted)):
        raise UnknownName.among(f"key in {where}", unknown[0], list(wanted))
    needed = [field.name for field in fields(kind) if field.default is MISSING]
    if missing := [name for name in needed if name not in given]:
        raise InvalidInput(f"{where}: {missing[0]} is missing; it needs {', '.join(needed)}")
    return kind(
        **{key: _as_kind(f"{where}: {key}", wanted[key], item) for key, item in given.items()}
    )


def model_from_columns(row: Mapping[str, Any]) -> Model:
    """Return the model that the columns of one published run describe.

    Reads layers, hidden, ffn, heads, kv_heads, head_dim, gated_ffn, vocab, experts, topk, moe_ffn,
    shared_expert_ffn, dense_layers; optional q_lora, kv_lora, qk_nope, qk_rope, v_dim (MLA),
    mtp_layers, attention_window ("128 alternating", "1024 5:1"). Empty, None and NaN cells count
    as not stated. Where columns can't tell, the nearest model of the catalog (same shape) gives
    MLA, norm, positions, biases and tying; otherwise a gated model is taken as Llama-like and an
    ungated one as GPT-like.
    """
    stated = {key: value for key, value in row.items() if not gate.is_empty(value)}
    name = str(stated.get("model", "model"))
    shape: dict[str, Any] = {
        key: _cell(name, key, stated[key], least=int(key in _NEEDED))
        for key in _COUNTS
        if key in stated
    }
    if missing := [key for key in _NEEDED if key not in shape]:
        raise InvalidInput(f"model {name!r}: column {missing[0]!r} is empty; give its number")
    gated = bool(_cell(name, "gated_ffn", stated.get("gated_ffn", 1), most=1))
    width, heads = shape["hidden"], shape["heads"]
    shape = {"kv_heads": heads, "head_dim": width // heads, "ffn": 4 * width, **shape}
    shape = {"mtp_layers": 0, **shape}
    near = _nearest(shape, gated)
    if near is not None:
        model = replace(near, **shape, name=name)
    else:
        like_gpt = {"norm": "layernorm", "bias": True, "tied": True, "rotary": False}
        extras: dict[str, Any] = {} if gated else like_gpt
        model = Model(name=name, gated_ffn=gated, source="columns of a run", **shape, **extras)
    if "kv_lora" in stated:
        ranks = {
            key: _cell(name, key, stated.get(key, 0))
            for key in ("q_lora", "kv_lora", "qk_nope", "qk_rope", "v_dim")
        }
        model = replace(model, mla=Mla(**ranks))
    return _with_window(model, str(stated.get("attention_window", "")))


def _with_window(model: Model, text: str) -> Model:
    """Apply "128" (every layer), "128 alternating" or "1024 5:1" (five layers to one that attends
    fully).
    """
    if not text.strip():
        return model
    window, *every = text.split()
    ratio = re.fullmatch(r"([1-9][0-9]?):1", "1:1" if every == ["alternating"] else "".join(every))
    if every and ratio is None:
        raise InvalidInput(
            f"model {model.name!r}: attention_window must be like '128', '128 alternating' or"
            f" '1024 5:1', found {gate.shown(text)}"
        )
    keys = _cell(model.name, "attention_window", window)
    return replace(model, window=keys, full_attention_every=1 + int(ratio.group(1)) if ratio else 0)


def _nearest(shape: Mapping[str, int], gated: bool) -> Model | None:
    """A catalog model of the same widths (any number of layers), for what columns don't carry."""
    keys = ("hidden", "heads", "kv_heads", "vocab", "experts", "topk", "moe_ffn", "ffn")
    alike = [
        model
        for model in map(_from_catalog, model_names())
        if model.gated_ffn == gated
        and not model.pattern
        and all(getattr(model, key) == shape.get(key, 0) for key in keys)
    ]
    exact = [model for model in alike if model.layers == shape["layers"]]
    return next(iter((*exact, *alike)), None)


def _cell(name: str, key: str, value: Any, least: int = 0, most: int = MOST_WIDE) -> int:
    return gate.whole(value, f"model {gate.shown(name)}: column {key!r}", least=least, most=most)


def describe(model: Model) -> dict[str, Any]:
    """Everything known of one model, as plain data for `show` and JSON."""
    known: dict[str, Any] = {}
    for name in _FIELDS:
        value = getattr(model, name)
        if value not in (None, "", 0, False) or name in ("tied", "gated_ffn"):
            known[name] = asdict(value) if name in _PARTS else value
    known["parameters"] = model.parameters
    known["active_parameters"] = model.active_parameters
    if model.mtp_layers:
        known["mtp_parameters"] = model.mtp_parameters
    return known


def model_rows() -> list[dict[str, Any]]:
    """One row a catalog model: name, sizes, parameters, source; for `list`."""
    models = map(_from_catalog, model_names())
    return [{key: getattr(model, key) for key in _LISTED} for model in models]
