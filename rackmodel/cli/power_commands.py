"""The commands about power: heat (one rack, its swings and margins) and caps.

In:  a machine, a job, a site.
Out: a rack by tray; power over windows; the job under caps.
Left out: computing (`rackmodel.verbs.power`); how a rack by tray looks (`tables_step`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

import rackmodel
from rackmodel.cli import groups
from rackmodel.cli.files import name_or_file
from rackmodel.cli.options import of_dataclass
from rackmodel.cli.tables_site import caps_tables
from rackmodel.cli.tables_step import heat_tables
from rackmodel.cli.values import quantity
from rackmodel.errors import InvalidInput
from rackmodel.fields import setting


@dataclass(frozen=True, kw_only=True)
class PowerWords:
    """What is told of power over time."""

    windows: bool = setting(
        False,
        "Highest, lowest and steepest power over windows of 1 ms to a step; margins of shelf, "
        "busbar, breaker, CDU; temperatures after a start.",
        option="--windows",
    )
    jobs: int | None = setting(
        None,
        "So many jobs like this in one hall, periods and phases drawn: how their sum swings.",
        16,
        option="--jobs",
    )
    every_s: float | None = setting(
        None,
        "Power of accelerator, rack and hall (of --jobs) in samples of about so long, which divide "
        "the step; --csv has them as rows.",
        "20ms",
        unit="s",
        option="--every",
    )
    seconds: float | None = setting(
        None,
        "How much of a hall of --jobs is told in samples of --every. Default: ten steps; with "
        "--stagger a minute after the last start.",
        "10min",
        unit="s",
        option="--seconds",
    )
    stagger_s: float | None = setting(
        None,
        "Each of --jobs begins so long after the one before, its racks idle until then. Default: "
        "all run.",
        "30s",
        unit="s",
        option="--stagger",
    )

    def __post_init__(self) -> None:
        """Refuse what nothing would answer to."""
        hall = self.jobs is not None and self.every_s is not None
        for option, value in (("--seconds", self.seconds), ("--stagger", self.stagger_s)):
            if value is not None and not hall:
                raise InvalidInput(f"{option} is of a hall over time; give --jobs and --every too")


def heat(
    topology: groups.Topology,
    job: groups.JobOptions,
    site: groups.HeatOptions,
    parts: groups.CatalogOptions,
    output: groups.PlotOptions,
    power: Annotated[PowerWords, of_dataclass(PowerWords, "Power over time")],
) -> None:
    """Show the heat of a rack by tray in training: watts by part, liquid and air, temperatures.

    \b
    Examples:
      rackmodel heat gb200-nvl72 --model llama3.1-405b --gpus 576 --global-batch 576 --plot rack.png
      rackmodel heat gb300-nvl72 --model llama3-70b --gpus 72 --global-batch 144 \\
          --smooth floor=0.8 --smooth capacitors=65J --plot power.png
      rackmodel heat gb200-nvl72 --model llama3-70b --gpus 72 --global-batch 144 --every 20ms --csv
      rackmodel heat gb200-nvl72 --model llama3-70b --gpus 72 --global-batch 144 \\
          --jobs 16 --stagger 30s --every 1s --csv

    Heat in kW, temperatures in degC, coolant in L/min. A floor and a ramp limit are kept by burning
    power, which is heat too; storage shifts it. --windows and --smooth tell its swings over time.
    """
    machine, catalog = parts.with_machine(name_or_file(topology, "TOPOLOGY"))
    from pandas import concat

    result = rackmodel.simulate(machine, **job, site={**site, "trays": True}, catalog=catalog)
    found = rackmodel.heat(result, windows=power.windows, jobs=power.jobs)
    output.draw(found.plot)
    payload = found.to_dict()
    rows: Sequence[Mapping[str, Any]] = payload["rows"]
    if power.every_s is not None:
        frames = [rackmodel.power_over_time(result, every_s=power.every_s)]
        if power.jobs is not None:
            hall = rackmodel.hall_over_time(
                result,
                power.jobs,
                every_s=power.every_s,
                seconds=power.seconds,
                stagger_s=power.stagger_s,
            )
            frames.append(hall.assign(what=f"hall of {power.jobs} jobs", count=1.0))
        samples: Any = concat(frames).to_dict("records")
        payload["power_over_time"] = rows = samples
    output.write(payload, heat_tables, rows)


def caps(
    topology: groups.Topology,
    job: groups.JobOptions,
    site: groups.HeatOptions,
    parts: groups.CatalogOptions,
    output: groups.PlotOptions,
    cap: Annotated[
        list[str] | None,
        typer.Option(
            "--cap",
            metavar="W",
            help="Cap of an accelerator, such as 800W. Repeatable. Default: six up to its own.",
            show_default=False,
        ),
    ] = None,
    megawatts: Annotated[
        float | None,
        typer.Option(
            "--megawatts",
            metavar="MW",
            help="Power of the site: also tell how many accelerators and tokens/s it holds.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Tell what caps of the accelerators leave of a job, and which serves a site's power best.

    \b
    Examples:
      rackmodel caps gb200-nvl72 --model llama3-70b --gpus 72 --global-batch 144
      rackmodel caps dgx-b300 --model llama3-70b --gpus 64 --global-batch 128 \\
          --cap 600W --cap 800W --cap 1000W --megawatts 50

    The plan stays the same. Tokens/s per MW count what is provisioned at each cap, fabric and hall
    included.
    """
    wanted = [quantity("w")(word, "--cap") for word in cap] if cap else None
    machine, catalog = parts.with_machine(name_or_file(topology, "TOPOLOGY"))

    result = rackmodel.simulate(machine, **job, site=site, catalog=catalog)
    found = rackmodel.caps(result, caps_w=wanted, megawatts=megawatts)
    output.show(found, caps_tables)
