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


# mlc-ai/pith-train issue 79: Qwen3 30B on 8 B200, by software that the tables do not have.
def test_a_mixture_under_software_without_a_name_is_launched_kernel_by_kernel():
    def tokens_per_s(**words):
        plan = {"tp": 1, "pp": 2, "ep": 4, "dp": 4, "micro_batch": 1}
        work = {"model": "qwen3-30b-a3b", "gpus": 8, "global_batch": 64, "seq_len": 8192}
        return rackmodel.simulate("dgx-b200", plan=plan, **work, **words).tokens_per_s_per_gpu

    usual = tokens_per_s()
    assert usual == pytest.approx(17_500, rel=0.15)
    assert tokens_per_s(cuda_graphs=True) > 1.2 * usual
