"""Of random plans, what a framework's file can say reads back equal; all else is refused."""

import random
from dataclasses import fields

import pytest

from rackmodel.errors import RackModelError
from rackmodel.workload import Job, Plan, check, load_model
from rackmodel.workload.choices import CP_METHODS, DISPATCHERS
from rackmodel.workload.launch import FRAMEWORKS, emit, read_launch
from tests.workload.test_launch import ENDINGS

MODELS = ("llama3-8b", "mixtral-8x7b", "deepseek-v3", "qwen3-30b-a3b")
MODULES = ("norm", "core_attn", "act", "mlp", "moe", "moe_act", "mla_up_proj", "alternate")
CHOICES = {
    "schedule": ("gpipe", "zb-h1", "zb-v", "dualpipev"),
    "tp_overlap": (True,),
    "dp_overlap": (False,),
    "ep_overlap": (True,),
    "sequence_parallel": (False,),
    "cp_method": CP_METHODS,
    "dispatcher": DISPATCHERS,
    "gradients": ("bf16",),
    "offload": (("optimizer",), ("optimizer", "parameters"), ("activations",)),
    "rank_order": ("tp-cp-ep-pp-dp",),
}


def drawn(dice):
    """A job that can be, or None."""
    model = load_model(dice.choice(MODELS))
    axes = {"tp": (1, 1, 2, 4), "pp": (1, 1, 2, 4), "cp": (1, 1, 2), "dp": (1, 2, 3, 4, 8)}
    words = {name: dice.choice(sizes) for name, sizes in axes.items()}
    if model.moe_layers:
        words |= {"ep": dice.choice((1, 2, 4)), "etp": dice.choice((1, words["tp"]))}
    words["vpp"] = dice.choice((1, 1, 2)) if words["pp"] > 1 else 1
    words["micro_batch"] = dice.choice((1, 1, 2))
    words["sharding"] = dice.choice(("none", "zero1", "zero2", "zero3", "zero3", "hsdp"))
    if words["sharding"] == "hsdp":
        words["shard_size"] = dice.choice((2, 4, 8))
    elif words["sharding"] == "zero1":
        words["shard_size"] = dice.choice((0, 0, 2, 4))
    words["recompute"] = dice.choice(("none", "selective", "full"))
    if words["recompute"] == "selective" and dice.random() < 0.6:
        words["recompute_modules"] = dice.sample(MODULES, dice.choice((1, 2)))
    if words["recompute"] == "full" and dice.random() < 0.3:
        words["recompute_layers"] = dice.choice((1, 2))
    words |= {name: dice.choice(of) for name, of in CHOICES.items() if dice.random() < 0.15}
    try:
        plan = Plan.of(words)
        batch = 8 * plan.replicas * plan.micro_batch
        job = Job(model=model, plan=plan, seq_len=4096, global_batch=batch)
        check(job)
    except RackModelError:
        return None
    return job


def effective(job, plan, *, core):
    """The fields of a plan, those without an effect on the job as they are by themselves.

    core : whether selective recompute without modules is that of attention, as Megatron has it.
    """
    found = {one.name: getattr(plan, one.name) for one in fields(Plan)}
    for name in ("tp_overlap", "ep_overlap"):  # a file says what a silent plan leaves to recipes
        found[name] = bool(found[name])
    modules = plan.recompute_modules or ("core_attn",) * (plan.recompute == "selective" and core)
    found["recompute_modules"] = set(modules)  # in any order
    if not job.model.moe_layers or not job.plan.dispatcher:
        found["dispatcher"] = ""
    found["dispatcher"] = found["dispatcher"] or "all-to-all"
    if plan.tp == 1:
        found["sequence_parallel"] = True
    ranks = plan.replicas * plan.cp
    if plan.sharding == "hsdp" and plan.shard_size in (1, ranks):
        found |= {"sharding": "none" if plan.shard_size == 1 else "zero3", "shard_size": 0}
    if plan.sharding == "zero1" and plan.shard_size == ranks:
        found["shard_size"] = 0
    if ranks == 1 and plan.sharding in ("zero3", "hsdp"):
        found |= {"sharding": "none", "shard_size": 0}
    return found


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_random_plans_read_back_equal_or_are_refused(framework, tmp_path):
    dice, written, refused = random.Random(f"{framework} 7"), 0, set()
    path = tmp_path / f"launch.{ENDINGS[framework]}"
    for _ in range(1200):
        job = drawn(dice)
        if job is None or written == 40:
            continue
        try:
            path.write_text(emit(job, framework))
        except RackModelError as error:
            refused.add(str(error))
            continue
        found, written = read_launch(path), written + 1
        again = Plan.of(found.plan).complete(found.words.get("gpus", job.gpus))
        core = framework in ("megatron", "nemo")
        said = effective(job, job.plan, core=core)
        assert effective(job, again, core=core) == said, path.read_text()
        assert found.words["global_batch"] == job.global_batch
    assert written > 15
    assert all(one.startswith(f"--emit {framework}: its files have no word") for one in refused)
