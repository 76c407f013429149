"""What a search keeps of layers and kernels: as quick as new, never another part's or model's."""

import pytest

import rackmodel
from rackmodel import load_catalog
from rackmodel.kernels.kernel_time import kernel_times
from rackmodel.planning.cuts import work_of

JOB = {"gpus": 8, "global_batch": 16, "seq_len": 2048, "plan": {"cp": 1, "vpp": 1}}


def found(machine="dgx-h100", model="gpt3-13b", **words):
    result = rackmodel.search(machine, model=model, **JOB, **words)
    return result.best.step_s, str(result.best.step.job.plan), result.unbeaten


def changed(name, value):
    return load_catalog(overrides={f"accelerators.h100.{name}": value})


@pytest.mark.parametrize(
    "words",
    [
        {"catalog": changed("hbm_bytes_per_s", 1e12)},
        {"catalog": changed("hbm_bytes", 60e9)},
        {"model": "llama3-8b"},
        {"precision": "fp8"},
        {"stack": "torchtitan"},
        {"machine": "dgx-b200"},
    ],
    ids=str,
)
def test_a_search_after_another_finds_what_it_finds_alone(words):
    rackmodel.clear_caches()
    plain = found()
    after = found(**words)
    assert found() == plain != after
    rackmodel.clear_caches()
    assert work_of.cache_info().currsize == kernel_times.cache_info().currsize == 0
    assert found(**words) == after


def test_the_same_part_behind_other_nics_has_no_layer_timed_again():
    rackmodel.clear_caches()
    one = found()
    told = work_of.cache_info().misses, kernel_times.cache_info().misses
    other = found("aws-p5")
    assert (work_of.cache_info().misses, kernel_times.cache_info().misses) == told
    rackmodel.clear_caches()
    assert found("aws-p5") == other
    assert found() == one
