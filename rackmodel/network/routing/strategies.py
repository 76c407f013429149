"""How packets choose among the ways that join two nodes.

In:  the name of a routing.
Out: `Strategy`, the few facts by which the router works.
Left out: the ways themselves; see `router`.
"""

from dataclasses import dataclass

from rackmodel.network.arrays import Routing


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """Facts of a routing; by default a flow is spread over all shortest ways."""

    spread: bool = True  # over all equally short ways, so equal places have equal routes
    by_path: bool = False  # equal parts over paths counted to the end, not over cables at each node
    hashed: bool = False  # the one way by a seeded hash, not the first by the order of links
    ordered: bool = False  # inside a torus one dimension after another
    rails: bool = False  # outside first to the accelerator on the target's rail


STRATEGIES: dict[Routing, Strategy] = {
    "spray": Strategy(),
    "paths": Strategy(by_path=True),
    "ecmp": Strategy(spread=False, hashed=True),
    "single": Strategy(spread=False),
    "dimension-order": Strategy(ordered=True),
    "rail": Strategy(rails=True),
}
