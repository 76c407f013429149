"""Inside domains first, then over the rails between them.

In:  a group on a network and an operation.
Out: rounds of flows, one after another.
Left out: fixed times and protocols; see `costs`.
"""

import numpy as np

from rackmodel.network.collectives.groups import Group
from rackmodel.network.collectives.hops import Hops, between, flows_of, inside, pairs
from rackmodel.network.collectives.registry import REDUCING, Rounds, Steps, algorithm
from rackmodel.network.graph import Network


def _steps_s(steps: Steps) -> float:
    near, far = steps.inner - 1, steps.domains - 1
    if steps.op != "all-to-all":
        hops = steps.passes * (near * steps.inside_s + far * steps.outside_s)
        return 3 * steps.base_s + hops
    rounds = (steps.inside_s if near > 0 else 0.0) + (steps.outside_s if far > 0 else 0.0)
    launches = 2 if near > 0 and far > 0 else 1
    return launches * steps.base_s + rounds + (max(0.0, near) + far) * steps.peer_s


@algorithm("hierarchical", (*REDUCING, "all-to-all"), steps_s=_steps_s, most_whole=20_000)
def hierarchical(network: Network, group: Group, op: str) -> Rounds:
    """Rounds: reduce-scatter inside domains, then over the rails between, all-gather inside.

    An all-to-all has two: see `_exchange`.
    """
    if op == "all-to-all":
        return _exchange(network, group)
    near = [inside(network, group, p, (len(p) - 1) / len(p)) for p in group.parts if len(p) > 1]
    # A ring of sums carries all parts but the sender's own out of a domain, one of copies all but
    # the receiver's: unequal domains hold unequal parts.
    own = np.array([len(part) for part in group.parts]) / group.true_size
    sums, copies = 1 - own, 1 - np.roll(own, -1)
    shares = {"reduce-scatter": sums, "all-gather": copies, "all-reduce": sums + copies}[op]
    far = list(between(group, shares, close=True))
    first = (flows_of(network, near),) if near else ()
    second = (flows_of(network, far),) if far else ()
    if op == "reduce-scatter":
        return first + second
    return second + first if op == "all-gather" else first + second + first


def _exchange(network: Network, group: Group) -> Rounds:
    """Rounds of an all-to-all: inside domains to the member in the target's place, then outside.

    A member that stands in place q of its domain sends to place q of the others only (q modulo the
    size of its domain, where they differ), so messages between domains are larger and stay on their
    rail. Source: Rajbhandari et al., "DeepSpeed-MoE", 2022, sec. 5.3 (hierarchical all-to-all).
    """
    size, place = group.true_size, np.zeros(len(network.nodes), dtype=np.int64)
    place[group.nodes] = np.arange(len(group.nodes))
    inner: list[Hops] = []
    outer: list[Hops] = []
    for i, part in enumerate(group.parts):
        own = len(part)
        targets = np.ones(own)  # what each member has to pass on: for itself, and for outside
        for k, other in enumerate(group.parts):
            if k != i:
                relay = np.arange(len(other)) % own
                many = group.stands_for(place[part[relay]], place[other])
                targets += np.bincount(relay, many, minlength=own)
                outer.append((part[relay], other, own * many / size))
        a, b = pairs(own)
        inner.append((part[a], part[b], targets[b] / size))
    return tuple(flows_of(network, hops) for hops in (inner, outer) if any(len(h[0]) for h in hops))
