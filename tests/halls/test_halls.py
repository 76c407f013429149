"""Laws of several jobs on one machine: apart they are strangers, on shared links max-min fair."""

import json

import numpy as np
import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

import rackmodel
from rackmodel import hardware, schema
from rackmodel.cli import app
from rackmodel.engine.options import EngineOptions
from rackmodel.engine.step import TRAINING, simulate_step
from rackmodel.engine.tenants import Tenant, simulate_tenants
from rackmodel.halls.occupants import occupant_of
from rackmodel.halls.spec import read_hall
from rackmodel.kernels.kernel_time import KernelTimes
from rackmodel.serving.steps import Slowdowns
from rackmodel.workload import programs

NODES = np.arange(32).reshape(4, 8)
#: Leaves of two nodes with one way up for two down: what two jobs on nodes 0, 2 and 1, 3 share.
TAPERED = {"fabric.pod_units": 2, "fabric.oversubscription": 2}


def machine(changes=None):
    return rackmodel.load_topology("dgx-h100", overrides=changes)


def tenant(name, nodes, *, batch=8, model="gpt3-13b"):
    job = rackmodel.Job(
        model=rackmodel.load_model(model),
        plan=rackmodel.Plan(tp=8, pp=1, dp=2),
        seq_len=1024,
        global_batch=batch,
    )
    kernels = KernelTimes(hardware.accelerator("h100", hardware.load_catalog()), job.stack)
    return Tenant(
        name=name,
        job=job,
        kernels=kernels,
        kind=TRAINING,
        accelerators=NODES[list(nodes)].ravel(),
        cycle=[programs(job)],
        slower=kernels.transfers_slower,
    )


def test_a_job_by_itself_is_its_step():
    one = tenant("a", (0, 1))
    step = simulate_step(
        machine(), one.job, one.kernels, EngineOptions(repeat="all"), transfers_slower=one.slower
    )
    (stay,) = simulate_tenants(machine(), [one], [2])
    assert stay.steps_s[0] == step.step_s
    assert stay.steps_s[1] == pytest.approx(step.step_s, rel=1e-9)


def test_jobs_on_leaves_of_their_own_do_not_change_each_other_by_a_bit():
    pair = tenant("a", (0, 1)), tenant("b", (2, 3), batch=12)
    apart = [simulate_tenants(machine(TAPERED), [one], [2])[0].ends_s for one in pair]
    together = [stay.ends_s for stay in simulate_tenants(machine(TAPERED), pair, [2, 2])]
    assert together == apart


def test_on_shared_links_the_folded_slowdown_is_the_unfolded_one():
    pair = tenant("a", (0, 2)), tenant("b", (1, 3), batch=12)
    alone = [simulate_tenants(machine(TAPERED), [one], [1])[0].ends_s[0] for one in pair]
    folded, whole = (
        [stay.ends_s[0] for stay in simulate_tenants(machine(TAPERED), pair, [1, 1], how)]
        for how in (EngineOptions(), EngineOptions(fold=False))
    )
    assert whole == pytest.approx(folded, rel=1e-9)
    assert all(late > 1.02 * before for late, before in zip(folded, alone, strict=True))
    # two equal jobs on one link can't be slower than one after the other
    assert all(late < sum(alone) for late in folded)


def test_both_engines_run_a_hall_alike():
    pytest.importorskip("numba")
    pair = tenant("a", (0, 2)), tenant("b", (1, 3), batch=12)
    events, arrays = (
        simulate_tenants(machine(TAPERED), pair, [2, 1], EngineOptions(engine=engine))
        for engine in ("simpy", "compiled")
    )
    assert [stay.ends_s for stay in arrays] == [stay.ends_s for stay in events]
    for one, other in zip(events, arrays, strict=True):
        for log, again in zip(one.step.logs, other.step.logs, strict=True):
            assert [(e.kind, e.item, e.start_s, e.end_s) for e in again] == [
                (e.kind, e.item, e.start_s, e.end_s) for e in log
            ]
        assert (one.step.engine, other.step.engine) == ("simpy", "compiled")


def test_wider_leaves_keep_jobs_apart():
    pair = tenant("a", (0, 2)), tenant("b", (1, 3))
    even = [stay.ends_s[0] for stay in simulate_tenants(machine(), pair, [1, 1])]
    alone = [simulate_tenants(machine(), [one], [1])[0].ends_s[0] for one in pair]
    assert even == pytest.approx(alone, rel=1e-9)


WORDS = {
    "model": "gpt3-13b",
    "global_batch": 8,
    "seq_len": 1024,
    "default_plan": True,
    "gpus": 8,
    "plan": {"tp": 8, "pp": 1, "micro_batch": 1},
}
CHAT = {"model": "llama3.1-70b", "users": 8, "isl": 512, "osl": 64, "tp": 8, "gpus": 8}


def test_a_hall_of_training_and_serving(tmp_path):
    jobs = [{"name": "train", "racks": "0", **WORDS}, {"name": "chat", "racks": [1], **CHAT}]
    found = rackmodel.hall({"machine": "dgx-h100", "steps": 2, "jobs": jobs}).to_dict()
    rows = {row["job"]: row for row in found["rows"]}
    assert [row["slowdown"] for row in found["rows"]] == [1.0, 1.0]
    step = rackmodel.simulate("dgx-h100", **WORDS)
    served = rackmodel.serve("dgx-h100", **CHAT)
    assert rows["train"]["step_alone_s"] == pytest.approx(step.step.step_s, rel=1e-6)
    assert rows["chat"]["tpot_s"] == served.tpot_s
    cycle_s = rows["chat"]["step_alone_s"] + served.host_s
    assert cycle_s == pytest.approx(served.tpot_s, rel=0.1)
    racks = {rack["job"]: rack for rack in found["racks"]}
    heat_w = step.assessment["racks"][0]["heat_w"]
    assert racks["train"]["mean_w"] == pytest.approx(heat_w, rel=0.05)  # the window ends in a step
    alone = rackmodel.hall({"machine": "dgx-h100", "steps": 2, "jobs": jobs[:1]}).to_dict()
    assert alone["racks"][0]["mean_w"] == pytest.approx(heat_w, rel=0.01)
    assert alone["window_s"] == pytest.approx(
        2.0 * step.step_s, rel=1e-6
    )  # what is lost outside too
    assert racks["chat"]["mean_w"] == pytest.approx(
        served.assessment["racks"][0]["heat_w"], rel=1e-12
    )
    schema.check("hall", found)
    times = rows["chat"]["requests"]
    assert times == rows["chat"]["requests_alone"]
    assert times["tpot_s"]["mean"] == pytest.approx(served.tpot_s, rel=0.05)
    total = np.sum([rack["power_w"] for rack in found["racks"]], axis=0)
    assert found["over_time"]["racks_w"] == pytest.approx(total)


def test_single_requests_take_longer_where_steps_do():
    jobs = [{"name": "chat", "racks": [0], **CHAT}]
    spec = read_hall({"machine": "dgx-h100", "jobs": jobs}).jobs[0]
    one = occupant_of(machine(), spec, None, EngineOptions())
    alone, slowed = one.requests(Slowdowns()), one.requests(Slowdowns(decode=1.5, prompts=1.5))
    assert slowed["tpot_s"]["p50"] == pytest.approx(1.5 * alone["tpot_s"]["p50"], rel=0.05)
    assert slowed["ttft_s"]["p99"] > alone["ttft_s"]["p99"]


def test_jobs_of_far_pods_meet_beyond_the_spines(monkeypatch):
    """A fat tree of three tiers: what crosses the core, folded as unfolded."""
    monkeypatch.setattr(f"{__name__}.NODES", np.arange(264 * 8).reshape(264, 8))
    three = machine({"fabric.oversubscription": 2})
    assert "core" in set(three.inventory(264 * 8).tier)
    pair = tenant("a", (0, 256)), tenant("b", (1, 257), batch=12)
    folded, whole = (
        [stay.ends_s[0] for stay in simulate_tenants(three, pair, [1, 1], how)]
        for how in (EngineOptions(), EngineOptions(fold=False))
    )
    assert whole == pytest.approx(folded, rel=1e-9)


def test_a_hall_from_a_file_and_its_picture(tmp_path):
    spec = tmp_path / "hall.toml"
    spec.write_text(
        'machine = "dgx-h100"\nsteps = 1\n[[jobs]]\nname = "a"\nracks = "0"\nmodel = "gpt3-13b"\n'
        "global_batch = 8\nseq_len = 1024\ngpus = 8\ndefault_plan = true\n"
        "plan = {tp = 8, pp = 1, micro_batch = 1}\n"
    )
    done = CliRunner().invoke(app, ["hall", str(spec), "--plot", str(tmp_path / "h.png"), "--json"])
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["rows"][0]["slowdown"] == 1.0
    assert (tmp_path / "h.png").stat().st_size > 5_000
    ax = Figure().add_subplot()
    assert rackmodel.hall(spec).plot(ax=ax) is ax
    assert [line.get_label() for line in ax.lines] == ["a"]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({}, "no machine"),
        ({"machine": "dgx-h100"}, "jobs"),
        ({"machine": "dgx-h100", "job": []}, "job"),
        ({"machine": "nosuch", "jobs": [{"racks": "0", **WORDS}]}, "nosuch"),
        ({"machine": "dgx-h100", "jobs": [WORDS]}, "no racks"),
        ({"machine": "dgx-h100", "jobs": [{"racks": "2-1", **WORDS}]}, "backwards"),
        ({"machine": "dgx-h100", "jobs": [{"racks": "x", **WORDS}]}, "racks"),
        (
            {"machine": "dgx-h100", "jobs": [{"racks": "0-1", **WORDS}, {"racks": "1", **WORDS}]},
            "rack 1 is given to 'job 0' and to 'job 1'",
        ),
        ({"machine": "dgx-h100", "jobs": [{"racks": "0", **WORDS, "gpus": 64}]}, "job 0"),
        ({"machine": "dgx-h100", "jobs": [{"racks": "0", **WORDS, "nosuch": 1}]}, "nosuch"),
    ],
)
def test_a_spec_that_is_none_is_one_line(spec, says):
    with pytest.raises(rackmodel.RackModelError, match=says) as caught:
        rackmodel.hall(spec)
    assert "\n" not in str(caught.value)
