"""A user's own values: overrides, files, and what is refused."""

import pytest

from rackmodel.errors import InvalidInput, RackModelError, UnknownName
from rackmodel.hardware import catalog_rows, describe, load_catalog


def test_an_override_changes_one_value_and_says_so():
    found = load_catalog(overrides={"accelerators.gb200.hbm_bytes_per_s": "10 TB/s"})
    part, shipped = found.accelerators["gb200"], load_catalog().accelerators["gb200"]
    assert part.hbm_bytes_per_s == 10e12
    assert part.provenance["hbm_bytes_per_s"].grade == "override"
    assert part.hbm_bytes == shipped.hbm_bytes
    assert shipped.hbm_bytes_per_s == 8e12  # the cached catalog is untouched


@pytest.mark.parametrize(
    ("key", "value", "read", "expected"),
    [
        ("accelerators.gb200.flops_per_s.bf16", "2.25 PFLOP/s", "flops_per_s", {"bf16": 2.25e15}),
        ("accelerators.gb200.power_w", 1000, "power_w", 1000.0),
        ("accelerators.gb200.power.idle_w", "120 W", "idle_w", 120.0),
        ("accelerators.gb200.compute_units", "152", "compute_units", 152),
        ("accelerators.gb200.scale_up_link", "nvlink6", "scale_up_link", "nvlink6"),
        ("accelerators.gb200.title", "2nd source", "title", "2nd source"),
        (
            "accelerators.gb200.scale_up_bytes_per_s",
            "3.6 TB/s bidirectional",
            "scale_up_bytes_per_s",
            1.8e12,
        ),
    ],
)
def test_overrides_of_every_kind_of_field(key, value, read, expected):
    found = getattr(load_catalog(overrides={key: value}).accelerators["gb200"], read)
    if isinstance(expected, dict):
        assert expected.items() <= found.items()
    else:
        assert found == expected
        assert type(found) is type(expected)


def test_overrides_may_be_nested_and_bounded():
    found = load_catalog(
        overrides={
            "accelerators": {"h100": {"flops_per_s": {"fp8": "1.5 PFLOP/s"}}},
            "switches.quantum2.in_network_reduction": "false",
            "media.pluggable.usd_per_end": {"low": 100, "mid": 200, "high": 400},
        }
    )
    assert found.accelerators["h100"].flops_per_s["fp8"] == 1.5e15
    assert found.switches["quantum2"].in_network_reduction is False
    assert found.media["pluggable"].provenance["usd_per_end"].high == 400


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("accelerator.gb200.power_w", 1, "did you mean 'accelerators'"),
        ("accelerators.gb20.power_w", 1, "did you mean 'gb200'"),
        ("accelerators.gb200.hbm_byte", 1, "did you mean 'hbm_bytes'"),
        ("accelerators.gb200", 1, "names no field"),
        ("accelerators.gb200.flops_per_s.fp7", "1 PFLOP/s", "number format"),
        ("accelerators.gb200.flops_per_s", "1 PFLOP/s", "field"),
        ("accelerators.gb200.hbm_bytes_per_s", "10 TB", "which is a size"),
        ("accelerators.gb200.hbm_bytes_per_s", "nan", "finite"),
        ("accelerators.gb200.hbm_bytes", 0, "above zero"),
        ("accelerators.h100.power.cap_window_s", 0, "above zero"),
        ("accelerators.gb200.compute_units", 1.5, "whole number"),
        ("accelerators.gb200.power.gemm_eta.bf16", 1.2, "between 0 and 1"),
        ("accelerators.gb200.scale_up_link", "nvlink55", "did you mean 'nvlink5'"),
        ("links.nvlink5.payload_efficiency", "120%", "between 0 and 1"),
        ("switches.quantum2.in_network_reduction", "perhaps", "true or false"),
        ("", 1, "kind of part"),
        ("accelerators..power_w", 1, "no part"),
    ],
)
def test_bad_overrides_are_refused_in_one_line(key, value, says):
    with pytest.raises(InvalidInput, match=says) as caught:
        load_catalog(overrides={key: value})
    assert "\n" not in str(caught.value)


def test_a_file_adds_parts_and_replaces_values(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        """
        [accelerators.gb200]
        hbm_bytes = "192 GB"
        [accelerators.dream]
        like = "gb200"
        title = "Dream"
        flops_per_s = {nvfp4 = {value = "40 PFLOP/s", source = "press", grade = "assumed"}}
        [links.wire]
        kind = "ethernet"
        bytes_per_s = "1.6 Tb/s"
        latency_s = "1 us"
        payload_efficiency = 0.9
        always_on = 1.0
        [chassis.box]
        fan_w = {low = "1 kW", mid = "1.2 kW", high = "2 kW"}
        cooling = "air"
        [chassis.box.liquid_share]
        gpu = 0.98
        """
    )
    found = load_catalog(files=[file])
    assert found.accelerators["gb200"].hbm_bytes == 192e9
    assert found.accelerators["gb200"].power_w == 1200
    dream = found.accelerators["dream"]
    assert dream.title == "Dream"
    assert dream.flops_per_s["nvfp4"] == 40e15
    assert dream.flops_per_s["bf16"] == 2.5e15
    assert dream.provenance["flops_per_s.nvfp4"].source == "press"
    assert found.links["wire"].bytes_per_s == 200e9
    box = found.chassis["box"]
    assert (box["fan_w"].low, box["fan_w"].value, box["fan_w"].high) == (1000, 1200, 2000)
    assert box["cooling"].text == "air"
    assert box["liquid_share.gpu"].value == 0.98
    assert box["fan_w"].source == "mine.toml"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[accelerators.gb200\n", "not valid TOML"),
        ("[accelerator.gb200]\npower_w = 1\n", "did you mean 'accelerators'"),
        ("accelerators = 3\n", "expected tables"),
        ("[accelerators]\ngb200 = 3\n", "expected a table"),
        ('[accelerators.gb200]\npower_w = "hot"\n', "gb200.power_w: expected a power"),
        ("[accelerators.gb200]\npower_w = nan\n", "not a number"),
        ("[accelerators.gb200]\npower_w = [1]\n", "expected a power"),
        ("[accelerators.gb200]\npower_w = 2020-01-01\n", "expected a power"),
        ("[accelerators.gb200]\npower = 3\n", "field"),
        ("[accelerators.gb200]\nhbm_size = 3\n", "field"),
        ("[accelerators.gb200]\npower_w = {value = 3, lower = 1}\n", "did you mean 'low'"),
        ("[accelerators.gb200]\npower_w = {low = 3}\n", "no value"),
        ("[accelerators.gb200]\npower_w = {value = 3, low = 5}\n", "low <= value <= high"),
        ('[accelerators.gb200]\ngrade = "sure"\npower_w = 3\n', "grade"),
        ('[accelerators.new]\nhbm_bytes = "1 GB"\n', "lacks"),
        ('[accelerators.new]\nlike = "gb2"\n', "gb200"),
        ("[chassis.x.a.b.c.d.e.f]\ng = 1\n", "nested too deeply"),
        ("[chassis.'a.b']\ng_w = 1\n", "no dot"),
        ("[chassis.x]\ng_w = " + "9" * 5000 + "\n", "not valid TOML|too large"),
        ("a = " + "[" * 5000, "nested too deeply|not valid TOML"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path, text, says):
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=says) as caught:
        load_catalog(files=[file])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(file))


def test_missing_and_binary_files_are_refused(tmp_path):
    with pytest.raises(InvalidInput, match="no such file"):
        load_catalog(files=[tmp_path / "none.toml"])
    with pytest.raises(InvalidInput, match="is a directory"):
        load_catalog(files=[tmp_path])
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match="not text"):
        load_catalog(files=[binary])


def test_describe_shows_values_with_units_and_sources():
    facts = {fact.field: fact for fact in describe("gb200")}
    assert facts["hbm_bytes"].value == "199.7 GB"  # 186 GiB
    assert facts["flops_per_s.bf16"].value == "2.5 PFLOP/s"
    assert facts["scale_up_bytes_per_s"].value == "900 GB/s"
    assert facts["hbm_bytes_per_s"].grade == "datasheet"
    assert "NVTABLE" in facts["hbm_bytes_per_s"].source
    assert facts["year"].value == "2024"
    assert " to " in facts["power.idle_w"].value  # bounds are shown
    assert {fact.field for fact in describe("switches.quantum2")} >= {"radix", "usd"}
    with pytest.raises(UnknownName, match="gb200"):
        describe("gb2000")


def test_rows_list_every_part_announced_ones_too():
    rows = {row["name"]: row for row in catalog_rows("accelerators")}
    assert rows["gb200"]["hbm_bytes"] == 186 * 2**30
    assert rows["feynman"]["hbm_bytes"] is None
    for kind in ("links", "switches", "media"):
        rows_of_kind = catalog_rows(kind)
        assert len(rows_of_kind) == len(load_catalog().tables[kind])
        assert all(row["kind"] for row in rows_of_kind)
    with pytest.raises(RackModelError, match="links"):
        catalog_rows("link")
