"""Pictures: they name what they show, and nothing is drawn over anything else."""

import networkx as nx
import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

import rackmodel
from rackmodel.cli import app
from rackmodel.topology import load_topology
from rackmodel.topology.pictures import fabric_picture, rack_picture

DRAWN = ["gb200-nvl72", "dgx-h100", "tpu-v5e-pod", "mi355x-platform", "nvl576", "dgx-2"]


def words(ax):
    return " ".join(text.get_text() for text in [*ax.texts, ax.title])


def overlaps(ax):
    """Pairs of texts whose boxes cut each other on the page."""
    figure = ax.figure
    figure.canvas.draw()
    boxes = [(t.get_text(), t.get_window_extent()) for t in ax.texts if t.get_text().strip()]
    return [
        (a, b)
        for i, (a, box) in enumerate(boxes)
        for b, other in boxes[i + 1 :]
        if box.x0 < other.x1 - 1
        and other.x0 < box.x1 - 1
        and box.y0 < other.y1 - 1
        and other.y0 < box.y1 - 1
    ]


@pytest.mark.parametrize("name", DRAWN)
def test_no_words_stand_on_other_words(name):
    topology = load_topology(name)
    figure = Figure(figsize=(14, 8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.4))
    rack_picture(topology, ax=left)
    fabric_picture(topology, ax=right)
    assert overlaps(left) == []
    assert overlaps(right) == []


def test_the_nvl72_picture_says_what_the_rack_holds():
    topology = load_topology("gb200-nvl72")
    rack = words(rack_picture(topology))
    for fact in ("72 x gb200", "10 compute trays", "9 switch trays", "1,296 links", "5,184"):
        assert fact in rack
    fabric = words(fabric_picture(topology, accelerators=1152))
    for fact in ("16 scale-up domains", "36 leaves", "1,152 links x 50 GB/s", "non-blocking"):
        assert fact in fabric


def test_oversubscription_is_said():
    assert "2:1 oversubscribed" in words(fabric_picture(load_topology("dgx-h100-2to1")))


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_a_file_is_written(tmp_path, suffix):
    graph = nx.complete_graph(4)
    nx.set_node_attributes(graph, "accelerator", "kind")
    nx.set_edge_attributes(graph, 50e9, "bytes_per_s")
    path = tmp_path / f"mine{suffix}"
    rackmodel.draw(graph).savefig(path)
    assert path.stat().st_size > 5000


@pytest.mark.parametrize(("file", "why"), [("x.bmp", ".png, .svg"), ("nowhere/x.png", "nowhere")])
def test_other_endings_and_places_are_refused(tmp_path, file, why):
    done = CliRunner().invoke(app, ["draw", "dgx-h100", "--out", str(tmp_path / file)])
    assert done.exit_code == 2
    assert why in done.stderr
