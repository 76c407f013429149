"""Claims: every one has a test, a verdict follows from its figure, cheap ones come out right."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings, strategies as st

from rackmodel.argument import verdicts as claims
from rackmodel.argument.scale_up import Work, best_of
from rackmodel.argument.verdicts import domain_claims
from rackmodel.argument.verdicts.pairs import pair_ratios, pair_words, published_pairs
from rackmodel.argument.verdicts.training_runs import goodput_of
from rackmodel.argument.verdicts.trends import modules
from rackmodel.argument.verdicts.verdict import drawn, like_ratio, overlaps, simulate_line
from rackmodel.cli import app
from rackmodel.errors import CannotRun, InvalidInput, UnknownName
from rackmodel.hardware import load_catalog
from rackmodel.topology import load_topology

CHEAP = (
    "nvl72-structure",
    "copper-returns",
    "a800-cluster-cost",
    "a800-links",
    "hbm-price",
    "optics-per-gpu",
    "rack-failure-unit",
    "gpt6-compute",
)


@pytest.fixture(scope="module")
def verdicts():
    return {verdict.id: verdict for verdict in claims.run_claims(CHEAP, quick=True)}


def test_every_claim_of_the_file_has_a_test_and_the_other_way_round():
    assert claims.claim_ids() == list(claims.TESTS)
    assert len(claims.claim_ids()) == 27


@pytest.mark.parametrize("name", claims.claim_ids())
def test_every_test_is_a_function_with_a_docstring_that_names_its_claim(name):
    assert claims.TESTS[name].__doc__.startswith(f"{name}:")


@pytest.mark.parametrize("name", CHEAP)
def test_verdict_holds_a_figure_within_its_band_and_rows_behind_it(verdicts, name):
    verdict = verdicts[name]
    assert verdict.verdict in ("supported", "consistent", "refuted", "depends")
    assert verdict.low <= verdict.value <= verdict.high
    assert math.isfinite(verdict.value)
    assert len(verdict.frame)
    assert verdict.words.endswith(".")
    assert any(name in command for command in verdict.commands)


def test_a_verdict_says_how_many_steps_were_simulated_for_it(verdicts):
    pairs = 2 * len(verdicts["a800-links"].frame)  # each job on both machines
    assert verdicts["a800-links"].to_dict()["steps_simulated"] >= pairs
    assert verdicts["hbm-price"].steps == 0


def test_a_study_of_which_no_point_ran_says_why(tmp_path, monkeypatch):
    from rackmodel.verbs import scale_up_study as study

    def lost(flat):
        raise CannotRun("its worker died twice")

    monkeypatch.setattr(study, "point", lost)
    with pytest.raises(CannotRun, match="its worker died twice"):
        study.run(("hbm",), tmp_path, workers=1)


def test_points_of_a_study_are_not_looked_at_again(tmp_path, monkeypatch):
    from rackmodel.verbs import scale_up_study as study

    def never(flat):
        raise AssertionError(f"{flat} was looked at again")

    monkeypatch.setattr(study, "point", stood_in)
    study.run(("hbm",), tmp_path, workers=1)
    monkeypatch.setattr(domain_claims, "point", never)
    monkeypatch.setattr(domain_claims, "_STUDY", {})
    (verdict,) = claims.run_claims(["hbm-more-is-better"], study=tmp_path)
    assert verdict.frame["bandwidth_x4"].tolist() == pytest.approx([0.3] * 2)
    domain_claims.cached_point.cache_clear()
    with pytest.raises(InvalidInput, match="holds no study"):
        claims.run_claims(["hbm-more-is-better"], study=tmp_path / "elsewhere")
    manifest = tmp_path / "points" / "sweep.json"
    for text, reason in (
        ('{"salt": "old"}', "another version"),
        ("[]", "another"),
        ("", "no JSON"),
    ):
        manifest.write_text(text, encoding="utf-8")
        with pytest.raises(InvalidInput, match=reason):
            claims.run_claims(["hbm-more-is-better"], study=tmp_path)


def stood_in(flat):
    shares = {f"{axis}_share": 0.0 for axis in ("tp", "cp", "ep", "pp", "dp")}
    speed = 100.0 + 10.0 * (flat["hbm_bandwidth"] - 1.0)
    return {"tokens_per_s_per_gpu": speed, "hbm_bandwidth_utilisation": 0.2, **shares}


def test_farther_pods_take_modules_that_reach_and_that_draw_and_cost_no_less():
    found = [modules(metres) for metres in (4e3, 10e3, 50e3, 100e3, 240e3)]
    reach = load_catalog().media
    assert all(
        reach[row["medium"]].reach_m >= metres / 2
        for row, metres in zip(found, (4e3, 10e3, 50e3, 100e3, 240e3), strict=True)
    )
    for name in ("more_w_per_gpu", "more_usd_per_gpu"):
        told = [row[name] for row in found]
        assert told == sorted(told)
    assert found[-1]["medium"] == "zr-400g"
    with pytest.raises(InvalidInput, match="no medium"):
        modules(1e6)


def test_rack_of_72_is_counted_as_published(verdicts):
    verdict = verdicts["nvl72-structure"]
    assert verdict.verdict == "supported"
    counted = dict(zip(verdict.frame["what"], verdict.frame["counted"], strict=True))
    assert counted["NVLinks"] == 1296
    assert counted["copper pairs"] == 5184


# NVIDIA's own figure for what optics would have drawn in the rack is 20 kW.
def test_copper_saves_about_twenty_kilowatts(verdicts):
    verdict = verdicts["copper-returns"]
    assert 16 <= verdict.low < verdict.value < verdict.high <= 21  # 25 to 30 W a module of 1.6T
    assert verdict.high == pytest.approx(19.44, abs=0.05)  # 648 modules of 30 W
    watts = verdict.frame.set_index("medium")["watts"]
    assert watts["copper"] < watts["cpo"] < watts["lpo"] < watts["pluggable"]


def test_cut_links_cost_most_where_tensor_parallelism_crosses_them(verdicts):
    lost = verdicts["a800-links"].frame.set_index("tp")["lost"]
    assert lost.loc[8] > 10 * lost.loc[1] > 0
    assert lost.loc[8] < 0.33


def test_verdicts_are_plain_json(verdicts):
    for verdict in verdicts.values():
        again = json.loads(json.dumps(verdict.to_dict(), allow_nan=False))
        assert again["verdict"] == verdict.verdict
        json.dumps(verdict.rows(), allow_nan=False)


def test_frame_has_one_row_per_claim(verdicts):
    frame = claims.claims_frame(verdicts=list(verdicts.values()))
    assert frame["id"].tolist() == list(CHEAP)


def test_unknown_claim_is_refused_with_the_nearest_before_anything_runs():
    with pytest.raises(UnknownName, match="nvl-sizes"):
        claims.run_claims(["nvl-size"])


def test_progress_is_told_from_none_to_all():
    seen = []
    claims.run_claims(["a800-cluster-cost"], quick=True, progress=lambda *at: seen.append(at))
    assert seen == [(0, 1), (1, 1)]


@settings(max_examples=30, deadline=None)
@given(*(st.floats(1, 100) for _ in range(3)), st.floats(1, 100), st.floats(1, 100))
def test_verdict_is_refuted_only_where_bands_do_not_touch(a, b, c, d, e):
    low, value, high = sorted((a, b, c))
    least, most = sorted((d, e))
    touches = low <= most and high >= least
    assert (overlaps((value, low, high), least, most) == "refuted") == (not touches)


def test_ratio_on_one_accelerator_is_as_wide_as_what_is_exposed():
    shares = dict.fromkeys(["tp_share", "cp_share", "pp_share", "dp_share"], 0.0)
    still = {"tokens_per_s_per_gpu": 100.0, "ep_share": 0.0, **shares}
    busy = {"tokens_per_s_per_gpu": 80.0, "ep_share": 0.5, **shares}
    assert like_ratio(still, still) == (1.0, 1.0, 1.0)
    value, low, high = like_ratio(busy, still)
    assert value == pytest.approx(0.8)
    assert low == pytest.approx(0.8 / 1.15)
    assert high == pytest.approx(0.8 / 0.85)


# NVIDIA prints 1,106 and 864 TFLOP/s per GPU for DeepSeek-V3 and 23.1 and 34.7 s for Qwen3-235B.
def test_published_pairs_of_racks_and_nodes_come_out_in_order_and_size():
    rows = published_pairs()
    assert [row["published_tflops_per_gpu"] for row in rows[:2]] == [1106.0, 864.0]
    for row in rows:
        assert abs(row["off"]) < 0.15, row
        assert row["gpus"] == 256
    ratios = pair_ratios(rows)
    assert [theirs for _, _, theirs in ratios] == pytest.approx([1106 / 864, 1.504], rel=1e-3)
    for _, ours, theirs in ratios:
        assert ours > 1.1
        assert ours == pytest.approx(theirs, rel=0.12)
    assert "DeepSeekV3" in pair_words(rows)


def test_cut_links_of_the_a800_cost_where_tp_or_ep_crosses_them_and_hardly_elsewhere():
    frame = claims.run_claim("a800-links").frame
    crosses = (frame["tp"].fillna(1) > 1) | (frame["ep"] > 1)
    by_tp = frame[frame["ep"].isna()].groupby("tp")["lost"].mean()
    assert by_tp.index.tolist() == [1, 2, 4, 8]
    assert by_tp.is_monotonic_increasing
    assert 0.01 < by_tp[8] < 0.15  # most of tp's traffic is hidden
    assert by_tp[1] < 0.004
    assert frame["lost"][crosses].min() > 2 * by_tp[1]


def test_goodput_is_that_of_the_whole_machine():
    """A slice of 8,192 says nothing of a cluster that stops two hundred times as often."""
    shares = [goodput_of("gb200-nvl72", size) for size in (72, 8192, 1.58e6)]
    assert shares == sorted(shares, reverse=True)
    assert shares[1] > 0.9
    assert shares[2] < 0.1


@pytest.mark.parametrize("name", ["a800-links", "liquid-needed"])
def test_what_is_quick_says_so_and_repeats_as_printed(name, capsys):
    verdict = claims.run_claim(name, quick=True)
    assert verdict.commands[0] == f"rackmodel claims --quick --only {name}"
    assert verdict.words.endswith(f" Quickly: {claims.claim(name)['quickly']}.")
    assert "Quickly" not in claims.run_claim("nvl72-structure", quick=True).words
    for line in verdict.commands[1:]:
        with pytest.raises(SystemExit) as stop:
            app([*line.split()[1:], "--json"])
        assert stop.value.code in (0, None)
        told = json.loads(capsys.readouterr().out)
        found = verdict.frame[verdict.frame["command"] == line].iloc[0]
        ours = "step_a800_s" if name == "a800-links" else "heat_w"
        theirs = told["step_s"] if name == "a800-links" else max(r["heat_w"] for r in told["racks"])
        assert theirs == pytest.approx(found[ours], rel=1e-9)


def test_money_is_asked_of_racks_and_nodes_with_the_nics_that_serve_each_best():
    """A rack that is only cheaper does not support the claim, one that faster NICs beat neither."""
    from rackmodel.argument.verdicts import trends

    def row(domain, money, tokens):
        return {
            "domain": domain,
            "same money": money,
            "low": money - 0.01,
            "high": money + 0.01,
            "tokens/s [%]": tokens,
        }

    cells = [row(8, 1.0, 0.0), row(8, 1.2, 25.0), row(72, 1.3, 40.0), row(576, 2.0, 90.0)]
    money, tokens = trends.each_at_its_best(cells)
    assert money == pytest.approx((1.3 / 1.2, 1.29 / 1.19, 1.31 / 1.21))
    assert tokens == pytest.approx(0.12)


@pytest.mark.parametrize(
    ("machine", "work", "plan"),
    [
        ("gb200-nvl72", Work("mixtral-8x7b", 144, 288, 4096, "fp8-mx"), {"tp": 2, "ep": 8}),
        ("dgx-h100", Work("gpt-oss-20b", 32, 64, 4096), {"tp": 1, "ep": 16}),
        ("dgx-a100-80", Work("gpt3-13b", 16, 64, 2048), {"tp": 2, "pp": 2, "vpp": 2}),
        ("h100-100k", Work("megatron-1t", 12288, 1536, 4096), {"tp": 8, "pp": 16}),
    ],
)
def test_a_printed_line_runs_as_printed_and_gives_the_same_step(machine, work, plan, capsys):
    """The second one leaves its domains: it dispatches as DeepEP, which the line has to say.

    The last one runs some of its layers again, where `--recompute full` alone says all of them.
    """
    result = best_of(load_topology(machine), work, [plan])
    name, *words = simulate_line(result).split()
    assert name == "rackmodel"
    with pytest.raises(SystemExit) as stop:
        app([*words, "--json"])
    assert stop.value.code in (0, None)
    assert json.loads(capsys.readouterr().out)["step_s"] == pytest.approx(result.step_s, rel=1e-9)


def test_draws_are_as_wide_as_independent_errors_and_no_wider():
    band = (1.0, 0.8, 1.25)
    alone = drawn(lambda x: x, band)
    assert alone[1:] == pytest.approx(band[1:], rel=0.03)
    _, low, high = drawn(lambda x, y: x * y, band, band)
    assert math.log(high) == pytest.approx(math.sqrt(2) * math.log(1.25), rel=0.06)
    assert low > 0.8 * 0.8  # corners are not what 80% of draws reach
    same = drawn(lambda x: x / x, band)
    assert same == (1.0, 1.0, 1.0)  # a common error cancels


def test_a_wide_band_is_consistent_with_a_number_and_supports_none():
    assert overlaps((10.0, 8.0, 12.0), 11.0, 11.0) == "supported"
    assert overlaps((10.0, 7.0, 12.0), 11.0, 11.0) == "consistent"
    assert overlaps((10.0, 7.0, 12.0), 13.0, 13.0) == "refuted"


def test_quick_runs_of_gpt5_keep_both_ends_and_interleave():
    """A plain pipeline on the smaller end alone answered otherwise."""
    quick = claims.run_claim("gpt5-run", quick=True)
    assert quick.frame["model"].tolist() == ["moe-8.8t", "moe-17.6t"]
    assert all("--vpp 2" in command for command in quick.frame["command"])
    assert quick.words.endswith("Quickly: a sixteenth of each cluster is simulated.")


def test_a_quick_look_at_tpus_tries_all_plans(monkeypatch):
    """Two of five left out what pods run best, and answered otherwise."""
    tried = []

    def first(machine, work, plans):
        tried.append(plans)
        return best_of(machine, work, [{"tp": 4, "sharding": "zero3"}])

    monkeypatch.setattr(claims.rivals, "best_of", first)
    claims.run_claim("tpu-alternative", quick=True)
    assert tried == [claims.rivals._TPU_PLANS] * 2
