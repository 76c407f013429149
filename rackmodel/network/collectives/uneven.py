"""All-to-all with uneven sizes (all-to-allv): what tokens do whose experts are not equally liked.

In:  a network, a group, the bytes that each member sends to each other one.
Out: the time with direct sends and receives, beside its physical bound.
Left out: stand-ins; uneven sizes have no symmetry to fold.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from rackmodel.errors import InvalidInput
from rackmodel.network.collectives.costs import beyond_s, fixed_s, limit
from rackmodel.network.collectives.flows import drain_s, flows_between
from rackmodel.network.collectives.groups import make_group
from rackmodel.network.graph import Network

MOST_MEMBERS = 2048  # four million flows


def all_to_allv(
    network: Network, members: Sequence[int], sent_bytes: ArrayLike
) -> dict[str, object]:
    """Time an all-to-all in which member i sends sent_bytes[i, j] to member j.

    Parameters
    ----------
    members : accelerator indices in rank order, n of them.
    sent_bytes : float[n, n]; the diagonal stays where it is. [bytes]

    Returns
    -------
    A row as `run_collective` gives: bytes (of the fullest sender), gpus, algorithm, time_s,
    algbw_bytes_per_s, busbw_bytes_per_s (what the fullest sender or receiver moves over time_s),
    bound_s (the busiest member's bytes over the capacity of its links).

    Raises
    ------
    InvalidInput
        If the matrix is not n x n, or holds something that is no size.

    Examples
    --------
    >>> import networkx as nx
    >>> from rackmodel.network import Network
    >>> star = nx.DiGraph()
    >>> star.add_node("switch", kind="scale_up_switch")
    >>> for i in range(3):
    ...     star.add_node(i, kind="accelerator")
    ...     star.add_edge(i, "switch", bytes_per_s=1e9)
    ...     star.add_edge("switch", i, bytes_per_s=1e9)
    >>> row = all_to_allv(Network.from_graph(star), [0, 1, 2], [[0, 4e9, 0], [0, 0, 0], [0, 0, 0]])
    >>> row["bound_s"]
    4.0
    """
    sizes = np.asarray(sent_bytes, dtype=np.float64)
    n = len(members)
    if sizes.shape != (n, n):
        raise InvalidInput(
            f"all-to-allv: wanted {n} x {n} sizes, got {' x '.join(map(str, sizes.shape))}"
        )
    if not np.isfinite(sizes).all() or (sizes < 0).any():
        raise InvalidInput("all-to-allv: sizes must be finite and not negative")
    if n > MOST_MEMBERS:
        raise InvalidInput(f"all-to-allv: at most {MOST_MEMBERS:,} members, got {n:,}")
    group = make_group(network, members)
    apart = sizes * (1.0 - np.eye(n))
    most = float(max(apart.sum(axis=1).max(initial=0.0), apart.sum(axis=0).max(initial=0.0)))
    row: dict[str, object] = {
        "op": "all-to-allv",
        "bytes": float(sizes.sum(axis=1).max(initial=0.0)),
        "gpus": n,
        "algorithm": "direct",
        "time_s": 0.0,
        "algbw_bytes_per_s": 0.0,
        "busbw_bytes_per_s": 0.0,
        "bound_s": 0.0,
        "bound_by": "the busiest member's links",
        "binds": "",
        "protocol": "Simple",
    }
    if most <= 0.0 or n < 2:
        return row
    source, target = np.nonzero(apart > 1e-12 * most)  # less is lost in rounding
    flows = flows_between(
        network, group.nodes[source], group.nodes[target], apart[source, target] / most
    )
    beyond = beyond_s(network, group, (flows,), "direct")
    fixed = fixed_s(network, group, "all-to-all", "direct", beyond=beyond)
    time_s = fixed + drain_s(network, limit(network, flows, "direct", group), most)
    ends = len(network.nodes)
    out = np.bincount(network.tail, network.nominal, minlength=ends)[group.nodes]
    into = np.bincount(network.head, network.nominal, minlength=ends)[group.nodes]
    bound = max(float((apart.sum(axis=1) / out).max()), float((apart.sum(axis=0) / into).max()))
    fullest = float(sizes.sum(axis=1).max())
    return row | {
        "time_s": time_s,
        "algbw_bytes_per_s": fullest / time_s,
        "busbw_bytes_per_s": most / time_s,
        "bound_s": bound,
    }
