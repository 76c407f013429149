"""A rate that is set acts, on every machine that ships: half as fast is slower, twice never is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rackmodel.errors import InvalidInput
from rackmodel.hardware import load_catalog
from rackmodel.network import Network, all_to_allv, run_collective
from rackmodel.topology import (
    Topology,
    changed,
    load_topology,
    read_topology,
    topology_names,
)
from rackmodel.topology.set_rates import at_set_rates

MOST = 1_100  # accelerators in these tests
SIZE = (256e6,)


def _machine(name: str, overrides: dict[str, object] | None = None) -> Topology:
    return load_topology(name, catalog=load_catalog(overrides=overrides))


def _seconds(machine: Topology, gpus: int) -> float:
    """Of an all-gather inside a domain; of a transfer from domain to domain beyond it."""
    domain = machine.domain_accelerators
    if gpus <= domain:
        return float(run_collective(machine, "all-gather", SIZE, gpus)[0]["time_s"])
    network = Network.from_graph(machine.graph(gpus, bundled=True))
    weights = np.array([[0.0, SIZE[0]], [SIZE[0], 0.0]])
    return float(all_to_allv(network, [0, domain], weights)["time_s"])


def _domain_rates(machine: Topology) -> list[str]:
    scale_up = machine.scale_up
    assert scale_up is not None
    links = {wire.link for wire in getattr(scale_up, "wires", ()) or (scale_up.wire,)}
    keys = [f"links.{link}.bytes_per_s" for link in sorted(links)]
    return [f"accelerators.{machine.accelerator}.scale_up_bytes_per_s", *keys]


def _check(name: str, key: str, gpus: int) -> None:
    kind, part, field = key.split(".")
    rate = load_catalog().tables[kind][part][field].value
    plain = _machine(name)
    base = _seconds(plain, gpus)
    half, double = _machine(name, {key: rate / 2}), _machine(name, {key: rate * 2})
    assert _seconds(half, gpus) > base * 1.02, key
    assert _seconds(double, gpus) <= base * (1 + 1e-9), key
    for other in (half, double):
        same = plain.inventory(gpus)[["part", "count"]]
        assert other.inventory(gpus)[["part", "count"]].equals(same)  # as many links and ports
        assert f"{key} set: published totals are not compared" in other.notes[0]


@pytest.mark.parametrize("name", topology_names())
def test_scale_up_rates_act(name: str) -> None:
    machine = _machine(name)
    for key in _domain_rates(machine):
        if key.startswith("links.neuronlink3-cross"):
            continue  # the links between the boards of an UltraServer; the others set the pace
        scale_up = machine.scale_up
        group = getattr(scale_up, "group_accelerators", machine.domain_accelerators)
        _check(name, key, min(group, 64))


@pytest.mark.parametrize("name", [n for n in topology_names() if _machine(n).nics])
def test_nic_rates_act(name: str) -> None:
    machine = _machine(name)
    if 2 * machine.domain_accelerators > MOST:
        pytest.skip("pods of thousands: the same builder as v5e, which is tested")
    _check(name, f"links.{machine.nic_link}.bytes_per_s", 2 * machine.domain_accelerators)


def test_rates_that_do_not_agree_are_refused() -> None:
    keys = ("accelerators.gb200.scale_up_bytes_per_s", "links.nvlink5.bytes_per_s")
    agreeing = _machine("gb200-nvl72", dict(zip(keys, ("450 GB/s", "25 GB/s"), strict=True)))
    assert agreeing.scale_up is not None
    assert agreeing.scale_up.accelerator_bytes_per_s == pytest.approx(450e9)
    with pytest.raises(InvalidInput, match="leave one of them out"):
        _machine("gb200-nvl72", dict(zip(keys, ("450 GB/s", "50.1 GB/s"), strict=True)))


def test_a_rate_that_no_link_has_is_told() -> None:
    machine = _machine("dgx-h100", {"links.nvlink5.bytes_per_s": "25 GB/s"})
    assert machine.notes == ("links.nvlink5.bytes_per_s is set: no link of dgx-h100 has it",)
    assert machine.published


def test_links_of_a_graph_follow_their_name() -> None:
    graph = read_topology("dgx-h100")
    machine = load_topology(graph)
    parts = load_catalog(overrides={"links.nvlink4.bytes_per_s": "12.5 GB/s"})
    scaled = at_set_rates(machine, parts).own_graph
    assert scaled is not None
    for source, target, facts in graph.edges(data=True):
        factor = 0.5 if facts["link"] == "nvlink4" else 1.0
        assert scaled.edges[source, target]["bytes_per_s"] == facts["bytes_per_s"] * factor


def test_only_what_cannot_be_built_is_refused() -> None:
    assert _machine("gb200-nvl72", {"links.ib-ndr.bytes_per_s": "1.6 Tb/s"}).nic_bytes_per_s == 2e11
    with pytest.raises(InvalidInput, match="ports"):
        load_topology("gb200-nvl72", overrides={"shape.accelerators": 144})


def test_a_changed_file_is_not_looked_up_by_its_name(tmp_path: Path) -> None:
    text = load_topology("dgx-h100").source_text
    path = tmp_path / "mine.toml"
    path.write_text(text)
    mine = load_topology(path, overrides={"fabric.oversubscription": "2"})
    other = changed(mine, {"shape.length_m": 0.2})
    assert other.fabric is not None
    assert other.fabric.oversubscription == 2
    assert "# set: fabric.oversubscription = 2" in other.text()
