"""The command about failures: goodput.

In:  a machine and how many accelerators a job uses.
Out: interruptions by part, checkpoint interval, goodput in closed form and played out, spares.
Left out: how fast the job is while it runs (`simulate`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rackmodel.cli import options as opt
from rackmodel.cli import room_options as room
from rackmodel.cli import rooms
from rackmodel.cli.output import Output
from rackmodel.errors import InvalidInput

if TYPE_CHECKING:
    from rich.console import RenderableType


def _option(name: str, metavar: str, text: str) -> Any:
    return typer.Option(name, metavar=metavar, help=text, show_default=False)


def goodput(
    topology: opt.TopologyArgument,
    gpus: opt.GpusOption,
    days: Annotated[
        str, typer.Option("--days", metavar="DAYS", help="How long a run is played out.")
    ] = "90",
    runs: Annotated[
        int, typer.Option("--runs", min=0, max=1000, help="Runs that are played out; 0 for none.")
    ] = 8,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=2**32 - 1, help="Seed of the failures.")
    ] = 0,
    stall: Annotated[
        str | None, _option("--stall", "TIME", "What a checkpoint blocks the job, such as 5s.")
    ] = None,
    restart: Annotated[
        str | None, _option("--restart", "TIME", "From a failure to work again, such as 300s.")
    ] = None,
    interval: Annotated[
        str | None, _option("--interval", "TIME", "Between two checkpoints. Default: the best.")
    ] = None,
    repair: Annotated[
        str | None, _option("--repair", "TIME", "Until a broken accelerator is replaced.")
    ] = None,
    checkpoint: Annotated[
        str | None,
        _option("--checkpoint", "BYTES", "Size of a checkpoint, written straight to storage."),
    ] = None,
    storage: Annotated[
        str | None, _option("--storage", "RATE", "Of the storage, such as 2TB/s.")
    ] = None,
    spares: Annotated[
        list[int] | None,
        typer.Option(
            "--spares",
            metavar="N",
            min=0,
            help="Idle accelerators in each scale-up domain. Repeatable.",
            show_default=False,
        ),
    ] = None,
    medium: room.MediumOption = None,
    sets: opt.SetOption = None,
    catalog: opt.CatalogOption = None,
    json_: opt.JsonOption = False,
    csv_: opt.CsvOption = False,
    out: opt.OutOption = None,
    demands: opt.AssertOption = None,
) -> None:
    """Tell how often failures stop a job, when to save, what of the time counts, what spares buy.

    \b
    Examples:
      rackmodel goodput grand-teton-h100-500w --gpus 16384 --days 54
      rackmodel goodput gb200-nvl72 --gpus 9216 --spares 0 --spares 8 --repair 4h
      rackmodel goodput gb200-nvl72 --gpus 9216 --medium scale-up=pluggable

    Interruptions come at random at the rates of the parts; goodput is the share of the time that
    advances the job, by Daly's closed form and by playing it out.
    """
    output = Output(json_, csv_, out, tuple(demands or ()))
    output.check()
    from rackmodel.units import parse

    def quantity(word: str | None, unit: str, where: str) -> float | None:
        return None if word is None else parse(word, unit, where=where, positive=True)

    try:
        span = float(days)
    except ValueError:
        raise InvalidInput(f"--days: wanted a number of days such as 54; got {days!r}") from None
    where = room.site_fields(medium=medium)
    payload = rooms.goodput(
        topology,
        gpus,
        rooms.catalog(sets or (), catalog or ()),
        days=span,
        runs=runs,
        seed=seed,
        stall_s=quantity(stall, "s", "--stall"),
        restart_s=quantity(restart, "s", "--restart"),
        interval_s=quantity(interval, "s", "--interval"),
        repair_s=quantity(repair, "s", "--repair"),
        checkpoint_bytes=quantity(checkpoint, "bytes", "--checkpoint"),
        storage_bytes_per_s=quantity(storage, "bytes_per_s", "--storage"),
        spares=spares,
        **where,
    )
    output.write(payload, lambda: goodput_tables(payload))


def goodput_tables(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield the answer, then interruptions by part, then what spares buy."""
    from rackmodel.cli.tables_step import grid
    from rackmodel.reporting.words import percent, seconds, three, whole

    yield (
        f"{found['topology']}  {whole(found['accelerators'])} accelerators: "
        f"{percent(found['goodput'], 1)} of the time advances the job"
    )
    yield ""
    table = grid("", "")
    table.show_header = False
    rows = [
        ("mean time between interruptions", seconds(found["mtbf_s"])),
        (f"interruptions in {three(found['days'])} days", three(found["expected_interruptions"])),
        ("planned stops a day", three(found["planned_per_day"])),
        (
            "checkpoint stall, restart",
            f"{seconds(found['stall_s'])}, {seconds(found['restart_s'])}",
        ),
        ("checkpoint interval", seconds(found["interval_s"])),
        (
            "  best (Daly), first order (Young)",
            f"{seconds(found['best_interval_s'])}, {seconds(found['young_interval_s'])}",
        ),
    ]
    if played := found.get("played"):
        rows.append(
            (
                f"played out {whole(played['runs'])} times, without planned stops",
                f"{percent(played['goodput'], 2)} +- {percent(played['goodput_error'], 2)} with "
                f"{three(played['interruptions'])} interruptions; closed form "
                f"{percent(found['played_closed_form'], 2)}",
            )
        )
    for name, text in rows:
        table.add_row(name, text)
    yield table
    yield ""
    table = grid("stopped by", "a day", f"in {three(found['days'])} days", "share")
    for row in found["rows"]:
        table.add_row(
            row["part"],
            three(row["interruptions_per_day"]),
            three(row["interruptions"]),
            percent(row["share"], 1),
        )
    yield table
    if found["domains"]:
        yield ""
        table = grid(
            f"idle in each domain of {whole(found['domain_accelerators'])}",
            "domains in use",
            "idle domains",
            "one is whole",
            "enough are",
            "falls short a day",
            "useful of all",
        )
        for row in found["domains"]:
            table.add_row(
                whole(row["spares"]),
                whole(row["domains"]),
                whole(row["idle_domains"]),
                percent(row["available"], 3),
                percent(row["all_available"], 1),
                three(row["outages_per_day"]),
                percent(row["useful"], 1),
            )
        yield table
        yield (
            f"A broken accelerator is replaced after {seconds(found['repair_s'])}; until then its "
            "domain needs one of its idle ones, or the job an idle domain, or it waits. "
            "Useful: accelerators at work over those bought, times the time that counts."
        )
