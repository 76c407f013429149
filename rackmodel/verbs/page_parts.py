"""What the report page is made of: results, assumptions with sources, errors, hashes.

In:  machines and a job; files that `claims --json` and `validate --json` wrote.
Out: the content that `rackmodel.reporting.html.page` lays out.
Left out: HTML.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rackmodel import api
from rackmodel.argument.ratios import record_ratio
from rackmodel.errors import CannotRun
from rackmodel.stages import tell
from rackmodel.validation.errors import validate
from rackmodel.verbs.page_extras import closer_look, heat_rows, study_parts
from rackmodel.verbs.page_words import PageWords, read_rows

if TYPE_CHECKING:
    from rackmodel.hardware import Catalog
    from rackmodel.result.result import Result
    from rackmodel.topology import Topology

_KEPT = (
    "title",
    "power",
    "thermal",
    "flops_per_s",
    "hbm_",
    "scale_up",
    "idle_w",
    "clock",
)


def report_parts(
    machines: Sequence[str | Path | Topology],
    job: Mapping[str, Any],
    parts: Catalog | None,
    page: PageWords,
    verdicts: Mapping[str, Any] | None,
    *,
    note: Callable[[str], None],
) -> dict[str, Any]:
    """Return the content of a page; machines that can't run the job are told with the reason.

    job : words of the front door. note : is told what is left out.
    """
    found = study_parts(page.study) if page.study is not None else {}
    rows: list[dict[str, Any]] = []
    results: list[Result] = []
    failures = []
    for name, answer in api.compare(machines, **job, catalog=parts):
        if isinstance(answer, CannotRun):
            note(f"{name}: {answer}")
            failures.append({"topology": name, "reason": str(answer)})
        else:
            rows.append({**answer.to_dict()})
            results.append(answer)
    content: dict[str, Any] = {
        "rows": rows,
        "failures": failures,
        "verdicts": verdicts["rows"] if verdicts else None,
        "left_out": list(dict.fromkeys(note for row in rows for note in row.get("notes") or ())),
        **found,
    }
    if not rows:
        return content
    if page.validation is not None:
        content["validation"] = _errors(page.validation, parts)
    quickest = max(rows, key=lambda row: row["tokens_per_s_per_gpu"])
    content["ratios"] = {row["topology"]: record_ratio(quickest, row) for row in rows}
    content |= _assumptions(sorted({row["accelerator"] for row in rows}), parts)
    content |= _identity()
    content["tiers"] = _tiers([result.machine for result in results], parts)
    content["heat_domains"] = heat_rows(results)
    if not page.brief:
        fastest = max(results, key=lambda result: result.tokens_per_s_per_gpu)
        content |= closer_look(fastest, parts, gains=page.sensitivity, note=note)
    return content


def _errors(path: Path, parts: Catalog | None) -> dict[str, Any]:
    """Return {rows, summary} that `validate --json` wrote, or of a table validated now."""
    if path.suffix.lower() == ".json":
        return read_rows(path, "--validation")
    answer: dict[str, Any] = validate(
        path, catalog=parts, workers=1, progress=lambda done, total: tell("runs", done, total)
    )
    return answer


def _assumptions(accelerators: Sequence[str], parts: Catalog | None) -> dict[str, Any]:
    from rackmodel.hardware import describe, load_catalog, sources

    catalog = parts or load_catalog()
    rows = [
        {"of": name, **fact._asdict()}
        for name in accelerators
        for fact in describe(f"accelerators.{name}", catalog)
        if fact.field.startswith(_KEPT)
    ]
    known = sources()
    keys = {key for row in rows for key in str(row["source"] or "").split()}
    cited = {key: f"{known[key].where} ({known[key].kind})" for key in sorted(keys & set(known))}
    return {"assumptions": rows, "sources": cited}


def _identity() -> dict[str, Any]:
    """Return the version, and a hash of all code and data that the figures depend on."""
    package = import_module("rackmodel")  # the root package knows of this one
    root = Path(str(package.__file__)).parent
    whole = hashlib.sha256()
    files = {path for kind in ("*.py", "*.toml", "*.csv") for path in root.rglob(kind)}
    files |= set((root.parent / "topologies").glob("*.toml"))  # in a checkout they stand beside
    for path in sorted(files):
        whole.update(path.name.encode() + b"\0" + path.read_bytes())
    return {
        "version": package.__version__,
        "hashes": {"code and data (SHA-256)": whole.hexdigest()},
    }


def _tiers(machines: Sequence[Topology], parts: Catalog | None) -> list[dict[str, Any]]:
    """Return what one accelerator of each machine can send at each distance."""
    from rackmodel.assess.bandwidth_ladder import tiers
    from rackmodel.hardware import load_catalog

    catalog = parts or load_catalog()
    return [
        row
        for machine in machines
        if machine.accelerator in catalog.accelerators and machine.own_graph is None
        for row in tiers(machine, catalog)
    ]
