"""Caches of prompts on their way to the workers that decode, as flows over the graph.

In:  a job whose prompts run apart, its machine.
Out: `Transfers.move`.
Left out: exchanges of steps one by one; what they take of a tier of links in the mean is taken from
     it, at most half: one cache beside one collective has at least that.

Each rank of the worker that decodes fetches its part of a cache from a rank of the other one. All
caches under way share the links max-min fairly; the parts of one cache go at the pace of the
slowest.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import simpy

from rackmodel.engine.networks import network_of
from rackmodel.network import FluidNetwork, pattern
from rackmodel.network.collectives.flows import join, link_load
from rackmodel.result.link_usage import link_rows, tier_of_links
from rackmodel.serving.run import settle
from rackmodel.serving.steps import Steps
from rackmodel.workload.serving.job import ServingJob
from rackmodel.workload.serving.memory import sequence_bytes

MOST_TAKEN = 0.5  # of a link, by the exchanges of steps


class Transfers:
    """Moves caches between workers; which links they load is worked out once for each pair."""

    def __init__(self, job: ServingJob, steps: Steps, env: simpy.Environment) -> None:
        assert job.prefill is not None
        self.job, self.env, self.prefill = job, env, job.prefill
        self.slower = steps.slower.caches
        self.network = network_of(steps.machine, job.gpus)
        taken = _taken(job, steps)
        tiers = tier_of_links(self.network)
        free = np.array([1.0 - min(MOST_TAKEN, taken.get(tier, 0.0)) for tier in tiers])
        self.capacity = self.network.capacity * free
        self._loads: list[list[tuple[int, float]]] = []
        self._cap: list[float] = []
        self._latency: list[float] = []
        self._pairs: dict[tuple[int, int, int], int] = {}
        self._turn = 0
        self.traffic = FluidNetwork(env, self._loads, self.capacity.tolist(), self._cap)

    def move(self, origin: int, target: int, tokens: int, done: Callable[[], None]) -> None:
        """Bring the cache of so many tokens from a worker to another; call `done` then."""
        job = self.job
        rank = self._turn % job.worker.tp if job.worker.dp_attention else 0
        self._turn += 1
        size = sequence_bytes(job, job.worker, float(tokens)) * self.slower
        flow = self._pair(origin, target, rank, size)

        def arrived() -> None:
            pause = self.env.timeout(self._latency[flow])
            pause.callbacks.append(lambda _: done())

        self.traffic.start([(flow, size)], arrived)

    def _pair(self, origin: int, target: int, rank: int, size: float) -> int:
        """Return the class of flows between two workers, by their numbers in the cluster."""
        key = (origin, target, rank)
        if key in self._pairs:
            return self._pairs[key]
        worker, prefill = self.job.worker, self.prefill
        prompts, decode = self.job.begins
        number = target - self.job.prefill_gpus // prefill.gpus
        places = [decode + number * worker.gpus + rank for rank in range(worker.gpus)]
        ends = [places[rank]] if worker.dp_attention else places
        first = prompts + origin * prefill.gpus
        rounds = [
            pattern(self.network, "send", [first + n % prefill.gpus, end], size)
            for n, end in enumerate(ends, start=rank)
        ]
        flows = join(*(one.rounds[0] for one in rounds))
        load = link_load(self.network, flows)
        own = flows.cap_bytes_per_s / flows.share
        links = np.flatnonzero(load)
        alone = float((self.capacity[links] / load[links]).min(initial=np.inf))
        self._pairs[key] = len(self._cap)
        self._loads.append([(int(link), float(load[link])) for link in links])
        self._cap.append(min(alone, float(own.min())))
        self._latency.append(
            max(one.latency_s[0] + float(one.rounds[0].latency_s.max()) for one in rounds)
        )
        return self._pairs[key]


def _taken(job: ServingJob, steps: Steps) -> dict[str, float]:
    """Return the share of each tier of links that exchanges take, of decode or of prompts."""
    assert job.prefill is not None
    state = settle(job, steps, 1e9)
    found: dict[str, float] = {}
    for worker, gpus, load in (
        (job.worker, job.decode_gpus, state.decode),
        (job.prefill, job.prefill_gpus, state.prompt),
    ):
        for row in link_rows(steps.step(job, worker, gpus, load, worker.pp)):
            tier = row["tier"]
            found[tier] = max(found.get(tier, 0.0), row["utilisation_mean"])
    return found
