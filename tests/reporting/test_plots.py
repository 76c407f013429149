"""Every picture is drawn from plain dicts, onto given axes, with units, and nothing is cut off."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from rackmodel.reporting import compared, levers, network, racks, steps, study, style, validation

COLLECTIVES = [
    {
        "op": op,
        "bytes": 2.0**k,
        "time_s": 2e-5 + 2.0**k / rate,
        "bound_s": 2.0**k / 9e11,
        "busbw_bytes_per_s": 1.75 * 2.0**k / (2e-5 + 2.0**k / rate),
    }
    for op, rate in (("all-reduce", 4e11), ("all-to-all", 3e11))
    for k in range(3, 34)
]
CHANGES = [
    {
        "step_s": 2.0,
        "flags": "--tp 4 --recompute none --micro-batch 16 --sharding zero1",
        "gain": 0.5,
    },
    {"step_s": 1.5, "flags": "--pp 2", "gain": 1.0},
]
ADVICE = {"step_s": 3.0, "best_step_s": 1.2, "times_as_fast": 2.5}
MOVED = [
    {"part": "input", "field": "gpus", "before": 8, "after": 16, "change": 1.0},
    {"part": "input", "field": "topology", "before": "a", "after": "b", "change": None},
    {"part": "output", "field": "step_s", "before": 2.0, "after": 1.0, "change": -0.5},
]
KINDS = [
    {"what": "matrix kernels", "recorded_s": 2.0, "seconds": 1.0},
    {"what": "all_reduce over 8", "recorded_s": 0.5, "seconds": 0.4},
]
REPLAYED = {"topology": "b", "recorded_on": "a", "step_s": 1.5, "as_read_s": 2.5}
STOPPED = [{"part": "accelerator", "share": 0.7}, {"part": "host", "share": 0.3}]
SHARES = {
    **{"advances": 0.95, "checkpoints": 0.01, "planned stops": 0.0},
    **{"restarts": 0.03, "work lost": 0.01},
}
CELLS = [
    {"tp": tp, "pp": pp, "mfu": None if tp * pp < 8 else 0.4 - 0.01 * abs(tp - pp)}
    for tp in (1, 2, 4, 8)
    for pp in (1, 2, 4, 8)
]
GAINS = [
    {"resource": "FLOP/s", "gain": 0.61, "loss": -0.4},
    {"resource": "NIC bandwidth", "gain": 0.11, "loss": -0.2},
    {"resource": "latency", "gain": -0.01, "loss": None},
]
SIZES = [
    {"topology": name, "gpus": gpus, "tokens_per_s_per_gpu": 700 - 10 * math.log2(gpus)}
    for name in ("a", "b")
    for gpus in (8, 64, 512, 4096)
]
RUNS = [
    {
        "topology": "x",
        "measured_step_s": 1.4**i,
        "predicted_step_s": 1.4**i * (0.9 + 0.03 * (i % 7)),
    }
    for i in range(20)
] + [{"topology": "x", "measured_step_s": 3.0, "predicted_step_s": None}]
TRAYS = [
    {
        "name": "compute tray 1",
        "heat_w": 5600.0,
        "coolant_c": 38.0,
        "junction_c": 62.0,
        "limit_c": 87.0,
    },
    {
        "name": "switch tray 1",
        "heat_w": 1300.0,
        "coolant_c": 34.0,
        "junction_c": 95.0,
        "limit_c": 87.0,
    },
    {"name": "power shelf", "heat_w": 900.0},
]
POINTS = [{"name": "mlp", "flops": 9e12, "bytes": 6e9, "seconds": 5e-3}]
TIERS = [
    {"name": "HBM", "reach_m": 0.01, "bytes_per_s": 8e12},
    {
        "name": "NIC",
        "reach_m": 50.0,
        "bytes_per_s": 5e10,
        "j_per_bit": 2e-11,
        "usd_per_gb_per_s": 40.0,
    },
]
PARETO = [
    {"topology": "a", "energy_j_per_token": 1.0, "usd_per_mtoken": 0.4},
    {"topology": "b", "energy_j_per_token": 2.0, "usd_per_mtoken": 0.3},
]
DRAWN = {
    "busbw": lambda ax: network.busbw_plot(COLLECTIVES, ax),
    "roofline": lambda ax: network.roofline(POINTS, {"HBM": 8e12, "NIC": 5e10}, 2.5e15, ax),
    "tiers": lambda ax: network.bandwidth_tiers(TIERS, ax),
    "mfu": lambda ax: study.mfu_heat_map(CELLS, ax),
    "tornado": lambda ax: levers.tornado(GAINS, ax),
    "moved": lambda ax: compared.moved(MOVED, ax),
    "kinds": lambda ax: compared.kinds(KINDS, ax, found=REPLAYED),
    "changes": lambda ax: levers.changes(CHANGES, ax, found=ADVICE),
    "lost time": lambda ax: levers.lost_time(STOPPED, ax, found={"shares": SHARES}),
    "pareto": lambda ax: study.pareto(PARETO, ax),
    "scaling": lambda ax: study.scaling(SIZES, ax, edges={"node": 8, "rack": 72}),
    "domain": lambda ax: study.scaling(
        [{**row, "domain": row["gpus"], "model": "m"} for row in SIZES], ax, x="domain"
    ),
    "sweep": lambda ax: study.sweep_plot(SIZES, ax),
    "validation": lambda ax: validation.validation_scatter(RUNS, ax),
    "errors": lambda ax: validation.error_bars(RUNS, ax),
    "power": lambda ax: racks.power_over_time(range(9), {"cpu": [1e3] * 9, "fan": [5e2] * 9}, ax),
    "domain heat": lambda ax: racks.heat_by_domain([{"domain": 8, "heat_w": 4e4}], ax),
}


def cut_off(figure: Figure) -> list[str]:
    """Return the texts that reach out of the figure."""
    figure.draw_without_rendering()
    frame = figure.bbox
    lost = []
    for text in texts_of(figure):
        box = text.get_window_extent()
        inside = box.x0 > -1 and box.y0 > -1 and box.x1 < frame.x1 + 1 and box.y1 < frame.y1 + 1
        if text.get_text().strip() and not inside:
            lost.append(text.get_text())
    return lost


def texts_of(figure: Figure) -> Iterator[Text]:
    """Yield titles, labels, notes, legends, and the tick labels that are in view."""
    for ax in figure.axes:
        if legend := ax.get_legend():
            yield from legend.get_texts()
        yield from (ax.xaxis.label, ax.yaxis.label, ax._left_title, *ax.texts)
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            yield from (t.label1 for t in axis.get_major_ticks() if low <= t.get_loc() <= high)


@pytest.mark.parametrize("name", DRAWN)
def test_plot_uses_the_given_axes_and_cuts_nothing_off(name):
    figure, (ax,) = style.new_figure()
    assert DRAWN[name](ax) is ax
    assert ax.get_title(loc="left")
    assert cut_off(figure) == []


@pytest.mark.parametrize(
    "draw", [steps.step_breakdown, steps.throughput_bars, steps.heat_bars, steps.hbm_bars]
)
@pytest.mark.parametrize("size", [(4.7, 3.7), (8, 4.5)])
def test_bars_are_readable_at_page_and_screen_size(rows, draw, size):
    figure, (ax,) = style.new_figure(*size)
    draw(rows, ax)
    assert "[" in ax.get_ylabel() or "per" in ax.get_ylabel()
    assert cut_off(figure) == []


def test_breakdown_adds_up_to_the_step(rows):
    ax = steps.step_breakdown(rows)
    tops = {}
    for patch in ax.patches:
        middle = round(patch.get_x() + patch.get_width() / 2)
        tops[middle] = max(tops.get(middle, 0.0), patch.get_y() + patch.get_height())
    for index, row in enumerate(rows):
        assert tops[index] == pytest.approx(sum(row["breakdown_s"].values()))


def test_misfits_are_hatched_and_the_best_is_framed():
    ax = study.mfu_heat_map(CELLS)
    hatched = [patch for patch in ax.patches if patch.get_hatch()]
    assert len(hatched) == sum(cell["mfu"] is None for cell in CELLS)
    assert any(text.get_text() == "40.0%" for text in ax.texts)
    ran = [cell for cell in CELLS if cell["mfu"] is not None]
    line = study.mfu_heat_map([cell for cell in ran if cell["tp"] == ran[0]["tp"]])
    keys = [[text.get_text() for text in one.get_legend().get_texts()] for one in (ax, line)]
    assert [len(words) for words in keys] == [2, 1]  # nothing is explained that is not drawn


def test_a_map_of_plans_says_which_is_best():
    assert study.mfu_heat_map(CELLS).get_title("left") == "Best: MFU 40.0% at tp 4, pp 4"


def test_every_message_size_is_seen():
    rows = [{"bytes": 8 * 4**k, "busbw_bytes_per_s": 5e3 * 4**k} for k in range(16)]
    ax = network.busbw_plot(rows)
    assert ax.get_ylim()[0] < 5e-6 < 5e3 < ax.get_ylim()[1]


def test_the_best_of_losses_and_of_nothing_gained_is_framed():
    """A gain of 0.0 is better than one of -0.1, and either than no plan."""
    cells = [{"tp": tp, "pp": 1, "mfu": gain} for tp, gain in ((1, 0.0), (1, -0.1), (2, None))]
    assert [text.get_text() for text in study.mfu_heat_map(cells).texts] == ["0.0%"]
    ax = study.mfu_heat_map([*cells[1:], {"tp": 4, "pp": 1, "mfu": -0.2}])
    assert {text.get_text(): text.get_fontweight() for text in ax.texts} == {
        "-10.0%": "bold",
        "-20.0%": "normal",
    }


def test_a_loss_stands_within_the_axes():
    rows = [{"domain": size, "gain": gain} for size, gain in ((8, -3.0), (72, 5.0))]
    low, high = study.scaling(rows, x="domain", y="gain", relative=False).get_ylim()
    assert low < -3.0
    assert high > 5.0


def test_a_bar_goes_from_the_low_end_to_the_high_one_where_they_differ() -> None:
    rows = [
        {"domain": 8, "usd_per_mtoken": 2.0, "ends": (2.0, 2.0)},
        {"domain": 576, "usd_per_mtoken": 3.0, "ends": (2.5, 3.2)},
    ]
    ax = study.scaling(rows, x="domain", y="usd_per_mtoken")
    (bar,) = ax.collections
    assert bar.get_segments()[0].tolist() == [[576.0, 125.0], [576.0, 160.0]]


def test_none_at_all_stands_left_of_the_smallest():
    rows = [{"topology": "a", "km": km, "share": 90.0} for km in (0.0, 10.0, 100.0)]
    ax = study.scaling(rows, x="km", y="share", relative=False)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0", "10", "100"]
    places = ax.transData.transform([(row["km"], 0.0) for row in rows])[:, 0]
    assert np.diff(places).min() > 0.2 * ax.bbox.width


def test_the_largest_lever_stands_on_top_of_a_tornado():
    assert levers.tornado(GAINS).get_yticklabels()[-1].get_text() == "FLOP/s"


def test_changes_stand_from_the_slowest_to_the_best_plan():
    ax = levers.changes(CHANGES, found=ADVICE)
    assert [bar.get_width() for bar in ax.patches] == [1.2, 1.5, 2.0, 3.0]
    assert ["+150%" in text.get_text() for text in ax.texts] == [True, False, False, False]
    refused = [{**row, "gain": None} for row in CHANGES]
    ax = levers.changes(refused, found={**ADVICE, "step_s": None, "times_as_fast": None})
    assert len(ax.patches) == 3
    assert "refused" in ax.get_title(loc="left")


def test_lost_time_is_all_that_does_not_advance_the_job():
    ax = levers.lost_time(STOPPED, found={"shares": SHARES})
    assert sum(bar.get_width() for bar in ax.patches) == pytest.approx(5.0)
    assert ax.get_yticklabels()[-1].get_text() == "accelerator"


@pytest.mark.parametrize("loss", [-0.1, 0.004, 0.0, None])
def test_texts_of_a_tornado_stand_apart(loss):
    row = {"resource": "nic", "gain": 0.0004, "loss": loss}
    ax = levers.tornado([{"resource": "flops", "gain": 0.3, "loss": -0.4}, row])
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert len(boxes) == (3 if loss in (0.0, None) else 4)
    assert not any(one.overlaps(other) for at, one in enumerate(boxes) for other in boxes[:at])


def test_rack_over_its_limit_is_marked():
    ax = racks.rack_elevation(TRAYS)
    marked = [text.get_text() for text in ax.texts if text.get_color() == style.WARN]
    assert len(marked) == 1
    assert "95" in marked[0]
    assert "7.8 kW" in ax.get_title(loc="left")


@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_equal_figures_give_equal_bytes(rows, tmp_path, form):
    files = [tmp_path / f"{name}.{form}" for name in "ab"]
    for file in files:
        style.save(steps.compare_figure(rows), file, form)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].stat().st_size > 3000


def test_the_picture_of_a_step_shows_its_stages_memory_power_and_heat():
    import rackmodel

    result = rackmodel.simulate(
        "dgx-h100",
        model="gpt3-13b",
        gpus=16,
        global_batch=16,
        seq_len=1024,
        plan={"tp": 4, "pp": 2, "micro_batch": 1},
    )
    figure = result.plot()
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == [
        "Where a step goes",
        "Stages over time",
        "Power of the hottest rack",
        "HBM of the fullest rank",
        "HBM bandwidth busy",
        "Heat per rack",
    ]
    power = rackmodel.power_over_time(result)
    hall = power[power["what"] == "hall"]
    assert hall["power_w"].mean() == pytest.approx(result.assessment["power"]["it_w"], rel=1e-9)
    coarse = rackmodel.power_over_time(result, every_s=result.step_s / 7)
    assert (coarse["what"] == "hall").sum() == 7
    mean = coarse[coarse["what"] == "hall"]["power_w"].mean()
    assert mean == pytest.approx(hall["power_w"].mean(), rel=1e-9)


def test_one_series_without_a_name_needs_no_legend():
    rows = [{"gpus": n, "tokens_per_s_per_gpu": 1.0} for n in (8, 16)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert study.scaling(rows).get_legend() is None


def test_a_diff_draws_figures_and_a_replay_both_machines():
    ax = compared.moved(MOVED)
    assert [one.get_text() for one in ax.get_yticklabels()] == ["step_s", "gpus"]
    assert [round(one.get_width()) for one in ax.patches] == [-50, 100]
    ax = compared.kinds(KINDS, found=REPLAYED)
    assert [one.get_text() for one in ax.get_legend().get_texts()] == ["recorded on a", "on b"]
    assert [one.get_width() for one in ax.patches] == [0.5, 2.0, 0.4, 1.0]
    assert compared.moved([]).get_title(loc="left") == "No figure moved"
