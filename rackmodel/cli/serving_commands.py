"""The commands about serving: serve.

In:  the words of the command line.
Out: one result.
Left out: how tables look (`tables_serving`), what the rooms do.
"""

from __future__ import annotations

from rackmodel.cli import groups
from rackmodel.cli.files import name_or_file
from rackmodel.cli.tables_serving import serving_tables


def serve(
    topology: groups.Topology,
    job: groups.ServingOptions,
    engine: groups.PlacingWords,
    site: groups.SiteOptions,
    parts: groups.CatalogOptions,
    output: groups.PlotOptions,
) -> None:
    """Serve a model to a closed loop of users: time per token, throughput, what binds, cost.

    \b
    Examples:
      rackmodel serve dgx-h100 --model llama3.1-70b --users 64 --isl 1024 --osl 1024
      rackmodel serve gb200-nvl72 --model deepseek-v3 --weights nvfp4 --users 4096 --isl 1024 \\
          --osl 1024 --gpus 64 --tp 32 --ep 32 --dp-attention --prefill-gpus 32 --json

    Steps are simulated on the machine's graph. Times in s, tokens of answers unless said.
    """
    name, catalog = name_or_file(topology, "TOPOLOGY"), parts.load()
    from rackmodel.serving import api

    payload = api.serve(name, **job, **engine, site=site, catalog=catalog).to_dict()
    output.draw("serving.breakdown_figure", [payload])
    output.write(payload, serving_tables, [payload])
