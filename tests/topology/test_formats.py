"""Machines in files of other tools: read as the file says; what is written reads back."""

import json
from pathlib import Path

import networkx as nx
import pytest

import rackmodel
from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.network import run_collective
from rackmodel.topology import load_topology
from rackmodel.topology.formats.write import text_for

CASES = Path(__file__).parent / "formats"
SIMAI = """6 2 1 2 7 H100
4 5 3
0 4 2400Gbps 0.000025ms 0
1 4 2400Gbps 0.000025ms 0
0 5 400Gbps 0.0005ms 0
1 5 400Gbps 0.0005ms 0
2 5 400Gbps 0.0005ms 0
2 4 2400Gbps 0.000025ms 0
5 3 800Gbps 0.0005ms 0
"""
NS3 = "4 1 3\n3\n0 3 100Gbps 0.001ms 0\n1 3 100Gbps 0.001ms 0\n2 3 100Gbps 0.001ms 0\n"
ASTRA = """# three dimensions
topology: [ Ring, FullyConnected, Switch ]
npus_count: [ 4, 2, 2 ]
bandwidth: [ 200.0, 100.0, 50.0 ]
latency: [ 50.0, 500.0, 2000.0 ]
"""
SIMGRID = """<platform version="4.1">
<zone id="z" routing="Full">
<host id="a" speed="1Gf"/><host id="b" speed="1Gf"/><host id="c" speed="1Gf"/>
<link id="la" bandwidth="125MBps" latency="50us"/><link id="lb" bandwidth="125MBps" latency="50us"/>
<link id="lc" bandwidth="250MBps" latency="50us"/>
<route src="a" dst="b"><link_ctn id="la"/><link_ctn id="lb"/></route>
<route src="a" dst="c"><link_ctn id="la"/><link_ctn id="lc"/></route>
<route src="b" dst="c"><link_ctn id="lb"/><link_ctn id="lc"/></route></zone></platform>"""
CLUSTER = """<platform version="4.1"><cluster id="c" prefix="n-" suffix="" radical="0-7" speed="1Gf"
bw="1.25GBps" lat="5us"/></platform>"""
NCCL = """<system version="1"><cpu numaid="0" arch="x86_64">
<pci busid="0000:17:00.0" class="0x060400"
link_speed="32.0 GT/s PCIe" link_width="16">
<pci busid="0000:18:00.0" class="0x030200" device="0x2330"
link_speed="32.0 GT/s PCIe" link_width="16">
<gpu dev="0" sm="90" rank="0"><nvlink target="0000:07:00.0" count="10" tclass="0x068000"/>
<nvlink target="0000:08:00.0" count="8" tclass="0x068000"/></gpu></pci>
<pci busid="0000:19:00.0" class="0x020000" link_speed="32.0 GT/s PCIe" link_width="16"><nic>
<net name="mlx5_0" dev="0" speed="400000" port="1"/></nic></pci></pci></cpu>
<cpu numaid="1" arch="x86_64"><pci busid="0000:98:00.0" class="0x030200" device="0x2330"
link_speed="32.0 GT/s PCIe" link_width="16">
<gpu dev="1" sm="90" rank="1"><nvlink target="0000:07:00.0" count="10" tclass="0x068000"/>
<nvlink target="0000:08:00.0" count="8" tclass="0x068000"/></gpu></pci></cpu></system>"""
INFRA = {
    "name": "two servers",
    "devices": [
        {
            "name": "server",
            "components": [
                {"name": "xpu", "choice": "xpu", "count": 4},
                {"name": "nvsw", "choice": "switch", "count": 2},
                {"name": "pciesw", "choice": "switch", "count": 1, "description": "PCIe switch"},
                {"name": "nic", "choice": "nic", "count": 4},
            ],
            "links": [
                {
                    "name": "nvlink",
                    "physical": {"bandwidth": {"gigabytes_per_second": 100}},
                },
                {"name": "pcie", "physical": {"bandwidth": {"gigabits_per_second": 512}}},
            ],
            "edges": [
                {
                    "ep1": {"component": "xpu"},
                    "ep2": {"component": "nvsw[0:2]"},
                    "scheme": "many2many",
                    "link": "nvlink",
                },
                {
                    "ep1": {"component": "xpu[0:4]"},
                    "ep2": {"component": "nic"},
                    "scheme": "one2one",
                    "link": "pcie",
                },
            ],
        },
        {
            "name": "switch",
            "components": [
                {"name": "asic", "choice": "cpu", "count": 1},
                {"name": "chip", "choice": "switch", "count": 1},
                {"name": "port", "choice": "port", "count": 8},
            ],
            "edges": [
                {
                    "ep1": {"component": "chip"},
                    "ep2": {"component": "port"},
                    "scheme": "many2many",
                    "link": "inside",
                }
            ],
        },
    ],
    "links": [
        {
            "name": "cable",
            "physical": {"bandwidth": {"gigabits_per_second": 400}, "latency": {"ns": 500}},
        }
    ],
    "instances": [
        {"name": "server", "device": "server", "count": 2},
        {"name": "switch", "device": "switch", "count": 1},
    ],
    "edges": [
        {
            "ep1": {"instance": f"server[{server}]", "component": "nic"},
            "ep2": {
                "instance": "switch",
                "component": f"port[{4 * server}:{4 * server + 4}]",
            },
            "scheme": "one2one",
            "link": "cable",
        }
        for server in range(2)
    ],
}

TEXT = json.dumps(INFRA)


def machine(tmp_path, name, text, **more):
    path = tmp_path / name
    path.write_text(text)
    return load_topology(path, **more)


def facts(machine):
    """Kinds counted, and (kinds of the ends, rate, latency) of each link."""
    graph = machine.own_graph
    kinds = nx.get_node_attributes(graph, "kind")
    links = sorted(
        (kinds[a], kinds[b], round(d["bytes_per_s"]), round(d["latency_s"], 12))
        for a, b, d in graph.edges(data=True)
    )
    return {kind: list(kinds.values()).count(kind) for kind in set(kinds.values())}, links


def test_simai(tmp_path):
    found = machine(tmp_path, "HPN_7_0_8_gpus", SIMAI)
    kinds, links = facts(found)
    assert kinds == {"accelerator": 3, "scale_up_switch": 1, "leaf": 1, "spine": 1}
    assert ("accelerator", "scale_up_switch", 300e9, 25e-9) in links
    assert found.accelerator == "h100"
    assert found.domain_accelerators == 3


def test_ns3(tmp_path):
    kinds, links = facts(machine(tmp_path, "topology.txt", NS3))
    assert kinds == {"accelerator": 3, "leaf": 1}
    assert {link[2] for link in links} == {12.5e9}


def test_astra_sim(tmp_path):
    found = machine(tmp_path, "net.yml", ASTRA)
    graph = found.own_graph
    rates = [d["bytes_per_s"] for *_, d in graph.edges(data=True)]
    # Ring of 4: 4 links a ring; pairs of 2: 1 link; a switch: one link an accelerator; both ways.
    assert rates.count(200e9) == 2 * 4 * 4
    assert rates.count(100e9) == 2 * 8
    assert rates.count(50e9) == 2 * 16
    assert graph.number_of_nodes() == 16 + 8


def test_simgrid_stars_and_clusters(tmp_path):
    kinds, links = facts(machine(tmp_path, "star.xml", SIMGRID))
    assert kinds == {"accelerator": 3, "leaf": 1}
    assert sorted(link[2] for link in links) == [125e6] * 4 + [250e6] * 2
    kinds, links = facts(machine(tmp_path, "cluster.xml", NAMED + CLUSTER))
    assert kinds == {"accelerator": 8, "leaf": 1}
    assert {link[2:] for link in links} == {(1.25e9, 5e-6)}


def test_a_loopback_of_simgrid_is_no_link(tmp_path):
    """As SimGrid's own small_platform.xml has it: a route of a host to itself."""
    text = (
        '<platform version="4.1"><zone id="w" routing="Full"><host id="a" speed="1Gf"/>'
        '<host id="b" speed="1Gf"/><link id="l" bandwidth="498MBps" latency="15us"/>'
        '<link id="1" bandwidth="41MBps" latency="60us"/>'
        '<route src="a" dst="a"><link_ctn id="l"/></route>'
        '<route src="a" dst="b"><link_ctn id="1"/></route></zone></platform>'
    )
    kinds, links = facts(machine(tmp_path, "small.xml", text))
    assert kinds == {"accelerator": 2}
    assert {link[2:] for link in links} == {(41e6, 60e-6)}


def test_a_file_that_names_no_accelerator_is_told_what_it_is_made_of(tmp_path):
    machine(tmp_path, "topo.xml", NCCL.replace('device="0x2330"', ""))
    words = {"model": "gpt3-1.3b", "gpus": 2, "global_batch": 2, "seq_len": 128}
    with pytest.raises(InvalidInput, match="--map accelerator=h100"):
        rackmodel.simulate(tmp_path / "topo.xml", **words)
    named = load_topology(tmp_path / "topo.xml", maps={"accelerator": "b200"})
    assert rackmodel.simulate(named, **words).accelerator.name == "b200"
    with pytest.raises(UnknownName, match="did you mean 'h100'"):
        load_topology(tmp_path / "topo.xml", maps={"accelerator": "h10"})


def test_nccl_dump(tmp_path):
    found = machine(tmp_path, "topo.xml", NCCL)
    kinds, links = facts(found)
    assert kinds == {"accelerator": 2, "scale_up_switch": 2, "cpu": 2, "nic": 1}
    assert sorted(link[2] for link in links if link[1] == "scale_up_switch") == [
        200e9,
        200e9,
        250e9,
        250e9,
    ]  # 18 NVLinks of 25 GB/s each way
    assert ("accelerator", "nic", 50e9, 0.0) in links  # the port is slower than its slot
    assert found.accelerator == "h100"
    assert load_topology(CASES / "nccl_like.xml").domain_accelerators == 1


def test_infragraph(tmp_path):
    found = machine(tmp_path, "infra.json", json.dumps(INFRA))
    kinds, links = facts(found)
    assert kinds == {"accelerator": 8, "scale_up_switch": 4, "nic": 8, "leaf": 1, "cpu": 1}
    assert links.count(("accelerator", "scale_up_switch", 100e9, 0.0)) == 16
    assert links.count(("nic", "leaf", 50e9, 500e-9)) == 8  # through a port
    assert found.domain_accelerators == 4


def test_links_of_infragraph_without_a_rate_are_named_and_can_be_given(tmp_path):
    bare = json.loads(json.dumps(INFRA))
    del bare["devices"][0]["links"][1]["physical"]
    with pytest.raises(InvalidInput, match=r"'pcie' state no bandwidth.*--map links.pcie"):
        machine(tmp_path, "infra.json", json.dumps(bare))
    given = machine(tmp_path, "infra.json", json.dumps(bare), maps={"links.pcie": "64 GB/s"})
    assert ("accelerator", "nic", 64e9, 0.0) in facts(given)[1]


def test_users_words_are_understood():
    found = load_topology(CASES / "user_names.json")
    kinds, links = facts(found)
    assert kinds == {"accelerator": 16, "scale_up_switch": 2, "leaf": 1}
    assert {link[2:] for link in links} == {(450e9, 5e-7), (50e9, 1e-6)}
    assert found.domain_accelerators == 8


def test_the_topology_zoo_reads_with_a_map_and_is_refused_with_a_hint_without():
    path = CASES / "zoo_like.graphml"
    with pytest.raises(InvalidInput, match="--map kind=accelerator"):
        load_topology(path)
    maps = {"bytes_per_s": "LinkSpeedRaw/8", "kind": "accelerator"}
    assert {link[2] for link in facts(load_topology(path, maps=maps))[1]} == {1.25e9}
    with pytest.raises(InvalidInput, match="no link has 'LinkSpeed'; give one of LinkLabel"):
        load_topology(path, maps=maps | {"bytes_per_s": "LinkSpeed/8"})


def test_four_unequal_switches_carry_what_their_links_do():
    machine = load_topology(CASES / "four_unequal_switches.json")
    row = run_collective(machine, "all-reduce", [2**30], 8)
    assert row[0]["busbw_bytes_per_s"] == pytest.approx(356e9, rel=0.01)


@pytest.mark.parametrize("name", ["m.graphml", "m.json", "m.infragraph.json", "m.infragraph.yaml"])
def test_what_is_written_reads_back(name, tmp_path):
    whole = load_topology("dgx-h100").graph(16)
    first = load_topology(whole)
    path = tmp_path / name
    path.write_text(text_for(whole, path))
    again = load_topology(path)
    assert facts(again)[0] == facts(first)[0]
    rates = [[link[:3] for link in facts(one)[1]] for one in (first, again)]
    assert rates[0] == rates[1]
    delays = [sum(link[3] for link in facts(one)[1]) for one in (first, again)]
    assert delays[0] == pytest.approx(delays[1], rel=1e-6)


def test_a_simgrid_platform_has_the_rates_of_payload(tmp_path):
    whole = load_topology("gb200-nvl72").graph(72)
    path = tmp_path / "m.xml"
    path.write_text(text_for(whole, path))
    again = load_topology(path)
    kinds = list(nx.get_node_attributes(whole, "kind").values())
    assert facts(again)[0] == {kind: kinds.count(kind) for kind in set(kinds)}
    payload = sorted(d["bytes_per_s"] * d["payload_efficiency"] for *_, d in whole.edges(data=True))
    assert sorted(d["bytes_per_s"] for *_, d in again.own_graph.edges(data=True)) == pytest.approx(
        payload
    )


NAMED = '<!DOCTYPE platform SYSTEM "https://simgrid.org/simgrid.dtd">'
BILLION = '<?xml version="1.0"?><!DOCTYPE s [<!ENTITY a "x">]><system version="1">&a;</system>'


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("bomb.xml", BILLION, "entities are refused"),
        ("bomb.graphml", BILLION.replace("system", "graphml"), "entities are refused"),
        ("bomb.txt", BILLION, "entities are refused"),
        ("far.xml", f"{NAMED}<system>&a;</system>", "undefined entity"),
        ("fetch.xml", f'{NAMED[:-1]} [<!ENTITY % a SYSTEM "b"> %a;]><system/>', "are refused"),
        ("other.xml", "<svg/>", "XML of <svg> is not read"),
        ("broken.xml", "<system>", "not valid XML"),
        ("notes.txt", "a shopping list", "holds no machine that can be read"),
        ("notes", "a shopping list", "holds no machine that can be read"),
        ("loop.yml", "a: &a [*a]\n", "references"),
        ("tag.yml", "!!python/object/apply:os.system ['true']\n", "not valid YAML"),
        ("list.yml", "- 1\n", "expected node-link"),
        ("short.txt", "1 2\n", "first line holds 2 words"),
        ("few.txt", NS3.replace("4 1 3", "4 1 9"), "expected 9 links, found 3"),
        ("rate.txt", NS3.replace("100Gbps", "fast"), "rate|number"),
        ("shape.yml", ASTRA.replace("Ring", "Dragon"), "'Dragon' is not read"),
        (
            "sizes.yml",
            ASTRA.replace("[ 4, 2, 2 ]", "[ 4, 2 ]"),
            "found 3, 2, 3 and 3; make them as many",
        ),
        ("huge.yml", ASTRA.replace("[ 4, 2, 2 ]", "[ 4000, 2000, 2 ]"), "refused"),
        ("gpu.xml", "<system><cpu/></system>", "holds no <gpu>"),
        ("sm.xml", NCCL.replace('sm="90"', 'sm="x"'), "expected a number"),
        ("rate.xml", NCCL.replace("32.0 GT/s", "32.032.0 GT/s"), "link_speed in GT/s"),
        ("unit.xml", NCCL.replace("32.0 GT/s PCIe", "fast"), "link_speed in GT/s"),
        ("torus.xml", CLUSTER.replace('id="c"', 'id="c" topology="TORUS"'), "not read"),
        ("radical.xml", CLUSTER.replace("0-7", "0-99999999"), "refused|numbers"),
        ("power.xml", CLUSTER.replace("0-7", "0-7²"), "numbers"),
        ("ctn.xml", SIMGRID.replace('ctn id="lc"', 'ctn id="lx"'), "no <link> 'lx'"),
        ("scheme.json", TEXT.replace("many2many", "mesh"), "'mesh' is not read"),
        ("slice.json", TEXT.replace("xpu[0:4]", "xpu[0:9]"), "below the 4"),
        ("device.json", TEXT.replace('"device": "server"', '"device": "x"'), "no device"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(name, text, word, tmp_path):
    with pytest.raises(InvalidInput, match=word) as caught:
        machine(tmp_path, name, text)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_written_file_needs_a_known_ending():
    with pytest.raises(InvalidInput, match="wanted a file that ends in"):
        text_for(load_topology("dgx-h100").graph(8), Path("m.dot"))
