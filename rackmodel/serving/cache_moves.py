"""How long a prompt's cache takes from a prefill worker to one that decodes, beside others.

In:  a job whose prompts run apart, the steps of its machine.
Out: `CacheMoves`: seconds of one move, at a rate of requests.
Left out: exchanges of the workers' own steps on the same links; moves layer by layer under prefill.

Requests in flight between workers are their rate times the seconds of one (Little's law): so many
move at once and share links by max-min. Moves start and end spread evenly over the accelerators
that run prompts and those that decode (`ServingJob.begins`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from rackmodel.engine.networks import network_of
from rackmodel.network import pattern
from rackmodel.network.collectives.flows import Flows, join, pace_s
from rackmodel.serving.steps import Steps
from rackmodel.workload.serving.job import ServingJob
from rackmodel.workload.serving.memory import sequence_bytes

MOST = 64  # moves at once: what more of them would share, these share already


@dataclass(slots=True)
class CacheMoves:
    """Moves of caches on one machine."""

    job: ServingJob
    steps: Steps
    _known: dict[int, float] = field(default_factory=dict)

    def seconds(self, requests_per_s: float) -> float:
        """Return the time of one move where so many start in a second. [s]

        Infinite where links do not carry so many.
        """
        before, after = 1, 1
        while requests_per_s * self.together_s(after) > after:
            if after >= MOST:
                return math.inf
            before, after = after, 2 * after
        if after == 1:
            return self.together_s(1)
        # k moves at once take s + (k - before) x slope; of them k = rate x seconds are under way.
        slope = (self.together_s(after) - self.together_s(before)) / (after - before)
        start_s = self.together_s(before) - before * slope
        return start_s / (1.0 - requests_per_s * slope)

    @property
    def most_per_s(self) -> float:
        """Most requests in a second that links carry."""
        return MOST / self.together_s(MOST)

    def together_s(self, number: int) -> float:
        """Return the time of one of so many moves that start together. [s]"""
        if number not in self._known:
            self._known[number] = self._together_s(number)
        return self._known[number]

    def _together_s(self, number: int) -> float:
        job = self.job
        network = network_of(self.steps.machine, job.gpus)
        size = sequence_bytes(job, job.worker, job.isl) * job.worker.pp
        prompts, decode = job.begins
        parts: list[Flows] = []
        fixed_s = 0.0
        for move in range(number):
            for rank in range(job.worker.heads_over):
                source = (move * job.prefill_gpus // number + rank) % job.prefill_gpus
                target = (move * job.decode_gpus // number + rank) % job.decode_gpus
                ends = [prompts + source, decode + target]
                sent = pattern(network, "send", ends, size)
                parts += sent.rounds
                fixed_s = max(fixed_s, sum(sent.latency_s))
        seconds = fixed_s + pace_s(network, join(*parts)) * size
        return seconds * self.steps.slower.caches
