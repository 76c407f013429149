"""Muon: matrices of layers are updated by their momentum made orthogonal, all else by AdamW.

In:  a job and the chunks of a rank.
Out: products of the Newton-Schulz iteration, what is gathered for it.
Left out: splits of a fused query-key-value matrix; AdamW's second moment of norms and biases.

Each rank works on the matrices that its shard of the optimizer holds a part of, of each on its own
part over tp (assumed), once the momentum of these matrices is gathered over data-parallel ranks in
two bytes: of all of them, which is the most that the distributed Muon of Liu et al. 2025,
arXiv:2502.16982, section 2.3, sends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from rackmodel.workload.copies import expert_shards, shard_axes
from rackmodel.workload.job import Job
from rackmodel.workload.kernels import ELEMENT, gemm
from rackmodel.workload.operations import PRODUCTS, Collective, Kernel, Role
from rackmodel.workload.precision import precision_of
from rackmodel.workload.stages import Chunk, Unit

ITERATIONS = 5  # of Newton-Schulz; Jordan et al. 2024, kellerjordan.github.io/posts/muon
Matrices = Counter[tuple[int, int, bool]]  # by rows, columns, whether they are experts'


def matrices(units: Sequence[Unit]) -> Matrices:
    """Count the matrices of layers that learn, as one rank holds them."""
    found: Matrices = Counter()
    for unit in units:
        for step in unit.steps if unit.is_layer else ():
            for kernel in step.work.forward if step.learning else ():
                if kernel.family in PRODUCTS:
                    _, n, k, batch = kernel.shape
                    found[n, k, step.expert] += batch if kernel.family == "grouped_gemm" else 1
    return found


def orthogonal_kernels(
    job: Job, units: Sequence[Unit], kinds: Collection[bool] = (False, True)
) -> tuple[Kernel, ...]:
    """Products of the iteration for the share of a rank: X X^T, its square, and their product with
    X; at least those of one matrix. kinds : of matrices, whether of experts.
    """
    plan, form = job.plan, precision_of(job.precision).base_format
    found = matrices(units)
    dense = sum(count for (_, _, expert), count in found.items() if not expert)
    experts = sum(found.values()) - dense
    whole = plan.sharding == "none"
    share = {
        expert: 1.0 if whole else max(1.0 / shards, 1.0 / max(1, count))
        for expert, shards, count in (
            (False, plan.shards, dense),
            (True, expert_shards(plan), experts),
        )
    }
    kernels = []
    for (n, k, expert), count in found.items():
        if expert not in kinds:
            continue
        a, b = float(min(n, k)), float(max(n, k))
        for shape in ((a, a, b), (a, a, a), (a, b, a)):
            product = gemm("newton_schulz", shape, form=form, read=ELEMENT, role=Role.UPDATE)
            kernels.append((product, ITERATIONS * count * share[expert]))
    return tuple(product._replace(count=times) for product, times in kernels)


def gathered_momentum(job: Job, units: Sequence[Unit]) -> list[Collective]:
    """All-gathers of the momentum of whole matrices, where the optimizer is sharded."""
    plan = job.plan
    if plan.sharding == "none":
        return []
    sizes = {False: 0.0, True: 0.0}
    for (n, k, expert), count in matrices(units).items():
        sizes[expert] += ELEMENT * n * k * count
    axes = (
        (False, shard_axes(plan)[0], plan.shards),
        (True, shard_axes(plan)[2], expert_shards(plan)),
    )
    return [
        Collective(
            name=f"gather momentum {axis}",
            op="all-gather",
            axis=axis,
            bytes=sizes[expert],
            phase="optimizer",
        )
        for expert, axis, ranks in axes
        if ranks > 1 and sizes[expert]
    ]


def units_of(chunks: Sequence[Chunk]) -> list[Unit]:
    """All units of a rank."""
    return [unit for chunk in chunks for unit in chunk.units]
