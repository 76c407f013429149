"""What one worker runs in one step: running sequences, tokens of prompts, how experts are hit.

In:  sequences, their context, prompts.
Out: `Load`, with what falls on one rank; experts that are touched, the busiest rank; `Ways`.
Left out: kernels (`layers`), time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from rackmodel.workload.experts import distinct_ranks
from rackmodel.workload.models import Model
from rackmodel.workload.serving.job import ServingJob, Worker

# Balancers know popularity from other traffic: spread (log-normal) of what they know about a step
# of STALE_OF sequences. With 32 copies over 32 ranks the busiest then has 1.3 times the mean, which
# costs 17% of the tokens of prompts of 4,096; SGLang on H100: 50,302 tokens/s a node, 59,337 with
# simulated perfect balance (16,384 tokens a rank, in two halves). What sequences have of their own
# averages out over more of them; a balancer that is off by LOST knows nothing (assumed).
STALE, STALE_OF = 0.3, 64
LOST = 1.0
PLACINGS, GRID = 8, 64  # of experts on ranks, of an integral over how many are touched


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One step of one worker.

    sequences : that decode, `drafted` tokens each, with `context` tokens in the cache.
    prompts : pieces of prompts of `piece` tokens each, with `before` tokens of theirs in the cache.
    """

    sequences: float = 0.0
    context: float = 0.0
    drafted: int = 1
    prompts: float = 0.0
    piece: float = 0.0
    before: float = 0.0

    @property
    def tokens(self) -> float:
        """Tokens that pass through all layers."""
        return self.sequences * self.drafted + self.prompts * self.piece

    @property
    def sampled(self) -> float:
        """Tokens that pass through the head."""
        return self.sequences * self.drafted + self.prompts

    @property
    def mixed(self) -> float:
        """Sequences over whose habits the tokens average, long pieces weighing more."""
        squares = self.sequences * self.drafted**2 + self.prompts * self.piece**2
        return self.tokens**2 / max(squares, 1e-9)

    @property
    def half(self) -> Load:
        """Half of the sequences and prompts."""
        return replace(self, sequences=self.sequences / 2.0, prompts=self.prompts / 2.0)

    @property
    def once(self) -> Load:
        """One token of each sequence that decodes."""
        return Load(sequences=self.sequences, context=self.context)

    def on_rank(self, worker: Worker) -> Load:
        """Return what one rank's attention runs: with dp attention, that of the fullest rank."""
        if not worker.dp_attention or worker.tp == 1:
            return self
        share = 1.0 / worker.tp
        return Load(
            sequences=_share(self.sequences, share),
            context=self.context,
            drafted=self.drafted,
            # one prompt is one rank's: it can't be cut
            prompts=_share(self.prompts, share),
            piece=self.piece,
            before=self.before,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How a software runs a worker's layers on a machine.

    domains : over which the worker's ranks stand. fused : sums take the norms after them along, in
    steps without prompts. finalized : and, in steps of so many tokens at most, what experts in
    nvfp4 and the shared one add up to. columns : a rank's part of an expert in mxfp4 is padded to
    whole numbers of these.
    """

    domains: int = 1
    fused: bool = False
    finalized: int = 0
    columns: int = 1


PLAIN = Ways()


def _share(count: float, share: float) -> float:
    return max(min(1.0, count), count * share)


def touched(model: Model, tokens: float, skew: float = 0.0) -> float:
    """Return the share of experts that at least one of `tokens` tokens is sent to.

    Each token is sent to `topk` different ones, by a power law of popularity with exponent `skew`.

    >>> from rackmodel.workload import load_model
    >>> v3 = load_model("deepseek-v3")
    >>> round(touched(v3, 100), 2), round(touched(v3, 100, 0.8), 2)
    (0.96, 0.8)
    """
    chosen = _chosen(model.experts, model.topk, skew)
    return float((1.0 - (1.0 - chosen) ** max(tokens, 1e-9)).mean())


@lru_cache(maxsize=256)
def _chosen(experts: int, topk: int, skew: float) -> npt.NDArray[np.float64]:
    """Return the probability that a token chooses each expert; they add up to `topk`."""
    popular = np.arange(1, experts + 1, dtype=float) ** -skew
    low, high = 0.0, float(topk * experts ** max(1.0, skew) * 10.0)
    for _ in range(60):  # none is chosen more than always: the rest have what that leaves
        middle = (low + high) / 2.0
        if np.minimum(1.0, middle * popular / popular.sum()).sum() < topk:
            low = middle
        else:
            high = middle
    chosen: npt.NDArray[np.float64] = np.minimum(1.0, high * popular / popular.sum())
    return chosen


@lru_cache(maxsize=4096)
def touched_most(
    experts: int, topk: int, ranks: int, copies: int, tokens: float, skew: float, seed: int
) -> float:
    """Return the experts that `tokens` tokens touch on the rank where they touch most, mean.

    Steps end when the last rank has read its experts. Those of a rank are touched or not by
    themselves, so that their number is about normal; where popular ones lie is a seed's choice,
    another one in each layer (`PLACINGS`). copies : of the busiest experts, each with half of what
    they have to do.

    >>> round(touched_most(256, 8, 8, 0, 4, 0.0, 0), 1), 4 * 8 / 8  # touched there, on the mean
    (6.4, 4.0)
    """
    chosen = _chosen(experts, topk, skew)
    if copies:
        again = chosen[np.arange(copies) % experts] / 2.0
        chosen = np.concatenate([chosen[min(copies, experts) :], again, again])[: experts + copies]
    odds = 1.0 - (1.0 - chosen) ** max(tokens, 1e-9)
    here = len(odds) // ranks
    rng = np.random.default_rng(seed)
    placed = np.stack([rng.permutation(odds)[: here * ranks] for _ in range(PLACINGS)])
    placed = placed.reshape(PLACINGS, ranks, here)
    mean, spread = placed.sum(axis=2), np.sqrt((placed * (1.0 - placed)).sum(axis=2) + 1e-12)
    steps = (np.arange(GRID) + 0.5) * here / GRID
    below = ndtr((steps - mean[:, :, None]) / spread[:, :, None]).prod(axis=1)
    return float((1.0 - below).mean() * here)


@lru_cache(maxsize=4096)
def busiest_share(
    experts: int, ep: int, redundant: int, skew: float, seed: int, spread: float = STALE
) -> float:
    """Return the load of the busiest rank over the mean; spread : of what balancers know.

    Experts are popular by a power law (exponent `skew`), which ones is a seed's choice; they lie on
    ranks in order. Copies of the busiest experts, one after another for the one whose copies have
    most to do, split their load; the copies then lie where least is to do, as DeepSeek's balancer
    places them (github.com/deepseek-ai/EPLB), by what it knows of popularity.
    """
    if ep <= 1 or (skew <= 0.0 and not redundant):
        return 1.0
    load = np.arange(1, experts + 1, dtype=float) ** -skew
    np.random.default_rng(seed).shuffle(load)
    load /= load.sum()
    if not redundant:
        return float(load.reshape(ep, -1).sum(axis=1).max() * ep) if experts % ep == 0 else 1.0
    known = load * np.exp(spread * np.random.default_rng(seed + 1).standard_normal(experts))
    if skew <= 0.0:
        known = load
    copies = np.ones(experts)
    for _ in range(redundant):
        copies[np.argmax(known / copies)] += 1
    parts, guess = (np.repeat(x / copies, copies.astype(int)) for x in (load, known))
    ranks, guessed, room = np.zeros(ep), np.zeros(ep), np.full(ep, -(-len(parts) // ep))
    for part in np.argsort(-guess):
        rank = int(np.argmin(np.where(room > 0, guessed, np.inf)))
        ranks[rank] += parts[part]
        guessed[rank] += guess[part]
        room[rank] -= 1
    return float(ranks.max() * ep)


def domains_reached(model: Model, domains: int) -> float:
    """Return on how many of `domains` equal parts of the experts a token's choices lie.

    >>> from rackmodel.workload import load_model
    >>> round(domains_reached(load_model("deepseek-v3"), 4), 2)  # 8 experts in 4 of 8 groups
    2.93
    """
    if model.experts % domains:
        return domains * (1.0 - (1.0 - 1.0 / domains) ** model.topk)
    groups = model.routing_groups, model.routing_group_limit
    return distinct_ranks(model.experts, domains, model.topk, *groups)


def experts_here(job: ServingJob, worker: Worker) -> float:
    """Return the experts, copies included, whose weights one rank holds (cut or whole)."""
    return (job.model.experts + job.redundant_experts) / worker.ep


def hit_experts(job: ServingJob, worker: Worker, tokens: float) -> float:
    """Return the experts whose weights the rank reads that reads most, in a step of `tokens`."""
    model, copies, skew = job.model, job.redundant_experts, job.routing_skew
    if worker.ep == 1:
        return experts_here(job, worker) * touched(model, tokens, skew)
    shape = model.experts, model.topk, worker.ep, copies
    return touched_most(*shape, tokens, skew, job.routing_seed)


def busiest(job: ServingJob, worker: Worker, load: Load) -> float:
    """Return the tokens of the busiest rank over the mean, in a step of `load`."""
    shape = job.model.experts, worker.ep, job.redundant_experts, job.routing_skew, job.routing_seed
    exact, stale = busiest_share(*shape, 0.0), busiest_share(*shape)
    off = min(STALE * math.sqrt(STALE_OF / max(load.mixed, 1e-9)), LOST)
    return exact + (stale - exact) * off / STALE  # about linear (`busiest_share`), and smooth
