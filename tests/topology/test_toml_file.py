"""Topology files: what they may say, and what a slip in them brings."""

import os

import networkx as nx
import pytest

from rackmodel import clear_caches
from rackmodel.errors import InvalidInput, RackModelError, UnknownName
from rackmodel.topology import BUILDERS, builder, load_topology, read_topology
from rackmodel.topology.catalog_parts import wire_of
from rackmodel.topology.shapes import Mesh

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


def test_a_file_changed_within_a_tick_of_the_clock_is_read_again(tmp_path):
    path = write(tmp_path, SMALLEST.split("[published]")[0])
    assert load_topology(path).domain_accelerators == 72
    before = path.stat()
    path.write_text(path.read_text().replace("= 72", "= 36"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert load_topology(path).domain_accelerators == 36


def test_machines_are_kept_until_there_are_many_or_the_caches_are_cleared(tmp_path):
    path = write(tmp_path, SMALLEST)
    first = load_topology(path)
    assert load_topology(path) is first
    clear_caches()
    second = load_topology(path)
    assert second is not first
    for i in range(300):
        other = tmp_path / f"{i}.toml"
        other.write_text(f"{SMALLEST}\n# {i}")
        load_topology(other)
    assert load_topology(path) is not second


def test_a_builder_of_ones_own_gives_a_domain_or_a_whole_graph(tmp_path):
    @builder("twin")
    def twin(shape, accelerator, catalog):
        wire = wire_of(shape, catalog, accelerator.scale_up_link)
        return Mesh(accelerators=2, links=shape.count("links"), wire=wire)

    @builder("circle")
    def circle(shape, accelerator, catalog):
        graph = nx.cycle_graph(shape.count("accelerators"))
        nx.set_node_attributes(graph, "accelerator", "kind")
        nx.set_edge_attributes(graph, accelerator.scale_up_bytes_per_s / 2, "bytes_per_s")
        return graph

    try:
        head = 'title = "T"\naccelerator = "h100"\nbuilder ='
        machine = load_topology(write(tmp_path, f'{head} "twin"\nshape.links = 3'))
        assert machine.graph(2).edges["accelerator-0", "accelerator-1"]["count"] == 3
        machine = load_topology(write(tmp_path, f'{head} "circle"\nshape.accelerators = 5'))
        assert (machine.title, machine.accelerator, machine.max_accelerators) == ("T", "h100", 5)
        with pytest.raises(InvalidInput, match=r"shape\.size: unknown key"):
            load_topology(write(tmp_path, f'{head} "circle"\nshape = {{accelerators=5, size=1}}'))
    finally:
        del BUILDERS["twin"], BUILDERS["circle"]
    with pytest.raises(InvalidInput, match="no choice 'circle'"):
        load_topology(write(tmp_path, f'{head} "circle"\nshape.accelerators = 6'))


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
    ("accelerators = 8\nswitch ", "accelerators = -8\nswitch ", ["shape.accelerators", "from 1"]),
    ("accelerators = 8\nswitch ", "accelerators = 0\nswitch ", ["shape.accelerators", "0"]),
    (
        "accelerators = 8\nswitch ",
        "accelerators = 1e9\nswitch ",
        ["accelerators", "to 1,000,000"],
    ),
    ("accelerators = 8\nswitch ", "accelerators = 7.5\nswitch ", ["shape.accelerators", "whole"]),
    ("accelerators = 8\nswitch ", "accelerators = true\nswitch ", ["shape.accelerators", "True"]),
    ("accelerators = 8\nswitch ", 'accelerators = "8 GB"\nswitch ', ["shape.accelerators", "8 GB"]),
    ("switches = 4", "switches = 5", ["shape.links", "expected 5", "found 4"]),
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
    ("pod_units = 32", "pod_units = 32\noversubscription = 1e-320", ["oversubscription", "try 1"]),
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
