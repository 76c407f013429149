"""Topology files: what they may say, and what a slip in them brings."""

import pytest

from rackmodel.errors import InvalidInput, RackModelError, UnknownName
from rackmodel.topology import load_topology, read_topology

SMALLEST = """
builder = "nvl_rack"
accelerator = "gb200"

[shape]
accelerators = 72
switches = 18
switch = "nvswitch4"
link_bytes_per_s = 50e9

[published]
accelerators = 72
scale_up_bytes_per_s = 130e12
source = "nvidia-gb200-nvl72-datasheet"
"""

WHOLE = """
title = "two nodes"
builder = "node"
accelerator = "h100"

[shape]
accelerators = 8
switch = "nvswitch3"
switches = 4
links = [5, 4, 4, 5]

[host]
cpus = 2

[nics]
per_host = 8
link = "ib-ndr"

[fabric]
kind = "fat-tree"
rails = 8
pod_units = 32
switch = "quantum2"

[published]
accelerators = 8
scale_up_bytes_per_s = "7.2 TB/s"
source = "a data sheet"
"""


def write(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


def test_a_rack_of_nine_lines_is_enough(tmp_path):
    path = write(tmp_path, SMALLEST)
    graph = read_topology(path)
    assert len([n for n in graph if n.startswith("accelerator")]) == 72
    topology = load_topology(path)
    assert topology.max_accelerators == 72
    assert topology.text() == SMALLEST


def test_a_changed_file_is_read_again(tmp_path):
    import os

    path = write(tmp_path, SMALLEST)
    assert load_topology(path).domain_accelerators == 72
    path.write_text(SMALLEST.split("[published]")[0].replace("= 72", "= 36"))
    os.utime(path, (1, 1))
    assert load_topology(path).domain_accelerators == 36


def test_overrides_stand_over_the_file():
    plain = load_topology("dgx-h100")
    over = load_topology("dgx-h100", overrides={"fabric.oversubscription": 2})
    assert plain.plan(1024).leaf_up == 2 * over.plan(1024).leaf_up


SLIPS = [
    # what is replaced, by what, and what the message must say
    ('builder = "node"', 'builder = "nodes"', ["builder", "did you mean 'node'"]),
    ('builder = "node"', "", ["builder: missing"]),
    ('accelerator = "h100"', 'accelerator = "h10"', ["accelerator", "did you mean 'h100'"]),
    ('accelerator = "h100"', "accelerator = 7", ["accelerator: expected a text", "7"]),
    ("accelerators = 8\nswitch ", "acelerators = 8\nswitch ", ["accelerators: missing", "acel"]),
    ("accelerators = 8\nswitch ", "accelerators = nan\nswitch ", ["shape.accelerators", "nan"]),
    ("accelerators = 8\nswitch ", "accelerators = -8\nswitch ", ["shape.accelerators", "negative"]),
    ("accelerators = 8\nswitch ", "accelerators = 0\nswitch ", ["shape.accelerators", "0"]),
    ("accelerators = 8\nswitch ", "accelerators = 1e9\nswitch ", ["shape.accelerators", "outside"]),
    ("accelerators = 8\nswitch ", "accelerators = 7.5\nswitch ", ["shape.accelerators", "whole"]),
    ("accelerators = 8\nswitch ", "accelerators = true\nswitch ", ["shape.accelerators", "True"]),
    ("accelerators = 8\nswitch ", 'accelerators = "8 GB"\nswitch ', ["shape.accelerators", "8 GB"]),
    ("switches = 4", "switches = 5", ["shape.links", "4 entries for 5"]),
    ("[5, 4, 4, 5]", "[5, 4, 4, inf]", ["shape.links[3]", "inf"]),
    ("[5, 4, 4, 5]", "[5, 4, 4, 50]", ["shape.switch", "400 ports"]),
    ("[5, 4, 4, 5]", "[]", ["shape.links", "list"]),
    ('"nvswitch3"', '"nvswitch33"', ["shape.switch", "did you mean 'nvswitch3'"]),
    ("switches = 4", 'switches = 4\nlink_bytes_per_s = "25 W"', ["link_bytes_per_s", "25 W"]),
    ("switches = 4", 'switches = 4\nlink_bytes_per_s = "-25 GB/s"', ["link_bytes_per_s", "-25"]),
    ("switches = 4", "switches = 4\nlink_bytes_per_s = 0", ["link_bytes_per_s", "zero"]),
    ("switches = 4", "switches = 4\nlink_bytes_per_s = 1e300", ["link_bytes_per_s", "large"]),
    ("switches = 4", "switches = 4\nlength_m = nan", ["shape.length_m", "nan"]),
    ("switches = 4", 'switches = 4\nmedium = "coper"', ["shape.medium", "did you mean 'copper'"]),
    ("cpus = 2", "cpu = 2", ["host.cpu", "text"]),
    ("cpus = 2", "cpuss = 2", ["host.cpuss: unknown key", "did you mean 'cpus'"]),
    ("per_host = 8", "per_host = 3", ["nics.per_host", "3"]),
    ('link = "ib-ndr"', 'link = "ib-ndl"', ["nics.link", "did you mean 'ib-ndr'"]),
    ('kind = "fat-tree"', 'kind = "fat tree"', ["fabric.kind", "did you mean 'fat-tree'"]),
    ("rails = 8", "rails = 3", ["fabric.rails", "3 rails do not divide the 8"]),
    ("pod_units = 32", "pod_units = 33", ["pod_units", "33 + 33", "64"]),
    ("pod_units = 32", "pod_units = 32\noversubscription = 3", ["oversubscription", "32", "3"]),
    ("pod_units = 32", "pod_units = 32\ngroup_pods = 40", ["group_pods", "320 leaves"]),
    ('"quantum2"', '"quantum-hdr"', ["fabric.switch", "25 GB/s", "50 GB/s"]),
    ('"7.2 TB/s"', '"7.9 TB/s"', ["published.scale_up_bytes_per_s", "7.9e+12", "a data sheet"]),
    ("[published]\naccelerators = 8", "[published]\naccelerators = 9", ["published.accelerators"]),
    ("[published]\naccelerators = 8", "[published]\nracks = 9", ["published.racks", "9"]),
    ('source = "a data sheet"', "", ["published.source: missing"]),
    ('title = "two nodes"', "title = two nodes", ["not valid TOML", "line 2"]),
    ('title = "two nodes"', 'titel = "two nodes"', ["titel: unknown key", "did you mean 'title'"]),
    ("[host]", "[[host]]", ["host", "expected a table"]),
]


@pytest.mark.parametrize(("old", "new", "words"), SLIPS)
def test_a_slip_is_named_where_it_stands(tmp_path, old, new, words):
    assert old in WHOLE
    path = write(tmp_path, WHOLE.replace(old, new, 1))
    with pytest.raises(RackModelError) as caught:
        load_topology(path)
    message = str(caught.value)
    assert "\n" not in message
    assert "mine.toml" in message
    assert caught.value.exit_code == 2
    for word in words:
        assert word in message


def test_the_file_without_slips_is_read(tmp_path):
    assert load_topology(write(tmp_path, WHOLE)).domain_accelerators == 8


@pytest.mark.parametrize("name", ["gb200-nvl27", "", "..", "x" * 10_000, "a\0b", "nowhere/x.toml"])
def test_unknown_names_are_refused(name):
    with pytest.raises(InvalidInput):
        load_topology(name)


def test_an_unknown_name_gets_the_nearest_one():
    with pytest.raises(UnknownName, match="did you mean 'gb200-nvl72'"):
        load_topology("gb200-nvl27")


@pytest.mark.parametrize("size", [0, -1, 10**9, 10**30])
def test_absurd_sizes_are_refused(size):
    with pytest.raises(RackModelError):
        load_topology("dgx-h100").graph(size)


@pytest.mark.parametrize("racks", [0, -1, 1.5, "two", True, 10**12])
def test_absurd_numbers_of_racks_are_refused(racks):
    with pytest.raises(RackModelError):
        read_topology("gb200-nvl72", racks)


def test_binary_and_huge_files_are_refused(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe\x00\x01" * 10)
    with pytest.raises(InvalidInput, match="text"):
        load_topology(path)
    path.write_text("# x\n" * 1_000_000)
    with pytest.raises(InvalidInput, match="bytes"):
        load_topology(path)
    path.write_text("a = " + "[" * 100_000)
    with pytest.raises(InvalidInput, match="TOML"):
        load_topology(path)
