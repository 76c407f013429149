"""Which layers stand on which pipeline rank, and what each such chunk consists of.

In:  a job.
Out: `Chunk`s of `Unit`s (embedding, layers, head), with parameters of one rank.
Left out: the order in which chunks run (`schedule`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, chain
from math import ceil

from rackmodel.errors import InvalidPlan
from rackmodel.software import software_of
from rackmodel.workload.adapters import learning_steps
from rackmodel.workload.blocks import Block
from rackmodel.workload.ends import embedding_steps, head_steps, mtp_entry_steps
from rackmodel.workload.job import Job
from rackmodel.workload.kernels import ELEMENT, Local
from rackmodel.workload.layers import block_steps
from rackmodel.workload.schedules.schedule import schedule_of
from rackmodel.workload.steps import Step


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """A layer, the embedding or the head: what is sharded, gathered and recomputed as one."""

    kind: str  # "embedding", "layer", "head", "mtp_entry" or "mtp_head"
    steps: tuple[Step, ...]
    dense_parameters: float  # of one rank, after tp
    expert_parameters: float  # of one rank, after ep and etp
    dense_learning: float  # of these, those that learn
    expert_learning: float
    has_gradient: bool  # something in it or before it learns

    @property
    def is_layer(self) -> bool:
        """Whether it is one of the model's layers: cast, recomputed and offloaded as such."""
        return self.kind == "layer"


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Consecutive layers that one pipeline rank runs as a block.

    direction : 1 where its micro-batches enter at the last rank. before, after : the pipeline rank
    of the stage before and after it; -1 where there is none, or where it is on this rank too.
    received, sent : hidden states of each token that come from there and go there: one, and one
    more of each MTP layer that stands before.
    """

    stage: int  # 0 ... stages-1 along the model
    stages: int
    rank: int
    direction: int
    units: tuple[Unit, ...]
    before: int = -1
    after: int = -1
    received: int = 1
    sent: int = 1

    @property
    def parameters(self) -> tuple[float, float]:
        """Dense and expert parameters of one rank."""
        return (
            sum(unit.dense_parameters for unit in self.units),
            sum(unit.expert_parameters for unit in self.units),
        )

    @property
    def learning(self) -> tuple[float, float]:
        """Those of them that learn."""
        return (
            sum(unit.dense_learning for unit in self.units),
            sum(unit.expert_learning for unit in self.units),
        )

    @property
    def has_gradient(self) -> bool:
        """Whether it has a backward pass."""
        return any(unit.has_gradient for unit in self.units)


def spread_layers(layers: int, stages: int, *, mtp: int = 0) -> tuple[int, ...]:
    """Layers of each stage: even where they divide, otherwise with embedding and head counted as
    one each.

    Megatron's `account_for_embedding_in_pipeline_split` and `account_for_loss_...`. With MTP as in
    layouts of Megatron-Bridge and Megatron-MoE-ModelZoo ("Et*4|(tttt|)*14tmL"): an MTP layer counts
    two, as it brings a head of its own, the head one, the embedding nothing. What is left over is
    taken from the last stage, then the first, then the others from the end.

    >>> spread_layers(126, 16)[:2], spread_layers(126, 16)[-1]
    ((7, 8), 7)
    >>> spread_layers(61, 8, mtp=1)
    (8, 8, 8, 8, 8, 8, 8, 5)
    >>> spread_layers(5, 8, mtp=1)
    (0, 1, 1, 1, 1, 1, 0, 0)
    """
    if layers % stages == 0 and not mtp:
        return (layers // stages,) * stages
    first, last = (0, 2 * mtp + 1) if mtp else (1, 1)
    base = ceil((layers + first + last) / stages)
    sizes = [base] * stages
    sizes[0] -= first
    sizes[-1] = max(0, base - last)  # of one layer a stage MTP takes more than the last has
    order = [stages - 1, 0, *range(stages - 2, 0, -1)]
    surplus = sum(sizes) - layers
    while surplus > 0:
        for stage in order:
            if surplus > 0 and sizes[stage] > 0:
                sizes[stage] -= 1
                surplus -= 1
    return tuple(sizes)


def layers_of_stages(job: Job) -> tuple[int, ...]:
    """Layers of each of the pp x vpp stages; of a plan that says so its MTP layers, too."""
    plan, model = job.plan, job.model
    stages = plan.chunks
    if plan.stage_layers:
        right = sum(plan.stage_layers) == model.layers or places_mtp(job)
        if len(plan.stage_layers) != stages or not right:
            more = f" (or {model.layers + model.mtp_layers} with its MTP layers, at their end)"
            raise InvalidPlan(
                f"stage_layers must name {stages} stages (pp {plan.pp} x vpp {plan.vpp}) with"
                f" {model.layers} layers in all{more * (model.mtp_layers > 0)}; found"
                f" {len(plan.stage_layers)} with {sum(plan.stage_layers)}"
            )
        if min(plan.stage_layers) < 0:
            raise InvalidPlan(f"stage_layers must not be negative, found {min(plan.stage_layers)}")
        return plan.stage_layers
    if stages > model.layers + 2 + model.mtp_layers:
        raise InvalidPlan(
            f"pp {plan.pp} x vpp {plan.vpp} = {stages} stages are more than the {model.layers}"
            f" layers of {model.name!r}; use a smaller pp or vpp"
        )
    return spread_layers(model.layers, stages, mtp=model.mtp_layers)


def places_mtp(job: Job) -> bool:
    """Whether `stage_layers` counts the MTP layers after the model's; else they stand at the loss.

    Their heads stay with the loss, where their hidden states are sent.
    """
    model = job.model
    return 0 < model.mtp_layers == sum(job.plan.stage_layers) - model.layers


def states_received(job: Job) -> tuple[int, ...]:
    """Hidden states of a token that each stage gets: of the layer before, and of MTP layers."""
    before = accumulate(layers_of_stages(job)[:-1], initial=0)
    return tuple(1 + max(0, start - job.model.layers) for start in before)


def scatters_sends(job: Job) -> bool:
    """Whether tp ranks that all hold the same activations send a share each (SC21, section 4.1)."""
    plan = job.plan
    return plan.sp == 1 and plan.tp > 1 and software_of(job.stack).scattered_sends


def send_bytes(job: Job) -> float:
    """Activations that one rank sends to the next stage for one micro-batch. [bytes]"""
    return transfer_bytes(job) / (job.plan.tp if scatters_sends(job) else 1)


def transfer_bytes(job: Job) -> float:
    """Activations that one rank has for the next stage for one micro-batch. [bytes]"""
    plan = job.plan
    tokens = plan.micro_batch * job.seq_len / plan.cp / plan.sp
    return tokens * job.model.hidden * job.model.streams * ELEMENT


def _unit(
    local: Local, kind: str, steps: Sequence[Step], layer: int | None = None, below: bool = False
) -> Unit:
    """Return a unit; layer : its number. below : nothing before it learns, and nothing in it."""
    trained = local.job.trained
    made = learning_steps(local, kind, steps, trained, layer)
    if below:
        made = tuple(replace(s, saved_bytes=0.0, work=s.work._replace(backward=())) for s in made)
    every = {
        expert: (
            sum(step.parameters + step.adapters for step in made if step.expert == expert),
            sum(step.learning for step in made if step.expert == expert),
        )
        for expert in (False, True)
    }
    (dense, own), (expert, own_expert) = every[False], every[True]
    return Unit(kind, made, dense, expert, own, own_expert, not below)


@lru_cache(maxsize=64)
def chunks_of(job: Job) -> tuple[tuple[Chunk, ...], ...]:
    """The chunks of each pipeline rank, in the order of the model.

    Which stages a rank holds is the schedule's to say.
    """
    plan, model, local = job.plan, job.model, Local.of(job)
    sizes, (layers, kinds) = layers_of_stages(job), _layers(job, local)
    first, start = job.trained.first_layer(model.blocks), 0
    stages: list[tuple[Unit, ...]] = []
    slots, drafts = [[unit] for unit in layers], _drafts(job, local, kinds)
    if places_mtp(job):
        slots, drafts = slots + drafts, []
    received = states_received(job)
    for stage, size in enumerate(sizes):
        units = list(chain.from_iterable(slots[start : start + size]))
        if stage == 0:
            steps = embedding_steps(local)
            units.insert(0, _unit(local, "embedding", steps, below=first >= 0))
        if stage == len(sizes) - 1:
            units += _tail(job, local, drafts)
        stages.append(tuple(units))
        start += size
    order = schedule_of(plan.order)
    placed = order.placement(plan.pp, plan.vpp)
    ways = range(len(placed[0])) if order.directions == 2 else [0] * len(placed[0])
    rank_of = {
        (way, stage): rank
        for rank, own in enumerate(placed)
        for way, stage in zip(ways, own, strict=True)
    }

    def chunk_of(rank: int, way: int, stage: int) -> Chunk:
        beside = [rank_of.get((way, stage + step), -1) for step in (-1, 1)]
        before, after = (-1 if other == rank else other for other in beside)
        states = [*received, 1][stage : stage + 2]
        return Chunk(stage, len(sizes), rank, way, stages[stage], before, after, *states)

    return tuple(
        tuple(chunk_of(rank, *one) for one in zip(ways, own, strict=True))
        for rank, own in enumerate(placed)
    )


def ends_apart(job: Job) -> bool:
    """Whether embedding and head stand on different pipeline ranks."""
    return job.plan.pp > 1 and not schedule_of(job.plan.order).folds_back


def first_learning(job: Job) -> int:
    """The first stage with something that learns: no gradient goes below it."""
    chunks = [chunk for rank in chunks_of(job) for chunk in rank]
    return min(chunk.stage for chunk in chunks if chunk.has_gradient)


_Kinds = dict[tuple[Block, bool, bool], Unit]  # by block, whether it is frozen, has no gradient


def _layers(job: Job, local: Local) -> tuple[list[Unit], _Kinds]:
    """The layers of the model; those of one kind of which as much learns are one unit."""
    trained, first = job.trained, job.trained.first_layer(job.model.blocks)
    known: _Kinds = {}
    found = []
    for layer, block in enumerate(job.model.blocks):
        key = block, layer in trained.layers, layer < first
        if (unit := known.get(key)) is None:
            steps = block_steps(local, block)
            unit = known[key] = _unit(local, "layer", steps, layer, below=layer < first)
        found.append(unit)
    for block in job.model.mtp_blocks:
        if (block, False, False) not in known:
            known[block, False, False] = _unit(local, "layer", block_steps(local, block))
    return found, known


def _drafts(job: Job, local: Local, kinds: _Kinds) -> list[list[Unit]]:
    """Entry and blocks of each MTP layer."""
    model = job.model
    return [
        [
            _unit(local, "mtp_entry", mtp_entry_steps(local)),
            *(kinds[b, False, False] for b in model.mtp_blocks),
        ]
        for _ in range(model.mtp_layers)
    ]


def _tail(job: Job, local: Local, drafts: Sequence[Sequence[Unit]]) -> list[Unit]:
    """Head and loss; then the MTP layers that stand here, and for each the shared head again."""
    model = job.model
    # A tied head on another pipeline rank than the embedding keeps its own copy.
    own = not model.tied or ends_apart(job)
    units = [_unit(local, "head", head_steps(local, own_matrix=own))]
    for number in range(model.mtp_layers):
        units += drafts[number] if drafts else ()
        units.append(_unit(local, "mtp_head", head_steps(local, own_matrix=False)))
    return units
