"""The record of accuracy: what the gate lets pass, and the runs that ship."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest

from benchmarks.validation.coverage import quantiles, unseen
from benchmarks.validation.slopes import slopes
from rackmodel.software import stack_or_unknown
from rackmodel.validation.accuracy import HELD, RUNS, record, recorded, stack_rows, worse
from rackmodel.validation.errors import read_runs, tier_of


def test_what_is_recorded_is_no_worse_than_itself():
    assert list(worse(recorded(), recorded())) == []


def test_more_error_or_fewer_runs_inside_the_band_are_worse():
    for name in HELD:
        off, outside, refused = (copy.deepcopy(recorded()) for _ in range(3))
        off[name]["mape"] += 0.002
        outside[name]["inside_band"] -= 0.01
        refused[name]["failures"] += 1
        for summary in (off, outside, refused):
            assert len(list(worse(summary, recorded()))) == 1


def test_a_record_keeps_its_figures():
    assert record({"core": {"mape": 0.0512345678, "rows": 3, "bias": None}}) == (
        '{\n "core": {\n  "mape": 0.05123,\n  "rows": 3,\n  "bias": null\n }\n}\n'
    )


def test_the_runs_that_ship_are_those_of_the_record():
    runs = read_runs(RUNS)
    assert runs["id"].is_unique
    assert runs["source"].notna().all()
    counts = tier_of(runs).value_counts()
    assert {name: counts[name] for name in HELD} == {n: recorded()[n]["rows"] for n in HELD}


def test_every_family_with_runs_shows_its_error():
    rows = pd.DataFrame(stack_rows()).set_index("name")
    assert 0 < rows.loc["nemo", "mean_error"] < 0.2
    assert rows.loc["nemo", "runs"] > 100
    unknown = [s for s in set(read_runs(RUNS)["stack"]) if stack_or_unknown(s) != s]
    assert unknown == []


def test_software_that_nobody_knew_is_of_the_date_that_it_has_when_known():
    """A name without a date is no older than its accelerator, whoever knows it."""
    rows = ({"stack": "titan", "topology": name} for name in ("dgx-h100", "dgx-h200"))
    assert [unseen(row)["stack"] for row in rows] == ["unseen-2024-12", "unseen-2025-07"]
    told = {"stack": "torchtitan-2024-03", "topology": "dgx-h200"}
    assert unseen(told)["stack"] == "unseen-2024-03"


def test_slopes_of_errors_are_found_beside_levels_of_machines():
    sizes = pd.DataFrame(
        [
            {"topology": name, "micro_batch": 2**i, "hidden": 1024 * 2**j, "tp": 1, "pp": 1}
            for name in "ab"
            for i in range(4)
            for j in range(3)
        ]
    )
    doubled = 0.03 * np.log2(sizes["micro_batch"]) - 0.01 * np.log2(sizes["hidden"])
    error = np.expm1(doubled + 0.2 * (sizes["topology"] == "a"))
    found = list(slopes(sizes.assign(stack="mpt", error=error)))
    assert [name for name, _, _ in found] == ["micro_batch", "hidden"]
    assert [slope for _, slope, _ in found] == pytest.approx([0.03, -0.01])
    assert all(uncertain < 1e-9 for _, _, uncertain in found)


def test_widths_of_bands_do_not_go_by_the_number_of_runs_alone():
    """Fifty runs of one family and two of another: by runs one side, by families both."""
    frame = pd.DataFrame({"family": ["a"] * 50 + ["b"] * 2, "band": "dense", "filled": False})
    frame["id"], frame["stack"] = range(len(frame)), frame["family"]
    frame["fitted"] = frame["not fitted"] = np.expm1([0.1] * 50 + [-0.1] * 2)
    known, unknown = quantiles(frame)
    assert known.split()[:2] == ["known", "dense"]
    ends = [float(cell) for cell in unknown.split()[-8:]]
    assert ends[:6] == pytest.approx([-0.1, -0.1, -0.1, 0.1, -0.1, 0.1])
    assert ends[6:] == pytest.approx([-0.1, 0.033], abs=0.001)
