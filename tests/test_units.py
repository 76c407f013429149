"""Units: what people write, what it means, and what is refused."""

import math
import subprocess
import sys

import pytest
from hypothesis import given, settings, strategies as st

from rackmodel.errors import InvalidInput
from rackmodel.units import dimension_of, dimensions, parse, show


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("900 GB/s", "bytes_per_s", 900e9),
        ("400 Gb/s", "bytes_per_s", 50e9),
        ("400Gbps", "bytes_per_s", 50e9),
        ("3.2 Tbit/s", "bytes_per_s", 400e9),
        ("1.8 TB/s bidirectional", "bytes_per_s", 900e9),
        ("1.8 TB/s (bidir)", "bytes_per_s", 900e9),
        ("900 GB/s per direction", "bytes_per_s", 900e9),
        ("1 GiB/s", "bytes_per_s", 2**30),
        ("80 GB", "bytes", 80e9),
        ("80GiB", "bytes", 80 * 2**30),
        ("1GB", "bytes", 1e9),
        ("512 MiB", "bytes", 512 * 2**20),
        ("8 kb", "bytes", 1000),
        ("989.4 TFLOPS", "flops_per_s", 989.4e12),
        ("2.5 PFLOP/s dense", "flops_per_s", 2.5e15),
        ("2.5 PF", "flops_per_s", 2.5e15),
        ("1979 TOPS", "flops_per_s", 1979e12),
        ("6 EFLOP", "flops", 6e18),
        ("5 us", "s", 5e-6),
        ("5 µs", "s", 5e-6),
        ("1.5 h", "s", 5400),
        ("120 kW", "w", 120e3),
        ("0 W", "w", 0),
        ("5 pJ/bit", "j_per_byte", 40e-12),
        ("42 pJ/byte", "j_per_byte", 42e-12),
        ("0.48 pJ/FLOP", "j_per_flop", 0.48e-12),
        ("$30,000", "usd", 30000),
        ("$3M", "usd", 3e6),
        ("1.2 million USD", "usd", 1.2e6),
        ("32 °C", "c", 32),
        ("305.15 K", "c", 32),
        ("-10 C", "c", -10),
        ("0.03 K/W", "k_per_w", 0.03),
        ("1830 MHz", "hz", 1.83e9),
        ("172 L/min", "lpm", 172),
        ("140 kPa", "pa", 140e3),
        ("100 FIT", "per_hour", 1e-7),
        ("12 T", "1", 12e12),
        ("1.5k", "1", 1500),
        ("97%", "1", 0.97),
        ("15 T tokens", "1", 15e12),
        ("1e3", "1", 1000),
        (42, "w", 42),
        (0.5, "s", 0.5),
        ("700", "w", 700),
    ],
)
def test_usual_spellings(text, dimension, value):
    assert parse(text, dimension, where="x") == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("12 inch", "m", 0.3048),
        ("60 GB/minute", "bytes_per_s", 1e9),
        ("1 horsepower", "w", 745.7),
        ("2 weeks", "s", 14 * 86400),
        ("1 gallon/min", "lpm", 3.785),
    ],
)
def test_unusual_spellings_go_through_pint(text, dimension, value):
    assert parse(text, dimension, where="x") == pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize(
    ("value", "dimension", "says"),
    [
        ("nan", "w", "finite"),
        (math.nan, "w", "not a number"),
        ("inf", "bytes", "finite"),
        (math.inf, "bytes", "too large"),
        ("1e400", "w", "too large"),
        (10**400, "w", "too large"),
        ("-3 W", "w", "negative"),
        (-1, "bytes", "negative"),
        ("-300 C", "c", "absolute zero"),
        ("0 GB/s", "bytes_per_s", "zero"),
        (0, "flops_per_s", "zero"),
        ("80 GB", "bytes_per_s", "which is a size"),
        ("900 GB/s", "bytes", "which is a bandwidth"),
        ("120 kW", "s", "which is a power"),
        ("400 gb/s", "bytes_per_s", "GB/s or Gb/s"),
        ("", "w", "120 kW"),
        ("   ", "bytes", "80 GB"),
        ("hot", "w", "'hot'"),
        ("1,5 kW", "w", "1,5 kW"),
        ("5 rad", "bytes", "rad"),
        ("3 apples", "bytes", "apples"),
        ("10 PFLOP/s sparse", "flops_per_s", "dense"),
        ("$5", "w", "power"),
        ("1 m^9^9^9^9", "m", "a length"),
        ("9" * 5000, "w", "power"),
        (True, "w", "True"),
        (None, "w", "None"),
        ([1], "w", "[1]"),
        ({}, "bytes", "a size"),
    ],
)
def test_bad_values_are_refused_with_the_place_and_the_remedy(value, dimension, says):
    with pytest.raises(InvalidInput) as caught:
        parse(value, dimension, where="gpus.3.power_w")
    message = str(caught.value)
    assert message.startswith("gpus.3.power_w: ")
    assert says in message
    assert "\n" not in message
    assert len(message) < 300


def test_zero_is_refused_where_asked():
    assert parse("0 GB", "bytes", where="x") == 0
    with pytest.raises(InvalidInput, match="zero"):
        parse("0 GB", "bytes", where="x", positive=True)


@given(
    value=st.floats(1e-9, 1e20, allow_nan=False), dimension=st.sampled_from(sorted(dimensions()))
)
@settings(max_examples=150, deadline=None)
def test_what_is_shown_parses_back(value, dimension):
    shown = show(value, dimension, digits=12)
    back = parse(shown, dimension, where="x")
    cents = 0.5 if dimension == "usd" else 0.0  # large sums are shown in whole dollars
    assert back == pytest.approx(value, rel=1e-10, abs=cents)


@given(text=st.text(max_size=40), dimension=st.sampled_from(sorted(dimensions())))
@settings(max_examples=150, deadline=None)
def test_any_text_is_a_number_or_a_clear_error(text, dimension):
    message, value = "here: ", 0.0
    try:
        value = parse(text, dimension, where="here")
    except InvalidInput as error:
        message = str(error)
    assert message.startswith("here: ")
    assert math.isfinite(value)


@given(value=st.floats(1e-6, 1e6), prefix=st.sampled_from("kMGTP"))
@settings(max_examples=50, deadline=None)
def test_bits_are_eighths_of_bytes_and_both_directions_are_twice_one(value, prefix):
    one_way = parse(f"{value} {prefix}B/s", "bytes_per_s", where="x")
    assert parse(f"{value} {prefix}b/s", "bytes_per_s", where="x") == pytest.approx(one_way / 8)
    both = parse(f"{value} {prefix}B/s bidirectional", "bytes_per_s", where="x")
    assert both == pytest.approx(one_way / 2)


@pytest.mark.parametrize(
    ("value", "dimension", "text"),
    [
        (900e9, "bytes_per_s", "900 GB/s"),
        (186e9, "bytes", "186 GB"),
        (2.5e15, "flops_per_s", "2.5 PFLOP/s"),
        (5e-6, "s", "5 us"),
        (18.1, "s", "18.1 s"),
        (0, "w", "0 W"),
        (131900, "w", "131.9 kW"),
        (999.99, "w", "1 kW"),
        (3e6, "usd", "$3,000,000"),
        (0.31, "usd", "$0.31"),
        (72, "1", "72"),
        (0.817, "1", "0.817"),
    ],
)
def test_shown_as_people_write(value, dimension, text):
    assert show(value, dimension) == text


@pytest.mark.parametrize(
    ("field", "dimension"),
    [
        ("hbm_bytes_per_s", "bytes_per_s"),
        ("hbm_bytes", "bytes"),
        ("flops_per_s.nvfp4", "flops_per_s"),
        ("power.e_flop_j.bf16", "j_per_flop"),
        ("r_k_per_w.air", "k_per_w"),
        ("reach_m", "m"),
        ("usd_per_kwh", "1"),
        ("liquid_fraction.gpu", "1"),
        ("scale_up_links", "1"),
        ("status", "1"),
    ],
)
def test_the_name_of_a_field_tells_its_unit(field, dimension):
    assert dimension_of(field) == dimension


def test_usual_spellings_do_not_import_pint():
    code = (
        "import sys; from rackmodel.units import parse; parse('9 GB/s', 'bytes_per_s', where='x')"
    )
    code += "; sys.exit('pint' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
