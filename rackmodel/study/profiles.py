"""Seconds and bytes of every kind of layer, for every way to cut it: what the closed form adds up.

In:  a job, its cuts (tp, cp, ep, etp, micro_batch), kernel times, times of collectives.
Out: `Profiles`: arrays over cuts x kinds of units (embedding, layers, head).
Left out: pipelines, data parallelism.

The operations are the workload's own, each kind of unit once; so the closed form and the
simulation agree on everything but what ranks do to one another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rackmodel.study.comm_times import CommTimes
from rackmodel.study.space import RECOMPUTES, Ints
from rackmodel.study.walk import walk_s
from rackmodel.workload import Collective, Compute, Job, transfer_bytes
from rackmodel.workload.activations import unit_bytes
from rackmodel.workload.passes import Passes
from rackmodel.workload.stages import Chunk, Unit, chunks_of

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiles:
    """P cuts x K kinds of units; recompute in the order of `space.RECOMPUTES`.

    forward_s, dense, expert, widest : float[P, K]. backward_s, kernels_s, kept, working : float[P,
    3, K], kernels_s being forward and backward without any communication. transfer : float[P],
    bytes handed on between stages. order : kinds along the model, int[U]; layer : bool[K].
    """

    forward_s: Floats
    backward_s: Floats
    kernels_s: Floats
    kept: Floats
    working: Floats
    dense: Floats
    expert: Floats
    transfer: Floats
    head_twin: Floats  # parameters that a tied head holds once more on a pipeline's last rank
    order: Ints
    layer: npt.NDArray[np.bool_]
    names: tuple[str, ...]


def profile(
    job: Job,
    cuts: Ints,
    compute_s: Callable[[Compute], float],
    comm: CommTimes,
    *,
    recomputes: frozenset[int],
) -> Profiles:
    """Time every kind of unit under every cut.

    Parameters
    ----------
    job : gives model, precision, software and the plan's other fields.
    cuts : int[P, 5], as `Space.profiles`.
    recomputes : which of `RECOMPUTES` are asked for; the others are left infinite.
    """
    kinds = _kinds(job, cuts[0], comm.gpus)
    shape = (len(cuts), len(kinds[0]))
    forward, dense, expert = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    several = (len(cuts), len(RECOMPUTES), shape[1])
    backward, kernels = np.full(several, np.inf), np.full(several, np.inf)
    kept, working = np.full(several, np.inf), np.full(several, np.inf)
    transfer, twin = np.zeros(len(cuts)), np.zeros(len(cuts))
    for row, cut in enumerate(cuts):
        probe = _probe(job, cut, comm.gpus)
        units = _kinds(job, cut, comm.gpus)[0]
        transfer[row] = transfer_bytes(probe)
        if job.model.tied:
            twin[row] = next(u for u in units if u.name == "embedding").dense_parameters

        def collective_s(call: Collective, probe: Job = probe) -> tuple[float, float]:
            return comm.collective(probe.plan, call.axis, call.op, call.bytes)

        for column, unit in enumerate(units):
            dense[row, column] = unit.dense_parameters
            expert[row, column] = unit.expert_parameters
            for which in sorted(recomputes):
                own = probe.replace(recompute=RECOMPUTES[which], recompute_modules=(),
                                    recompute_layers=None)  # fmt: skip
                if RECOMPUTES[which] == job.plan.recompute:
                    own = own.replace(recompute_modules=job.plan.recompute_modules)
                passes = Passes(own, Chunk(0, 1, 0, 0, (unit,)), "search")
                ahead = passes.segment("F", False).operations
                back = passes.segment("B", False).operations
                forward[row, column] = walk_s(ahead, compute_s, collective_s)
                backward[row, which, column] = walk_s(back, compute_s, collective_s)
                kernels[row, which, column] = sum(
                    compute_s(op) for op in (*ahead, *back) if isinstance(op, Compute)
                )
                again = own.plan.recompute == "full" and unit.is_layer
                part = unit_bytes(own, unit, recomputed=again)
                kept[row, which, column] = part.kept_bytes
                working[row, which, column] = part.working_bytes
    return Profiles(
        forward_s=forward,
        backward_s=backward,
        kernels_s=kernels,
        kept=kept,
        working=working,
        dense=dense,
        expert=expert,
        transfer=transfer,
        head_twin=twin,
        order=kinds[1],
        layer=np.array([unit.is_layer for unit in kinds[0]]),
        names=tuple(unit.name for unit in kinds[0]),
    )


def _probe(job: Job, cut: Ints, gpus: int) -> Job:
    """The job with this cut and no pipeline: its units are those of any pipeline."""
    tp, cp, ep, etp, micro_batch = (int(v) for v in cut)
    dp = max(1, gpus // (tp * cp))
    return job.replace(
        tp=tp, cp=cp, ep=ep, etp=etp, micro_batch=micro_batch, pp=1, vpp=1, dp=dp, schedule="",
        sharding="zero1", shard_size=0, prefetch=1, reshard=None, stage_layers=(),
        global_batch=dp * micro_batch, p2p_overlap=None,
    )  # fmt: skip


def _kinds(job: Job, cut: Ints, gpus: int) -> tuple[list[Unit], Ints]:
    """Distinct units in order of appearance, and the kind of every unit along the model."""
    units = chunks_of(_probe(job, cut, gpus))[0][0].units
    found: dict[int, int] = {}
    order = [found.setdefault(id(unit), len(found)) for unit in units]
    first = {kind: unit for unit, kind in zip(reversed(units), reversed(order), strict=True)}
    return [first[kind] for kind in range(len(found))], np.array(order, dtype=np.int64)
