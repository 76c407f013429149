"""Max-min fair rates, written as the textbook tells it: the yardstick for `sharing`.

In:  the links that each flow crosses with the fraction of its rate on each, and the capacities.
Out: one rate per flow, valid until a flow starts or ends.
Left out: speed. `sharing.fair_rates` gives the same rates for hundreds of thousands of flows.
"""

import math
from collections.abc import Hashable, Mapping
from typing import TypeVar

from rackmodel.errors import NoRoute

Flow = TypeVar("Flow", bound=Hashable)
Link = TypeVar("Link", bound=Hashable)

TIE = 1e-12  # links whose levels differ by less fill together


def max_min_rates(
    flows: Mapping[Flow, Mapping[Link, float]],
    links: Mapping[Link, float],
    *,
    cap: Mapping[Flow, float] | None = None,
    weight: Mapping[Flow, float] | None = None,
) -> dict[Flow, float]:
    """Share links so that no flow can speed up without slowing one that is no faster.

    Parameters
    ----------
    flows : {flow: {link: fraction of the flow's rate that crosses it}}; an empty path never waits.
    links : {link: capacity}. [bytes/s]
    cap : {flow: its own upper limit}, infinite if left out. [bytes/s]
    weight : {flow: weight}, 1 if left out; "faster" then means rate per weight.

    Returns
    -------
    {flow: rate} for the same flows. [bytes/s]

    Raises
    ------
    NoRoute
        If a flow crosses a link that `links` does not hold.

    Notes
    -----
    Progressive filling: all rates grow as weight times one level until a link is full or a flow
    reaches its cap; those flows stay, the rest grow on. Source: Bertsekas and Gallager, "Data
    Networks", 2nd ed., 1992, sec. 6.5.2.

    Examples
    --------
    >>> max_min_rates({"a": {"x": 1}, "b": {"x": 1, "y": 1}, "c": {"y": 1}}, {"x": 10, "y": 4})
    {'b': 2.0, 'c': 2.0, 'a': 8.0}
    """
    for flow, path in flows.items():
        if missing := set(path) - set(links):
            raise NoRoute(f"flow {flow!r} crosses unknown links {sorted(map(str, missing))}")
    weights = {flow: 1.0 if weight is None else weight.get(flow, 1.0) for flow in flows}
    limits = {flow: math.inf if cap is None else cap.get(flow, math.inf) for flow in flows}

    rates: dict[Flow, float] = {}
    waiting = dict(flows)
    spare = {link: float(capacity) for link, capacity in links.items()}
    while waiting:
        demand: dict[Link, float] = {}
        for flow, path in waiting.items():
            for link, fraction in path.items():
                if fraction > 0:
                    demand[link] = demand.get(link, 0.0) + fraction * weights[flow]
        levels = {link: spare[link] / load for link, load in demand.items()}
        own = {flow: limits[flow] / weights[flow] for flow in waiting}
        level = min([*levels.values(), *own.values()])
        if level == math.inf:
            rates.update(dict.fromkeys(waiting, math.inf))
            break
        full = {link for link in levels if levels[link] <= level * (1 + TIE)}
        for flow, path in list(waiting.items()):
            held = any(path[link] > 0 for link in full.intersection(path))
            if held or own[flow] <= level * (1 + TIE):
                rates[flow] = min(level * weights[flow], limits[flow])
                for link, fraction in path.items():
                    # rounding can dip below 0
                    spare[link] = max(0.0, spare[link] - rates[flow] * fraction)
                del waiting[flow]
    return rates
