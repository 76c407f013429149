"""The plans that a published run may have had: what its row leaves open, filled in or enumerated.

In:  a row, its model, its software, the machine's domain.
Out: plans, all combinations of what is open that divide.
Left out: which of them is the fastest (`errors`), recompute and offload (`published_runs`).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rackmodel.gate import is_empty
from rackmodel.software import Software
from rackmodel.validation.cells import flag, text, whole
from rackmodel.workload import Plan

MOST_PLANS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPlan:
    """What a row says of its plan, and what fills in the rest.

    domain : accelerators of a scale-up domain of its machine.
    """

    row: Mapping[str, Any]
    software: Software
    model: Any
    gpus: int
    batch: int
    domain: int

    def plans(self) -> list[Plan]:
        """Return the plans that the row allows, the least cut-up first."""
        fixed = {axis: whole(self.row, axis) for axis in ("tp", "pp", "cp", "dp")}
        found: list[Plan] = []
        for tp, pp in itertools.product(self._widths(fixed["tp"]), self._depths(fixed["pp"])):
            cp = fixed["cp"] or 1
            dp = fixed["dp"] or self.gpus // (tp * pp * cp)
            if dp >= 1 and tp * pp * cp * dp == self.gpus and not self.batch % dp:
                found += self._with_axes(tp, pp, cp, dp)
        order = sorted(found, key=lambda p: (p.tp * p.pp * p.cp, p.vpp, -p.micro_batch))
        return order[:MOST_PLANS]

    def _widths(self, tp: int | None) -> list[int]:
        most = min(self.domain, 16) if self.domain > 1 else 16
        heads = self.model.heads
        return [tp] if tp else [t for t in (1, 2, 4, 8, 16) if t <= most and heads % t == 0]

    def _depths(self, pp: int | None) -> list[int]:
        if pp:
            return [pp]
        return _divisors(self.model.layers, 64) if self.software.pipelines else [1]

    def _with_axes(self, tp: int, pp: int, cp: int, dp: int) -> list[Plan]:
        """Return the plans of one split: all open micro-batches, chunks and overlaps of tp."""
        base = self._base(tp, pp, cp, dp)
        stated = whole(self.row, "micro_batch")
        sizes = [stated] if stated else _micro_batches(self.batch // dp, pp, self.software)
        choices = itertools.product(sizes, self._chunks(pp), self._tp_overlaps(tp))
        return [
            replace(
                base,
                micro_batch=size,
                vpp=vpp,
                tp_overlap=overlap,
                ep_overlap=flag(self.row, "ep_overlap", self._overlaps_ep(base.ep, vpp)),
            )
            for size, vpp, overlap in choices
        ]

    def _base(self, tp: int, pp: int, cp: int, dp: int) -> Plan:
        from rackmodel.workload import Plan

        row, software, domain = self.row, self.software, self.domain
        sharding = text(row, "sharding") or software.sharding
        if self.gpus > domain and software.sharded_in_domains and sharding_open(row):
            sharding = "hsdp"
        if sharding == "zero3" and 0 < _told_shard_size(row) < dp * cp:
            sharding = "hsdp"  # weights are sharded over some of the ranks
        recompute = text(row, "recompute") or "none"
        experts = self.model.experts if software.expert_groups else 0
        ep = whole(row, "ep") or _default_ep(experts, self.gpus // pp, domain)
        etp = whole(row, "etp") or 1
        if software.known and software.experts_over_tp and experts and dp * cp % ep == 0:
            etp = tp  # that software has no other
        return Plan(
            tp=tp,
            pp=pp,
            cp=cp,
            ep=ep,
            etp=etp,
            dp=dp,
            sharding=sharding,
            shard_size=_shard_size(row, sharding, domain // tp, dp * cp),
            recompute=recompute,
            recompute_modules=_modules(text(row, "notes")) if recompute == "selective" else (),
            schedule=text(row, "schedule"),
            sequence_parallel=flag(row, "sequence_parallel", software.sequence_parallel),
            dp_overlap=flag(row, "dp_overlap", software.dp_overlap),
            cp_method=(text(row, "cp_method") or software.cp_method) if cp > 1 else "ring",
            dispatcher=_dispatcher(text(row, "notes")) if ep > 1 else "",
            fp8_head=flag(row, "fp8_head", False),
        )

    def _chunks(self, pp: int) -> list[int]:
        """Return the chunks a stage to try: 1 where nothing is said, all where they are unstated.

        Software that pipelines leaves interleaving out where it has none, so that an empty cell
        means 1; a row that calls it unstated leaves it open.
        """
        stated = whole(self.row, "vpp")
        if stated or pp == 1 or "vpp" not in text(self.row, "unstated").split():
            return [stated or 1]
        return [v for v in _divisors(self.model.layers, 64) if self.model.layers % (pp * v) == 0]

    def _tp_overlaps(self, tp: int) -> list[bool]:
        """Return whether tp collectives run under a product's pieces; both where left open."""
        if tp == 1 or not is_empty(self.row.get("tp_overlap")):
            return [flag(self.row, "tp_overlap", False)]
        return {"no": [False], "yes": [True], "faster": [True, False]}[self.software.tp_overlap]

    def _overlaps_ep(self, ep: int, vpp: int) -> bool:
        """Return whether an all-to-all runs under another micro-batch's pass (they interleave)."""
        return vpp > 1 and ep > self.software.hides_ep_above(self.domain)


def sharding_open(row: Mapping[str, Any]) -> bool:
    """Return whether the ranks that share one copy of sharded weights are open.

    So they are where nothing is said of sharding, and where the row calls a zero3 unstated: whoever
    wrote it down knew that weights are sharded, not over whom.
    """
    told = text(row, "sharding")
    return not told or (told == "zero3" and "sharding" in text(row, "unstated").split())


def _divisors(number: int, most: int) -> list[int]:
    return [d for d in range(1, min(number, most) + 1) if number % d == 0]


def _micro_batches(share: int, pp: int, software: Software) -> list[int]:
    """Micro-batches to try: the whole share of a replica at once where there is no pipeline."""
    if not software.accumulates:
        return [share]
    if software.batch_a_stage and pp > 1 and share % pp == 0:
        return [share // pp]
    sizes = [d for d in _divisors(share, 128) if d & (d - 1) == 0 or d == share]
    if software.pipelines and pp > 1:
        sizes = [d for d in sizes if share // d >= 2 * pp] or sizes[:1]
    return sizes[-4:]


def _default_ep(experts: int, ranks: int, domain: int) -> int:
    """Experts over the largest group inside the scale-up domain that divides both."""
    if not experts:
        return 1
    most = min(max(domain, 1), ranks, experts)
    return max(e for e in range(1, most + 1) if experts % e == 0 and ranks % e == 0)


def _told_shard_size(row: Mapping[str, Any]) -> int:
    """Return the ranks that share one copy of the weights by column or by notes; 0: not told."""
    told = r"\b(?:FSDP over (\d+) of the ranks|zero1 inside a node of (\d+)|zero1=(\d+) \(inside)"
    found = re.search(told, text(row, "notes"))
    return whole(row, "shard_size") or (int(found[found.lastindex or 0]) if found else 0)


def _shard_size(row: Mapping[str, Any], sharding: str, inside: int, ranks: int) -> int:
    """Return the ranks that share one copy under hsdp: stated, or those of one domain."""
    stated = _told_shard_size(row)
    if sharding == "zero1":
        return stated if stated < ranks else 0
    if sharding != "hsdp":
        return 0
    if stated:
        return stated
    return max(d for d in range(1, max(1, min(inside, ranks)) + 1) if ranks % d == 0)


def _dispatcher(notes: str) -> str:
    """Return the token dispatcher that notes name, else none: that of the software."""
    return "deepep" if re.search(r"deepep|hybridep", notes, re.IGNORECASE) else ""


def _modules(notes: str) -> tuple[str, ...]:
    """Read "recompute modules: norm, act" out of notes."""
    found = re.search(r"recompute modules: ([a-z_, ]+)", notes)
    if not found:
        return ()
    known = {"norm", "act", "mlp", "moe", "moe_act", "mla_up_proj", "core_attn", "layernorm"}
    words = [w.strip() for w in found.group(1).split(",")]
    names = {"layernorm": "norm"}
    return tuple(dict.fromkeys(names.get(w, w) for w in words if w in known))
