"""What became of requests: percentiles, goodput, queues, caches and power over time.

In:  a run, its machine and site.
Out: `RequestsResult`, with everything that `rackmodel serve --rate` prints as JSON.
Left out: how things look.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np

from rackmodel import hardware
from rackmodel.annotations import Axes, DataFrame, Figure
from rackmodel.assess.site import Site
from rackmodel.hardware import Catalog
from rackmodel.hardware.identity import made_with
from rackmodel.network.simpy_private import events_so_far
from rackmodel.requests.cluster import CACHE, RUNNING, WAITING
from rackmodel.requests.drafts import BLOCK_TOKENS
from rackmodel.requests.power import Power, power_over_time
from rackmodel.requests.run import Run
from rackmodel.result.notebook import Framed, drawn
from rackmodel.result.serving_records import RequestsRecord
from rackmodel.serving.outcome import plan_words
from rackmodel.topology import Topology


@dataclass(frozen=True, kw_only=True, repr=False)
class RequestsResult(Framed):
    """A model that is served, request by request."""

    run: Run
    machine: Topology
    catalog: Catalog | None
    site: Site

    @cached_property
    def power(self) -> Power:
        """Watts of racks and hall over time."""
        catalog = self.catalog or hardware.load_catalog()
        return power_over_time(self.run, self.machine, catalog, self.site)

    @property
    def over_time(self) -> dict[str, list[float]]:
        """Means in equal bins of time, by name; shares from 0 to 1."""
        run, levels = self.run, self.run.cluster.levels
        means = levels.means()
        blocks = sum(worker.pool.blocks for worker in run.cluster.workers)
        return {
            "time_s": (np.arange(len(means)) * levels.bin_s).tolist(),
            "waiting": (run.alike * means[:, WAITING]).tolist(),
            "running": (run.alike * means[:, RUNNING]).tolist(),
            "kv_used_share": (means[:, CACHE] / blocks).tolist(),
            "power_w": self.power.hall_w.tolist(),
        }

    @property
    def frame(self) -> DataFrame:
        """What happened over time, one row for each bin, with each rack's power."""
        import pandas as pd

        racks = {f"rack_{n}_w": watts for n, watts in enumerate(self.power.racks_w)}
        return pd.DataFrame({**self.over_time, **racks})

    def plot(self, ax: Axes | None = None) -> Axes | Figure:
        """Draw requests, cache, power and the times that requests took; on `ax`, the last alone."""
        if ax is None:
            return cast("Figure", drawn("requests_figure.requests_figure", [self.to_dict()]))
        return cast("Axes", drawn("requests_figure.request_times", self.to_dict(), ax))

    def to_dict(self) -> RequestsRecord:
        """Return everything that `rackmodel serve --rate --json` prints; SI units."""
        run, job, seen = self.run, self.run.job, self.run.cluster.seen
        requests_per_s, tokens_per_s = run.rates
        good = seen.good / seen.answered
        workers = run.cluster.workers
        hall_w, times = self.power.hall_w, self.power.time_s
        mean_w = float(hall_w.mean()) if len(times) else 0.0
        racks = [
            {
                "rack": number,
                "mean_w": float(watts.mean()),
                "peak_w": float(watts.max()),
                "power_w": watts.tolist(),
            }
            for number, watts in enumerate(self.power.racks_w)
        ]
        found = {
            "topology": self.machine.name,
            "accelerator": run.steps.kernels.accelerator.name,
            "gpus": job.gpus,
            "model": job.model.name,
            "weights": job.weights,
            "kv": job.kv,
            "stack": job.stack,
            "plan": plan_words(job),
            "arrivals": self._arrivals(),
            "requests": seen.answered * run.alike,
            "isl": run.isl,
            "osl": run.osl,
            "ttft_s": seen.ttft.to_dict(),
            "tpot_s": seen.tpot.to_dict(),
            "e2e_s": seen.e2e.to_dict(),
            "requests_per_s": requests_per_s,
            "capacity_requests_per_s": run.capacity,
            "tokens_per_s": tokens_per_s,
            "tokens_per_s_per_gpu": tokens_per_s / job.gpus,
            "slo": {
                name: None if math.isinf(value) else value
                for name, value in asdict(run.objective).items()
            },
            "within_slo": good,
            "goodput_requests_per_s": good * requests_per_s,
            "preemptions": run.alike * sum(worker.preemptions for worker in workers),
            "kv_blocks": run.alike * sum(worker.pool.blocks for worker in workers),
            "kv_block_tokens": BLOCK_TOKENS,
            "over_time": self.over_time,
            "racks": racks,
            "placement": self.power.placement,
            "power_w": mean_w,
            "energy_j_per_token": mean_w / tokens_per_s if tokens_per_s else 0.0,
            "simulation": {
                "events": events_so_far(run.cluster.env),
                "steps": sum(len(times.points) for times in run.times),
                "alike": run.alike,
            },
            **made_with(self.catalog),
        }
        return cast(RequestsRecord, found)

    def _arrivals(self) -> Mapping[str, Any]:
        given = self.run.arrivals
        if given.trace is not None:
            return {"kind": "trace", "rate": given.trace.rate, "seed": given.seed}
        if given.rate is None:
            users = self.run.job.users
            found = {"kind": "closed loop", "users": users, "lengths": given.lengths}
            return {**found, "together": given.together}
        return {
            "kind": "renewals",
            "rate": given.rate,
            "cv": given.cv,
            "lengths": given.lengths,
            "seed": given.seed,
        }

    def __repr__(self) -> str:
        """Say in one line what ran where and how it went."""
        run, seen = self.run, self.run.cluster.seen
        return (
            f"<RequestsResult: {seen.answered * run.alike:,} requests to {run.job.model.name} on"
            f" {run.job.gpus:,} accelerators ({self.machine.name}): first token p50"
            f" {seen.ttft.at(0.5):.3g} s, p99 {seen.ttft.at(0.99):.3g} s>"
        )
