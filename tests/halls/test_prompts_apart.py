"""Laws of served jobs in a hall whose prompts run on workers of their own."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import rackmodel
from rackmodel import schema
from rackmodel.cli import app
from rackmodel.engine.options import EngineOptions
from rackmodel.engine.tenants import simulate_tenants
from rackmodel.halls.occupants import occupant_of
from rackmodel.halls.parts import cache_routes, means, parts_apart
from rackmodel.halls.spec import HallJob
from rackmodel.serving.cache_moves import CacheMoves
from tests.halls.test_halls import NODES, TAPERED, machine, tenant

APART = {
    "model": "llama3.1-8b",
    "users": 16,
    "isl": 8192,
    "osl": 128,
    "tp": 8,
    "gpus": 16,
    "prefill_gpus": 8,
    "prefill": {"tp": 8},
}
#: Racks of four nodes; pods of two racks share leaves with an eighth of their bandwidth upwards.
SHARED = {"fabric.pod_units": 8, "fabric.oversubscription": 8}
TRAIN = {
    "model": "gpt3-13b",
    "global_batch": 16,
    "seq_len": 1024,
    "default_plan": True,
    "plan": {"tp": 8, "pp": 1, "micro_batch": 1},
}


@pytest.fixture(scope="module")
def served():
    return occupant_of(
        machine(TAPERED), HallJob(name="pd", racks=(0,), words=APART), None, EngineOptions()
    )


def parts_on(served, nodes):
    job, steady = served.result.job, served.result.steady
    return parts_apart("pd", job, steady, served.steps, NODES[list(nodes)].ravel())


def busy(parts, stays):
    return means(parts, stays, [len(stay.ends_s) for stay in stays])


def test_alone_the_parts_take_what_the_steady_state_says(served):
    parts = parts_on(served, (0, 1))
    counts = [8, 2, *(1 for _ in parts[2:])]
    tenants = [part.tenant for part in parts]
    found = busy(parts, simulate_tenants(machine(TAPERED), tenants, counts))
    state, host_s = served.result.steady, served.result.host_s
    assert found["steps"] == pytest.approx(state.decode_s - host_s, rel=1e-9)
    assert found["prompts"] == pytest.approx(state.prompt_s - host_s, rel=1e-6)
    alone_s = CacheMoves(served.result.job, served.steps).together_s(1)
    assert found["caches"] == pytest.approx(alone_s, rel=1e-6)


def test_prompts_in_a_pipeline_keep_the_rhythm_of_the_steady_state():
    words = {**APART, "prefill": {"tp": 4, "pp": 2}}
    spec = HallJob(name="pd", racks=(0,), words=words)
    piped = occupant_of(machine(TAPERED), spec, None, EngineOptions())
    parts, state = parts_on(piped, (0, 1)), piped.result.steady
    counts = [8, 4, *(1 for _ in parts[2:])]
    stay = simulate_tenants(machine(TAPERED), [part.tenant for part in parts], counts)[1]
    worked_s = np.diff(stay.ends_s) - parts[1].pause_s
    assert worked_s == pytest.approx(state.prompt_s - piped.result.host_s, rel=1e-6)
    assert np.diff(stay.ends_s) == pytest.approx(parts[1].turn_s, rel=1e-6)
    assert parts[1].pause_s > 0.0


def test_disjoint_jobs_do_not_change_each_other_by_a_bit(served):
    parts, other = parts_on(served, (0, 1)), tenant("train", (2, 3))
    tenants, counts = [part.tenant for part in parts], [4, 1, *(1 for _ in parts[2:])]
    apart = simulate_tenants(machine(TAPERED), tenants, counts)
    (train,) = simulate_tenants(machine(TAPERED), [other], [1])
    both = simulate_tenants(machine(TAPERED), [*tenants, other], [*counts, 1])
    assert [stay.ends_s for stay in both] == [stay.ends_s for stay in (*apart, train)]


def test_on_shared_spines_the_folded_slowdown_is_the_unfolded_one(served):
    parts, other = parts_on(served, (0, 2)), tenant("train", (1, 3))
    tenants = [*(part.tenant for part in parts), other]
    counts = [6, 2, *(1 for _ in parts[2:]), 1]
    folded, whole = (
        simulate_tenants(machine(TAPERED), tenants, counts, how)
        for how in (EngineOptions(), EngineOptions(fold=False))
    )
    for one, again in zip(folded, whole, strict=True):
        assert again.ends_s == pytest.approx(one.ends_s, rel=1e-9)
    alone = simulate_tenants(machine(TAPERED), tenants[:-1], counts[:-1])
    slower = {k: v / busy(parts, alone)[k] for k, v in busy(parts, folded[:-1]).items()}
    assert slower["caches"] > 1.05  # they leave node 0 where the other job's gradients do
    assert slower["steps"] == slower["prompts"] == 1.0  # sums stay inside a node


@pytest.mark.parametrize(
    ("prefill", "decode", "worker"),
    [
        (2, 3, {"tp": 4}),
        (4, 6, {"tp": 2}),
        (3, 1, {"tp": 8}),
        (2, 2, {"tp": 4, "ep": 4, "dp_attention": True}),
    ],
)
def test_every_worker_sends_as_many_caches_and_every_rank_takes_as_many(prefill, decode, worker):
    size = worker["tp"]
    words = {"model": "qwen3-30b-a3b", "users": 8, "isl": 512, "osl": 64, "prefill": {"tp": 4}}
    job = rackmodel.serve(
        "dgx-h100", **words, **worker, gpus=4 * prefill + size * decode, prefill_gpus=4 * prefill
    ).job
    pairs = np.array([p for turn in cache_routes(job) for route in turn for p in route])
    taken = np.bincount(pairs[:, 1], minlength=size * decode)
    sent = np.bincount(pairs[:, 0] // 4, minlength=prefill)
    assert len(set(taken.tolist())) == len(set(sent.tolist())) == 1
    assert taken.min() > 0


def test_a_hall_of_prompts_apart(tmp_path):
    text = [f'machine = "dgx-h100"\nsteps = 1\nset = {json.dumps(SHARED).replace(":", " =")}']
    jobs = {"pd": ("0,2", {**APART, "gpus": 64, "prefill_gpus": 32}), "train": ("1,3", TRAIN)}
    for name, (racks, words) in jobs.items():
        rows = [f'name = "{name}"', f'racks = "{racks}"']
        rows += [f"{k} = {json.dumps(v).replace(':', ' =')}" for k, v in words.items()]
        text += ["[[jobs]]", *rows]
    spec = tmp_path / "hall.toml"
    spec.write_text("\n".join(text))
    done = CliRunner().invoke(app, ["hall", str(spec), "--json"])
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    schema.check("hall", found)
    served, train = found["rows"]
    assert set(served["phases"]) == {"steps", "prompts", "caches"}
    assert served["phases"]["caches"]["slowdown"] == served["slowed_by"]["train"] > 1.05
    assert served["slowdown"] == served["phases"]["steps"]["slowdown"] == 1.0
    assert served["ttft_s"] > served["ttft_alone_s"]
    assert train["slowed_by"].keys() == {"pd"}
    length_s = served["ttft_s"] + (APART["osl"] - 1) * served["tpot_s"]
    users = served["tokens_per_s"] / APART["osl"] * length_s
    assert users == pytest.approx(APART["users"], rel=0.02)  # Little's law, beside others too


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"prefill_gpus": 12}, "pd: workers of tp 8 x pp 1 = 8 accelerators do not divide 4"),
        ({"prefill_gpus": 16}, "pd: prefill_gpus 16 of 16 leave none to decode"),
        ({"gpus": 64}, "pd: it has 64 accelerators, its racks 32"),
        ({"prefill": {"tpp": 8}}, "pd: no field of the prefill worker 'tpp'"),
    ],
)
def test_a_job_that_can_not_stand_there_is_one_line(words, says):
    job = {"name": "pd", "racks": "0", **APART, **words}
    with pytest.raises(rackmodel.RackModelError, match=says) as caught:
        rackmodel.hall({"machine": "dgx-h100", "jobs": [job]})
    assert "\n" not in str(caught.value)
