"""One published model of each family, by its own config.json, against its printed total.

Dimensions: the config.json files beside the weights. Totals: model cards and papers, in 1e9; where
a card rounds to two digits, the count of the weight files. The files of `hf/` hold real values;
their counts were made with transformers 5.24 on the meta device (text part, without MTP layers).
"""

import csv
import json
from pathlib import Path

import pytest

from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.workload import Job, Plan, check, load_model, memory
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
TIED = {"tie_word_embeddings": True}
GPT = ("n_layer", "n_embd", "n_head", "vocab_size")
# model_type, config, total of the print in 1e9
PUBLISHED = {
    "gemma-7b": ("gemma", llama_like(28, 3072, 24576, 16, 16, 256000, head_dim=256), 8.538),
    "gemma-2-9b": (
        "gemma2",
        llama_like(42, 3584, 14336, 16, 8, 256000, head_dim=256, sliding_window=4096),
        9.242,
    ),
    "gemma-3-4b": (  # published without what is default
        "gemma3_text",
        {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34},
        3.880,
    ),
    "olmo-3-7b": (
        "olmo3",
        llama_like(32, 4096, 11008, 32, 32, 100278, sliding_window=4096, **UNTIED),
        7.298,
    ),
    "olmoe-1b-7b": (
        "olmoe",
        llama_like(16, 2048, 1024, 16, 16, 50304, num_experts=64, num_experts_per_tok=8),
        6.919,
    ),
    "granite-3.0-3b-a800m": (
        "granitemoe",
        llama_like(
            32, 1536, 512, 24, 8, 49155, num_local_experts=40, num_experts_per_tok=8, **TIED
        ),
        3.30,
    ),
    "falcon-h1-34b": (
        "falcon_h1",
        llama_like(
            *(72, 5120, 21504, 20, 4, 261120),
            head_dim=128,
            mamba_d_ssm=4096,
            mamba_n_heads=32,
            mamba_d_head=128,
            mamba_d_state=256,
            mamba_n_groups=2,
            mamba_d_conv=4,
            mamba_rms_norm=False,
            **UNTIED,
        ),
        33.6,
    ),
    "jamba-v0.1": (
        "jamba",
        llama_like(
            *(32, 4096, 14336, 32, 8, 65536),
            attn_layer_period=8,
            attn_layer_offset=4,
            expert_layer_period=2,
            expert_layer_offset=1,
            num_experts=16,
            num_experts_per_tok=2,
            mamba_d_state=16,
            mamba_d_conv=4,
            mamba_expand=2,
            mamba_dt_rank=256,
            **UNTIED,
        ),
        51.57,
    ),
    "bamba-9b": (
        "bamba",
        llama_like(
            *(32, 4096, 14336, 32, 8, 128256),
            attn_layer_indices=[9, 18, 27],
            mamba_d_conv=4,
            mamba_d_head=64,
            mamba_d_state=128,
            mamba_expand=2,
            mamba_n_groups=1,
            mamba_n_heads=128,
            **UNTIED,
        ),
        9.78,
    ),
    "mamba-2.8b": (
        "mamba",
        {
            "hidden_size": 2560,
            "num_hidden_layers": 64,
            "state_size": 16,
            "expand": 2,
            "intermediate_size": 5120,
            "time_step_rank": 160,
            "conv_kernel": 4,
            "vocab_size": 50280,
        },
        2.768,
    ),
    "falcon-mamba-7b": (
        "falcon_mamba",
        {
            "hidden_size": 4096,
            "intermediate_size": 8192,
            "num_hidden_layers": 64,
            "state_size": 16,
            "expand": 2,
            "time_step_rank": 256,
            "vocab_size": 65024,
            **UNTIED,
        },
        7.27,
    ),
    "lfm2-1.2b": (
        "lfm2",
        {
            "hidden_size": 2048,
            "num_hidden_layers": 16,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "vocab_size": 65536,
            "block_ff_dim": 12288,
            "block_auto_adjust_ff_dim": True,
            "block_ffn_dim_multiplier": 1.0,
            "block_multiple_of": 256,
            "conv_L_cache": 3,
            "conv_bias": False,
            "conv_dim": 2048,
            "full_attn_idxs": [2, 5, 8, 10, 12, 14],
        },
        1.17,
    ),
    "command-r7b": (
        "cohere2",
        llama_like(32, 4096, 14336, 32, 8, 256000, head_dim=128, sliding_window=4096),
        8.03,
    ),
    "ernie-4.5-0.3b": ("ernie4_5", llama_like(18, 1024, 3072, 16, 2, 103424, head_dim=128), 0.361),
    "ernie-4.5-21b-a3b": (
        "ernie4_5_moe",
        llama_like(
            *(28, 2560, 12288, 20, 4, 103424),
            moe_num_experts=64,
            moe_k=6,
            moe_intermediate_size=1536,
            moe_num_shared_experts=2,
            moe_layer_start_index=1,
            moe_layer_interval=1,
            use_bias=False,
            **TIED,
        ),
        21.83,
    ),
    "phi-3.5-moe": (
        "phimoe",
        llama_like(
            *(32, 4096, 6400, 32, 8, 32064),
            num_local_experts=16,
            num_experts_per_tok=2,
            attention_bias=True,
            lm_head_bias=True,
            **UNTIED,
        ),
        41.87,
    ),
    "phi-2": (
        "phi",
        llama_like(32, 2560, 10240, 32, 32, 51200, qk_layernorm=False, **UNTIED),
        2.780,
    ),
    "smollm3-3b": ("smollm3", llama_like(36, 2048, 11008, 16, 4, 128256), 3.075),
    "exaone-4.0-32b": (
        "exaone4",
        llama_like(
            *(64, 5120, 27392, 40, 8, 102400),
            head_dim=128,
            sliding_window=4096,
            sliding_window_pattern="LLLG",
            **UNTIED,
        ),
        32.0,
    ),
    "hunyuan-a13b": (
        "hunyuan_v1_moe",
        llama_like(
            *(32, 4096, 3072, 32, 8, 128167),
            head_dim=128,
            num_experts=64,
            moe_topk=[8] * 32,
            num_shared_expert=[1] * 32,
            moe_intermediate_size=[3072] * 32,
            use_qk_norm=True,
            use_cla=False,
            **TIED,
        ),
        80.4,
    ),
    "step-3": (
        "step3_text",
        {
            **llama_like(61, 7168, 18432, 64, 1, 128815, head_dim=256, **UNTIED),
            "share_q_dim": 2048,
            "num_attention_groups": 1,
            "moe_num_experts": 48,
            "moe_top_k": 3,
            "moe_intermediate_size": 5120,
            "share_expert_dim": 5120,
            "moe_layers_enum": ",".join(map(str, range(4, 60))),
        },
        316.0,
    ),
    "ling-lite-16.8b": (
        "bailing_moe",
        llama_like(
            *(28, 2048, 5632, 16, 4, 126464),
            head_dim=128,
            num_experts=64,
            num_experts_per_tok=6,
            num_shared_experts=2,
            moe_intermediate_size=1408,
            use_bias=False,
            use_qkv_bias=False,
            **UNTIED,
        ),
        16.8,
    ),
    "mimo-v2-flash": (
        "mimo_v2_flash",
        {
            **llama_like(48, 4096, 16384, 64, 4, 152576, head_dim=192, v_head_dim=128, **UNTIED),
            "swa_num_attention_heads": 64,
            "swa_num_key_value_heads": 8,
            "swa_head_dim": 192,
            "swa_v_head_dim": 128,
            "sliding_window": 128,
            "hybrid_layer_pattern": [0, 1, 1, 1, 1, *([0, 1, 1, 1, 1, 1] * 7), 0],
            "moe_layer_freq": [0, *[1] * 47],
            "n_routed_experts": 256,
            "num_experts_per_tok": 8,
            "moe_intermediate_size": 2048,
        },
        309.0,
    ),
    "internlm2-20b": ("internlm2", llama_like(48, 6144, 16384, 48, 8, 92544, **UNTIED), 19.86),
    "baichuan2-13b": ("baichuan", llama_like(40, 5120, 13696, 40, 40, 125696, **UNTIED), 13.90),
    "chatglm3-6b": (
        "chatglm",
        {
            "num_layers": 28,
            "hidden_size": 4096,
            "ffn_hidden_size": 13696,
            "num_attention_heads": 32,
            "multi_query_attention": True,
            "multi_query_group_num": 2,
            "kv_channels": 128,
            "padded_vocab_size": 65024,
            "add_qkv_bias": True,
            "add_bias_linear": False,
            "rmsnorm": True,
        },
        6.244,
    ),
    "glm-4-32b": (
        "glm4",
        llama_like(61, 6144, 23040, 48, 2, 151552, head_dim=128, **UNTIED),
        32.57,
    ),
    "stablelm-2-1.6b": (
        "stablelm",
        llama_like(24, 2048, 5632, 32, 32, 100352, use_qkv_bias=True, **UNTIED),
        1.645,
    ),
    "opt-6.7b": (
        "opt",
        {
            "num_hidden_layers": 32,
            "hidden_size": 4096,
            "ffn_dim": 16384,
            "num_attention_heads": 32,
            "vocab_size": 50272,
            "word_embed_proj_dim": 4096,
            "max_position_embeddings": 2048,
            "do_layer_norm_before": True,
        },
        6.658,
    ),
    "falcon-7b": (
        "falcon",
        {
            "num_hidden_layers": 32,
            "hidden_size": 4544,
            "num_attention_heads": 71,
            "vocab_size": 65024,
            "multi_query": True,
            "parallel_attn": True,
            "bias": False,
        },
        6.922,
    ),
    "grok-1": (
        "grok-1",
        llama_like(
            *(64, 6144, 32768, 48, 8, 131072), num_experts=8, num_experts_per_tok=2, **UNTIED
        ),
        316.5,
    ),
    "grok-2": (
        "git",
        llama_like(
            *(64, 8192, 32768, 64, 8, 131072),
            architectures=["Grok1ForCausalLM"],
            head_dim=128,
            moe_intermediate_size=16384,
            num_local_experts=8,
            num_experts_per_tok=2,
            residual_moe=True,
            **UNTIED,
        ),
        269.5,
    ),
    "apertus-70b": ("apertus", llama_like(80, 8192, 43008, 64, 8, 131072, **UNTIED), 70.6),
    "minimax-m2": (
        "minimax_m2",
        llama_like(
            *(62, 3072, 1536, 48, 8, 200064),
            head_dim=128,
            num_local_experts=256,
            num_experts_per_tok=8,
            use_qk_norm=True,
            qk_norm_type="per_layer",
            attn_type_list=[1] * 62,
            shared_intermediate_size=0,
            **UNTIED,
        ),
        228.7,
    ),
    "qwen-7b": ("qwen", llama_like(32, 4096, 22016, 32, 32, 151936, **UNTIED), 7.721),
    "deepseek-moe-16b": (
        "deepseek",
        llama_like(
            *(28, 2048, 10944, 16, 16, 102400),
            n_routed_experts=64,
            n_shared_experts=2,
            num_experts_per_tok=6,
            moe_intermediate_size=1408,
            first_k_dense_replace=1,
            moe_layer_freq=1,
            **UNTIED,
        ),
        16.38,
    ),
    "codegen-16b": (
        "codegen",
        {**dict(zip(GPT, (34, 6144, 24, 51200), strict=True)), **UNTIED},
        16.03,
    ),
    "starcoder-15.5b": (
        "gpt_bigcode",
        {
            **dict(zip(GPT, (40, 6144, 48, 49152), strict=True)),
            "n_positions": 8192,
            "n_inner": 24576,
            "multi_query": True,
        },
        15.517,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_config_of_a_family_gives_its_printed_total(name):
    family, config, billions = PUBLISHED[name]
    model = model_from_config({"model_type": family, **config}, name=name)
    assert model.parameters / 1e9 == pytest.approx(billions, rel=0.005)


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


def test_mtp_layers_are_counted_beside_the_model():
    mimo = llama_like(36, 4096, 11008, 32, 8, 151680, num_nextn_predict_layers=1, **UNTIED)
    model = model_from_config({"model_type": "mimo", **mimo}, name="mimo-7b")
    both = model.parameters + model.mtp_parameters
    assert both / 1e9 == pytest.approx(7.83, rel=0.005)  # arXiv:2505.07608: 7.83B with MTP


@pytest.mark.parametrize("family", BEYOND)
def test_a_family_of_layers_that_are_not_modelled_is_refused_by_name(family):
    with pytest.raises(InvalidInput, match=f"{family!r} has .* not modelled"):
        model_from_config({"model_type": family, "hidden_size": 8})


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_says_which_key_is_missing(family):
    with pytest.raises(InvalidInput, match=r"missing|must be"):
        model_from_config({"model_type": family})


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
