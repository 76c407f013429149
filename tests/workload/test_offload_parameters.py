"""Weights in host memory: copied in for each gather, written back with the update."""

import pytest

import rackmodel
from rackmodel.errors import InvalidPlan
from rackmodel.workload import Compute, Job, Plan, Segment, check, load_model, memory, programs
from rackmodel.workload.data_parallel import local_states
from rackmodel.workload.stages import chunks_of

LLAMA = load_model("llama3.1-8b")
AWAY = ("parameters",)


def job(*offload, m=2, **plan):
    own = Plan(**{"dp": 8, "sharding": "zero3", "offload": offload, **plan})
    return Job(model=LLAMA, plan=own, seq_len=4096, global_batch=m * own.replicas)


def copied(one, name):
    """Bytes that the first rank's kernels of this name move in a step."""
    total = 0.0
    for item in programs(one)[0].items:
        for operation in item.operations if isinstance(item, Segment) else (item,):
            if isinstance(operation, Compute):
                total += sum(
                    (k.read_bytes + k.write_bytes) * k.count
                    for k in operation.kernels
                    if k.name == name
                )
    return total


def test_the_shards_leave_hbm_and_nothing_else_does():
    here, away = memory(job()), memory(job(*AWAY))
    assert here["weights"] > away["weights"] == 0.0
    assert {k: v for k, v in here.items() if k != "weights"} == {
        k: v for k, v in away.items() if k != "weights"
    }


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_every_pass_fetches_each_shard_once(overlap, prefetch):
    if prefetch > 1 and not overlap:
        pytest.skip("refused")
    one = job(*AWAY, m=3, dp_overlap=overlap, prefetch=prefetch)
    shard = local_states(one, chunks_of(one)[0])
    assert copied(one, "fetch_weights") == pytest.approx(2 * 3 * 4 * shard)
    assert copied(one, "update_host_weights") == pytest.approx(2 * 4 * shard)
    # An update on the host reads gradients, and its weights stay.
    both = one.replace(offload=("optimizer", "parameters"))
    assert copied(both, "update_host_weights") == 0.0
    less = copied(one.replace(offload=("optimizer",)), "offload_optimizer")
    assert copied(both, "offload_optimizer") == pytest.approx(less - 2 * shard)


def test_copies_hide_under_the_layer_before_as_gathers_do():
    plan = {"tp": 1, "pp": 1, "micro_batch": 1, "sharding": "zero3", "recompute": "full"}

    def step_s(**more):
        found = rackmodel.simulate(
            "dgx-h100",
            model="llama3.1-8b",
            gpus=8,
            global_batch=16,
            seq_len=8192,
            plan={**plan, **more},
        )
        return found.step_s

    shard = local_states(job(), chunks_of(job())[0])
    passes_s = 2 * 2 * 4 * shard / 50e9  # of a forward and a backward for two micro-batches
    hidden, open_ = ({"dp_overlap": hides} for hides in (True, False))
    away = {"offload": ("optimizer", "parameters")}
    host = {"offload": ("optimizer",)}
    assert step_s(**away, **hidden) - step_s(**host, **hidden) < 0.2 * passes_s
    assert step_s(**away, **open_) - step_s(**host, **open_) > 0.5 * passes_s


@pytest.mark.parametrize("plan", [{"sharding": "zero1"}, {"reshard": False}, {"pp": 2}])
def test_weights_that_stay_gathered_are_refused(plan):
    with pytest.raises(InvalidPlan, match="offload parameters needs weights that are dropped"):
        check(job(*AWAY, m=4, **plan))


def test_a_search_keeps_to_plans_that_drop_their_weights():
    found = rackmodel.search(
        "dgx-h100",
        model="llama3.1-8b",
        gpus=8,
        global_batch=16,
        seq_len=2048,
        plan={"tp": 1, "cp": 1, "micro_batch": 1, "offload": ["optimizer", "parameters"]},
        top=3,
    )
    plan = found.job.plan
    assert (plan.sharding, plan.pp) == ("zero3", 1)
    assert plan.offload == ("optimizer", "parameters")
    assert found.error < 0.2
