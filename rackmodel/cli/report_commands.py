"""The command that shows all at once: report (one page).

In:  machines and a job.
Out: an HTML page that needs nothing else.
Left out: how pages and pictures look (`rackmodel.reporting`).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any

import typer

import rackmodel
from rackmodel.cli import groups
from rackmodel.cli.files import name_or_file
from rackmodel.cli.options import Group, Words, fields_options, of_dataclass, parameter
from rackmodel.cli.output import note
from rackmodel.cli.site_words import said_site
from rackmodel.verbs.page import JOB, MACHINES, write_page
from rackmodel.verbs.page_words import PageWords, page_files


def _job_options() -> list[Parameter]:

    return [
        parameter("model", groups.Model, JOB["model"]),
        parameter("gpus", groups.Gpus, JOB["gpus"]),
        parameter("global_batch", groups.Batch, JOB["global_batch"]),
        *fields_options(rackmodel.Job, "Job", ("seq_len", "precision"), left_out="open"),
    ]


def _job_words(words: Words) -> Words:
    return {**words, "model": name_or_file(words["model"], "--model")}


def _command(words: Sequence[str], job: Mapping[str, Any]) -> str:
    options = [
        word
        for name in ("model", "gpus", "global_batch", "seq_len", "precision")
        if name in job
        for word in (f"--{name.replace('_', '-')}", str(job[name]))
    ]
    return shlex.join(["rackmodel", "report", *words, *options, "--out", "report.html"])


def report(
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="FILE.html", help="The page.", show_default=False),
    ],
    job: Annotated[Words, Group(_job_options, _job_words)],
    page: Annotated[PageWords, of_dataclass(PageWords, "Page")],
    site: groups.SiteOptions,
    parts: groups.CatalogOptions,
    output: groups.JsonOption,
    topologies: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TOPOLOGY...]",
            help=f"Machines to compare. Default: {' '.join(MACHINES)}.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write one page that says what was asked, assumed and found, and how sure we are.

    \b
    Examples:
      rackmodel report --out report.html
      rackmodel report gb200-nvl72 dgx-h100 --model llama3.1-405b --gpus 1024 \\
          --global-batch 1024 --out report.html

      rackmodel report --out report.html --claims claims.json --validation runs.csv \\
          --study runs/study

    The page holds its pictures and scripts and needs no network.
    """
    path, verdicts = page_files(out, page)
    machines = [name_or_file(word, "TOPOLOGY") for word in topologies or MACHINES]
    loaded, catalog = parts.with_machines(machines)
    command = _command([*machines, *parts.given, *said_site(site)], job)
    job = {**job, "site": site}
    write_page(path, loaded, job, catalog, page, verdicts, command=command, note=note)
    if output.json:
        output.write({"file": str(out), "machines": machines}, list)
    else:
        note(f"wrote {out}")
