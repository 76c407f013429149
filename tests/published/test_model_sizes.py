import pytest

from rackmodel.workload import load_model


# Narayanan et al. 2021, arXiv:2104.04473, table 1 (printed to 0.1 billion).
@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("megatron-1.7b", 1.7),
        ("megatron-3.6b", 3.6),
        ("megatron-7.5b", 7.5),
        ("megatron-18b", 18.4),
        ("megatron-39b", 39.1),
        ("megatron-76b", 76.1),
        ("megatron-145b", 145.6),
        ("megatron-310b", 310.1),
        ("megatron-530b", 529.6),
        ("megatron-1t", 1008.0),
    ],
)
def test_megatron_table_of_sizes(name, billions):
    assert load_model(name).parameters / 1e9 == pytest.approx(billions, abs=0.0501)


@pytest.mark.parametrize(
    ("name", "billions", "within"),
    [
        ("gpt3-175b", 174.6, 0.05),  # arXiv:2005.14165, table D.1: 174,600M
        ("gpt3-13b", 12.85, 0.01),  # the same: 12,850M
        ("gpt3-6.7b", 6.66, 0.01),  # 6,660M
        ("gpt3-125m", 0.125, 0.001),
        ("llama3.1-405b", 405.85, 0.005),  # model card: 405,853,388,800
        ("llama3-8b", 8.03, 0.005),
        ("llama3-70b", 70.55, 0.005),
        ("llama2-7b", 6.738, 0.001),
        ("llama2-13b", 13.016, 0.001),
        ("llama2-70b", 68.977, 0.001),
        ("bloom-176b", 176.247, 0.001),  # arXiv:2211.05100: 176,247M
        ("mixtral-8x7b", 46.7, 0.05),
        ("mixtral-8x22b", 140.6, 0.05),
        ("deepseek-v2", 235.74, 0.01),  # printed 236B
        ("deepseek-v3", 671.03, 0.005),
        ("qwen3-30b-a3b", 30.53, 0.005),
        ("qwen3-235b-a22b", 235.09, 0.005),
        ("gpt-oss-120b", 116.83, 0.005),  # arXiv:2508.10925, table 1
        ("gpt-oss-20b", 20.91, 0.006),
        ("llama4-scout", 107.77, 0.01),
        ("llama4-maverick", 400.71, 0.01),
        ("nemotron-340b", 341.0, 0.5),
        ("nemotron-h-8b", 8.1, 0.05),
        ("nemotron-h-56b", 56.3, 0.5),
        ("kimi-k2", 1026.4, 0.5),
        ("nemotron-3-nano-30b-a3b", 31.6, 0.05),
    ],
)
def test_parameter_counts_match_print(name, billions, within):
    assert load_model(name).parameters / 1e9 == pytest.approx(billions, abs=within)


@pytest.mark.parametrize(
    ("name", "billions", "within"),
    [
        ("deepseek-v3", 37.55, 0.005),
        ("qwen3-235b-a22b", 22.19, 0.005),
        ("qwen3-30b-a3b", 3.35, 0.01),
        ("mixtral-8x7b", 12.88, 0.01),
        ("llama4-maverick", 17.2, 0.1),
        ("kimi-k2", 32.86, 0.05),
    ],
)
def test_active_parameter_counts_match_print(name, billions, within):
    assert load_model(name).active_parameters / 1e9 == pytest.approx(billions, abs=within)


@pytest.mark.parametrize(
    ("name", "trillions"),
    [
        ("gpt4-moe-1.8t", 1.8),
        ("moe-8.8t", 8.8),
        ("moe-17.6t", 17.6),
        ("moe-67t", 67),
        ("moe-130t", 130),
    ],
)
def test_assumed_models_have_the_size_that_is_claimed_and_say_so(name, trillions):
    model = load_model(name)
    assert model.parameters / 1e12 == pytest.approx(trillions, rel=0.015)
    assert model.assumed


def test_megatron_flop_formula():
    # arXiv:2104.04473, eq. 3 without recompute: 72 B s l h^2 (1 + s/6h + V/12lh).
    model = load_model("megatron-145b")
    layers, h, s, vocab = 80, 12288, 2048, 51200
    printed = 72 * layers * h**2 * (1 + s / (6 * h) + vocab / (12 * layers * h))
    assert model.model_flops(s, causal=False) == pytest.approx(printed, rel=1e-9)


def test_causal_attention_needs_half_of_the_score_flops():
    model = load_model("llama3-8b")
    full, causal = model.model_flops(8192, causal=False), model.model_flops(8192)
    scores = 12 * model.layers * model.heads * model.head_dim * 8192
    assert full - causal == pytest.approx(scores / 2, rel=1e-3)
