"""Answers of the study say what the frames hold, with the right winner and the right figure."""

from __future__ import annotations

import pytest
from study_frames import frames

from rackmodel.argument.answers import answers, equal_rate, markdown
from rackmodel.argument.trade_offs import iso_cost, with_gains


@pytest.fixture(scope="module")
def found():
    return {answer.name: answer for answer in answers(frames())}


def test_every_frame_has_an_answer(found):
    assert set(found) == {
        "stops",
        "doubling",
        "wins",
        "memory",
        "fabric",
        "ecmp",
        "wires",
        "media",
        "settings",
        "budget",
        "generations",
        "distance",
        "strong",
        "sequence",
        "giant",
        "missing",
    }
    for answer in found.values():
        assert answer.sentences
        assert answer.rows
        assert answer.question.endswith("?")


def test_the_domain_stops_paying_where_a_step_gains_less_than_two_percent(found):
    moe, dense = found["stops"].sentences
    assert "leads to 72" in moe
    assert "+31%" in moe  # 1312 over 1000
    assert "no step gains over 2%" in dense


def test_a_doubling_is_compared_with_the_nics_that_gain_as_much(found):
    rows = {(row["model"], row["from"]): row for row in found["doubling"].rows}
    small = rows["deepseek-v3", 8]
    assert small["gain of the domain [%]"] == pytest.approx(10)
    # Between 800 Gb/s (+5%) and 1,600 Gb/s (+20%): a third of the way in the logarithm.
    assert small["as good as NICs of [Gb/s]"] == pytest.approx(800 * 2 ** (1 / 3))
    assert small["worth [$ per accelerator]"] == pytest.approx(6000)
    assert small["worth [W per accelerator]"] == pytest.approx(180)


def test_the_winner_is_what_gains_more_and_enough(found):
    wins = {(row["model"], row["from"]): row["wins"] for row in found["wins"].rows}
    assert wins == {
        ("deepseek-v3", 8): "scale-up",
        ("deepseek-v3", 72): "scale-out",
        ("llama3.1-405b", 8): "scale-out",
        ("llama3.1-405b", 72): "scale-out",
    }


def test_misfits_are_left_out_and_said(found):
    assert "half does not fit" in found["memory"].sentences[0]
    assert all(row["times"] != 0.5 for row in found["memory"].rows)


def test_losses_are_told_against_the_first_row(found):
    (fabric,) = found["fabric"].sentences
    assert "4 -30%" in fabric
    (hashed,) = found["ecmp"].sentences
    assert "ecmp 1 -20%" in hashed


def test_equal_rate_beyond_the_fastest_is_infinite():
    rates = {400: {"tokens_per_s_per_gpu": 1.0}, 800: {"tokens_per_s_per_gpu": 1.1}}
    assert equal_rate(rates, 0.5) == float("inf")
    assert equal_rate(rates, 0.0) == 400


def test_markdown_has_a_table_for_every_answer(found):
    text = markdown(frames())
    assert text.count("\n## ") == len(found)
    for answer in found.values():
        assert f"## {answer.question}" in text
    assert "nan" not in text


def test_quick_frames_answer_the_first_question():
    quick = frames()["nics"].query("model == 'deepseek-v3'")
    (only,) = answers({"quick": quick})
    assert only.name == "stops"


def test_a_setting_that_flips_a_verdict_is_named(found):
    moe, dense = found["settings"].sentences
    assert "+30%" in moe
    # The frame of sequences has the same speed in both domains, which turns one verdict only.
    assert "the verdict changes: does not gain: sequences of 4,096, sequences of 16,384" in moe
    assert "all of them: does not gain" in dense
    tried = {row["setting"] for row in found["settings"].rows}
    assert {"bf16", "20 km", "experts of all groups", "18.9 M tokens a step"} <= tried


def test_the_same_money_buys_fewer_of_what_is_dearer():
    frame = frames()["budget"]
    cells = {(row["model"], row["domain"], row["Gb/s"]): row for row in iso_cost(frame)}
    assert cells["deepseek-v3", 8, 400]["same money"] == pytest.approx(1.0)
    # $ per token is 200 over the speed in every row: an hour costs the same whatever it gives.
    assert cells["deepseek-v3", 72, 400]["same money"] == pytest.approx(1.3)
    dearer = frame.assign(usd_per_mtoken=frame["usd_per_mtoken"] * (1 + (frame["domain"] == 72)))
    cells = {(row["model"], row["domain"], row["Gb/s"]): row for row in iso_cost(dearer)}
    assert cells["deepseek-v3", 72, 400]["same money"] == pytest.approx(0.65)
    # Fewer accelerators on the same batch are quicker each: half of them lose less than half.
    scarce = {(r["model"], r["domain"], r["Gb/s"]): r for r in iso_cost(dearer, {72: -0.2})}
    assert scarce["deepseek-v3", 72, 400]["same money"] == pytest.approx(1.3 * 0.5**0.8)


def test_points_without_figures_are_told_with_the_reason():
    both = frames()
    both["hbm"].loc[both["hbm"]["status"] == "infeasible", "reason"] = "needs 200 GB"
    (found,) = [one for one in answers(both) if one.name == "missing"]
    assert found.rows == (
        {"of": "hbm", "point": "hbm_bandwidth 1, hbm_capacity 0.5", "why": "needs 200 GB"},
    )
    whole = {name: frame[frame["status"] == "done"] for name, frame in both.items()}
    assert "missing" not in {one.name for one in answers(whole)}


def test_a_cell_that_is_not_looked_at_stands_in_the_table():
    both = frames()["generations"].query("accelerator == 'gb200'")
    both = both.assign(model="llama3.1-405b")
    (found,) = [one for one in answers({"generations": both}) if one.name == "generations"]
    assert [row["gain"] for row in found.rows][-1] == "not run"
    assert "llama3.1-405b on a100-80 was not run" in found.sentences[-1]
    assert "–" in markdown({"generations": both})
    assert len(with_gains({"generations": both})["generation_gains"]) == 1
