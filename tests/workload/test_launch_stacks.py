"""What a plan has from its software is in the file, and what is read runs as what was emitted."""

import pytest

from rackmodel import hardware
from rackmodel.errors import InvalidInput
from rackmodel.software.stack import families
from rackmodel.workload import Job, Plan, load_model, settled
from rackmodel.workload.launch import FRAMEWORKS, emit, read_launch
from rackmodel.workload.silent import as_chosen
from tests.workload.test_launch import ENDINGS

DENSE, EXPERTS = load_model("llama3-8b"), load_model("mixtral-8x7b")
SPLITS = [(DENSE, Plan(tp=8, pp=2, vpp=2, dp=4)), (EXPERTS, Plan(pp=2, vpp=2, ep=8, dp=32))]
SPLITS += [(DENSE, Plan(tp=8, dp=8)), (EXPERTS, Plan(tp=2, ep=8, dp=32))]
JOBS = [(model, plan, sharding) for model, plan in SPLITS for sharding in ("zero1", "zero3")]
MACHINES = (("h100", 4), ("gb200", 72))
STACKS = [family["name"] for family in families()]


def job_of(model, plan, sharding, stack):
    job = Job(model=model, plan=plan, seq_len=4096, global_batch=64, stack=stack)
    return job.replace(sharding=sharding)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("stack", STACKS)
def test_what_ran_is_emitted_and_runs_again_or_is_refused(stack, framework, tmp_path):
    refused = list[str]()
    for model, plan, sharding in JOBS:
        for name, domain in MACHINES:
            part = hardware.accelerator(name)
            ran = settled(job_of(model, plan, sharding, stack), part, domain)
            path = tmp_path / f"launch.{ENDINGS[framework]}"
            try:
                path.write_text(emit(as_chosen(ran, part, domain), framework))
            except InvalidInput as error:
                refused.append(str(error))
                continue
            found = read_launch(path)
            again = Plan.of(found.plan).complete(found.words.get("gpus", ran.gpus))
            read = Job(model=model, plan=again, seq_len=4096, global_batch=64)
            read = read.replace(stack=found.words["stack"])
            assert settled(read, part, domain).plan == ran.plan, path.read_text()
    assert all("its files have no word for" in one for one in refused)
    if framework == "megatron":  # which can say all but odds
        assert all("fused_odds" in one for one in refused)


@pytest.mark.parametrize(
    ("framework", "stack", "name", "remedy"),
    [
        ("torchtitan", "megatron-bridge", "ep_overlap True", "--plan ep_overlap=false"),
        ("maxtext", "megatron-bridge", "ep_overlap True", "--plan ep_overlap=false"),
        ("megatron", "unknown-2025-06", "fused_odds", "--plan dispatcher=all-to-all"),
    ],
)
def test_a_refusal_says_how_to_go_without_a_habit(framework, stack, name, remedy):
    part = hardware.accelerator("h100")
    job = settled(job_of(*SPLITS[1], "zero3", stack), part, 8)
    with pytest.raises(InvalidInput, match=f"{name}.*from its stack; give {remedy}"):
        emit(as_chosen(job, part, 8), framework)


@pytest.mark.parametrize("name", ["dispatcher", "ep_overlap"])
def test_what_software_decides_by_the_machine_is_not_guessed_without_one(name):
    job = job_of(*SPLITS[1], "zero1", "megatron-bridge-26.01")
    job = job.replace(dispatcher="" if name == "dispatcher" else "deepep")
    with pytest.raises(InvalidInput, match=f"^{name} follows from the machine.*give it in"):
        emit(job, "megatron")
