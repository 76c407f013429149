"""Filters: what they keep, and that nothing else than a comparison gets through."""

import contextlib

import pytest
from hypothesis import given, settings, strategies as st

from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.sweeps.filters import parse_filter

NAMES = ["tp", "pp", "gpus", "schedule", "x", "set.accelerators.gb200.hbm_bytes"]
JOB = {"tp": 8, "pp": 4, "gpus": 64, "schedule": "1f1b", "x": 0.5, NAMES[5]: 2}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("tp * pp <= gpus", True),
        ("tp * pp == 32 and schedule == '1f1b'", True),
        ("not tp == 8 or pp > 100", False),
        ("1 < pp < tp", True),
        ("1 < pp < 4", False),
        ("gpus % (tp * pp) == 0", True),
        ("gpus // 60 == 1", True),
        ("gpus / 60 == 1", False),
        ("tp - pp - 1 == 3", True),
        ("-tp + 9 == 1", True),
        ("schedule in ['gpipe', '1f1b']", True),
        ("schedule not in ['gpipe', '1f1b']", False),
        ("tp in [1, 2] or tp in [4, pp * 2]", True),
        ("x == .5e0 and true", True),
        ("set.accelerators.gb200.hbm_bytes == 2", True),
    ],
)
def test_filter_keeps_what_the_comparison_says(text, kept):
    assert parse_filter(text, NAMES).keeps(JOB) is kept


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tp",
        "tp = 8",
        "tp <",
        "(tp < 8",
        "tp < 8)",
        "[tp",
        "tp and",
        "tp < 8 pp",
        "'a",
        "tp ** 2 < 1",
        "__import__('os')",
        "tp.__class__",
        "tp < 8; pp",
        "f(tp) < 1",
        "tp not 8",
        "lambda: 0",
        "not",
        "(" * 60 + "1 < 2" + ")" * 60,
        "tp < 1 or " * 200,
        "{tp}",
        "tp[0] < 1",
        "not " * 99 + "true",
    ],
)
def test_what_is_no_comparison_is_refused_with_its_place(text):
    with pytest.raises(InvalidInput, match=r"^f.toml: filters\[0\]"):
        parse_filter(text, NAMES, where="f.toml: filters[0]").keeps(JOB)


@pytest.mark.parametrize(
    "text", ["tp < schedule", "tp / 0 > 1", "schedule * 2 < 3", "tp in 8", "tp < [1]"]
)
def test_a_comparison_without_sense_names_the_values(text):
    with pytest.raises(InvalidInput, match="can't be worked out for"):
        parse_filter(text, NAMES).keeps(JOB)


def test_an_unknown_name_gets_the_nearest_one():
    with pytest.raises(UnknownName, match="did you mean 'gpus'"):
        parse_filter("gpu < 8", NAMES)


NUMBERS = st.integers(0, 50).map(str) | st.sampled_from(["tp", "pp", "gpus"])
SUMS = st.recursive(
    NUMBERS,
    lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(
        lambda t: f"({t[0]} {t[1]} {t[2]})"
    ),
    max_leaves=6,
)
COMPARISONS = st.tuples(SUMS, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), SUMS).map(
    " ".join
)
FILTERS = st.recursive(
    COMPARISONS,
    lambda inner: (
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(" ".join)
        | inner.map("not ({})".format)
    ),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(FILTERS)
def test_filters_agree_with_python(text):
    wanted = eval(
        text, {"__builtins__": {}}, dict(JOB)
    )  # the text is made of numbers and names only
    assert parse_filter(text, NAMES).keeps(JOB) == wanted


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60) | st.text("tp<>=()[]'andorti 0189.*+-/%,", max_size=60))
def test_any_text_is_a_filter_or_invalid_input(text):
    with contextlib.suppress(InvalidInput):
        parse_filter(text, NAMES).keeps(JOB)
