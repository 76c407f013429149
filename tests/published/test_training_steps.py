"""Steps from print, before any fitting on them."""

import pytest

import rackmodel


# Korthikanti et al., 2022, arXiv:2205.05198, Table 5: GPT-3 175B on 64 A100, full recompute.
def test_gpt3_175b_on_64_a100():
    result = rackmodel.simulate(
        "dgx-a100-80",
        model="gpt3-175b",
        gpus=64,
        global_batch=64,
        seq_len=2048,
        precision="fp16",
        plan={"tp": 8, "pp": 8, "dp": 1, "micro_batch": 1, "recompute": "full"},
        default_plan=True,
    )
    assert result.step_s == pytest.approx(18.13, rel=0.15)
    bubble = result.breakdown_s["bubble"] / (result.step_s - result.overhead_s)
    assert bubble == pytest.approx(7 / (64 + 7), rel=0.35)  # (p-1)/(m+p-1), uneven ends aside
