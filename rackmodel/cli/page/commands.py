"""The commands of the page: simulate and serve, without the options that write files.

In:  the groups of options that the command line has.
Out: `COMMANDS`, functions that return what the page shows.
Left out: running them (`worker`), the fields of the page (`form`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import rackmodel
from rackmodel.cli import groups
from rackmodel.cli.files import name_or_file

Answer = dict[str, Any]
_SHOWN = (
    *("topology", "model", "gpus", "global_batch", "seq_len", "precision", "plan", "step_s"),
    *("step_s_low", "step_s_high", "band_reason", "tokens_per_s_per_gpu", "peak_flops_per_s"),
    *("mfu", "bound_by", "breakdown_s", "hbm", "racks", "cost", "energy_j_per_token", "power"),
    *("placement", "notes", "run", "trays"),
)


def simulate(
    topology: groups.Topology,
    job: groups.JobOptions,
    engine: groups.EngineWords,
    site: groups.SiteOptions,
    parts: groups.CatalogOptions,
) -> Answer:
    """Simulate one training step."""
    machine, catalog = parts.with_machine(name_or_file(topology, "TOPOLOGY"))
    from rackmodel.planning.job_words import command_words
    from rackmodel.reporting.summary import ROWS, headline

    here = {**site, "trays": True}
    result = rackmodel.simulate(machine, **job, **engine, site=here, catalog=catalog)
    row: Any = result.to_dict(_SHOWN)
    return {
        "title": headline(row),
        "figures": [[name, text(row)] for name, text in ROWS],
        "parts": step_parts(row["breakdown_s"]),
        "held": command_words(rackmodel.Plan.of(row["plan"])),
        **_machine(row),
    }


def serve(
    topology: groups.Topology,
    job: groups.ServingOptions,
    engine: groups.PlacingWords,
    site: groups.ServedSite,
    parts: groups.CatalogOptions,
) -> Answer:
    """Serve a model to a closed loop of users."""
    name, catalog = name_or_file(topology, "TOPOLOGY"), parts.load()
    from rackmodel.cli.tables_serving import serving_headline, serving_rows

    row: Any = rackmodel.serve(name, **job, **engine, site=site, catalog=catalog).to_dict()
    return {
        "title": serving_headline(row),
        "figures": [list(each) for each in serving_rows(row)],
        "parts": step_parts(row["breakdown_s"]),
        "held": [],
        **_machine(row),
    }


COMMANDS: dict[str, Callable[..., Answer]] = {"simulate": simulate, "serve": serve}


def step_parts(seconds: Mapping[str, float]) -> list[Answer]:
    """Return the parts of a step or of a token in order, with a colour and a length in words."""
    from rackmodel.reporting.style import STEP_PARTS
    from rackmodel.reporting.words import part_name, seconds as text

    return [
        {
            "name": part_name(key),
            "colour": STEP_PARTS[key][1] if key in STEP_PARTS else "",
            "value": value,
            "text": text(value),
        }
        for key, value in seconds.items()
        if value > 0
    ]


def _machine(row: Mapping[str, Any]) -> Answer:
    """Return what the page draws of a machine: HBM, and the hottest rack by tray or by part."""
    from rackmodel.reporting.summary import watts_text
    from rackmodel.reporting.words import scaled

    hottest = max(row["racks"], key=lambda one: one["heat_w"])
    trays = [one for one in row.get("trays") or () if one["rack_class"] == hottest["rack"]]
    heat = watts_text(hottest)
    count = sum(one["count"] for one in row["racks"])
    return {
        "hbm": shares(row["hbm"]["used_bytes"], "B"),
        "hbm_bytes": row["hbm"]["capacity_bytes"],
        "hbm_text": scaled(row["hbm"]["capacity_bytes"], "B"),
        "trays": trays,
        "watts": shares(hottest["by_part_w"], "W"),
        "rack": f"The hottest of {count:,} rack{'s' * (count > 1)}: {heat}",
        "notes": list(row["notes"]),
    }


def shares(found: Mapping[str, float], unit: str) -> list[Answer]:
    """Return what is above 0, each with its name and amount in words."""
    from rackmodel.reporting.words import part_name, scaled

    return [
        {"name": part_name(name), "value": value, "text": scaled(value, unit)}
        for name, value in found.items()
        if value > 0
    ]
