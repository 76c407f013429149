"""Which sizes of domains are compared, as machines, one row each.

In:  the sizes that a verb names, or none; how many accelerators the job uses.
Out: a machine for each size; which of the usual sizes are left out, and why; rows of all, `Found`.
Left out: how a domain of some size is made and sold (`sold_domains`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

from rackmodel import gate
from rackmodel.argument.sold_domains import HostsUneven, sold
from rackmodel.errors import CannotRun, InvalidInput
from rackmodel.fields import MOST_WHOLE
from rackmodel.hardware import Catalog
from rackmodel.topology import Topology

SIZES = (8, 16, 36, 64, 72, 144, 288, 576)
"""Accelerators of the domains that are compared where none are named."""


class Found(TypedDict):
    """What domains of one accelerator are compared by.

    rows : one for each domain, quickest plan; a domain that can't run has a reason instead.
    finding : what they say in one sentence. copper_ends : the largest domain without optics.
    """

    model: str
    accelerator: str
    gpus: int
    finding: str
    copper_ends: int | None
    rows: list[dict[str, Any]]
    notes: list[str]


def each_row(
    machines: Sequence[Topology],
    row_of: Callable[[int], dict[str, Any]],
    forget: Callable[[], object],
    progress: Callable[[int, int], None] | None,
) -> list[dict[str, Any]]:
    """Return the row of each machine by its place, or the reason why it can't run.

    forget : called after each: no domain has another's routes, they would only fill memory.
    """
    report = progress or (lambda done, of: None)
    rows: list[dict[str, Any]] = []
    for place, machine in enumerate(machines):
        report(place, len(machines))
        try:
            rows.append(row_of(place))
        except CannotRun as reason:
            domain = machine.domain_accelerators
            rows.append({"domain_accelerators": domain, "reason": str(reason)})
        forget()
    report(len(machines), len(machines))
    return rows


def that_ran(rows: Sequence[dict[str, Any]], what: str) -> list[dict[str, Any]]:
    """Return the rows without a reason; raises `CannotRun` where there is none."""
    ran = [row for row in rows if "reason" not in row]
    if not ran:
        raise CannotRun(f"no domain can {what}: {rows[0]['reason']}")
    return ran


def copper_end(ran: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the largest domain without optics."""
    copper = [row["domain_accelerators"] for row in ran if row["medium"] == "copper"]
    return max(copper, default=None)


def sold_all(words: Mapping[str, Any], parts: Catalog) -> list[Topology]:
    """Return a machine for each size of a domain, smallest first, as `words` of a verb want them.

    Where no sizes are named, those that the accelerator's hosts do not fill evenly are left out.

    Raises
    ------
    InvalidInput, UnknownName
        As `sold` does, or for a size above the accelerators in use.
    """
    shape = {name: words[name] for name in ("medium", "taper", "link", "changes")}
    made = []
    for size in _sizes(words["domains"], words["gpus"]):
        try:
            made.append(sold(words["accelerator"], size, **shape, catalog=parts))
        except HostsUneven:
            if words["domains"] is not None:
                raise
    return made


def left_out(wanted: Sequence[int] | None, gpus: int, made: Sequence[Topology]) -> list[str]:
    """Say which of the usual sizes are left out, where none are named, and why."""
    if wanted is not None:
        return []
    sizes = {machine.domain_accelerators for machine in made}
    larger = [size for size in SIZES if size > gpus]
    uneven = [size for size in SIZES if size <= gpus and size not in sizes]
    return [
        f"domains of {', '.join(map(str, out))} are left out: {why}"
        for out, why in (
            (larger, f"the job uses {gpus:,} accelerators"),
            (uneven, "hosts of this accelerator do not fill them evenly"),
        )
        if out
    ]


def _sizes(wanted: Sequence[int] | None, gpus: int) -> list[int]:
    """Return the domains in order, each once; without any those of `SIZES` that a job fills."""
    gate.whole(gpus, "gpus", most=MOST_WHOLE, words=False)
    if wanted is None:
        wanted = [size for size in SIZES if size <= gpus]
        if not wanted:
            raise InvalidInput(f"gpus: a domain has {SIZES[0]} accelerators at least, found {gpus}")
    for size in wanted:
        if gate.whole(size, "domains", least=2, words=False) > gpus:
            raise InvalidInput(
                f"domain of {size} accelerators: the job uses {gpus:,}; leave it out"
            )
    if not wanted:
        raise InvalidInput("domains: give at least one size, such as 8 or 72")
    return sorted(set(wanted))
