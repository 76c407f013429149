"""The command that shows all at once: report (one page).

In:  machines and a job.
Out: an HTML page that needs nothing else.
Left out: how pages and pictures look (`rackmodel.reporting`).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any

import typer

from rackmodel.cli import groups
from rackmodel.cli.files import check_file, name_or_file, read_json
from rackmodel.cli.options import Group, Words, fields_options, of_dataclass, parameter
from rackmodel.cli.output import note
from rackmodel.cli.values import clip
from rackmodel.errors import CannotRun, InvalidInput
from rackmodel.fields import setting
from rackmodel.files import check_writable, write_whole

DEFAULT_MACHINES = ["gb200-nvl72", "dgx-b200", "dgx-h100"]


@dataclass(frozen=True, kw_only=True)
class PageWords:
    """What a page holds beside the results."""

    validation: Path | None = setting(
        None,
        "Published runs (.csv) or what `validate --json` wrote: adds the error tables.",
        "runs.csv",
        option="--validation",
    )
    claims: Path | None = setting(
        None,
        "What `claims --json` wrote: adds the verdicts.",
        "claims.json",
        option="--claims",
    )
    study: Path | None = setting(
        None,
        "What benchmarks.scale_up_vs_scale_out wrote (a directory): adds its answers and pictures.",
        "runs/study",
        option="--study",
    )
    brief: bool = setting(
        False, "Only the results: no plan map, no collectives, no rack.", option="--brief"
    )
    sensitivity: bool = setting(
        False, "Also what doubling each resource gains; minutes more.", option="--sensitivity"
    )


def _job_options() -> list[Parameter]:
    from rackmodel.workload.plan import Job

    return [
        parameter("model", groups.Model, "gpt3-175b"),
        parameter("gpus", groups.Gpus, 1024),
        parameter("global_batch", groups.Batch, 2048),
        *fields_options(Job, "Job", ("seq_len", "precision"), searched=True),
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
    parts: groups.CatalogOptions,
    output: groups.JsonOption,
    topologies: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TOPOLOGY...]",
            help=f"Machines to compare. Default: {' '.join(DEFAULT_MACHINES)}.",
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
    if out.suffix.lower() not in (".html", ".htm"):
        raise InvalidInput(f"--out: wanted a file ending in .html; got {clip(out.name)!r}")
    check_writable(out, "--out")
    machines = [name_or_file(word, "TOPOLOGY") for word in topologies or DEFAULT_MACHINES]
    verdicts = None if page.claims is None else read_json(page.claims, "--claims")
    if page.validation is not None:
        check_file(page.validation, "--validation")
    loaded, catalog = parts.with_machines(machines)
    from rackmodel.cli.report_parts import report_parts
    from rackmodel.reporting import html

    content = report_parts(loaded, job, catalog, page, verdicts)
    content["command"] = _command([*machines, *parts.given], job)
    if not content["rows"]:
        raise CannotRun(f"none of {', '.join(machines)} can run this job")
    write_whole(out, html.page(content).encode("utf-8", "backslashreplace"), "--out")
    if output.json:
        output.write({"file": str(out), "machines": machines}, list)
    else:
        note(f"wrote {out}")
