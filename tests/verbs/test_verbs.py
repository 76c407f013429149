"""The verbs of Python give what the commands print."""

import json
import pickle

import pytest
from typer.testing import CliRunner

import rackmodel
from rackmodel.cli.app import app
from rackmodel.errors import InvalidInput

STEP = {
    "model": "gpt3-13b",
    "gpus": 8,
    "global_batch": 8,
    "seq_len": 1024,
    "plan": {"tp": 8, "pp": 1, "micro_batch": 1},
}
WORDS = "--model gpt3-13b --gpus 8 --global-batch 8 --seq-len 1024 --tp 8 --pp 1 --micro-batch 1"
PAIRS = {
    "collective dgx-h100 --op all-reduce --bytes 1MB,1GB --gpus 16": lambda: rackmodel.collective(
        "dgx-h100", "all-reduce", [1e6, 1e9], gpus=16
    ),
    f"heat dgx-h100 {WORDS}": lambda: rackmodel.heat(rackmodel.simulate("dgx-h100", **STEP)),
    f"heat dgx-h100 {WORDS} --windows --smooth floor=0.9 --smooth capacitors=65J": lambda: (
        rackmodel.heat(
            rackmodel.simulate(
                "dgx-h100", **STEP, site={"smoothing": {"floor": 0.9, "capacitors_j": 65.0}}
            ),
            windows=True,
        )
    ),
    "goodput dgx-h100 --gpus 512 --runs 0": lambda: rackmodel.goodput(
        "dgx-h100", gpus=512, stops={"runs": 0}
    ),
    f"sensitivity dgx-h100 {WORDS}": lambda: rackmodel.sensitivity("dgx-h100", STEP),
}


@pytest.mark.parametrize("words", PAIRS)
def test_a_verb_has_the_keys_and_figures_of_its_command(words):
    done = CliRunner().invoke(app, [*words.split(), "--json"])
    assert done.exit_code == 0, done.output
    found = PAIRS[words]()
    assert json.loads(json.dumps(found.to_dict(), default=list)) == json.loads(done.stdout)
    assert len(found.frame) == len(found["rows"])
    assert "<table" in found._repr_html_()


def test_a_sweep_has_rows_a_frame_and_the_picture_of_its_command(tmp_path):
    from matplotlib.figure import Figure

    base = {"topology": "dgx-h100", "model": "gpt3-13b", "global_batch": 16, "tp": 8, "pp": 1}
    found = rackmodel.sweep({"base": base, "axes": {"gpus": [8, 16]}}, tmp_path / "runs")
    assert [row["status"] for row in found["rows"]] == ["done", "done"]
    assert list(found.frame["gpus"]) == [8, 16]
    ax = Figure().add_subplot()
    assert found.plot(ax=ax) is ax
    (line,) = [one for one in ax.lines if len(one.get_xdata()) == 2]
    drawn = [float(one) for one in line.get_ydata()]
    assert drawn == pytest.approx(list(found.frame["tokens_per_s_per_gpu"]))
    assert "<table" in found._repr_html_()


def test_what_stands_at_the_door_goes_to_other_processes():
    for name in rackmodel.__all__:
        one = getattr(rackmodel, name)
        assert pickle.loads(pickle.dumps(one)) == one, name


def test_served_results_have_the_attributes_of_steps():
    found = rackmodel.serve("dgx-h100", model="llama3-8b", gpus=8, users=32, isl=1024, osl=256)
    told = found.to_dict()
    assert found.rack_kw == max(rack["heat_w"] for rack in told["racks"]) / 1e3
    assert found.usd_per_mtoken == told["cost"]["usd_per_mtoken"]
    assert found.tokens_per_s_per_mw == told["tokens_per_s_per_mw"]


def test_an_answer_is_drawn_on_axes_that_are_given():
    from matplotlib.figure import Figure

    ax = Figure().add_subplot()
    found = rackmodel.collective("dgx-h100", "all-gather", [1e6, 1e8], gpus=8)
    assert found.plot(ax=ax) is ax
    assert ax.lines


def test_an_answer_without_a_picture_says_so():
    with pytest.raises(rackmodel.InvalidInput, match="frame"):
        rackmodel.Answer({"rows": []}).plot()


def test_uneven_sizes_are_refused_but_for_all_to_all():
    with pytest.raises(rackmodel.InvalidInput, match="all-to-all"):
        rackmodel.collective("dgx-h100", "all-reduce", 1e6, gpus=2, weights=[[0, 1], [1, 0]])


@pytest.mark.parametrize("what", ["both", "rack", "fabric"])
def test_a_machine_is_drawn(what):
    assert len(rackmodel.draw("dgx-h100", what).axes) == (2 if what == "both" else 1)
    with pytest.raises(rackmodel.UnknownName, match="rack"):
        rackmodel.draw("dgx-h100", what="racks")


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("flor=0.8", "floor=VALUE"),
        ("floor=1.8", "from 0 to 1"),
        ("battery=-3J", "negative"),
        ("ramp=0W/s", "ramp"),
        ("capacitors=lots", "an energy"),
    ],
)
def test_smoothing_that_can_not_be_is_one_line(word, told):
    done = CliRunner().invoke(app, ["heat", "dgx-h100", *WORDS.split(), "--smooth", word])
    assert done.exit_code == 2
    assert told in done.output
    assert len(done.output.strip().splitlines()) == 1


def test_a_floor_narrows_every_window_and_is_paid_in_heat():
    result = rackmodel.simulate("dgx-h100", **STEP, site={"smoothing": {"floor": 0.95}})
    power = rackmodel.heat(result)["power"]
    assert power["burned_w"] > 0
    assert power["mean_w"] == pytest.approx(power["burned_w"] + power["windows"][-1]["max_w"])
    for row in power["windows"]:
        assert row["smoothed_swing_w"] <= row["swing_w"] * (1 + 1e-9)


def test_claims_have_a_verdict_each():
    from matplotlib.figure import Figure

    from rackmodel.reporting.validation import verdict_bars

    found = rackmodel.claims(["a800-cluster-cost"], quick=True, workers=1)
    assert [row["id"] for row in found["rows"]] == ["a800-cluster-cost"]
    assert found["rows"][0]["verdict"]
    ax = Figure().add_subplot()
    assert found.plot(ax=ax) is ax
    assert [bar.get_width() for bar in ax.patches] == [1]
    rows = [{"topic": t, "verdict": v} for t, v in (("cost", "depends"), ("cost", "supported"))]
    ax = verdict_bars([*rows, {"topic": "heat", "verdict": "depends"}])
    assert [(bar.get_x(), bar.get_width()) for bar in ax.patches] == [
        (0, 1),
        (0, 1),
        (1, 0),
        (1, 1),
    ]


def test_a_comparison_is_the_list_with_a_frame_a_picture_and_a_table():
    words = {
        "model": "gpt3-13b",
        "gpus": 16,
        "global_batch": 16,
        "seq_len": 1024,
        "plan": {"tp": 8},
    }
    found = rackmodel.compare(["dgx-h100", "dgx-a100-40"], check_memory=False, **words)
    none = rackmodel.Comparison([*found, ("small", rackmodel.CannotRun("it has <8>"))])
    frame = none.frame
    assert frame["topology"].tolist() == ["dgx-h100", "dgx-a100-40", "small"]
    assert frame["reason"].isna().tolist() == [True, True, False]
    assert frame["step_s"][0] == found[0][1].step_s
    assert frame["usd_per_mtoken"][0] == found[0][1].assessment["cost"]["usd_per_mtoken"]
    page = none._repr_html_()
    assert "MFU" in page
    assert "it has &lt;8&gt;" in page
    assert len(none.plot().axes) == len(found.plot().axes)
    with pytest.raises(rackmodel.InvalidInput, match="frame"):
        rackmodel.Comparison([none[2]]).plot()


def test_a_report_of_python_has_the_content_of_the_command(tmp_path):
    page = tmp_path / "page.html"
    assert rackmodel.report(page, ["dgx-h100"], STEP, page={"brief": True}) == page
    result = rackmodel.simulate("dgx-h100", **STEP)
    text = page.read_text("utf-8")
    assert "rackmodel.report(" in text
    assert f'data-value="{100 * result.mfu}"' in text
    with pytest.raises(rackmodel.InvalidInput, match=r"\.html"):
        rackmodel.report(tmp_path / "page.pdf", ["dgx-h100"], STEP)
    with pytest.raises(rackmodel.UnknownName, match="did you mean 'brief'"):
        rackmodel.report(page, ["dgx-h100"], STEP, page={"breif": True})
    with pytest.raises(rackmodel.CannotRun, match="none of dgx-h100"):
        rackmodel.report(page, ["dgx-h100"], {**STEP, "model": "gpt3-175b"})


def test_the_map_of_plans_holds_the_plan_of_the_result():
    """Also where a search would have simulated another one: table and picture tell the same."""
    from rackmodel.verbs.page_extras import plan_map

    job = {"model": "gpt3-13b", "gpus": 16, "global_batch": 32, "seq_len": 2048}
    result = rackmodel.simulate("dgx-h100", plan={"tp": 8, "pp": 2, "micro_batch": 1}, **job)
    cells = plan_map(result.machine, result, None)
    here = next(cell for cell in cells if (cell["tp"], cell["pp"]) == (8, 2))
    assert here["simulated"]
    assert here["mfu"] == result.mfu
    assert sum(cell["simulated"] for cell in cells) == 2


def test_what_two_results_differ_in_is_that_of_the_command(tmp_path):
    words = {"model": "gpt3-13b", "global_batch": 8, "seq_len": 2048}
    plan = {"tp": 8, "pp": 1, "micro_batch": 1}
    made = [rackmodel.simulate(one, gpus=8, plan=plan, **words) for one in ("dgx-h100", "dgx-h200")]
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for path, one in zip(files, made, strict=True):
        path.write_text(one.to_json())
    found = rackmodel.diff(*made, least=0.01)
    done = CliRunner().invoke(app, ["diff", *map(str, files), "--least", "1%", "--json"])
    assert [row["field"] for row in json.loads(done.stdout)["rows"]] == list(found.frame["field"])
    assert rackmodel.diff(*files)["rows"][0]["field"] == "topology"
    assert len(rackmodel.diff(made[0], made[0])["rows"]) == 0
    with pytest.raises(rackmodel.InvalidInput, match="after"):
        rackmodel.diff(made[0], 3)


def test_words_of_the_job_beside_advise_are_told_where_they_go():
    with pytest.raises(rackmodel.InvalidInput, match=r'advise\(topology, \{"model"'):
        rackmodel.advise("dgx-h100", model="gpt3-13b", gpus=8)
    with pytest.raises(rackmodel.UnknownName, match="did you mean 'draws'"):
        rackmodel.sensitivity("dgx-h100", {"model": "gpt3-13b"}, draw=8)


def test_what_was_simulated_is_emitted_and_read_back(tmp_path):
    words = {"model": "llama3-8b", "gpus": 16, "global_batch": 16, "seq_len": 2048}
    result = rackmodel.simulate("dgx-h100", **words, plan={"tp": 2, "pp": 1, "micro_batch": 1})
    path = tmp_path / "mine.sh"
    path.write_text(rackmodel.emit(result, "megatron"))
    launch = rackmodel.read_launch(str(path))
    again = rackmodel.simulate("dgx-h100", **launch.words, plan=launch.plan).step.job
    assert (again.plan, again.model.name) == (result.step.job.plan, "mine")
    assert rackmodel.emit(again, "megatron").splitlines()[1:] == path.read_text().splitlines()[1:]


def _wrong(result):
    """Calls as a stranger makes them, and what they are told."""
    yield lambda: rackmodel.heat("dgx-h100", **STEP), r"model describes the job; write heat\("
    yield lambda: rackmodel.heat("dgx-h100"), "expected a result of rackmodel.simulate"
    yield lambda: rackmodel.caps(), "caps needs result"
    yield lambda: rackmodel.goodput("dgx-h100", gpus=8, tp=8), "no word of goodput 'tp'"
    yield lambda: rackmodel.power_over_time("dgx-h100"), "expected a result"
    yield lambda: rackmodel.emit(3, "megatron"), "expected a Job or a result"
    yield lambda: rackmodel.report(result, "page.html"), "out: expected a path"
    yield lambda: rackmodel.validate(3), "runs: expected a path"
    yield lambda: rackmodel.replay(3, on="dgx-h100"), "traces: expected a path"
    yield lambda: rackmodel.collective("dgx-h100", "all-reduce"), "collective needs bytes"
    yield lambda: rackmodel.domains("gpt3-13b"), "takes nothing by place"
    yield lambda: rackmodel.draw("dgx-h100", wat=3), "did you mean 'what'"
    yield lambda: rackmodel.sweep("a.toml", spec="b.toml"), "spec is given twice"
    yield lambda: rackmodel.sweep("a.toml", "out", workers="two"), "workers: expected a whole"
    yield lambda: rackmodel.hall_over_time(result), "hall_over_time needs jobs"
    yield lambda: rackmodel.load_catalog(3), "takes nothing by place; name the other words"
    yield lambda: rackmodel.load_catalog(files=3), "files: expected a list"
    yield lambda: rackmodel.load_model(), "load_model needs source"


def test_advice_and_goodput_are_drawn_on_axes_that_are_given():
    from matplotlib.figure import Figure

    plan = {"tp": 8, "pp": 1, "recompute": "full"}
    for found in (
        rackmodel.advise("dgx-h100", {**STEP, "plan": plan}),
        rackmodel.goodput("dgx-h100", gpus=1024, stops={"runs": 0}),
    ):
        ax = Figure().add_subplot()
        assert found.plot(ax=ax) is ax
        assert len(ax.patches) > 1
    assert "<td>parameters</td>" in rackmodel.load_model("gpt3-13b")._repr_html_()


def test_wrong_words_of_a_verb_are_told_in_one_line():
    result = rackmodel.simulate("dgx-h100", **STEP)
    for call, told in _wrong(result):
        with pytest.raises(rackmodel.InvalidInput, match=told):
            call()


def test_one_machine_is_compared_as_a_list_of_one():
    found = rackmodel.compare("dgx-h100", **STEP)
    assert [name for name, _ in found] == ["dgx-h100"]


def test_pictures_of_several_panels_draw_the_first_on_axes_that_are_given():
    from matplotlib.figure import Figure

    result = rackmodel.simulate("dgx-h100", **STEP)
    words = {"model": "gpt3-1.3b", "accelerator": "h100", "gpus": 16, "global_batch": 16}
    plan = {"tp": 2, "pp": 1, "micro_batch": 1}
    larger = rackmodel.domains(**words, seq_len=512, domains=(8, 16), plan=plan)
    for found in (rackmodel.heat(result, windows=True), larger):
        ax = Figure().add_subplot()
        assert found.plot(ax=ax) is ax
        assert ax.lines
        assert len(found.plot().axes) > 1
    assert "<table" in larger._repr_html_()


def test_a_collective_takes_sizes_as_people_write_them():
    found = rackmodel.collective("dgx-h100", "all-reduce", ["1 MB", 1e9], gpus=8)
    assert [row["bytes"] for row in found["rows"]] == [1e6, 1e9]
    swept = rackmodel.collective("dgx-h100", "all-reduce", "1k:8k:x2", gpus=8)
    assert [row["bytes"] for row in swept["rows"]] == [1024, 2048, 4096, 8192]
    for junk, why in (
        ("400Gb/s", "which is a bandwidth"),
        (None, "expected a size"),
        (-5, "negative"),
        (float("nan"), "not a number"),
        (0, "of zero makes no sense"),
    ):
        with pytest.raises(InvalidInput, match=why):
            rackmodel.collective("dgx-h100", "all-reduce", [junk], gpus=8)


def test_a_word_of_stops_says_where_it_belongs():
    with pytest.raises(InvalidInput, match=r'write stops=\{"days": 54\}'):
        rackmodel.goodput("dgx-h100", gpus=16, days=54)


def test_a_comparison_is_what_its_command_prints():
    done = CliRunner().invoke(app, ["compare", "dgx-h100", "dgx-b200", *WORDS.split(), "--json"])
    told = json.loads(json.dumps(rackmodel.compare(["dgx-h100", "dgx-b200"], **STEP).to_dict()))
    printed = json.loads(done.stdout)
    assert told.keys() == printed.keys()
    for one, other in zip(told["rows"], printed["rows"], strict=True):
        assert {**one, "simulation": 0} == {**other, "simulation": 0}
