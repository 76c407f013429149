"""Plans as arrays, and which of them may be tried.

In:  values of the axes.
Out: `Choices`: what may be tried; `Space`: one entry per plan, and the plan of an entry.
Left out: which plans there are (`enumeration`), how long one takes (`closed_form`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from rackmodel.columns import Bools, Ints
from rackmodel.workload import Plan
from rackmodel.workload.choices import RANK_ORDERS, RECOMPUTES, SHARDINGS
from rackmodel.workload.schedules.schedule import default_schedule, schedules

AXES = ("tp", "cp", "ep", "etp", "micro_batch", "pp", "vpp")
# What a layer's kernels and collectives depend on; the last four are 0 or 1. eager: weights are
# sharded where others' launches are captured in graphs (0 where launches are all alike).
CUT = (
    "tp",
    "cp",
    "ep",
    "etp",
    "micro_batch",
    "sequence_parallel",
    "tp_overlap",
    "offload_activations",
    "eager",
)
EAGER = CUT.index("eager")
COLUMNS = (
    "profile",
    "pp",
    "vpp",
    "dp",
    "micro_batches",
    "sharding",
    "recompute",
    "schedule",
    "dp_overlap",
    "p2p_overlap",
    "offload_optimizer",
    "rank_order",
    "ep_overlap",
)
SWITCHES = (
    "sequence_parallel",
    "tp_overlap",
    "dp_overlap",
    "p2p_overlap",
    "rank_order",
    "ep_overlap",
)
SEARCHED = (*AXES, "dp", "sharding", "recompute", "schedule", "offload", *SWITCHES)
OFFLOADS: tuple[tuple[str, ...], ...] = (
    (),
    ("optimizer",),
    ("activations",),
    ("optimizer", "activations"),
)
SILENT = 2  # an overlap that the plan leaves open (None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What may be tried on each axis; None: all that divide, within what is ever sensible.

    schedules : names, or the usual, also the quick, or all registered ones. max_tp : tensor
    parallelism at most; None: twice a scale-up domain of 8, or the whole domain.
    max_micro_batch : sequences. least_cp_tokens : tokens of a sequence that a cp rank keeps.
    uneven : also chunks of unlike length. switches : also `SWITCHES` off and on; otherwise they
    stay as the job's plan has them. ep_overlap : also all-to-alls under another micro-batch, where
    ep and the schedule allow it (no part of `switches`).
    """

    shardings: tuple[str, ...] = ("zero1", "zero3")
    recomputes: tuple[str, ...] = RECOMPUTES
    schedules: tuple[str, ...] | Literal["usual", "quick", "every"] = "usual"
    offloads: tuple[tuple[str, ...], ...] = ((),)
    max_tp: int | None = None
    max_pp: int = 64
    max_vpp: int = 16
    max_micro_batch: int = 16
    least_cp_tokens: int = 1024
    all_divisors: bool = False  # also axes that are no powers of two
    uneven: bool = False
    switches: bool = False
    ep_overlap: bool = False

    def schedule_names(self) -> tuple[str, ...]:
        """Names of the schedules that may be tried."""
        if isinstance(self.schedules, tuple):
            return self.schedules
        every, quick = self.schedules == "every", self.schedules == "quick"
        return tuple(
            s.name for s in schedules().values() if every or s.usual or (quick and s.quick)
        )


# Everything that the workload knows: what Calculon enumerates, and offloading on top.
FULL = Choices(
    shardings=tuple(name for name in SHARDINGS if name != "hsdp"),  # which needs a shard_size
    schedules="every",
    offloads=OFFLOADS,
    max_tp=4096,
    max_pp=4096,
    max_vpp=4096,
    max_micro_batch=2**31,
    least_cp_tokens=1024,
    all_divisors=True,
    uneven=True,
    switches=True,
)
SPACES = {
    "sensible": Choices(),
    "offload": Choices(offloads=OFFLOADS),
    "full": FULL,
    "full-without-offload": replace(FULL, offloads=((),)),
}


@dataclass(frozen=True, slots=True)
class Space:
    """Plans as arrays of equal length.

    profile : which row of `profiles` (the columns of `CUT`) a plan has.
    """

    profiles: Ints  # [P, len(CUT)]
    profile: Ints
    pp: Ints
    vpp: Ints
    dp: Ints
    micro_batches: Ints
    sharding: Ints  # index into SHARDINGS
    recompute: Ints  # index into RECOMPUTES
    schedule: Ints  # index into schedules
    dp_overlap: Ints  # 0 or 1
    p2p_overlap: Ints  # 0, 1 or SILENT
    offload_optimizer: Ints  # 0 or 1
    rank_order: Ints  # index into RANK_ORDERS
    ep_overlap: Ints  # 0 or 1
    schedules: tuple[str, ...]
    base: Plan = field(default_factory=Plan)

    def __len__(self) -> int:
        return len(self.pp)

    def column(self, name: str) -> Ints:
        """Values of one axis of `CUT`, int[N]."""
        values: Ints = self.profiles[self.profile, CUT.index(name)]
        return values

    def plan(self, entry: int) -> Plan:
        """The plan of one entry."""
        cut = cut_fields(self.profiles[self.profile[entry]])
        schedule, vpp = self.schedules[self.schedule[entry]], int(self.vpp[entry])
        hidden = int(self.p2p_overlap[entry])
        offload = (("optimizer",) if self.offload_optimizer[entry] else ()) + cut.pop("offload")
        offload += tuple(part for part in self.base.offload if part == "parameters")
        return replace(
            self.base,
            **cut,
            offload=offload,
            pp=int(self.pp[entry]),
            vpp=vpp,
            dp=int(self.dp[entry]),
            sharding=SHARDINGS[self.sharding[entry]],
            recompute=RECOMPUTES[self.recompute[entry]],
            schedule="" if schedule == default_schedule(vpp) else schedule,
            ep_overlap=bool(self.ep_overlap[entry]),
            dp_overlap=bool(self.dp_overlap[entry]),
            p2p_overlap=None if hidden == SILENT else bool(hidden),
            rank_order=RANK_ORDERS[self.rank_order[entry]],
        )

    def take(self, entries: Ints | Bools) -> Space:
        """Only some of the plans."""
        own = {name: getattr(self, name)[entries] for name in COLUMNS}
        return Space(self.profiles, **own, schedules=self.schedules, base=self.base)


def cut_fields(cut: Ints) -> dict[str, Any]:
    """Fields of a plan that a row of `Space.profiles` stands for."""
    tp, cp, ep, etp, micro_batch, sequence, overlap, offload, _ = (int(v) for v in cut)
    return {
        "tp": tp,
        "cp": cp,
        "ep": ep,
        "etp": etp,
        "micro_batch": micro_batch,
        "sequence_parallel": bool(sequence),
        "tp_overlap": bool(overlap),
        "offload": ("activations",) if offload else (),
    }
