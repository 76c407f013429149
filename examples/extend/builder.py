"""A machine shape of your own: a builder that a topology file names.

    rackmodel --extend examples/extend/builder.py collective examples/extend/hypercube.toml \
        --op all-reduce --gpus 16 --bytes 256MB
    rackmodel --extend examples/extend/builder.py simulate examples/extend/hypercube.toml \
        --model gpt3-13b --gpus 16 --global-batch 32
"""

from __future__ import annotations

from typing import Any

import networkx as nx

from rackmodel import extend
from rackmodel.gate import Table
from rackmodel.hardware import Accelerator, Catalog


@extend.builder("hypercube")
def hypercube(shape: Table, accelerator: Accelerator, catalog: Catalog) -> nx.Graph[Any]:
    """Join 2^d accelerators, each to the d whose number differs in one bit, by equal links."""
    dimensions = shape.count("dimensions", most=10)
    rate = accelerator.scale_up_bytes_per_s / dimensions
    graph: nx.DiGraph[Any] = nx.DiGraph(accelerator=accelerator.name)
    for number in range(2**dimensions):
        graph.add_node(f"accelerator {number}", kind="accelerator", rack=0)
    for number in range(2**dimensions):
        for bit in range(dimensions):
            ends = (f"accelerator {number}", f"accelerator {number ^ (1 << bit)}")
            graph.add_edge(*ends, bytes_per_s=rate, latency_s=5e-7, kind="nvlink", medium="pcb")
    return graph
