"""Wide groups of experts over nodes: what crosses, what hides it, who is busiest."""

import pytest

from rackmodel.serving.quick_steps import QuickSteps
from rackmodel.serving.run import steps_of
from rackmodel.topology import load_topology
from rackmodel.workload import load_model
from rackmodel.workload.operations import Collective, Wait
from rackmodel.workload.serving.job import ServingJob, Worker
from rackmodel.workload.serving.load import Load, Ways, busiest, busiest_share, domains_reached
from rackmodel.workload.serving.programs import serving_programs

SPREAD = Worker(tp=32, ep=32, dp_attention=True)
JOB = ServingJob(
    model=load_model("deepseek-v3"), worker=SPREAD, gpus=32, users=1, isl=1024, osl=1024
)
PROMPTS = Load(prompts=64, piece=1024.0)
DECODE = Load(sequences=2048, context=1500)


def sent(load, domains):
    (program,) = serving_programs(JOB.shape, SPREAD, load, 1, Ways(domains=domains))
    layers = {item.id: item for item in program.items}.values()
    return {
        (one.op, one.bytes)
        for layer in layers
        for one in layer.operations
        if isinstance(one, Collective) and one.axis == "ep"
    }


def test_a_prompts_token_crosses_once_to_each_domain():
    model = JOB.model
    assert 1.0 < domains_reached(model, 4) < 4.0 < domains_reached(model, 16) < model.topk
    (few, many), (few_apart, many_apart) = (
        sorted(size for _, size in sent(PROMPTS, n)) for n in (1, 4)
    )
    assert few_apart / few == pytest.approx(domains_reached(model, 4) / model.topk, rel=1e-6)
    assert many_apart / many == pytest.approx(few_apart / few)
    assert sent(DECODE, 1) == sent(DECODE, 4)  # few tokens go to each expert by themselves


def in_halves(job, load):
    (program,) = serving_programs(
        job.replace(two_batch=True).shape, job.worker, load, 1, Ways(domains=4)
    )
    return [item for item in program.items if "moe" in item.name]


def paired(layers):
    """Tokens that are awaited, and those of what was begun."""
    operations = [one for layer in layers for one in layer.operations]
    awaited = [one.token for one in operations if isinstance(one, Wait)]
    begun = [one.token for one in operations if isinstance(one, Collective) and one.token]
    return sorted(awaited), sorted(begun)


def test_nothing_on_its_way_is_waited_for_before_its_half_goes_on():
    """Of two halves all layers but the last leave their last exchanges to the next one."""
    layers = in_halves(JOB, PROMPTS)
    *inner, last = layers[1:]
    assert inner
    assert all(isinstance(one.operations[0], Wait) for one in inner)
    assert not any(isinstance(one.operations[-1], Wait) for one in inner)
    assert isinstance(last.operations[-1], Wait)
    awaited, begun = paired(layers)
    assert awaited == begun


@pytest.mark.parametrize(
    "name", ["deepseek-v3", "gpt-oss-120b", "qwen3.5-397b-a17b", "minimax-m2.5"]
)
def test_halves_that_decode_do_all_the_work_and_hide_nothing_under_experts(name):
    worker = Worker(tp=16, ep=16, dp_attention=True)
    job = JOB.replace(model=load_model(name), worker=worker, gpus=16)
    layers = in_halves(job, DECODE)
    awaited, begun = paired(layers)
    assert awaited == begun
    (plain,) = serving_programs(job.shape, worker, DECODE.half, 1, Ways(domains=4))
    alone = [item for item in plain.items if "moe" in item.name]
    assert worked(layers) == pytest.approx(2 * worked(alone), rel=1e-9)
    on_way = set()
    for one in (one for layer in layers for one in layer.operations):
        if isinstance(one, Wait):
            on_way.remove(one.token)
        elif isinstance(one, Collective):
            on_way.add(one.token)
        elif any(kernel.family == "grouped_gemm" for kernel in one.kernels):
            assert not on_way


def worked(layers):
    operations = [one for layer in layers for one in layer.operations]
    return sum(kernel.flops for one in operations for kernel in getattr(one, "kernels", ()))


@pytest.mark.parametrize("seed", range(3))
def test_a_balancer_that_knows_other_traffic_leaves_some_ranks_busier(seed):
    assert busiest_share(256, 32, 32, 0.0, seed) == pytest.approx(1.0, abs=0.15)
    known, none = (busiest_share(256, 32, copies, 0.6, seed) for copies in (32, 0))
    assert 1.0 < known < none


def test_what_sequences_have_of_their_own_averages_out():
    """Longer prompts in as many tokens, and fewer sequences, leave ranks busier."""
    job = JOB.replace(redundant_experts=32)
    loads = [Load(prompts=2.0**20 / 2**n, piece=2.0**n) for n in range(6, 15)]
    uneven = [busiest(job, SPREAD, load) for load in loads]
    assert uneven == sorted(uneven)
    exact = busiest_share(256, 32, 32, job.routing_skew, job.routing_seed, 0.0)
    assert exact < uneven[0] < 1.05 * exact
    answers = Load(sequences=333, drafted=2)
    assert answers.mixed == pytest.approx(333)
    beside = Load(sequences=333, drafted=2, prompts=1, piece=4096)
    assert 1.0 < beside.mixed < 2.0


@pytest.mark.parametrize(
    ("worker", "load"),
    [
        (Worker(tp=8, ep=8, dp_attention=True), Load(sequences=333, context=1500, drafted=2)),
        (Worker(tp=8, ep=1), Load(sequences=7, context=900)),
        (Worker(tp=8, pp=2, ep=8, dp_attention=True), Load(prompts=9, piece=1100.0)),
        (SPREAD, Load(prompts=64, piece=1000.0)),
    ],
)
def test_steps_of_searches_are_those_of_the_engine(worker, load):
    steps = steps_of(load_topology("dgx-h100"))
    job = JOB.replace(worker=worker, mtp=load.drafted - 1)
    quick = QuickSteps.of(steps).seconds(job, worker, 32, load)
    assert quick == pytest.approx(steps.seconds(job, worker, 32, load), rel=0.01)
