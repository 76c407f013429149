"""Where ranks stand: as few racks as hold them, evenly filled where whole groups allow.

In:  a plan, the size of a scale-up domain.
Out: the accelerator of each rank, how many accelerators the ranks are spread over.
Left out: the machine's graph.

A job whose groups of 64 ranks exchange tokens does not fill racks of 72 to the last: it takes 64 of
each and leaves 8 as spares, so that no group is torn apart. This is what schedulers are told to do
(NVIDIA's recipes for NVL72 request segments of 16 trays). 512 ranks take 64 of each of eight racks,
not seven whole racks and eight accelerators of one more, and 4,096 ranks 64 of each of 64, not 56
whole racks and 64 of one more. Where no even share of nearly all of a domain is made of whole
groups racks are filled in order; groups that fit no domain are packed. Idle accelerators draw power
and are paid for.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rackmodel.errors import CannotRun
from rackmodel.workload import Plan

# Of a domain, left idle only so that all domains are filled alike: assumed. It admits 64 of 72, 128
# of 144 and 512 of 576. Larger jobs of 2^n on racks filled in order take up to 39% longer; spares
# cost up to 4% per token where they win little.
MOST_SPARE = 0.125


class RankMap(NamedTuple):
    """`used` accelerators of every domain of `domain`; rank r stands on domain r // used.

    shape, order : lengths of a torus that the ranks fill, and its dimensions from the one that
    ranks walk slowest to the fastest; empty elsewhere. chosen : the accelerator of each rank, where
    they stand around broken ones or as a user says; empty elsewhere.
    """

    domain: int
    used: int
    shape: tuple[int, ...] = ()
    order: tuple[int, ...] = ()
    chosen: tuple[int, ...] = ()

    def accelerators(self, ranks: int) -> npt.NDArray[np.int64]:
        """Return the accelerator of each of `ranks` ranks."""
        rank = np.arange(ranks, dtype=np.int64)
        if self.chosen:
            return np.array(self.chosen[:ranks], dtype=np.int64)
        if self.order and ranks <= math.prod(self.shape):
            walked = np.unravel_index(rank, [self.shape[d] for d in self.order])
            place = [walked[self.order.index(d)] for d in range(len(self.shape))]
            return np.asarray(np.ravel_multi_index(place, self.shape), dtype=np.int64)
        return rank // self.used * self.domain + rank % self.used

    def on_torus(self, shape: Sequence[int], plan: Plan, walked: Sequence[int] = ()) -> RankMap:
        """Return the map on a slice of a torus, its dimensions walked as the groups want it.

        Groups of tp (and of tp x cp) neighbours fill whole rings or planes where some order of the
        dimensions makes them, as mesh builders of JAX do; all other groups are then boxes too. Else
        they share a row, where rows of some dimension hold a whole number of them. A slice that is
        filled in part is walked in the same way. walked : the dimensions as a user wants them, the
        fastest first.

        >>> RankMap(domain=512, used=512).on_torus((8, 4, 4), Plan(tp=8, dp=16)).order
        (1, 2, 0)
        """
        wanted = {plan.tp, plan.tp * plan.cp} - {1}

        def whole(order: tuple[int, ...]) -> tuple[int, int]:
            inner = itertools.accumulate((shape[d] for d in reversed(order)), int.__mul__)
            in_rows = sum(shape[order[-1]] % size == 0 for size in wanted)
            return len(wanted & set(inner)), in_rows

        orders = itertools.permutations(range(len(shape)))
        if walked:
            return self._replace(shape=tuple(map(int, shape)), order=tuple(reversed(walked)))
        best = max(orders, key=whole)  # the first of equals: the machine's own order
        return self._replace(shape=tuple(int(n) for n in shape), order=best)

    def slots(self, ranks: int) -> int:
        """Return how many accelerators, spares included, the ranks are spread over.

        >>> RankMap(domain=72, used=64).slots(130)
        146
        """
        if self.chosen:
            return self.chosen[ranks - 1] + 1
        full, rest = divmod(ranks, self.used)
        return full * self.domain + rest - (self.domain - self.used if not rest else 0)

    def idle(self, ranks: int) -> int:
        """Return how many accelerators of the domains that the ranks stand in have none.

        >>> RankMap(domain=72, used=64).idle(4096), RankMap(domain=72, used=72).idle(8)
        (512, 64)
        """
        room = math.prod(self.shape) if self.shape else self.domains(ranks) * self.domain
        return room - ranks

    def domains(self, ranks: int) -> int:
        """Return how many domains the ranks stand in, with those that they pass over."""
        if self.chosen:
            return self.chosen[ranks - 1] // self.domain + 1
        return math.ceil(ranks / self.used)

    def ranks(self, slots: int) -> int:
        """Return how many ranks stand on so many slots of whole domains."""
        return slots // self.domain * self.used


def map_ranks(plan: Plan, domain: int, most: int | None = None, *, packed: bool = False) -> RankMap:
    """Choose how many accelerators of each domain a job uses.

    Parameters
    ----------
    domain : accelerators of a scale-up domain. most : accelerators of the machine, None for no
        limit.
    packed : fill every domain to the last, whatever is torn apart.

    Examples
    --------
    >>> map_ranks(Plan(ep=64, dp=256), 72).used
    64
    >>> map_ranks(Plan(tp=8, pp=8, dp=9), 72).used, map_ranks(Plan(tp=8, dp=64), 72).used
    (72, 64)
    """
    packed_map = RankMap(domain=domain, used=domain)
    if packed or plan.gpus <= domain:
        return packed_map
    extents = {plan.tp, plan.tp * plan.cp, plan.ep * plan.etp}
    fitting = [extent for extent in extents if extent <= domain]
    block = math.lcm(*fitting)
    if block > domain:
        block = max(fitting)
    used = domain // block * block
    fewest = math.ceil(plan.gpus / used)
    for share in range(used, 0, -block):
        admitted = plan.gpus // share == fewest or share >= (1.0 - MOST_SPARE) * domain
        if plan.gpus % share == 0 and admitted:
            even = RankMap(domain=domain, used=share)
            if most is None or even.slots(plan.gpus) <= most:
                return even
    in_order = RankMap(domain=domain, used=used)
    return in_order if most is None or in_order.slots(plan.gpus) <= most else packed_map


def around(
    ranks: int,
    usual: RankMap,
    most: int,
    *,
    broken: Collection[int] = (),
    counts: Sequence[int] = (),
    packed: bool = False,
) -> RankMap:
    """Return the map of ranks that stand around broken accelerators, or as a user says.

    Of every domain they take as many as `usual` does, the first that work; a domain with fewer is
    passed over, or with `packed` used as far as it goes.

    Parameters
    ----------
    most : accelerators of the machine. counts : accelerators of each domain in order, in place of
    those of `usual`; one number counts for all.

    Raises
    ------
    CannotRun
        If the machine has too few that work, or `counts` do not add up to the ranks.

    Examples
    --------
    >>> around(4, RankMap(domain=4, used=2), 12, broken=[1]).chosen
    (0, 2, 4, 5)
    >>> around(4, RankMap(domain=4, used=4), 12, counts=[1, 3]).chosen
    (0, 4, 5, 6)
    """
    if counts and max(counts) > usual.domain:
        raise CannotRun(
            f"placement: a domain has {usual.domain} accelerators, not {max(counts)}; place at most"
            f" {usual.domain} in each"
        )
    if len(counts) > 1 and sum(counts) != ranks:
        raise CannotRun(
            f"placement: {sum(counts)} accelerators are placed, the job has {ranks}; make the"
            f" numbers add up to {ranks}"
        )
    if len(counts) == 1 and not broken:
        return RankMap(domain=usual.domain, used=min(counts[0], ranks))
    chosen: list[int] = []
    for number, first in enumerate(range(0, most, usual.domain)):
        if len(chosen) == ranks:
            break
        own = counts[min(number, len(counts) - 1)] if counts else usual.used
        wanted = min(own, ranks - len(chosen))
        good = [a for a in range(first, min(first + usual.domain, most)) if a not in broken]
        if len(good) >= wanted or packed:
            chosen += good[:wanted]
        elif len(counts) > 1:
            raise CannotRun(
                f"placement: {wanted} of domain {number} are wanted, {len(good)} of it work"
            )
    if len(chosen) < ranks:
        raise CannotRun(
            f"the machine has {len(chosen)} accelerators in domains that still hold"
            f" {counts[0] if counts else usual.used} each; the job wants {ranks}: fewer --gpus, or"
            " --packed to fill what is left of the others"
        )
    return usual._replace(chosen=tuple(chosen))
