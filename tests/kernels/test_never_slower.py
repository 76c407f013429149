"""A better part is never slower: every part of the catalog, each of its figures raised alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rackmodel.hardware import load_catalog
from rackmodel.kernels.kernel_time import KernelTimes
from rackmodel.workload import Job, Plan, load_model
from rackmodel.workload.kernels import Local
from rackmodel.workload.layers import block_steps

PARTS = load_catalog().accelerators


def kernels(precision: str):
    """Return all kernels of one dense and one sparse layer."""
    for name in ("llama3.1-8b", "mixtral-8x7b"):
        plan = Plan(tp=2, dp=4)
        job = Job(
            model=load_model(name), plan=plan, seq_len=4096, global_batch=4, precision=precision
        )
        for step in block_steps(Local.of(job), job.model.blocks[-1]):
            yield from (*step.work.forward, *step.work.backward, *step.work.weight)


@pytest.mark.parametrize("name", sorted(PARTS))
@pytest.mark.parametrize("precision", ["bf16", "fp8"])
@pytest.mark.parametrize("better", ["flops", "hbm", "power"])
def test_no_kernel_is_slower_on_a_better_part(name, precision, better):
    part = PARTS[name]
    for factor in (1.1, 3.0):
        faster = {
            "flops": {"flops_per_s": {k: factor * v for k, v in part.flops_per_s.items()}},
            "hbm": {"hbm_bytes_per_s": factor * part.hbm_bytes_per_s},
            "power": {"power_w": factor * part.power_w},
        }[better]
        before, after = KernelTimes(part), KernelTimes(replace(part, **faster))
        for kernel in kernels(precision):
            assert after.kernel_s(kernel) <= before.kernel_s(kernel) * 1.001, kernel.name
