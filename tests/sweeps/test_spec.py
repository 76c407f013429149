"""SPEC.toml: the jobs that it spreads into, and what a bad one is told."""

import math

import pytest
from hypothesis import given, settings, strategies as st

from rackmodel.errors import InvalidInput, RackModelError, UnknownName
from rackmodel.sweeps.spec import read_spec

FIELDS = {"tp": "int", "pp": "int", "gpus": "int", "model": "str", "x": "float", "fast": "bool"}

SPEC = """
filters = ["tp * pp <= gpus"]
[base]
model = "gpt3-175b"
[base.plan]
fast = true
[axes]
tp = [1, 8]
x = {from = 1, to = 8, times = 2}
[axes.set]
"accelerators.gb200.hbm_bytes_per_s" = ["8 TB/s", "16 TB/s"]
[[zips]]
gpus = [8, 16]
pp = [2, 2]
"""


def test_axes_ranges_zips_and_filters_spread_in_a_fixed_order(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(SPEC)
    jobs = list(read_spec(path, FIELDS).jobs())
    assert len(jobs) == 2 * 4 * 2 * 2 - 4 * 2
    assert jobs[0] == {
        "model": "gpt3-175b",
        "fast": True,
        "tp": 1,
        "x": 1.0,
        "set.accelerators.gb200.hbm_bytes_per_s": "8 TB/s",
        "gpus": 8,
        "pp": 2,
    }
    assert [job["x"] for job in jobs if job["tp"] == 8] == [1, 1, 2, 2, 4, 4, 8, 8]
    assert isinstance(jobs[0]["x"], float)
    assert all(job["gpus"] == 16 for job in jobs if job["tp"] == 8)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[base", "not valid TOML"),
        ("[bases]\ntp = 1", "did you mean 'base'"),
        ("base = 3", "base = 3 has to be a table"),
        ("[base]\nttp = 1", r"base.ttp: no field of a job 'ttp'; did you mean 'tp'"),
        ("[base]\ntp = 1.5", "base.tp = 1.5 has to be a whole number"),
        ("[base]\ntp = true", "base.tp = True has to be a whole number"),
        ("[base]\ntp = 0", "base.tp = 0 has to be 1 or more"),
        ("[base]\nx = nan", "base.x = nan has to be a finite number"),
        ("[base]\nx = 1e300", "base.x = 1e\\+300 is beyond"),
        ("[base]\nmodel = ' '", "base.model"),
        ("[axes]\ntp = 8", r"axes.tp = 8 has to be a list or a range"),
        ("[axes]\ntp = []", "axes.tp is an empty list"),
        ("[axes]\ntp = [1, 'x']", r"axes.tp\[1\] = 'x' has to be a whole number"),
        ("[axes]\ntp = [1, [2]]", r"axes.tp\[1\]"),
        ("[axes]\ntp = {from = 1, to = 8}", "needs from, to and one of step"),
        ("[axes]\ntp = {from = 1, to = 8, step = 0}", "never arrives"),
        ("[axes]\ntp = {from = 1, to = 8, times = 1}", "never arrives"),
        ("[axes]\ntp = {from = 1, to = 8, stride = 1}", "part of a range 'stride'"),
        ("[axes]\ntp = {from = 1, to = 1e14, step = 1}", "enlarge the step"),
        ("[axes]\ntp = {from = 1, to = nan, step = 1}", "axes.tp.to = nan"),
        ("[base]\ntp = 1\n[axes]\ntp = [1]", "tp stands in base and again"),
        ("zips = [{tp = [1, 2], pp = [1]}]", r"zips\[0\] walks columns of unlike length"),
        ("zips = 3", "zips has to be a list"),
        ("filters = 'tp < 8'\n[axes]\ntp = [1]", "filters = 'tp < 8' has to be a list"),
        ("filters = ['pp < 8']\n[axes]\ntp = [1]", r"filters\[0\].*no name 'pp'"),
        ("", "is empty"),
        ("[base]", "holds no job"),
        ("title = 3", "title"),
    ],
)
def test_a_bad_spec_is_told_file_key_value_and_remedy(tmp_path, text, told):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=told) as caught:
        read_spec(path, FIELDS)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value) or "TOML" in told


def test_files_that_are_none_are_refused(tmp_path):
    binary = tmp_path / "b.toml"
    binary.write_bytes(b"\xff\xfe")
    for path, told in [
        (tmp_path / "no.toml", "no such file"),
        (tmp_path, "is a directory"),
        (binary, "UTF-8"),
    ]:
        with pytest.raises(InvalidInput, match=told):
            read_spec(path, FIELDS)


def test_too_many_jobs_are_refused_before_they_are_spread():
    axes = {name: {"from": 1, "to": 2000, "step": 1} for name in ("tp", "pp", "gpus")}
    with pytest.raises(InvalidInput, match="8,000,000,000 jobs"):
        read_spec({"axes": axes}, FIELDS)


def test_a_value_is_checked_once_and_where_it_stands():
    asked = []

    def check(name, value):
        asked.append((name, value))
        if value == "gpt5":
            raise UnknownName.among("model", "gpt5", ["gpt3"])

    read_spec({"axes": {"tp": [1, 2], "model": ["a", "a"]}}, FIELDS, check=check)
    assert asked == [("tp", 1), ("tp", 2), ("model", "a")]
    with pytest.raises(InvalidInput, match=r"axes.model\[1\] = 'gpt5': .*did you mean 'gpt3'"):
        read_spec({"axes": {"model": ["a", "gpt5"]}}, FIELDS, check=check)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*FIELDS, "from", "to", "step", "times", "set", "plan"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["base", "axes", "zips", "filters", "title", "else"]), TREES, max_size=4
    )
)
def test_any_content_is_a_spec_or_a_clear_error(content):
    try:
        spec = read_spec(content, FIELDS)
    except RackModelError as error:
        told = str(error)
        spec = None
    if spec is None:
        assert told.startswith("spec")
        return
    if spec.combinations < 1000:
        for job in spec.jobs():
            assert all(not isinstance(v, float) or math.isfinite(v) for v in job.values())


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 10**6), st.integers(1, 300), st.integers(1, 1000))
def test_a_range_has_both_ends_and_every_step(first, count, step):
    last = first + (count - 1) * step
    spec = read_spec({"axes": {"tp": {"from": first, "to": last, "step": step}}}, FIELDS)
    assert [job["tp"] for job in spec.jobs()] == list(range(first, last + 1, step))
