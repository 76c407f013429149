"""Wide groups of experts over nodes: what crosses, what hides it, who is busiest."""

import pytest

from rackmodel.serving.quick_steps import QuickSteps
from rackmodel.serving.run import steps_of
from rackmodel.topology import load_topology
from rackmodel.workload import load_model
from rackmodel.workload.operations import Collective, Wait
from rackmodel.workload.serving.job import ServingJob, Worker
from rackmodel.workload.serving.load import Load, busiest_share, domains_reached
from rackmodel.workload.serving.programs import serving_programs

SPREAD = Worker(tp=32, ep=32, dp_attention=True)
JOB = ServingJob(
    model=load_model("deepseek-v3"), worker=SPREAD, gpus=32, users=1, isl=1024, osl=1024
)
PROMPTS = Load(prompts=64, piece=1024.0)
DECODE = Load(sequences=2048, context=1500)


def sent(load, domains):
    (program,) = serving_programs(JOB.shape, SPREAD, load, 1, domains)
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


def test_nothing_on_its_way_is_waited_for_before_its_half_goes_on():
    """Of two halves all layers but the last leave their last exchanges to the next one."""
    halves = JOB.replace(two_batch=True)
    (program,) = serving_programs(halves.shape, SPREAD, DECODE, 1, 4)
    layers = [item for item in program.items if "moe" in item.name]
    *inner, last = layers[1:]
    assert inner
    assert all(isinstance(one.operations[0], Wait) for one in inner)
    assert not any(isinstance(one.operations[-1], Wait) for one in inner)
    assert isinstance(last.operations[-1], Wait)
    tokens = [one.token for layer in layers for one in layer.operations if isinstance(one, Wait)]
    begun = [
        one.token
        for layer in layers
        for one in layer.operations
        if isinstance(one, Collective) and one.token
    ]
    assert sorted(tokens) == sorted(begun)


@pytest.mark.parametrize("seed", range(3))
def test_a_balancer_that_knows_other_traffic_leaves_some_ranks_busier(seed):
    assert busiest_share(256, 32, 32, 0.0, seed) == pytest.approx(1.0, abs=0.15)
    known, none = (busiest_share(256, 32, copies, 0.6, seed) for copies in (32, 0))
    assert 1.0 < known < none


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
