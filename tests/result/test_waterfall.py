"""What is lost on the way from the peak to the MFU adds up, part by part."""

import pytest

import rackmodel
from rackmodel.hardware import load_catalog
from rackmodel.topology import load_topology

DENSE = {"model": "gpt3-13b", "gpus": 16, "global_batch": 16, "seq_len": 2048}
TP = {"tp": 8, "pp": 1, "micro_batch": 1}
CASES = {
    "dense": {"plan": {"tp": 2, "pp": 2, "micro_batch": 1}},
    "recomputed": {"plan": {**TP, "recompute": "full"}},
    "many micro-batches": {"plan": TP, "global_batch": 256},
    "experts in fp8": {
        "model": "mixtral-8x7b",
        "plan": {"ep": 8, "pp": 1, "tp": 1, "micro_batch": 1},
        "precision": "fp8",
    },
}


def simulated(case, machine="dgx-h100", **more):
    return rackmodel.simulate(machine, **{**DENSE, "check_memory": False, **CASES[case], **more})


def lost(result):
    return {one["part"]: one["lost"] for one in result.waterfall}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("machine", ["dgx-h100", "tpu-v5p-pod"])
def test_losses_and_mfu_add_up_to_the_peak(machine, case):
    result = simulated(case, machine)
    found = lost(result)
    assert sum(found.values()) + result.mfu == pytest.approx(1.0, abs=1e-9)
    assert all(value > 0 for part, value in found.items() if part not in ("arithmetic", "formats"))
    assert abs(found["arithmetic"]) < 0.1 * result.mfu  # what the model needs is what runs


def test_parts_are_those_of_the_breakdown():
    result = simulated("recomputed")
    for part, seconds in result.breakdown_s.items():
        if part != "compute":
            assert lost(result).get(part, 0.0) == pytest.approx(seconds / result.step_s, abs=1e-12)


def test_micro_batches_that_are_not_simulated_count():
    result = simulated("many micro-batches")
    assert result.step.splices
    few = simulated("many micro-batches", global_batch=16)
    assert not few.step.splices
    a, b = lost(result), lost(few)
    for part in ("sustained_rate", "shapes_and_tiles", "hbm_kernels"):
        assert a[part] / result.mfu == pytest.approx(b[part] / few.mfu, rel=1e-6)
    every = simulated("many micro-batches", repeat="all")
    assert not every.step.splices
    assert result.compute_shares == pytest.approx(every.compute_shares, rel=1e-9)
    assert result.device_busy == pytest.approx(every.device_busy, rel=1e-9)


def test_each_part_answers_to_what_it_names():
    plain = simulated("dense")
    part = load_topology("dgx-h100").accelerator
    slower = load_catalog(overrides={f"accelerators.{part}.hbm_bytes_per_s": "1 TB/s"})
    slow = simulated("dense", catalog=slower)
    assert lost(slow)["hbm_kernels"] > 1.2 * lost(plain)["hbm_kernels"]
    assert "formats" not in lost(plain)
    assert lost(simulated("experts in fp8"))["formats"] > 0.0  # attention runs in bf16
    assert "recompute" not in lost(plain)


def test_it_is_worked_out_when_asked_for():
    result = simulated("dense")
    result.to_dict(fields=["mfu", "breakdown_s"])
    assert "waterfall" not in vars(result)
    assert result.to_dict(fields=["waterfall"]) == {"waterfall": result.waterfall}
