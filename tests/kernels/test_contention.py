"""Collectives take compute units and HBM bandwidth; engines take no compute units."""

import pytest

import rackmodel
from rackmodel.engine.step import simulate_step
from rackmodel.hardware import accelerator
from rackmodel.kernels.contention import Contention, hbm_bound_share
from rackmodel.kernels.kernel_time import KernelTimes
from rackmodel.topology import load_topology
from rackmodel.workload import Compute, Job, Plan, load_model, settled
from rackmodel.workload.kernels import elementwise, gemm
from rackmodel.workload.models import Model

MODEL = Model(
    name="small", layers=8, hidden=2048, ffn=8192, heads=16, kv_heads=16, head_dim=128, vocab=8192
)


def test_kernels_bound_by_arithmetic_lose_units_and_those_bound_by_hbm_lose_bandwidth():
    h100 = accelerator("h100")
    arithmetic, memory = Contention(h100, 0.0), Contention(h100, 1.0)
    fast = ("ring", "reduce-scatter", "dp_cp", 300e9)
    assert arithmetic.share(*fast) == pytest.approx(16 / 132)
    # Three times over HBM for each byte that is reduced.
    assert memory.share(*fast) == pytest.approx(3 * 300e9 / h100.hbm_bytes_per_s)
    assert memory.share("ring", "reduce-scatter", "dp_cp", 0.0) == 0.0
    between = Contention(h100, 0.25).share(*fast)
    assert between == pytest.approx(0.75 * arithmetic.share(*fast) + 0.25 * memory.share(*fast))


def test_switches_need_fewer_units_and_engines_none():
    h100, tpu = accelerator("h100"), accelerator("tpu-v5p")
    assert Contention(h100).units("ring") == 16
    assert Contention(h100).units("nvls") == 8
    assert Contention(tpu).units("torus") == 0
    assert Contention(tpu, 0.5).share("torus", "all-gather", "dp_cp", 100e9) > 0.0
    userbuffers = Contention(h100, by_engines=frozenset({("all-gather", "tp")}))
    assert userbuffers.units("ring", "all-gather", "tp") == 0
    assert userbuffers.units("ring", "reduce-scatter", "tp") == 16


def test_narrow_formats_leave_more_of_the_time_to_hbm():
    gb200 = accelerator("gb200")
    plan = Plan(tp=2, dp=1)
    job = Job(model=load_model("llama3-70b"), plan=plan, seq_len=4096, global_batch=1)
    shares = [
        hbm_bound_share(one, KernelTimes(gb200), gb200.hbm_bytes_per_s)
        for one in (job, job.replace(precision="fp8-mx"))
    ]
    assert 0.0 < shares[0] < shares[1] < 0.5


def test_copies_to_host_memory_run_beside_kernels():
    kernels = KernelTimes(accelerator("h100"))
    work = gemm("work", (8192, 8192, 8192), form="bf16", read=2.0)
    copy = elementwise("offload", 1e8, 0.0, family="copy")
    both = kernels.device_s(Compute(name="both", phase="forward", kernels=(work, copy)))
    assert both == pytest.approx(max(kernels.kernel_s(work), kernels.kernel_s(copy)))


def test_a_result_says_what_each_collective_takes():
    plan = Plan(tp=2, dp=8, tp_overlap=True)
    job = Job(model=MODEL, plan=plan, seq_len=2048, global_batch=16)
    rows = rackmodel.simulate("dgx-h100", job).contention.set_index(["op", "axis"])
    assert rows.loc[("all-gather", "tp"), "compute_units"] == 0  # userbuffers copy
    reduce = rows.loc[("reduce-scatter", "dp_cp")]
    assert reduce["compute_share"] == pytest.approx(reduce["compute_units"] / 132)
    assert 0.0 < reduce["hbm_share"] < 0.5
    assert 0.0 < reduce["kernels_slower"] < 0.3


def test_traffic_beside_kernels_slows_them():
    plan = Plan(dp=8, sharding="zero3")
    job = Job(model=MODEL, plan=plan, seq_len=2048, global_batch=8)
    beside = rackmodel.simulate("dgx-h100", job)
    after = rackmodel.simulate("dgx-h100", job.replace(dp_overlap=False))
    assert beside.breakdown_s["compute"] > 1.005 * after.breakdown_s["compute"]
    assert beside.step_s < after.step_s


def test_transfers_in_training_take_longer_and_nothing_else_does():
    part = accelerator("h100")
    machine = load_topology("dgx-h100")
    job = settled(
        Job(
            model=load_model("llama3.1-8b"),
            plan=Plan(tp=8, dp=2, micro_batch=4),
            seq_len=8192,
            global_batch=8,
            stack="mlm-2020",
        ),
        part,
    )
    kernels = KernelTimes(part, job.stack)
    alone = simulate_step(machine, job, kernels)
    slower = simulate_step(machine, job, kernels, transfers_slower=1.5)
    gathers = [
        sum(logged.end_s - logged.begin_s for logged in step.logs[0] if logged.axis == "tp")
        for step in (alone, slower)
    ]
    assert 1.2 < gathers[1] / gathers[0] <= 1.5  # latencies stay as they are
    assert sorted(alone.seconds.values()) == sorted(slower.seconds.values())
