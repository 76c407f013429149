"""Which sizes of domains are compared, as machines.

In:  the sizes that a verb names, or none; how many accelerators the job uses.
Out: a machine for each size; which of the usual sizes are left out, and why.
Left out: how a domain of some size is made and sold (`sold_domains`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rackmodel.argument.sold_domains import HostsUneven, sold
from rackmodel.errors import InvalidInput
from rackmodel.hardware import Catalog
from rackmodel.topology import Topology

SIZES = (8, 16, 36, 64, 72, 144, 288, 576)
"""Accelerators of the domains that are compared where none are named."""


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
    if not isinstance(gpus, int) or gpus < 1:
        raise InvalidInput(f"gpus must be a whole number of 1 or more, found {gpus!r:.40}")
    if wanted is None:
        wanted = [size for size in SIZES if size <= gpus]
        if not wanted:
            raise InvalidInput(f"gpus: a domain has {SIZES[0]} accelerators at least, found {gpus}")
    for size in wanted:
        if isinstance(size, bool) or not isinstance(size, int) or size < 2:
            raise InvalidInput(f"domains: expected whole numbers of 2 or more, found {size!r:.40}")
        if size > gpus:
            raise InvalidInput(
                f"domain of {size} accelerators: the job uses {gpus:,}; leave it out"
            )
    if not wanted:
        raise InvalidInput("domains: give at least one size, such as 8 or 72")
    return sorted(set(wanted))
