"""What the tuner does not work out would not have been chosen."""

import pytest

from rackmodel.engine.networks import clear_caches, network_of
from rackmodel.network import pattern
from rackmodel.network.collectives import tuner
from rackmodel.topology import load_topology

GROUPS = ([0, 1], list(range(8)), [0, 8], [0, 8, 16], list(range(24)), list(range(0, 64, 8)))


def _choices(machine):
    clear_caches()  # the flows of a network are kept with it
    network = network_of(load_topology(machine), 72)
    for members in GROUPS:
        for op in ("all-reduce", "all-gather", "reduce-scatter", "all-to-all"):
            for power in range(7, 34):
                found = pattern(network, op, members, float(2**power))
                yield found.algorithm, found.protocol, found.latency_s


@pytest.mark.parametrize("machine", ["dgx-h100", "gb200-nvl72"])
def test_it_chooses_as_if_it_had_worked_out_all(machine, monkeypatch):
    found = list(_choices(machine))
    assert len({(algorithm, protocol) for algorithm, protocol, _ in found}) > 4
    monkeypatch.setattr(tuner, "SURE", 0.0)  # then nothing is left out
    assert found == list(_choices(machine))
