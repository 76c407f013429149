"""The page that shows all at once: machines compared on a job, assumptions, errors, verdicts.

In:  machines, the words of a job, files that other commands wrote.
Out: `report` writes one HTML file that needs nothing else.
Left out: what stands on it (`page_parts`), how it looks (`rackmodel.reporting.html`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rackmodel import files, gate
from rackmodel.errors import CannotRun
from rackmodel.stages import tell
from rackmodel.verbs.answer import checked
from rackmodel.verbs.page_words import PageWords, page_files, page_words

if TYPE_CHECKING:
    from rackmodel.hardware import Catalog
    from rackmodel.topology import Topology

MACHINES = ("gb200-nvl72", "dgx-b200", "dgx-h100")
JOB: Mapping[str, Any] = {"model": "gpt3-175b", "gpus": 1024, "global_batch": 2048}


@checked
def report(
    out: str | Path,
    topologies: Sequence[str | Path | Topology] = MACHINES,
    job: Mapping[str, Any] = JOB,
    *,
    page: PageWords | Mapping[str, Any] | None = None,
    catalog: Catalog | None = None,
) -> Path:
    """Write one page that says what was asked, assumed and found, and how sure we are.

    out : the page, .html. topologies : machines, each as `simulate` takes one. job : the words of
    `compare` that describe a job. page : what it holds beside the results, fields of `PageWords`:
    files validation, claims, study; brief, sensitivity.

    Returns
    -------
    The path of the page.

    Raises
    ------
    InvalidInput, UnknownName
        As `compare` does, or if a file can't be read or written.
    CannotRun
        If no machine can run the job.
    """
    wanted = page if isinstance(page, PageWords) else page_words(page or {})
    path, verdicts = page_files(Path(out), wanted)
    words = gate.table(job, "job")
    names = [getattr(one, "name", str(one)) for one in topologies]
    command = f"rackmodel.report({str(out)!r}, {names!r}, {words!r})"
    write_page(path, topologies, words, catalog, wanted, verdicts, command=command)
    return path


def write_page(
    out: Path,
    topologies: Sequence[str | Path | Topology],
    job: Mapping[str, Any],
    catalog: Catalog | None,
    page: PageWords,
    verdicts: Mapping[str, Any] | None,
    *,
    command: str,
    note: Callable[[str], None] = tell,
) -> None:
    """Work out a page and write it; command : that it says it was made by."""
    from rackmodel.reporting import html
    from rackmodel.verbs.page_parts import report_parts

    content = report_parts(topologies, job, catalog, page, verdicts, note=note)
    content["command"] = command
    if not content["rows"]:
        names = [getattr(one, "name", str(one)) for one in topologies]
        raise CannotRun(f"none of {', '.join(names)} can run this job")
    tell("drawing the page")
    files.write_whole(out, html.page(content).encode("utf-8", "backslashreplace"), "--out")
