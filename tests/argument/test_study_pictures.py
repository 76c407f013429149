"""Pictures of the study, and the page that holds it: drawn from frames, nothing cut off."""

from __future__ import annotations

import pandas as pd
import pytest
from matplotlib.figure import Figure
from study_frames import frames, row

from rackmodel.argument.titles import titles
from rackmodel.argument.trade_offs import with_gains
from rackmodel.errors import InvalidInput
from rackmodel.reporting.html import page
from rackmodel.reporting.scale_up import PICTURES, pictures
from rackmodel.verbs.page_extras import study_parts

RESULT = {
    "topology": "gb200-nvl72",
    "accelerator": "gb200",
    "model": "m",
    "gpus": 8,
    "global_batch": 8,
    "seq_len": 8,
    "precision": "bf16",
    "step_s": 1.0,
    "tokens_per_s_per_gpu": 64.0,
    "mfu": 0.4,
    "bound_by": "compute",
    "breakdown_s": {"compute": 1.0},
}


@pytest.fixture(scope="module")
def drawn():
    whole = with_gains(frames())
    return {name: ax for name, ax, _ in pictures(whole, titles(whole))}


def test_every_picture_is_drawn_when_its_frame_is_there(drawn):
    assert set(drawn) == set(PICTURES)
    assert list(pictures({}, titles({}))) == []


def test_titles_say_what_was_found(drawn):
    told = {name: ax.get_title(loc="left").replace("\n", " ") for name, ax in drawn.items()}
    assert told["domain"].startswith(
        "72 over 8: 0% (llama3.1-405b) to +30% (deepseek-v3); 576 over 72: 0% (llama3.1-405b)"
    )
    assert told["nics"].startswith("NICs of 1,600 over 400 Gb/s: deepseek-v3 +20% in 8, +20% in 72")
    assert (
        told["generations"] == "Nine times the domain: deepseek-v3 +5.0% (a100-80) to +30% (gb200)"
    )
    assert told["sequence"] == ("72 over 8, tokens a sequence: deepseek-v3 0%; llama3.1-405b 0%")
    assert (
        told["domain-cost"]
        == "Tokens are cheapest at 576: deepseek-v3 -24%; any domain: llama3.1-405b"
    )
    assert "llama3.1-405b" in told["budget-llama3.1-405b"]
    assert "over 8 with 400" in told["budget-llama3.1-405b"]
    # thinned to 2:1 and 4:1 the same tier draws less than the least at 1:1
    assert told["media"].startswith("Upper tiers at 1:1 draw least with ")


def test_generations_are_named_and_not_joined(drawn):
    """They are no series in the FLOP for a byte: A100 has fewer than V100 before it."""
    ax = drawn["generations"]
    assert {line.get_linestyle() for line in ax.lines} == {"None"}
    points = [(x, y) for line in ax.lines for x, y in line.get_xydata()]
    named = {text.xy: text.get_text() for text in ax.texts}
    assert set(named) == set(points)
    assert set(named.values()) == {"a100-80", "gb200"}


def test_a_gain_whose_band_holds_zero_is_not_told():
    both = frames()
    one = both["domain"].query("model == 'deepseek-v3' and domain <= 72").copy()
    one.loc[one["domain"] == 8, "ep_share"] = 0.4  # with 30% less of it nodes would be the quicker
    one.loc[one["domain"] == 72, "tokens_per_s_per_gpu"] = 1050.0
    assert titles({"domain": one})["domain"] == "72 over 8: can't be told apart (deepseek-v3)"


def test_a_title_is_not_broken_between_a_word_and_its_number():
    """The five models of the study, of which a title has the least and the most."""
    speeds = {"kimi-k2": 1470, "deepseek-v3": 1360, "gpt4-moe-1.8t": 1170, "llama3-70b": 1021}
    rows = [row(m, v, domain=d) for m, most in speeds.items() for d, v in ((8, 1000), (72, most))]
    frame = {"domain": pd.DataFrame(rows)}
    told = titles(frame)
    assert told["domain"] == "72 over 8: +2.1% (llama3-70b) to +47% (kimi-k2)"
    for width in (5.6, 7.0):
        for name, ax, _ in pictures(frame, told, (width, 4.2)):
            lines = ax.get_title(loc="left").split("\n")
            assert " ".join(lines) == told[name]
            assert all(line[0].isalpha() or line[0].isdigit() for line in lines)
            assert not any(line[0] in "+-(0123456789" for line in lines[1:])


@pytest.mark.parametrize("name", PICTURES)
def test_axes_have_labels_with_units_and_the_title_fits(drawn, name):
    ax = drawn[name]
    figure = ax.figure
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()
    assert ax.get_ylabel()
    assert ax.get_title(loc="left")
    for text in (ax._left_title, ax.xaxis.label, ax.yaxis.label):
        box = text.get_window_extent()
        assert box.x1 < figure.bbox.x1 + 1
        assert box.y1 < figure.bbox.y1 + 1


def test_page_holds_questions_answers_and_pictures(tmp_path):
    for name, frame in frames().items():
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    text = page({"rows": [RESULT], **study_parts(tmp_path)})
    for words in ("Where does the domain stop paying?", "When does scale-out win?"):
        assert words in text
    assert text.count("study-figure-") == len(PICTURES)


def test_folder_without_a_study_is_refused_with_the_command(tmp_path):
    with pytest.raises(InvalidInput, match=r"rackmodel study"):
        study_parts(tmp_path)
    (tmp_path / "domain.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InvalidInput, match="no column"):
        study_parts(tmp_path)
