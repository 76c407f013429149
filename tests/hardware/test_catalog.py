"""The shipped catalog: complete, sourced, and consistent with itself."""

import subprocess
import sys

import pytest

from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.hardware import accelerator, load_catalog, sources
from rackmodel.hardware.build import FORMATS
from rackmodel.hardware.parts import GRADES

CATALOG = load_catalog()
PARTS = [
    (kind, name)
    for kind in ("accelerators", "links", "switches", "media")
    for name in CATALOG.tables[kind]
]
NAMES = [
    "v100",
    "a100-40",
    "a100-80",
    "a800-80",
    "h100",
    "h100-hbm2e-500w",
    "h800",
    "h20",
    "h200",
    "gh200-96",
    "gh200-141",
    "b200",
    "gb200",
    "b300",
    "b300-1100w",
    "b300-1400w",
    "gb300",
    "vr200",
    "rubin-hgx",
    "rubin-ultra",
    "mi250x",
    "mi250x-die",
    "mi300x",
    "mi325x",
    "mi350x",
    "mi355x",
    "mi455x",
    "mi455x-dense",
    "tpu-v4",
    "tpu-v5e",
    "tpu-v5p",
    "tpu-v6e",
    "tpu-v7x",
    "gaudi2",
    "gaudi3",
    "trainium1",
    "trainium2",
    "trainium3",
    "ascend-910b",
    "ascend-910c",
    "ascend-950dt",
]


def test_every_accelerator_of_the_field_is_there():
    assert set(NAMES) == set(CATALOG.accelerators)
    assert set(CATALOG.incomplete) == {"feynman"}


@pytest.mark.parametrize(("kind", "name"), PARTS, ids=lambda part: part)
def test_every_value_has_a_known_source_and_a_grade(kind, name):
    for field, quantity in CATALOG.tables[kind][name].items():
        assert quantity.grade in GRADES, field
        keys = quantity.source.split()
        assert set(keys) <= set(sources()), field
        described = field in (
            "title",
            "vendor",
            "family",
            "status",
            "kind",
            "year",
            "chips",
            "note",
        )
        assert keys or described, field
        if keys == ["UNVERIFIED"]:
            assert quantity.grade == "assumed", field


@pytest.mark.parametrize("kind", ["chassis", "prices"])
def test_chassis_and_prices_name_known_sources(kind):
    for name, table in CATALOG.tables[kind].items():
        for field, quantity in table.items():
            assert set(quantity.source.split()) <= set(sources()), f"{name}.{field}"


@pytest.mark.parametrize("name", [n for n in NAMES if n != "trainium2"])
def test_links_times_rate_is_the_scale_up_bandwidth(name):
    part = accelerator(name)
    rate = CATALOG.links[part.scale_up_link].bytes_per_s
    assert part.scale_up_links * rate == pytest.approx(part.scale_up_bytes_per_s)


def test_trainium2_has_links_of_two_rates():
    inside, cross = (
        CATALOG.links["neuronlink3"].bytes_per_s,
        CATALOG.links["neuronlink3-cross"].bytes_per_s,
    )
    assert 4 * inside + 2 * cross == accelerator("trainium2").scale_up_bytes_per_s


@pytest.mark.parametrize("name", NAMES)
def test_an_accelerator_is_physically_sensible(name):
    part = accelerator(name)
    assert part.flops_per_s
    assert set(part.flops_per_s) <= set(FORMATS)
    assert set(part.power.e_flop_j) == set(part.flops_per_s) == set(part.power.gemm_eta)
    assert part.idle_w < part.power_w
    assert 1e9 < part.hbm_bytes < 2e12
    assert 5e11 < part.hbm_bytes_per_s < 5e13
    assert part.host_link in CATALOG.links
    assert part.provenance["hbm_bytes"].grade in GRADES
    # a junction at the cap on 30 C supply stays where silicon lives, with the best cooling
    assert set(part.thermal.r_k_per_w) == {"air", "cold-plate", "immersion"}
    best = min(part.thermal.r_k_per_w.values())
    assert 30 + best * part.power_w < 110


@pytest.mark.parametrize("name", NAMES)
def test_narrower_formats_are_never_slower_nor_dearer(name):
    part = accelerator(name)
    base = "bf16" if "bf16" in part.flops_per_s else "fp16"
    for narrow in ("fp8", "nvfp4"):
        if narrow in part.flops_per_s:
            assert part.flops_per_s[narrow] >= part.flops_per_s[base]
            assert part.power.e_flop_j[narrow] <= part.power.e_flop_j[base]
            base = narrow


@pytest.mark.parametrize("name", NAMES)
def test_some_clock_keeps_a_best_gemm_at_the_cap(name):
    part = accelerator(name)
    base = "bf16" if "bf16" in part.flops_per_s else "fp16"
    power = part.power
    full = power.gemm_eta[base] * part.flops_per_s[base] / power.peak_clock_ratio
    floor = power.voltage_floor
    half_clock = power.idle_w + floor**2 * (power.act_w + power.e_flop_j[base] * full) / 2
    assert half_clock < part.power_w, "throttles below half its clock"
    assert power.idle_w + power.act_w + power.e_flop_j[base] * full > 0.5 * part.power_w


@pytest.mark.parametrize("name", list(CATALOG.links))
def test_a_link_is_sensible(name):
    found = CATALOG.links[name]
    assert 0 < found.payload_efficiency <= 1
    assert 0 < found.latency_s < 1e-5
    assert 1e10 <= found.bytes_per_s <= 1e12


def test_capacity_of_switches_matches_what_is_sold_as_one_way():
    for name, terabits in [("quantum2", 25.6), ("nvswitch4", 28.8), ("tomahawk6", 102.4)]:
        chip = CATALOG.switches[name]
        assert chip.radix * chip.port_bytes_per_s * 8e-12 == pytest.approx(terabits)


def test_modules_draw_their_energy_per_bit_at_their_rate():
    for part in CATALOG.media.values():
        drawn = part.joule_per_bit_per_end * part.port_bytes_per_s * 8
        assert drawn == pytest.approx(part.watts_fixed, abs=0.05), part.name


def test_other_readings_of_a_part_differ_in_what_is_read():
    parts = CATALOG.accelerators
    limits = [parts[name].power_w for name in ("b300", "b300-1100w", "b300-1400w")]
    assert limits == [1000, 1100, 1400]
    low, high = (parts[name].flops_per_s for name in ("mi455x", "mi455x-dense"))
    assert low["bf16"] == high["bf16"]
    assert high["fp8"] == pytest.approx(2 * low["fp8"], rel=0.02)
    package, die = parts["mi250x"], parts["mi250x-die"]
    assert 2 * die.hbm_bytes == package.hbm_bytes
    assert 2 * die.flops_per_s["bf16"] == package.flops_per_s["bf16"]
    chip, rack = parts["rubin-hgx"], parts["vr200"]
    assert chip.hbm_bytes_per_s > rack.hbm_bytes_per_s
    assert chip.scale_up_bytes_per_s > rack.scale_up_bytes_per_s


def test_racks_cost_what_the_channel_asks():
    prices = CATALOG.prices
    for part, chassis, millions in (("gb200", "gb200-nvl72", 3.1), ("vr200", "vr200-nvl72", 7.8)):
        each, rest = (prices[name]["capex_usd"].value for name in (part, f"chassis-{chassis}"))
        assert 72 * each + rest == pytest.approx(millions * 1e6, rel=0.01)


def test_hbm_has_a_price_by_generation():
    rates = {
        name: CATALOG.prices[name]["usd_per_tb_s"] for name in ("hbm2e", "hbm3", "hbm3e", "hbm4")
    }
    assert all(one.low <= one.value <= one.high for one in rates.values())


def test_copper_fails_less_often_than_optics():
    assert CATALOG.media["copper"].failures_per_hour < CATALOG.media["pluggable"].failures_per_hour


def test_price_per_gbps_of_a_module():
    assert CATALOG.media["pluggable"].usd_per_gbps == pytest.approx(1250 / 800)


def test_unknown_names_say_what_was_meant():
    with pytest.raises(UnknownName, match="gb200"):
        accelerator("gb20")


def test_an_announced_part_without_figures_says_which():
    with pytest.raises(InvalidInput, match="announced without figures") as caught:
        accelerator("feynman")
    assert "--set accelerators.feynman." in str(caught.value)


def test_every_shipped_part_is_what_a_users_own_has_to_be():
    said = {  # set to what it is, a part is checked as any other that a user sets
        f"{kind}.{name}.{field}": one.text or one.value
        for kind, table in CATALOG.tables.items()
        for name, fields in table.items()
        for field, one in fields.items()
        if not one.flag and name not in CATALOG.incomplete
    }
    again = load_catalog(overrides=said)
    for kind in ("accelerators", "links", "switches", "media", "transports"):
        assert {**getattr(again, kind)}.keys() == {**getattr(CATALOG, kind)}.keys()


def test_loading_is_light_and_cached():
    assert load_catalog() is load_catalog()
    code = "import sys; from rackmodel.hardware import load_catalog; load_catalog()"
    code += "; heavy = {'numpy', 'pandas', 'pydantic', 'pint', 'scipy', 'networkx'}"
    code += "; sys.exit(len(heavy & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_parts_can_be_keys_and_survive_a_process_border():
    import pickle

    part = accelerator("gb200")
    assert {part: 1}[pickle.loads(pickle.dumps(part))] == 1
