"""Hugging Face config.json files as their makers publish them, against printed parameter counts.

The keys are those of the files (weights' dtype, token ids and the like left out); the counts those
of model cards and papers, with the tolerance of the print.
"""

import json
from pathlib import Path

import pytest

from rackmodel.errors import InvalidInput
from rackmodel.workload import load_model

# name: its config, billions of parameters in print (in all, and that a token meets), and how far
# off the print may be; "active_counts" where it counts the head but not the embedding.
PRINTED = json.loads((Path(__file__).parent / "printed.json").read_text(encoding="utf-8"))


def read(name, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(PRINTED[name]["config"]))
    return load_model(path)


@pytest.mark.parametrize("name", PRINTED)
def test_parameters_of_a_config_are_those_in_print(name, tmp_path):
    row, model = PRINTED[name], read(name, tmp_path)
    assert model.parameters / 1e9 == pytest.approx(row["total_b"], abs=row["within_b"])
    met = model.active_parameters
    met -= model.embedding_parameters if "active_counts" in row else 0
    assert met / 1e9 == pytest.approx(row["active_b"], abs=row["active_within_b"])


@pytest.mark.parametrize(
    "name", [name for name in PRINTED if name.startswith(("gpt-oss", "llama", "mixtral", "kimi"))]
)
def test_a_config_is_the_model_of_the_catalog(name, tmp_path):
    found, known = read(name, tmp_path), load_model(name)
    assert found.parameters == known.parameters
    assert found.model_flops(16384) == known.model_flops(16384)  # windows included


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"moe_latent_size": 1024}, "moe_latent_size"),
        ({"layer_types": ["state_space"] * 48, "use_sliding_window": True}, "state_space"),
        ({"num_experts": "many"}, "num_experts: expected a whole number"),
        ({"model_type": "qwen4_moe"}, "did you mean 'qwen"),
    ],
)
def test_a_key_that_is_not_modelled_is_refused(change, word, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(PRINTED["qwen3-30b-a3b"]["config"] | change))
    with pytest.raises(InvalidInput, match=word):
        load_model(path)


def test_leading_dense_layers_of_a_config_are_dense(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(PRINTED["qwen3-30b-a3b"]["config"] | {"mlp_only_layers": [0, 1]}))
    assert [block.feed for block in load_model(path).blocks[:3]] == ["dense", "dense", "moe"]


def test_a_text_part_has_the_width_that_follows_from_it(tmp_path):
    """Falcon's class works the width of its MLP out where a file leaves it out: four times."""
    whole = json.loads((Path(__file__).parent / "hf" / "falcon-180b.json").read_text("utf-8"))
    seeing = {"model_type": "llava", "text_config": whole, "vision_config": {"hidden_size": 1024}}
    assert load_model(seeing).parameters == load_model(whole).parameters


@pytest.mark.parametrize("key", ["use_rotary_pos_emb", "use_parallel_embedding"])
def test_keys_of_published_files_that_change_no_shape_are_passed_over(key):
    config = PRINTED["qwen3-30b-a3b"]["config"]
    assert load_model(config | {key: True}).parameters == load_model(config).parameters
