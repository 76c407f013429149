"""The front door: its words are its manual; one that can't act is refused with the remedy."""

import dataclasses
import importlib
import inspect
import pkgutil
import types

import pytest

import rackmodel
from rackmodel import api
from rackmodel.engine.options import EngineOptions
from rackmodel.errors import DoesNotFit, InvalidInput, RackModelError, UnknownName
from rackmodel.workload import Job, Plan
from rackmodel.workload.serving.job import ServingJob, Worker

WORDS = {"model": "gpt3-13b", "gpus": 8, "global_batch": 32, "seq_len": 2048}
VERBS = [rackmodel.simulate, rackmodel.compare, rackmodel.search, api.job_of]
SERVING_VERBS = [
    *(rackmodel.serve, rackmodel.serve_requests),
    *(rackmodel.front, rackmodel.front_requests),
]


def job():
    return Job(
        model=rackmodel.load_model("gpt3-13b"), plan=Plan(tp=8, dp=1), seq_len=2048, global_batch=32
    )


@pytest.mark.parametrize("verb", VERBS)
def test_every_word_is_named_with_a_default(verb):
    parameters = inspect.signature(verb).parameters.values()
    assert all(one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL) for one in parameters)


def test_every_field_of_a_job_is_a_word_with_the_same_default():
    words = inspect.signature(rackmodel.simulate).parameters
    for field in dataclasses.fields(Job):
        assert field.name in words
        if field.default is not dataclasses.MISSING:
            assert words[field.name].default == field.default


def test_every_option_of_the_engine_is_a_word_with_the_same_default():
    for verb in (rackmodel.simulate, rackmodel.compare, rackmodel.search):
        words = inspect.signature(verb).parameters
        for field in dataclasses.fields(EngineOptions):
            default = None if field.name in ("slow", "mixed") else field.default
            assert words[field.name].default == default


@pytest.mark.parametrize("verb", SERVING_VERBS)
def test_every_field_of_a_served_job_is_a_word_with_the_same_default(verb):
    words = inspect.signature(verb).parameters
    for field in dataclasses.fields(Worker):
        assert words[field.name].default is None  # left out: searched
    searched = {"weights", "prefill_gpus"}  # or as published, where left out
    for field in dataclasses.fields(ServingJob):
        if field.default is not dataclasses.MISSING and field.name != "prefill":
            default = None if field.name in searched else field.default
            assert words[field.name].default == default


def test_the_manual_names_every_word():
    manual = inspect.getdoc(rackmodel.simulate)
    assert all(name in manual for name in inspect.signature(rackmodel.simulate).parameters)
    assert all(name in manual for name in ("InvalidInput", "DoesNotFit", ">>> simulate"))


def test_simulate_stays_a_function_after_every_import():
    for found in pkgutil.walk_packages(rackmodel.__path__, "rackmodel."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
    for name in ("simulate", "compare", "search", "sweep"):
        assert isinstance(getattr(rackmodel, name), types.FunctionType)


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ({"precision": "fp8"}, "job.replace(precision='fp8')"),
        ({"gpus": 512}, "job.replace(dp="),
        ({"model": "gpt3-175b"}, "job.replace(model='gpt3-175b')"),
        ({"token_routing": "drop"}, "job.replace(token_routing='drop')"),
        ({"plan": {"tp": 4}}, "job.replace(tp=4)"),
        ({"tp": 4}, 'plan={"tp": 4}'),
        ({"anything": "x"}, "no word of simulate 'anything'"),
        ({"rooting": "ecmp"}, "did you mean 'routing'"),
        ({"supply_c": 20.0}, 'site={"supply_c": 20.0}'),
    ],
)
def test_a_word_beside_a_job_is_refused_with_the_remedy(words, remedy):
    with pytest.raises(InvalidInput) as error:
        rackmodel.simulate("dgx-h100", job(), **words)
    assert remedy in str(error.value)


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ({"tp": 8}, 'write plan={"tp": 8}'),
        ({"precison": "fp8"}, "did you mean 'precision'"),
        ({"plan": {"tpp": 8}}, "did you mean 'tp'"),
        ({"plan": {"precision": "fp8"}}, "write precision='fp8' beside plan="),
        ({"plan": {"supply_c": 20}}, 'write site={"supply_c": 20}'),
        ({"plan": {"tp": "8"}}, "tp: expected a whole number from 1 to 10,000,000, found '8'"),
        ({"plan": 8}, "plan: expected a table"),
        ({"site": {"suply_c": 20.0}}, "did you mean 'supply_c'"),
        ({"site": {"tp": 8}}, 'write plan={"tp": 8}'),
        ({"site": {"power_cap_w": 500.0}, "power_cap_w": 600.0}, "power_cap_w is given"),
        ({"gpus": "8"}, "gpus: expected a whole number"),
        ({"gpus": None}, "gpus is missing"),
        ({"seq_len": 0}, "seq_len: expected a whole number from 1"),
        ({"seq_len": "4k"}, "found '4k'; write 4000 without quotes"),
        ({"seq_len": "long"}, "found 'long'"),
        ({"global_batch": 1.5}, "global_batch: expected a whole number"),
        ({"precision": "bf17"}, "no precision 'bf17'"),
        ({"precision": 8}, "precision: expected a word"),
        ({"slow": {"gpu3": "2"}}, "slow: 'gpu3': expected a number"),
        ({"broken": "gpu3"}, "broken: expected a list"),
        ({"seed": 3}, 'routing="ecmp"'),
        ({"routing": "spry"}, "did you mean 'spray'"),
        ({"repeat": "never"}, "no repeat 'never'"),
        ({"fold": 1}, "fold: expected true or false"),
        ({"job": "gpt3-13b"}, "expected a rackmodel.Job"),
        ({"accelerator": "b200"}, "leave it out"),
        ({"catalog": "parts.toml"}, "load_catalog"),
    ],
)
def test_a_word_that_is_wrong_is_refused_with_the_remedy(words, remedy):
    with pytest.raises(RackModelError) as error:
        rackmodel.simulate("dgx-h100", **{**WORDS, **words})
    assert remedy in str(error.value)
    assert "__init__" not in str(error.value)
    assert "argument" not in str(error.value)


@pytest.mark.parametrize("verb", [rackmodel.simulate, rackmodel.compare, rackmodel.search])
def test_every_verb_refuses_what_it_does_not_have(verb):
    with pytest.raises(UnknownName, match=f"no word of {verb.__name__} 'anything'"):
        verb("dgx-h100", **WORDS, anything="x")
    with pytest.raises(InvalidInput, match="needs topolog"):
        verb(**WORDS)
    with pytest.raises(InvalidInput, match="by place"):
        verb("dgx-h100", None, "gpt3-13b")
    with pytest.raises(InvalidInput, match="given twice"):
        verb("dgx-h100", None, job=job())


def test_words_and_job_give_the_same_result():
    by_words = rackmodel.simulate(
        "dgx-h100", **WORDS, default_plan=True, plan={"tp": 8, "pp": 1, "micro_batch": 1}
    )
    by_job = rackmodel.simulate("dgx-h100", job())
    assert by_words.step_s == by_job.step_s


def test_a_plan_may_be_whole():
    result = rackmodel.simulate("dgx-h100", **WORDS, plan=Plan(tp=8, pp=1))
    settled = {"tp_overlap": False, "ep_overlap": False}  # as this software leaves them
    assert result.step.job.plan == Plan(tp=8, pp=1, dp=1, **settled)


def test_search_with_a_slow_accelerator_ranks_slower_steps():
    words = {**WORDS, "plan": {"tp": 8, "pp": 1, "micro_batch": 1}, "top": 1}
    plain = rackmodel.search("dgx-h100", **words)
    slow = rackmodel.search("dgx-h100", **words, slow={0: 1.5})
    assert slow.best.step_s > 1.2 * plain.best.step_s


def test_what_a_plan_leaves_out_is_searched_and_what_it_gives_stays():
    words = {"model": "gpt3-13b", "gpus": 16, "global_batch": 64, "seq_len": 2048}
    plan = {"tp": 2, "pp": 1, "micro_batch": 8}  # does not fit without recomputing
    with pytest.raises(DoesNotFit):
        rackmodel.simulate("dgx-h100", **words, plan=plan, default_plan=True)
    found = rackmodel.simulate("dgx-h100", **words, plan=plan)
    chosen = found.step.job.plan
    assert {name: getattr(chosen, name) for name in plan} == plan
    assert chosen != Plan(**plan, dp=chosen.dp)
    assert found.step_s == rackmodel.search("dgx-h100", **words, plan=plan).best.step_s


def test_the_same_best_plan_whoever_asks():
    words = {"model": "gpt3-1.3b", "gpus": 8, "global_batch": 16, "seq_len": 2048}
    best = rackmodel.search("dgx-h100", **words).best.step_s
    assert rackmodel.simulate("dgx-h100", **words).step_s == best
    [(_, compared)] = rackmodel.compare(["dgx-h100"], **words)
    assert compared.step_s == best


FUNCTIONS = [
    one for one in rackmodel.__all__ if isinstance(getattr(rackmodel, one), types.FunctionType)
]


@pytest.mark.parametrize(
    "junk", [(1,), (None,), (b"x", b"y"), ([1], [2]), (object(),), (1, 2, 3, 4)]
)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_verb_refuses_junk_in_one_line(name, junk):
    words = inspect.signature(getattr(rackmodel, name)).parameters
    if junk == (None,) and words and next(iter(words.values())).default is None:
        return  # all of them
    with pytest.raises(RackModelError) as error:
        getattr(rackmodel, name)(*junk)
    assert len(str(error.value).splitlines()) == 1
