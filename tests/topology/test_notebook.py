"""What a notebook shows of results, machines and graphs."""

import html.parser
import pickle

import networkx as nx
import pytest

import rackmodel
from rackmodel.topology import load_topology


class Cells(html.parser.HTMLParser):
    """Collects the text of cells; checks that tags nest."""

    def __init__(self):
        super().__init__()
        self.open, self.cells = [], []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.cells.append(data)


def shown(thing):
    parser = Cells()
    parser.feed(thing._repr_html_())
    assert parser.open == []
    return parser.cells


def test_graph_tells_what_it_holds_and_what_joins_it():
    graph = rackmodel.read_topology("gb200-nvl72")
    cells = shown(graph)
    assert cells[cells.index("accelerator") + 1] == "72"
    assert cells[cells.index("nvlink links on copper") + 1] == "1,296"
    assert isinstance(graph, nx.DiGraph)
    again = pickle.loads(pickle.dumps(graph))
    assert nx.utils.graphs_equal(again, graph)
    assert shown(graph.subgraph(list(graph)[:3]))


def test_machine_tells_its_facts():
    cells = shown(load_topology("dgx-h100"))
    assert "8 accelerators" in " ".join(cells)


def test_names_are_escaped():
    graph = rackmodel.read_topology("dgx-h100")
    graph.graph["name"] = "<script>"
    assert "<script>" not in graph._repr_html_()


@pytest.mark.parametrize("own", [False, True])
def test_result_tells_step_with_band_and_memory(own):
    machine = "dgx-h100"
    if own:
        machine = nx.DiGraph(accelerator="h100")
        machine.add_node("s", kind="scale_up_switch")
        for i in range(8):
            machine.add_node(i, kind="accelerator")
            for edge in ((i, "s"), ("s", i)):
                machine.add_edge(*edge, bytes_per_s=450e9, latency_s=5e-7)
    result = rackmodel.simulate(
        machine,
        model="gpt3-13b",
        gpus=8,
        global_batch=8,
        seq_len=2048,
        plan={"tp": 8, "pp": 1, "dp": 1},
        default_plan=True,
    )
    cells = shown(result)
    assert "of 86 GB" in cells[cells.index("HBM of the fullest rank") + 1]
    assert "real runs" in cells[cells.index("step") + 1]


def test_machines_and_results_say_what_they_are_in_one_line():
    machine = load_topology("dgx-h100")
    assert repr(machine).startswith("<Topology dgx-h100: ")
    result = rackmodel.simulate(machine, model="llama3.1-8b", gpus=8, global_batch=8, seq_len=2048)
    assert f"{result.step_s:.4g} s a step" in repr(result)
    assert len(repr(result)) < 200
