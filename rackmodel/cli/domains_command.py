"""The command that varies the scale-up domain: domains.

In:  a job, an accelerator, sizes of domains.
Out: one row for each, as they are sold; a picture whose title says what was found.
Left out: machines by name (`compare`), the study behind the claims (`benchmarks`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import rackmodel
from rackmodel.cli import groups
from rackmodel.cli.options import of_dataclass
from rackmodel.cli.output import progress
from rackmodel.cli.tables_serving import served_domains_tables
from rackmodel.cli.tables_study import domains_tables
from rackmodel.cli.values import clip, count
from rackmodel.errors import InvalidInput
from rackmodel.fields import setting


@dataclass(frozen=True, kw_only=True)
class DomainWords:
    """Which domains are compared."""

    accelerator: str = setting(
        "gb200", "Accelerator of all domains.", "gb200", option="--accelerator"
    )
    domains: str = setting(
        "",
        "Accelerators of a scale-up domain, one or more; 8,16,36,64,72,144,288,576 if left out, as"
        " far as the job fills them.",
        "8,72,576",
        unit="N,N",
        option="--domains",
    )
    medium: str = setting(
        "cpo", "Medium of the upper tier, where copper ends.", "pluggable", option="--upper-medium"
    )
    taper: float = setting(
        1.0, "Links of the upper tier: down over up.", 2, unit="R", option="--taper"
    )
    link: str = setting(
        "", "Other scale-up links of the same rate.", "ualink1-x4", option="--scale-up-link"
    )
    simulated: int = setting(
        12,
        "Plans of each domain that are simulated, at most; the quickest counts. It stops before "
        "where a better one is unlikely (below one in five); above 12 it looks further.",
        4,
        option="--simulated",
        least=1,
    )


def domains(
    job: groups.DomainOptions,
    what: Annotated[DomainWords, of_dataclass(DomainWords, "Domains")],
    site: groups.SiteOptions,
    parts: groups.CatalogOptions,
    output: groups.PlotOptions,
) -> None:
    """Tell what a larger scale-up domain buys: speed, waits, HBM, heat, cost of each size.

    \b
    Examples:
      rackmodel domains --model deepseek-v3 --accelerator gb200 --gpus 4608 --global-batch 18432 \\
          --seq-len 4096 --precision fp8-mx --domains 8,72,576 --plot domains.png
      rackmodel domains --model llama3.1-405b --gpus 1152 --global-batch 1152 --taper 4
      rackmodel domains --serve --tokens-per-s-per-user 100 --model deepseek-v3 --weights nvfp4 \\
          --gpus 72 --isl 1024 --osl 1024 --mtp 3 --acceptance 0.6 --domains 8,72

    Domains as they are sold: nodes of 8, racks of 36 and 72 with their chassis, hosts and prices;
    denser racks in copper up to 144, above that an upper tier of switches on optics.
    Pipelines run 1f1b, interleaved, zb-h1, zb-2p, zb-v, DualPipe or DualPipeV;
    `--plan schedule=1f1b` keeps to one.
    With --serve: the most tokens/s per accelerator at a speed that each user sees.
    """
    words = what.domains.split(",") if what.domains else []
    sizes = [count(word, "--domains", 10_000) for word in words]
    if len(set(sizes)) < len(sizes):
        raise InvalidInput(f"--domains: {clip(what.domains)!r} names a size twice")

    shape: dict[str, Any] = {
        "accelerator": what.accelerator,
        "domains": sizes or None,
        "medium": what.medium,
        "taper": what.taper,
        "link": what.link,
        "changes": parts.changes or None,
        "catalog": parts.catalog(),
        "site": site,
    }
    if job.pop("serve", False):
        if what.simulated != DomainWords.simulated:
            raise InvalidInput("--simulated: plans that serve are all looked at; leave it out")
        with progress("domains") as advance:
            served = rackmodel.domains_serving(**job, **shape, progress=advance)
        output.show(served, served_domains_tables)
        return
    if job.pop("default_plan", False):
        raise InvalidInput("--default-plan: domains have their best plans; give fields of a plan")
    with progress("domains") as advance:
        found = rackmodel.domains(**job, **shape, simulated=what.simulated, progress=advance)
    output.show(found, domains_tables)
