"""One published model of each family, by its own config.json, against its printed total.

Dimensions: the config.json files beside the weights. Totals: model cards and papers, in 1e9; where
a card rounds to two digits, the count of the weight files. The files of `hf/` hold real values;
their counts were made with transformers 5.24 on the meta device (text part, without MTP layers).
"""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from rackmodel.errors import InvalidInput, InvalidPlan, UnknownName
from rackmodel.workload import Job, Plan, check, load_model, memory
from rackmodel.workload.cache import cache_bytes
from rackmodel.workload.huggingface import model_from_config
from rackmodel.workload.huggingface.families import BEYOND, FAMILIES

HERE = Path(__file__).parent / "hf"
with (HERE / "expected.csv").open(encoding="utf-8") as file:
    ROWS = list(csv.DictReader(file))


def llama_like(layers, hidden, ffn, heads, kv_heads, vocab, **more):
    """The keys that most families share."""
    return {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocab,
        **more,
    }


UNTIED = {"tie_word_embeddings": False}
# name: its config and the total of its print in 1e9
PUBLISHED = json.loads((HERE.parent / "families.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_config_of_a_family_gives_its_printed_total(name):
    model = model_from_config(PUBLISHED[name]["config"], name=name)
    assert model.parameters / 1e9 == pytest.approx(PUBLISHED[name]["total_b"], rel=0.005)


@pytest.mark.parametrize("row", ROWS, ids=[row["file"] for row in ROWS])
def test_a_file_of_the_public_cases_is_read_right_or_refused_with_the_reason(row):
    if not row["total_b"]:
        with pytest.raises(InvalidInput, match=r"not a decoder language model|adapter \(PEFT\)"):
            load_model(HERE / row["file"])
        return
    model = load_model(HERE / row["file"])
    assert model.parameters / 1e9 == pytest.approx(float(row["total_b"]), rel=0.005)
    if row["active_b"]:
        assert model.active_parameters / 1e9 == pytest.approx(float(row["active_b"]), rel=0.005)


def test_what_a_file_leaves_out_is_what_its_class_takes():
    """transformers 5.24: Mixtral's 8 key-value heads and experts; null is not the class's value."""
    sizes = {"num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 14336}
    config = {"model_type": "mixtral", **sizes, "num_attention_heads": 32, "vocab_size": 32000}
    model = model_from_config({**config, "num_experts_per_tok": 2, "num_key_value_heads": None})
    assert (model.kv_heads, model.experts) == (32, 8)
    model = model_from_config({**config, "num_experts_per_tok": 2, "num_local_experts": 4})
    assert (model.kv_heads, model.experts) == (8, 4)


def test_layers_with_experts_are_those_that_ernie_names():
    config = PUBLISHED["ernie-4.5-21b-a3b"]["config"]
    some = {"moe_layer_start_index": 3, "moe_layer_end_index": 20, "moe_layer_interval": 2}
    model = model_from_config({**config, **some})
    assert [n for n, one in enumerate(model.blocks) if one.feed == "moe"] == [*range(3, 21, 2)]


def test_compressed_attention_saves_what_its_makers_say_at_a_million_tokens():
    """DeepSeek-V4-Pro, model card: of V3.2's 27% of the FLOPs of a token and 10% of the cache."""
    pro = model_from_config(PUBLISHED["deepseek-v4-pro"]["config"], name="v4")
    before, long = load_model(HERE / "deepseek-v32.json"), 10**6
    assert pro.active_parameters / 1e9 == pytest.approx(49, rel=0.02)
    # Of the last token: twice the keys of the mean of a sequence.
    work = [model.model_flops(2 * long) for model in (pro, before)]
    assert work[0] / work[1] == pytest.approx(0.27, rel=0.05)
    kept = [cache_bytes(model, long) for model in (pro, before)]
    assert kept[0] / kept[1] == pytest.approx(0.10, rel=0.15)


def test_blocks_that_layers_share_are_held_once_and_work_at_every_use():
    config = PUBLISHED["zamba2-2.7b"]["config"]
    model = model_from_config(config, name="zamba2")
    own = model_from_config({**config, "num_mem_blocks": 9}, name="own")
    assert own.parameters > 1.4 * model.parameters
    assert own.model_flops(4096) == model.model_flops(4096)
    job = Job(model=model, plan=Plan(dp=1), seq_len=4096, global_batch=1)
    assert memory(job, 0)["weights"] / 2 == pytest.approx(model.parameters, rel=0.01)
    with pytest.raises(InvalidPlan, match="share blocks"):
        check(replace(job, plan=Plan(pp=2, dp=1)))


def test_mtp_layers_are_counted_beside_the_model():
    mimo = llama_like(36, 4096, 11008, 32, 8, 151680, num_nextn_predict_layers=1, **UNTIED)
    model = model_from_config({"model_type": "mimo", **mimo}, name="mimo-7b")
    both = model.parameters + model.mtp_parameters
    assert both / 1e9 == pytest.approx(7.83, rel=0.005)  # arXiv:2505.07608: 7.83B with MTP


def test_the_mtp_layer_of_v4_looks_within_the_window_and_keeps_its_streams():
    """Beside the layer: two matrices, three norms, and what makes one stream of four."""
    config = PUBLISHED["deepseek-v4-flash"]["config"]
    model = model_from_config(config, name="v4")
    attention, experts = model.mtp_blocks
    assert (attention.window, attention.rate, experts.feed) == (128, 0, "moe")
    width = model.hidden
    joint = 2 * width**2 + 3 * width + 4 * (4 * width + 1) + 1
    assert model.mtp_parameters == sum(map(model.block_parameters, model.mtp_blocks)) + joint
    job = Job(model=model, plan=Plan(dp=1), seq_len=4096, global_batch=1)
    assert memory(job, 0)["weights"] / 2 == model.parameters + model.mtp_parameters
    with pytest.raises(InvalidInput, match="compress_ratio 4"):
        model_from_config({**config, "compress_ratios": [*config["compress_ratios"][:-1], 4]})


@pytest.mark.parametrize("family", BEYOND)
def test_a_family_of_layers_that_are_not_modelled_is_refused_by_name(family):
    with pytest.raises(InvalidInput, match=f"{family!r} has .* not modelled"):
        model_from_config({"model_type": family, "hidden_size": 8})


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_says_which_key_is_missing(family):
    with pytest.raises(InvalidInput, match=r"missing|must be"):
        model_from_config({"model_type": family})


@pytest.mark.parametrize("pattern", ["MxM*", "M-M*|", "MDM*"])
def test_letters_that_nemotron_does_not_have_are_refused(pattern):
    """Patterns of our own have more letters, whose layers no config.json means by them."""
    config = json.loads((HERE / "nemotron_h_min_latent.json").read_text())
    assert model_from_config(config).layers
    config["hybrid_override_pattern"] = pattern
    with pytest.raises(InvalidInput, match=r"hybrid_override_pattern has .*known: "):
        model_from_config(config)


KNOWN = {"model_type": "llama", **llama_like(32, 4096, 14336, 32, 8, 128256, **UNTIED)}


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"moe_latent_size": 1024}, "moe_latent_size"),
        ({"num_local_experts": 8}, "num_local_experts"),
        ({"layer_types": ["linear_attention"] * 32}, "layer_types"),
        ({"block_configs": [{"n": 1}]}, "block_configs"),
        ({"kv_share_groups": 2}, "kv_share_groups"),
        ({"ffn_expansion_ratio": 2.5}, "ffn_expansion_ratio"),
        ({"add_cross_attention": True}, "add_cross_attention"),
        ({"moe_layer_end_index": 3}, "moe_layer_end_index"),
        ({"name": "x", "hybrid_override_pattern": "ME"}, "hybrid_override_pattern"),
    ],
)
def test_a_key_that_may_change_shapes_is_refused_and_one_that_cannot_is_not(more, word):
    harmless = {
        **{"rope_theta": 5e5, "bos_token_id": 1, "initializer_range": 0.02, "use_cache": True},
        **{"max_position_embeddings": 8192, "rope_scaling": {"factor": 8}, "pretraining_tp": 1},
        **{"architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "attention_dropout": 0.0},
    }
    model_from_config({**KNOWN, **harmless})
    with pytest.raises(InvalidInput, match=word):
        model_from_config({**KNOWN, **harmless, **more})


@pytest.mark.parametrize(
    ("name", "right"),
    [("llama3-8b", True), ("mine", True), ("llama3-70b", False), ("llama-130m", False)],
)
def test_the_size_that_a_name_says_is_checked(name, right, tmp_path):
    path = tmp_path / name / "config.json"
    path.parent.mkdir()
    path.write_text(json.dumps(KNOWN))
    if right:
        assert load_model(path.parent).name == name  # a directory is a model
        return
    with pytest.raises(InvalidInput, match="its name says"):
        load_model(path)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        ({"weight_map": {}}, "weight files"),
        ({"tokenizer_class": "X"}, "tokenizer"),
        ({"eos_token_id": 1, "temperature": 0.6}, "generation config"),
        ({"_class_name": "UNet2DConditionModel"}, "diffusion"),
        ({"model_type": "whisper"}, "images or sound"),
        ({"model_type": "t5", "is_encoder_decoder": True}, "encoder with a decoder"),
    ],
)
def test_files_beside_a_model_are_named_as_what_they_are(data, word):
    with pytest.raises(InvalidInput, match=word):
        load_model(data)


def test_an_unknown_family_is_refused_even_where_its_class_is_known():
    with pytest.raises(UnknownName, match="did you mean 'llama"):
        model_from_config({**KNOWN, "model_type": "lama", "architectures": ["LlamaForCausalLM"]})
    by_class = {key: value for key, value in KNOWN.items() if key != "model_type"}
    assert model_from_config({**by_class, "architectures": ["LlamaForCausalLM"]}).layers == 32


@pytest.mark.parametrize("name", ["qwen3-next-80b", "glm-5.2", "granite4-h-small", "gemma4-26b"])
def test_models_of_new_kinds_can_be_planned(name):
    model = load_model(HERE / f"{name}.json")
    plan = Plan(pp=4, ep=8, dp=8)
    job = Job(model=model, plan=plan, seq_len=4096, global_batch=64)
    check(job)
    held = sum(memory(job, rank)["weights"] for rank in range(4))
    # bf16, experts over 8 ranks, the rest on each; the head of a tied model stands once more.
    experts = (
        model.moe_layers * model.experts * 3 * (model.moe_latent or model.hidden) * model.moe_ffn
    )
    mine = model.parameters + model.mtp_parameters - experts * 7 / 8
    assert held / 2 == pytest.approx(mine, rel=0.25 if model.tied or model.mtp_layers else 0.01)
