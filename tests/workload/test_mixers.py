"""Every kind of layer: its steps do the work and hold the parameters that the model counts."""

from dataclasses import replace

import pytest

from rackmodel.errors import InvalidInput, InvalidPlan, UnknownName
from rackmodel.workload import Job, Model, Plan, check, load_model
from rackmodel.workload.attention_kinds import Heads, Indexer, Mla
from rackmodel.workload.cache import cache_bytes, cache_of
from rackmodel.workload.kernels import Local
from rackmodel.workload.layers import block_steps
from rackmodel.workload.mixers import Convolution, Delta, Mamba, Selective
from rackmodel.workload.variants import Compression, SharedBlock

SIZES = {
    "layers": 4,
    "hidden": 1024,
    "ffn": 4096,
    "heads": 16,
    "kv_heads": 4,
    "head_dim": 64,
    "vocab": 512,
}
KINDS = {
    "full": {},
    "sliding": {"mixers": "WWW*", "window": 256},
    "wide full layers": {
        "mixers": "WWW*",
        "window": 256,
        "full_heads": Heads(heads=16, kv_heads=2, head_dim=128, shared_kv=True),
    },
    "gated": {"attention_gate": True, "qk_norm": True, "post_norms": True},
    "query of low rank": {"query_rank": 256, "v_head_dim": 32},
    "latent": {"mla": Mla(q_lora=256, kv_lora=128, qk_nope=64, qk_rope=32, v_dim=64)},
    "sparse latent": {
        "mla": Mla(q_lora=256, kv_lora=128, qk_nope=64, qk_rope=32, v_dim=64),
        "index": Indexer(heads=8, head_dim=64, topk=128),
        "mixers": "Iiii",
    },
    "sparse grouped": {"index": Indexer(heads=4, head_dim=64, topk=128), "mixers": "I"},
    "mamba-2": {"mamba": Mamba(heads=32, head_dim=64, state=64, groups=4), "mixers": "M"},
    "mamba-1": {"selective": Selective(width=2048, state=16, rank=64, normed=True), "mixers": "S"},
    "delta": {
        "delta": Delta(key_heads=8, value_heads=16, key_dim=64, value_dim=64),
        "mixers": "DDD*",
    },
    "delta, a decay a channel": {
        "delta": Delta(key_heads=8, value_heads=8, key_dim=64, value_dim=64, decay_rank=64),
        "mla": Mla(q_lora=0, kv_lora=128, qk_nope=64, qk_rope=32, v_dim=64),
        "mixers": "DDD*",
    },
    "convolution": {"conv": Convolution(width=1024), "mixers": "CC*"},
    "side by side": {"mamba": Mamba(heads=16, head_dim=64, state=64, groups=4), "mixers": "H"},
    "compressed": {
        **{"kv_heads": 1, "one_kv": True, "qk_norm": True, "query_rank": 256, "window": 128},
        **{"out_groups": 4, "out_rank": 128, "mixers": "WZz", "streams": 4},
        "index": Indexer(heads=8, head_dim=64, topk=64, rate=4),
        "compression": Compression(rate=4, heavy_rate=32),
    },
    "shared block": {
        **{"mamba": Mamba(heads=32, head_dim=64, state=64, groups=4), "head_dim": 128},
        "shared_block": SharedBlock(adapter_rank=32, attention_adapters=True),
        **{"kv_heads": 16, "pattern": "MXMx"},
    },
    "latent experts": {
        **{"experts": 16, "topk": 2, "moe_ffn": 512, "moe_latent": 256},
        "shared_expert_ffn": 512,
    },
}


def model_of(kind: str) -> Model:
    return Model(name=kind, **(SIZES | KINDS[kind]))


def steps_of(model: Model, block, **plan):
    job = Job(model=model, plan=Plan(dp=1, **plan), seq_len=1024, global_batch=1)
    return block_steps(Local.of(job), block)


@pytest.mark.parametrize("kind", KINDS)
def test_steps_hold_the_parameters_that_the_model_counts(kind):
    model = model_of(kind)
    for block in dict.fromkeys(model.blocks):
        held = sum(step.parameters for step in steps_of(model, block))
        assert held == pytest.approx(model.block_parameters(block), rel=0.005)


@pytest.mark.parametrize("kind", KINDS)
def test_steps_do_the_work_that_the_model_counts_once_forward_and_twice_backward(kind):
    model = model_of(kind)
    for block in dict.fromkeys(model.blocks):
        steps = steps_of(model, block)
        forward = sum(k.flops * k.count for step in steps for k in step.work.forward)
        backward = sum(
            k.flops * k.count for step in steps for k in (*step.work.backward, *step.work.weight)
        )
        span, heads = model.kv_span(block, 1024, causal=True), model.heads_of(block)
        wanted = 2.0 * model.matmul_parameters(block)
        wanted += 2.0 * model.stream_parameters * 2
        if block.attends:
            wanted += 2.0 * heads.heads * (heads.head_dim + heads.value_dim) * span
        if block.index == "own":
            wanted += model.index.flops(512.5 / max(1, model.index.rate))
        if (state := model.recurrent(block)) is not None:
            wanted += state.flops()
        assert forward / 1024 == pytest.approx(wanted, rel=0.01)
        # Recomputed scores (2.5) make backward more than twice, sparse choice less.
        assert 1.9 * forward < backward < 2.6 * forward or block.index


@pytest.mark.parametrize("kind", KINDS)
def test_tensor_parallelism_shares_work_and_parameters_out(kind):
    model = model_of(kind)
    for block in dict.fromkeys(model.blocks):
        one, two = (
            sum(
                k.flops * k.count
                for step in steps_of(model, block, tp=tp)
                for k in step.work.forward
            )
            for tp in (1, 2)
        )
        assert one / 2 <= two * 1.0001
        assert two < one


def test_a_sparse_layer_works_less_than_a_full_one_only_on_long_sequences():
    full = load_model("deepseek-v3")
    sparse = replace(full, index=Indexer(heads=64, head_dim=128, topk=2048), mixers="I")
    ratio = [sparse.model_flops(n) / full.model_flops(n) for n in (2048, 32768, 131072)]
    assert ratio[0] > 1.0 > ratio[1] > ratio[2]


@pytest.mark.parametrize("kind", ["mamba-2", "mamba-1", "delta", "convolution", "sparse latent"])
def test_context_parallelism_of_what_is_not_modelled_is_refused_by_name(kind):
    job = Job(model=model_of(kind), plan=Plan(dp=1, cp=2), seq_len=1024, global_batch=1)
    with pytest.raises(InvalidPlan, match="cp 2 with"):
        check(job)


def test_letters_without_their_sizes_or_of_no_kind_are_refused():
    for more, word in (
        ({"mixers": "D"}, "delta"),
        ({"mixers": "X"}, "letters"),
        ({"mixers": "*****"}, "5 layers"),
        ({"mixers": "I"}, "index"),
        ({"feeds": "Z"}, "letters"),
    ):
        with pytest.raises(InvalidInput, match=word):
            Model(name="m", **(SIZES | more))


def test_what_a_sequence_keeps_grows_with_attention_only():
    bounded = cache_bytes(model_of("mamba-2"), 10**6)
    assert bounded == cache_bytes(model_of("mamba-2"), 1)
    window = model_of("sliding")
    grown = cache_bytes(window, 10**6) - cache_bytes(window, 10**6 - 1)
    assert grown == 2 * 4 * (64 + 64)  # of the one full layer in four
    v3 = load_model("deepseek-v3")
    assert cache_bytes(v3, 1) == 61 * 576 * 2
    assert cache_bytes(v3, 1, tp=8) == cache_bytes(v3, 1)  # every rank holds the latents
    assert cache_of(load_model("llama3-70b"), v3.blocks[0], tp=16).per_token == 2 * 128


def test_a_toml_table_names_the_kind(tmp_path):
    path = tmp_path / "hybrid.toml"
    path.write_text(
        'layers = 8\nhidden = 1024\nffn = 4096\nheads = 16\nvocab = 512\nmixers = "DDD*"\n'
        "[delta]\nkey_heads = 8\nvalue_heads = 16\nkey_dim = 64\nvalue_dim = 64\n"
    )
    assert [block.mixer for block in load_model(path).blocks] == (["delta"] * 3 + ["attention"]) * 2
    path.write_text(path.read_text().replace("key_dim = 64", "key_dims = 64"))
    with pytest.raises(UnknownName, match="key_dims"):
        load_model(path)
