"""One region of a network: its links by node, and what hangs off its forwarding part.

In:  the links of a region of a `Network` and the nodes that may not forward there.
Out: the attachments of every node, and numbers that are equal for equal attachments.
Left out: ways between attachments; see `core`.
"""

from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np

from rackmodel.columns import Bools, Ints
from rackmodel.network.arrays import Arrays, components

Key: TypeAlias = tuple[tuple[int, int, int], ...]  # (core node, hops to it, cables), by attachment

MOST_SHARING = 17  # links of an adapter that accelerators share; a switch has more


class Host(NamedTuple):
    """A node that does not forward: its attachments, each a chain of links out and back in."""

    key: Key
    out_chains: tuple[tuple[int, ...], ...]
    in_chains: tuple[tuple[int, ...], ...]


class Region:
    """The forwarding part of one region and what hangs off it."""

    def __init__(
        self,
        network: Arrays,
        use: Bools,
        terminal: Bools,
        domain: Ints | None = None,
        *,
        chains: bool = True,
    ) -> None:
        """Index the region's links by node.

        domain : int[N], where this core only joins different ones: what hangs off a single domain
            (the CPUs of a tray) is then no attachment, or each tray would be a place of its own.
        chains : strip adapters from their accelerators; not where they are the ends of flows.
        """
        self.network, self.chains, self.domain, self.terminal = network, chains, domain, terminal
        self.chosen = np.flatnonzero(use)
        self.tail, self.head = network.tail[self.chosen], network.head[self.chosen]
        self.out_order, self.out_ptr = self._by_node(self.tail)
        self.in_order, self.in_ptr = self._by_node(self.head)
        self.joining: dict[tuple[int, int], list[int]] = {}
        ends = zip(self.tail.tolist(), self.head.tolist(), self.chosen.tolist(), strict=True)
        for a, b, link in ends:
            self.joining.setdefault((a, b), []).append(link)
        self.local = self._local()
        self.keys_seen: dict[tuple[Key, int], int] = {}
        self.key_of = np.full(len(network.nodes), -1, dtype=np.int64)
        self.hosts: dict[int, Host] = {}

    def _by_node(self, end: Ints) -> tuple[Ints, Ints]:
        """Return the region's links in order of one of their ends, and where each node's begin."""
        ends = np.cumsum(np.bincount(end, minlength=len(self.network.nodes)))
        return self.chosen[np.argsort(end, kind="stable")], np.concatenate([[0], ends])

    @property
    def key_count(self) -> int:
        """Distinct sets of attachments seen so far."""
        return len(self.keys_seen)

    @cached_property
    def _lone(self) -> tuple[Ints, Ints]:
        """The pairs of hosts that one link joins straight, as numbers in order, and that link."""
        ends = self.terminal[self.tail] & self.terminal[self.head]
        code = self.tail[ends] * np.int64(len(self.network.nodes)) + self.head[ends]
        pairs, first, many = np.unique(code, return_index=True, return_counts=True)
        return pairs[many == 1], self.chosen[ends][first[many == 1]]

    def direct(self, sources: Ints, targets: Ints) -> Ints:
        """Return int[P], the one link that joins two hosts of a pair straight, -1 for none."""
        known, links = self._lone
        if not len(known):
            return np.full(len(sources), -1, dtype=np.int64)
        wanted = sources * np.int64(len(self.network.nodes)) + targets
        place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        return np.where(known[place] == wanted, links[place], -1)

    def _local(self) -> Bools:
        """Mark the forwarding nodes from which accelerators of one domain only can be reached."""
        n = len(self.network.nodes)
        if self.domain is None:
            return np.zeros(n, dtype=bool)
        inner = ~self.terminal[self.tail] & ~self.terminal[self.head]
        part = components(n, self.tail[inner], self.head[inner])
        least, most = np.full(n, n), np.full(n, -1)
        for host, hub in ((self.tail, self.head), (self.head, self.tail)):
            ends = self.terminal[host] & ~self.terminal[hub]
            np.minimum.at(least, part[hub[ends]], self.domain[host[ends]])
            np.maximum.at(most, part[hub[ends]], self.domain[host[ends]])
        return np.asarray((least == most)[part])

    def out_links(self, node: int) -> list[int]:
        """Return the region's links that leave `node`."""
        ends: list[int] = self.out_order[self.out_ptr[node] : self.out_ptr[node + 1]].tolist()
        return ends

    def host(self, node: int) -> Host:
        """Return the attachments of `node` (a forwarding node is attached to itself)."""
        if node not in self.hosts:
            self.hosts[node] = self._attach(node)
        return self.hosts[node]

    def _attach(self, node: int) -> Host:
        if not self.terminal[node]:
            return Host(((node, 0, 1),), ((),), ((),))
        head = self.network.head
        key, outs, ins = [], [], []
        for link in self.out_links(node):
            chain, at, before = [link], int(head[link]), node
            # follow a chain such as accelerator - NIC - leaf
            while self.chains and not self.terminal[at]:
                onward = self._onward(node, at, before)
                ends = len(onward) != 1 or self.terminal[int(head[onward[0]])]
                if ends or (at, before) not in self.joining:
                    break
                chain.append(onward[0])
                before, at = at, int(head[onward[0]])
                if at == node:
                    break
            back = self._reverse(chain)
            if self.terminal[at] or back is None or self.local[at]:
                continue
            key.append((at, len(chain), int(self.network.count[link])))
            outs.append(tuple(chain))
            ins.append(back)
        return Host(tuple(key), tuple(outs), tuple(ins))

    def _onward(self, node: int, at: int, before: int) -> list[int]:
        """Return the links that lead on from `at`, an adapter of `node` or shared in its domain."""
        head = self.network.head
        if self.out_ptr[at + 1] - self.out_ptr[at] <= 2:
            return [k for k in self.out_links(at) if int(head[k]) != before]
        if self.domain is None or self.out_ptr[at + 1] - self.out_ptr[at] > MOST_SHARING:
            return []
        onward = [k for k in self.out_links(at) if head[k] != before]
        same = self.domain[head[onward]] == self.domain[node]
        stay = self.terminal[head[onward]] & same
        return [k for k, leads_back in zip(onward, stay.tolist(), strict=True) if not leads_back]

    def _reverse(self, chain: list[int]) -> tuple[int, ...] | None:
        """Return the links that lead back along `chain`; the n-th parallel one for the n-th."""
        tail, head = self.network.tail, self.network.head
        back = []
        for link in reversed(chain):
            a, b = int(tail[link]), int(head[link])
            ahead, returns = self.joining[a, b], self.joining.get((b, a))
            if not returns:
                return None
            back.append(returns[min(ahead.index(link), len(returns) - 1)])
        return tuple(back)

    def _number(self, node: int) -> int:
        if self.key_of[node] < 0:
            # A host that is joined to other hosts directly has routes of its own.
            ends = self.network.head[self.out_links(node)]
            alone = bool(self.terminal[node] and self.terminal[ends].any())
            key = (self.host(node).key, node if alone else -1)
            self.key_of[node] = self.keys_seen.setdefault(key, len(self.keys_seen))
        return int(self.key_of[node])

    def keys(self, sources: Ints, targets: Ints) -> tuple[Ints, Ints]:
        """Return numbers that are equal for nodes with equal attachments."""
        for node in np.unique(np.concatenate([sources, targets])).tolist():
            self._number(node)
        return self.key_of[sources], self.key_of[targets]
