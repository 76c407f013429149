import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmarks.validation.cases import case, every_nth, read_rows
from benchmarks.validation.fit import Fit
from benchmarks.validation.parameters import parameters, replaced, value, write
from benchmarks.validation.surrogate import CLASSES
from rackmodel.hardware import accelerator
from rackmodel.hardware.power_model import peak_flops_per_s
from rackmodel.kernels.kernel_constants import kernel_constants
from rackmodel.kernels.kernel_time import KernelTimes
from rackmodel.software import software_of, stack_or_unknown
from rackmodel.software.constant_files import use_constants
from rackmodel.topology import load_topology
from rackmodel.validation.accuracy import RUNS
from rackmodel.workload.operations import Kernel


def square(precision="bf16", size=8192):
    return Kernel(
        family="gemm",
        name="square",
        flops=2.0 * size**3,
        shape=(size, size, size, 1),
        precision=precision,
        read_bytes=4.0 * size**2,
        write_bytes=2.0 * size**2,
    )


@pytest.fixture
def folder(tmp_path):
    yield tmp_path
    use_constants(None)


def test_every_fitted_constant_is_where_it_is_said_to_be():
    found = parameters()
    assert len(found) == len({p.name for p in found})
    assert all(value(p) > 0 and p.prior > 0 and p.deviation > 0 and p.source for p in found)


def test_parts_have_speeds_of_their_own_where_several_families_of_software_tell():
    """A rule, not a choice: two families or more, and not what its architecture is measured on."""
    told = {}
    for topology, group in pd.read_csv(RUNS, low_memory=False).groupby("topology"):
        part = accelerator(load_topology(topology).accelerator)
        stacks = {stack_or_unknown(name, family=part.family) for name in group["stack"]}
        told.setdefault(part.name, set()).update(software_of(name).family for name in stacks)
    references = {*kernel_constants()["clock"]["reference"].values()}
    # Of 1, when they were fitted: they are left at it.
    within_a_deviation = {"tpu-v5p", "tpu-v6e", "h200", "gb200", "a100-40"}
    alone = {*kernel_constants()["gemm_part"]} - {"source"}  # tables of products tell of them
    several = {name for name, families in told.items() if len(families) > 1}
    assert within_a_deviation < several
    wanted = several - references - within_a_deviation - alone
    found = {p.part for p in parameters() if p.name.startswith("training.part.")}
    assert found == set(kernel_constants()["training"]["part"]) == wanted


def test_a_part_s_own_speed_is_of_its_products_in_training_only():
    v5e, kernel = accelerator("tpu-v5e"), square()
    share = kernel_constants()["training"]["part"]["tpu-v5e"]
    sisters = [KernelTimes(part) for part in (v5e, replace(v5e, name="another"))]
    own, other = (times.kernel_s(kernel) for times in sisters)
    assert own / other == pytest.approx(share, rel=1e-6)
    alone = [
        KernelTimes(times.accelerator, in_training=False).kernel_s(kernel) for times in sisters
    ]
    assert alone[0] == alone[1]


def test_written_constants_are_read_back(folder):
    wanted = {p: value(p) * 1.25 for p in parameters()}
    write(wanted, folder)
    for parameter, number in wanted.items():
        assert value(parameter, folder) == pytest.approx(number, rel=1e-3)
        assert value(parameter) == pytest.approx(number / 1.25)


def test_constants_of_a_folder_hold_until_they_are_taken_back(folder):
    part = accelerator("h100")
    before = KernelTimes(part).kernel_s(square())
    gemm = next(p for p in parameters() if p.name == "training.family.nvidia-hopper")
    write({gemm: value(gemm) * 2}, folder)
    use_constants(folder)
    twice = KernelTimes(part).kernel_s(square())
    use_constants(None)
    start = kernel_constants().gemm(part.family).start_s
    assert twice == pytest.approx(2 * before, rel=2 * start / before)
    assert KernelTimes(part).kernel_s(square()) == before


def test_a_fit_of_each_nth_run_has_every_stack():
    rows = [{"id": i, "stack": "ab"[i > 6]} for i in range(9)]
    assert [row["id"] for row in every_nth(rows, 3)] == [0, 3, 6, 7]
    assert every_nth(rows, 1) == rows


def test_a_fit_returns_the_constants_that_runs_were_made_with(monkeypatch):
    rows = [row for row in every_nth(read_rows(RUNS), 40) if row["stack"] == "mpt"]
    made = [case(row) for row in rows]
    one = [p for p in parameters() if p.name == "training.family.nvidia-ampere"]
    monkeypatch.setattr("benchmarks.validation.fit.NOISE", 1e-3)
    told = [replace(c, row={**c.row, "measured_step_s": c.step_s}) for c in made]
    fit = Fit(told, one)
    found = fit.solve(np.arange(len(told)), np.log([1.5]))
    assert np.exp(found) == pytest.approx([value(one[0])], rel=0.01)


def test_a_constant_that_is_nowhere_is_refused():
    with pytest.raises(KeyError, match=r"a\.nothing"):
        replaced("[a]\nb = 1.0\n", "a.nothing", 2.0)


def test_a_narrow_format_that_is_widened_runs_as_bf16():
    part = accelerator("tpu-v6e")
    assert peak_flops_per_s(part, "fp8") == (part.flops_per_s["bf16"], "bf16")
    times = KernelTimes(part, "trillium")
    rates = [times.sustained_flops_per_s(form) for form in ("fp8", "bf16")]
    assert rates[0] == rates[1]
    # what it reads again is narrower
    assert 0.99 < times.kernel_s(square("fp8")) / times.kernel_s(square()) < 1.0


def test_fp8_attention_gains_less_for_small_heads():
    def seconds(precision, dim):
        kernel = Kernel(
            family="attention",
            name="attention",
            flops=4.0 * 16 * 8192**2 * dim,
            shape=(1, 16, 16, 8192, 8192, dim, dim, 0, 0),
            precision=precision,
        )
        return KernelTimes(accelerator("h100"), "nemo-2024-12", in_training=False).kernel_s(kernel)

    gains = [seconds("bf16", dim) / seconds("fp8", dim) for dim in (64, 128, 256)]
    assert 1.0 < gains[0] < gains[1] < gains[2] < kernel_constants()["attention"]["fp8_gain"]


def test_older_software_is_slower_by_the_same_factor_every_year():
    launch = [software_of(f"megatron-bridge-{year}.06").launch_s for year in (23, 24, 25)]
    assert launch[0] / launch[1] == pytest.approx(launch[1] / launch[2])
    assert launch[0] > launch[1] > launch[2]


def test_kernels_written_for_an_earlier_architecture_lose_more_in_training():
    kernel = Kernel(
        family="attention",
        name="attention",
        flops=2.0 * 16 * 8192**2 * 128,
        shape=(1, 16, 16, 8192, 8192, 128, 128, 1, 0),
        precision="bf16",
    )

    def slowdown(part, stack):
        alone = KernelTimes(accelerator(part), stack, in_training=False).kernel_s(kernel)
        return KernelTimes(accelerator(part), stack).kernel_s(kernel) / alone

    foreign = kernel_constants()["training"]["foreign"]
    own = slowdown("h100", "nemo-2024-12")
    assert slowdown("h100", "titan-2024-06") == pytest.approx(own * foreign)
    assert slowdown("a100-80", "titan-2024-06") == pytest.approx(own)
    # FlashAttention-1 waits for scalar work and shared memory, on any architecture.
    assert slowdown("h100", "mpt-2023-06") == pytest.approx(own)
    assert np.isfinite(math.log(foreign))


def test_every_fitted_constant_moves_a_class_of_seconds():
    software = software_of("default")
    for parameter in parameters():
        stacks = [
            software,
            *(software_of(name) for name in ("maxtext", "titan", "mpt", "mlperf-v5.1-amd")),
        ]
        families = (parameter.family or "nvidia-hopper", "nvidia-ampere")
        moved = [
            parameter.exponent(name, family, part, one, foreign=True)
            for name in CLASSES
            for family in families
            for part in ("h100", parameter.part or "gb300")
            for one in stacks
        ]
        assert any(moved), parameter.name


def test_a_part_and_a_format_may_differ_from_their_family():
    gb200, gb300 = (KernelTimes(accelerator(n), in_training=False) for n in ("gb200", "gb300"))

    def share(times, precision):
        return times.sustained_flops_per_s(precision) / times.accelerator.flops_per_s[precision]

    wide, own = (kernel_constants()["gemm_part"]["gb300"][form] for form in ("bf16", "nvfp4"))
    clocks = share(gb300, "bf16") / share(gb200, "bf16") / wide
    assert clocks >= 1.0 > own  # the power of a gb300 lets it clock no lower
    assert share(gb300, "nvfp4") / share(gb200, "nvfp4") == pytest.approx(own * clocks, rel=0.2)
    start = kernel_constants().gemm("nvidia-blackwell").start_format_s["nvfp4"]
    assert gb200.kernel_s(square("nvfp4", 256)) > start > gb200.kernel_s(square("fp8", 256))


def test_only_kernels_that_move_bytes_lose_units_to_others():
    """Transfers are slower in training, but on parts whose engines move them by themselves."""
    gpu = accelerator("h100")
    assert not gpu.collective_engines
    slower = KernelTimes(gpu).transfers_slower
    assert slower > 1.0 == KernelTimes(gpu, in_training=False).transfers_slower
    assert KernelTimes(replace(gpu, collective_engines=True)).transfers_slower == 1.0
    assert KernelTimes(accelerator("tpu-v5e")).transfers_slower == 1.0
