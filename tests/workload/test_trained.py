"""Frozen weights and adapters: no gradients, states or reductions of what does not learn."""

from __future__ import annotations

import pytest

import rackmodel
from rackmodel.errors import InvalidInput, InvalidPlan
from rackmodel.workload import Job, Plan, check, load_model, memory, programs
from rackmodel.workload.operations import Collective, Compute, Role, Segment, Send
from rackmodel.workload.stages import chunks_of

LLAMA = load_model("llama3-8b")
ADAM = 12.0  # master and two moments, bytes a parameter


def job(model=LLAMA, **changes):
    plan = {"dp": 4, "sharding": "zero1"} | {k: v for k, v in changes.items() if k in PLAN}
    own = {k: v for k, v in changes.items() if k not in PLAN}
    made = Job(model=model, plan=Plan(**plan), seq_len=2048, global_batch=8, **own)
    check(made)
    return made


PLAN = Plan.__dataclass_fields__


def operations(made):
    for program in programs(made):
        for item in program.items:
            yield from item.operations if isinstance(item, Segment) else (item,)


def flops(made, role):
    return sum(
        k.flops * k.count
        for one in operations(made)
        if isinstance(one, Compute)
        for k in one.kernels
        if k.role == role and "lora" not in k.name
    )


def learning(made):
    return sum(sum(chunk.learning) for rank in chunks_of(made) for chunk in rank)


@pytest.mark.parametrize("freeze", [["attention"], ["mlp"], ["norms"], ["layers:0-7"]])
def test_what_is_frozen_has_no_product_for_its_gradient(freeze):
    whole, some = job(), job(freeze=freeze)
    share = 1 - flops(some, Role.WGRAD) / flops(whole, Role.WGRAD)
    h, kv, ffn = LLAMA.hidden, 1024, LLAMA.ffn
    attention, mlp = 2 * h * h + 2 * h * kv, 3 * h * ffn
    every = LLAMA.layers * (attention + mlp) + h * 128256
    gone = {"attention": 32 * attention, "mlp": 32 * mlp, "norms": 0}
    wanted = gone.get(freeze[0], 8 * (attention + mlp)) / every
    assert share == pytest.approx(wanted, rel=1e-3, abs=1e-9)
    assert flops(some, Role.BACKWARD) == pytest.approx(flops(whole, Role.BACKWARD), rel=1e-12)


def test_gradients_stop_below_the_first_layer_that_learns():
    whole, some = job(), job(freeze=["embedding", "layers:0-15"])
    head = 2 * LLAMA.hidden * 128256 * 2048 * 2
    above = (flops(whole, Role.BACKWARD) - head) / 2 + head
    assert flops(some, Role.BACKWARD) == pytest.approx(above, rel=1e-2)
    kept = [memory(one)["activations"] for one in (whole, some)]
    assert kept[1] < 0.62 * kept[0]


@pytest.mark.parametrize("schedule", ["1f1b", "gpipe", "zb-h1"])
def test_no_gradient_is_sent_to_a_stage_without_one(schedule):
    some = job(pp=4, dp=2, freeze=["embedding", "layers:0-15"], schedule=schedule)
    sent = [
        {one.name.split()[0] for one in program.items if isinstance(one, Send)}
        for program in programs(some)
    ]
    assert sent == [{"forward"}, {"forward"}, {"forward"}, {"backward"}]
    assert rackmodel.simulate("dgx-h100", some).step_s > 0


def test_adapters_are_as_many_as_their_ranks_say():
    """r (in + out) of each linear layer: query, key and value are one, gate and up are one."""
    h, ffn, qkv = 4096, 14336, 6144
    each = (h + qkv) + 2 * h + (h + 2 * ffn) + (ffn + h)
    assert learning(job(lora=16)) == 16 * 32 * each
    assert learning(job(lora=16, lora_targets=["attention"])) == 16 * 32 * ((h + qkv) + 2 * h)


def test_adapters_are_cut_over_tp_and_their_narrow_products_meet():
    """Megatron-Bridge: columns gather and sum a gradient; rows sum both ways, and trade parts."""
    made, rank = job(tp=4, dp=2, lora=16), 16
    assert 4 * learning(made) == pytest.approx(learning(job(lora=16)))
    found = [
        (one.op, one.bytes)
        for one in operations(made)
        if isinstance(one, Collective) and "lora" in one.name
    ]
    narrow = made.tokens / made.plan.replicas / made.micro_batches * rank * 2
    wide = narrow / rank * LLAMA.hidden
    passes = 32 * made.micro_batches
    kinds = {kind: found.count(kind) / passes for kind in set(found)}
    assert kinds == {
        ("all-gather", narrow): 2,  # qkv, fc1
        ("all-to-all", wide / 4): 2 * 2,  # proj, fc2
        ("all-reduce", narrow): 2 + 4,  # forward of proj and fc2, backward of all
    }
    alone = [one for one in operations(job(lora=16)) if isinstance(one, Collective)]
    assert not any("lora" in one.name for one in alone)


@pytest.mark.parametrize("words", [{}, {"lora": 32}, {"freeze": ("attention", "embedding")}])
@pytest.mark.parametrize("sharding", ["zero1", "zero3"])
def test_states_and_reductions_are_of_what_learns(words, sharding):
    made = job(sharding=sharding, **words)
    own = learning(made)
    if sharding == "zero1":
        assert memory(made)["optimizer"] == pytest.approx(ADAM * own / 4)
        assert memory(made)["gradients"] == pytest.approx(4 * own)
    reduced = sum(
        one.bytes
        for one in operations(made)
        if isinstance(one, Collective) and one.op == "reduce-scatter"
    )
    passes = 2 if sharding == "zero3" else 1
    assert reduced == pytest.approx(passes * made.gradient_bytes * own)


def test_frozen_weights_are_still_gathered_where_they_are_sharded():
    gathered = {
        sharding: sum(
            one.bytes
            for one in operations(job(sharding=sharding, lora=16))
            if isinstance(one, Collective) and one.op == "all-gather"
        )
        for sharding in ("zero1", "zero3")
    }
    assert gathered["zero1"] == pytest.approx(2 * learning(job(lora=16)))
    assert gathered["zero3"] > 2 * 2 * LLAMA.parameters  # forward and backward of two micro-batches


def test_needed_flops_are_the_forward_pass_and_what_gradients_need():
    whole, adapted = job(), job(lora=16)
    core = 2.0 * 32 * 256 * 32 * 2049 / 2
    matrices = whole.model_flops / whole.tokens / 3.0 - core
    assert adapted.model_flops / adapted.tokens == pytest.approx(2 * matrices + 3 * core, rel=1e-9)
    half = job(freeze=["embedding", "layers:0-31"])  # the head alone
    head = 2.0 * LLAMA.hidden * LLAMA.vocab
    assert half.model_flops / half.tokens == pytest.approx(matrices + core + 2 * head, rel=1e-9)


def test_less_that_learns_is_never_slower():
    times = [
        rackmodel.simulate("dgx-h100", job(dp=8, freeze=freeze)).step_s
        for freeze in ([], ["attention"], ["attention", "mlp"], ["embedding", "layers:0-30"])
    ]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("words", [{"lora": 16}, {"freeze": ["embedding", "layers:0-15"]}])
def test_the_closed_form_knows_what_learns(words):
    sizes = {"model": "llama3-8b", "gpus": 16, "global_batch": 32, "seq_len": 2048}
    found = rackmodel.search("dgx-h100", **sizes, **words)
    assert found.error < 0.02
    planner, space = found.look.planner, found.look.space
    estimates = found.look.estimates
    for entry in range(0, len(space), max(1, len(space) // 40)):
        made = planner.job.replace(plan=space.plan(entry))
        exact = max(sum(memory(made, rank).values()) for rank in range(made.plan.pp))
        assert estimates.hbm_bytes[entry] == pytest.approx(exact, rel=0.05)


def test_embedding_and_loss_can_have_stages_of_their_own():
    made = job(pp=4, stage_layers=(0, 16, 16, 0))
    units = [[unit.kind for unit in rank[0].units] for rank in chunks_of(made)]
    assert units == [["embedding"], ["layer"] * 16, ["layer"] * 16, ["head"]]
    assert chunks_of(made)[0][0].parameters[0] == 128256 * LLAMA.hidden
    even = rackmodel.simulate("dgx-h100", job(pp=4, stage_layers=(8, 8, 8, 8)))
    assert rackmodel.simulate("dgx-h100", made).step_s > even.step_s


def test_a_result_says_how_much_learns():
    made = rackmodel.simulate("dgx-h100", job(tp=4, dp=2, lora=16))
    assert any("of 8.066e9 parameters 0.0357e9 learn" in note for note in made.to_dict()["notes"])


def test_experts_can_have_adapters():
    moe = load_model("mixtral-8x7b")
    every = learning(job(moe, dp=8, ep=8, lora=8, lora_targets=["experts"]))
    assert every == 8 * 32 * ((4096 + 2 * 14336) + (14336 + 4096))  # one expert of each layer


@pytest.mark.parametrize(
    ("words", "error", "why"),
    [
        ({"freeze": ["foo"]}, InvalidInput, "no part to freeze"),
        ({"freeze": ["layers:9-3"]}, InvalidInput, "give first and last of 0 to"),
        ({"freeze": ["layers:0-32"]}, InvalidInput, "0 to 31"),
        ({"lora": 8, "freeze": ["head"]}, InvalidInput, "leave freeze out"),
        ({"lora_targets": ["mlp"]}, InvalidInput, "need lora"),
        ({"lora": 8, "lora_targets": ["experts"]}, InvalidPlan, "is dense"),
        ({"freeze": ["embedding", "attention", "mlp", "norms", "head"]}, InvalidPlan, "nothing"),
    ],
)
def test_what_can_not_be_is_refused(words, error, why):
    with pytest.raises(error, match=why):
        job(**words)


def test_one_matrix_is_frozen_at_both_ends_or_at_none():
    with pytest.raises(InvalidPlan, match="one matrix"):
        job(load_model("gpt3-13b"), freeze=["embedding"])
