"""The commands about serving: serve, front.

In:  the words of the command line.
Out: one result; the points of a front.
Left out: how tables look (`tables_serving`), what verbs do.
"""

from __future__ import annotations

from typing import Annotated

import typer

import rackmodel
from rackmodel.cli import groups
from rackmodel.cli.files import name_or_file
from rackmodel.cli.output import note
from rackmodel.cli.request_words import EVENTS
from rackmodel.cli.tables_requests import goodput_tables, requests_tables
from rackmodel.cli.tables_serving import front_tables, serving_tables
from rackmodel.errors import InvalidInput


def serve(
    topology: groups.Topology,
    job: groups.ServingOptions,
    engine: groups.PlacingWords,
    site: groups.ServedSite,
    parts: groups.CatalogOptions,
    output: groups.PlotOptions,
) -> None:
    """Serve a model: time per token, throughput, what binds, cost; percentiles of requests.

    With --users the steady state of a closed loop. With --rate, --trace, --requests or --slo
    requests are simulated one by one: queue, KV cache and power over time, goodput.

    \b
    Examples:
      rackmodel serve dgx-h100 --model llama3.1-70b --users 64 --isl 1024 --osl 1024
      rackmodel serve gb200-nvl72 --model deepseek-v3 --weights nvfp4 --users 4096 --isl 1024 \\
          --osl 1024 --gpus 64 --tp 32 --ep 32 --dp-attention --prefill-gpus 32 --json
      rackmodel serve dgx-h100 --model llama3.1-70b --tp 8 --isl 1024 --osl 512 --rate 10 \\
          --slo ttft=500ms,tpot=30ms --plot queue.png

    Steps are simulated on the machine's graph. Times in s, tokens of answers unless said.
    """
    name, catalog = name_or_file(topology, "TOPOLOGY"), parts.load()
    if job.keys() & set(EVENTS):
        events = rackmodel.serve_requests(name, **job, **engine, site=site, catalog=catalog)
        output.show(events, requests_tables)
        return

    found = rackmodel.serve(name, **job, **engine, site=site, catalog=catalog)
    output.show(found, serving_tables)


def front(
    topologies: Annotated[
        list[str],
        typer.Argument(
            metavar="TOPOLOGY...", help="Names, TOML files or graphs.", show_default=False
        ),
    ],
    job: groups.FrontOptions,
    site: groups.ServedSite,
    parts: groups.CatalogOptions,
    output: groups.PlotOptions,
) -> None:
    """Draw tokens/s per accelerator against tokens/s per user: the best plans of each machine.

    \b
    Example:
      rackmodel front gb200-nvl72 dgx-b200 --model deepseek-v3 --weights nvfp4 --isl 1024 \\
          --osl 1024 --mtp 3 --acceptance 0.6 --plot front.png
      rackmodel front gb200-nvl72 --model llama3.1-70b --isl 4096 --osl 256 --gpus 16 \\
          --slo ttft=500ms,tpot=25ms

    With --slo: the most requests/s of which 90% keep these times, simulated one by one, for each
    share of accelerators that run prompts. Plans with prompts on accelerators of their own are
    searched too. A machine that can't serve the model is left out with the reason; the exit code is
    3 if none can.
    """
    names, catalog = [name_or_file(word, "TOPOLOGY") for word in topologies], parts.load()
    if "slo" in job:
        if output.plot is not None:
            raise InvalidInput("--plot: there is no picture of a front under an slo")
        if site:
            raise InvalidInput("--slo: power and cost are not told there; leave out the site")

        kept = rackmodel.front_requests(names, **job, catalog=catalog)
        for name, reason in kept.reasons.items():
            note(f"{name}: {reason}")
        output.write(kept.to_dict(), goodput_tables)
        return
    if "requests" in job:
        raise InvalidInput("--requests: about single requests; it needs --slo")

    found = rackmodel.front(names, **job, site=site, catalog=catalog)
    for name, reason in found.reasons.items():
        note(f"{name}: {reason}")
    output.show(found, front_tables)
