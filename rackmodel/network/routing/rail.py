"""The accelerator of one's own domain that stands on the rail of the target.

In:  the attachments of accelerators to the fabric.
Out: for each pair, the accelerator to go through.
Left out: the ways to it and on; see `router`.
"""

import numpy as np

from rackmodel.columns import Ints
from rackmodel.network.arrays import Arrays
from rackmodel.network.routing.core import Core


class Rails:
    """Rails of a network: accelerators of a domain with equal attachments share one."""

    def __init__(self, network: Arrays, fabric: Core) -> None:
        """Number the rails of each domain by their first accelerator."""
        self.home = network.home
        self.rail = np.full(len(network.nodes), -1, dtype=np.int64)
        self.ordinal = np.zeros(len(network.nodes), dtype=np.int64)  # on its rail in the domain
        self.standing: dict[tuple[int, int], list[int]] = {}
        leaves: dict[int, dict[object, int]] = {}
        for node in network.accelerator_nodes.tolist():
            domain = int(self.home[node])
            seen = leaves.setdefault(domain, {})
            self.rail[node] = seen.setdefault(fabric.host(node).key, len(seen))
            group = self.standing.setdefault((domain, int(self.rail[node])), [])
            self.ordinal[node] = len(group)
            group.append(node)

    def relays(self, sources: Ints, targets: Ints) -> Ints:
        """Return the accelerator through which each pair goes, -1 where none is needed or there."""
        home, rail = self.home, self.rail
        relay = np.full(len(sources), -1, dtype=np.int64)
        apart = (home[sources] >= 0) & (home[targets] >= 0) & (rail[sources] != rail[targets])
        wanted = np.flatnonzero(apart)
        rails = int(rail.max()) + 1
        code = home[sources[wanted]] * rails + rail[targets[wanted]]
        for one in np.unique(code).tolist():
            candidates = np.array(self.standing.get(divmod(one, rails), []), dtype=np.int64)
            if len(candidates):
                here = wanted[code == one]
                relay[here] = candidates[self.ordinal[targets[here]] % len(candidates)]
        return relay
