"""A collective in a file of one's own: registered, run, listed, refused where it is wrong."""

import numpy as np
import pytest
from network_graphs import racks

from rackmodel.errors import InvalidInput
from rackmodel.network import ALGORITHMS, Network, algorithm, alone_s, pattern, run_collective
from rackmodel.network.collectives import registry
from rackmodel.network.collectives.flows import flows_between


def _steps_s(steps):
    return 1e-3 * steps.members


@pytest.fixture
def gather_to_one(monkeypatch):
    for op, names in list(ALGORITHMS.items()):
        monkeypatch.setitem(ALGORITHMS, op, names)

    @algorithm("to-first", ("all-gather",), passes_on=False, steps_s=_steps_s)
    def to_first(network, group, op):
        source, first = group.nodes[1:], np.repeat(group.nodes[:1], len(group.nodes) - 1)
        return (flows_between(network, source, first, np.full(len(source), 1 / group.true_size)),)

    yield
    del registry.ALGORITHM["to-first"]


@pytest.mark.usefixtures("gather_to_one")
def test_an_algorithm_of_ones_own_runs_as_any_other():
    graph = racks(1, 4)
    made = pattern(Network.from_graph(graph), "all-gather", range(4), 4e9, algorithm="to-first")
    assert made.latency_s == pytest.approx((4e-3,))
    assert alone_s(Network.from_graph(graph), made, 4e9) > 4e-3
    row = run_collective(graph, "all-gather", [4e9], 4, "to-first")[0]
    assert (row["algorithm"], "to-first" in ALGORITHMS["all-gather"]) == ("to-first", True)


def test_what_is_registered_wrongly_is_refused():
    with pytest.raises(InvalidInput, match="registered already"):
        algorithm("ring", ("all-reduce",))
    with pytest.raises(InvalidInput, match="unknown word 'all-redcue'"):
        algorithm("new", ("all-redcue",))
    with pytest.raises(InvalidInput, match="unknown word 'step'"):
        algorithm("new", ("all-reduce",), step=1)
