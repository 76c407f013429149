"""What a trace of ours says beside its times, and a simulated step as a Chakra execution trace.

In:  a result.
Out: `rows_of`, the frame that a trace shows; `facts`, its heading; `chakra_traces`, the bytes of
     one .et file a pipeline stage.
Left out: how events are drawn (`reporting.trace`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from rackmodel.annotations import DataFrame
from rackmodel.engine.step import Step
from rackmodel.errors import InvalidInput
from rackmodel.result.result import Result
from rackmodel.traces.chakra import Writer
from rackmodel.traces.recorded import MOST_MEMBERS
from rackmodel.workload.operations import (
    Collective,
    Compute,
    Kernel,
    Operation,
    Program,
    Send,
    Transfer,
    Wait,
    operations_of,
)
from rackmodel.workload.placement import axis_members, rank_grid

MOST_ROWS = 400_000  # about 200 MB of JSON: more is no pleasure in any viewer
TRANSFERS = "pp"  # the axis of transfers between stages


def rows_of(result: Result) -> DataFrame:
    """Return every operation, or where they are too many for a viewer what is put together."""
    fine = result.operations
    return fine if len(fine) <= MOST_ROWS else result.events


def facts(result: Result) -> dict[str, Any]:
    """Return what the heading of a trace says, so that it can be replayed.

    step_s, outside_s : of the step, and of it what no operation takes. exchanges : {"axis name
    phase": [[operation, bytes], ...]}, in turn where several have the name (backward gathers again
    and scatters), and by "axis" alone the one that moves most. summary : operations are put
    together. groups : {"axis stage": the accelerators of one group, and how many it has}.
    """
    step, plan = result.step, result.step.job.plan
    moved: dict[tuple[str, str, float], float] = defaultdict(float)
    exchanges: dict[str, list[Any]] = {}
    axes: set[tuple[str, int]] = set()
    for program in step.programs:
        for operation in chain.from_iterable(map(operations_of, program.items)):
            if isinstance(operation, Collective) and operation.id not in step.silent:
                what = operation.op, operation.bytes
                key = f"{operation.axis} {operation.name} {operation.phase}"
                if [*what] not in (turns := exchanges.setdefault(key, [])):
                    turns.append([*what])
                moved[operation.axis, *what] += operation.bytes
                axes.add((operation.axis, program.pipeline_rank))
            elif isinstance(operation, Transfer):
                exchanges[TRANSFERS] = [["send", operation.bytes]]
                axes.add((TRANSFERS, program.pipeline_rank))
    for axis, op, size in sorted(moved, key=lambda key: moved[key]):
        exchanges[axis] = [[op, size]]
    return {
        "topology": result.topology,
        "step_s": result.step_s,
        "outside_s": result.overhead_s,
        "summary": len(result.operations) > MOST_ROWS,
        "accelerators": int(step.rank_map.slots(plan.gpus)),
        "exchanges": exchanges,
        "groups": {f"{axis} {stage}": _group(step, axis, stage) for axis, stage in sorted(axes)},
    }


def _group(step: Step, axis: str, stage: int) -> list[Any]:
    """Return the accelerators of the group of a stage's first rank, the first of them, and how
    many it has."""
    plan = step.job.plan
    heads = rank_grid(plan, plan.replicas)[:, 0, 0, 0]
    if axis == TRANSFERS:
        members = heads[[stage, (stage + 1) % plan.pp]]
    else:
        groups = axis_members(plan, axis, plan.replicas)
        own = (groups == heads[stage]).any(axis=1)
        members = groups[int(np.argmax(own))]
    stands = step.rank_map.accelerators(plan.gpus)[members]
    return [stands[:MOST_MEMBERS].tolist(), len(stands)]


def chakra_traces(result: Result) -> dict[int, bytes]:
    """Return {first rank of a stage: its execution trace}, with what was simulated.

    Every operation waits for the one before it on its stream, and for the exchanges that the
    program waits for.

    Raises
    ------
    InvalidInput
        If micro-batches were skipped: a trace has them all.
    """
    if result.step.splices:
        raise InvalidInput(
            f"--trace: the {result.step.job.micro_batches:,} micro-batches of the step were not all"
            " walked; give repeat 'all' for Chakra execution traces (.et)"
        )
    told = facts(result)
    step, plan = result.step, result.step.job.plan
    heads = rank_grid(plan, plan.replicas)[:, 0, 0, 0].tolist()
    found = {}
    for program, taken in zip(step.programs, _Taken.of(result), strict=True):
        stage = program.pipeline_rank
        groups = {
            key.rpartition(" ")[0]: value[0]
            for key, value in told["groups"].items()
            if key.endswith(f" {stage}")
        }
        writer = Writer(heads[stage], told, groups)
        _write(writer, program, heads, taken)
        found[heads[stage]] = writer.content()
    return found


@dataclass(frozen=True, slots=True)
class _Taken:
    """What operations of a stage took in the step, on that of its rank classes with most work.

    turns : seconds of the operations that have not had their turn, by (axis or "", phase, name).
    sent : seconds of transfers by (stage that sends, name): both ends take as long.
    moved_bytes : of HBM, for one launch of a kernel.
    """

    step: Step
    stage: int
    turns: dict[tuple[str, str, str], Iterator[float]]
    sent: dict[tuple[int, str], float]
    moved_bytes: Callable[[Kernel], float]

    @classmethod
    def of(cls, result: Result) -> list[_Taken]:
        """Return what the operations of each stage took."""
        step, rows = result.step, result.operations
        rows = rows[(rows["kind"] == "compute") | (rows["wire_bytes"] > 0)]
        rows = rows.assign(took=rows["end_s"] - rows["start_s"])
        kernels = rows["kind"] == "compute"
        words = [rows[key].astype(str) for key in ("axis", "phase", "name")]
        words[0] = words[0].where(~kernels, "")
        own = rows[kernels].groupby(["stage", "rank_class"])["took"].sum()
        moved = rows[words[0] == TRANSFERS]
        sent = moved.groupby([moved["stage"], moved["name"].astype(str)])["took"].mean()
        found = []
        for program in step.programs:
            stage = program.pipeline_rank
            mine = rows["rank_class"] == own[stage].idxmax()
            grouped = rows["took"][mine].groupby([one[mine] for one in words])
            turns = {key: iter(took.tolist()) for key, took in grouped}
            found.append(cls(step, stage, turns, dict(sent), result.kernels.traffic.moved_bytes))
        return found

    def seconds(self, operation: Operation) -> float:
        """Return what the next operation of the stage took; 0 where that is not known."""
        if isinstance(operation, Transfer):
            sends = self.stage if isinstance(operation, Send) else operation.peer
            return self.sent.get((sends, operation.name), 0.0)
        assert isinstance(operation, Compute | Collective)
        key = getattr(operation, "axis", ""), operation.phase, operation.name
        return next(self.turns.get(key, iter(())), 0.0)


def _write(writer: Writer, program: Program, heads: list[int], taken: _Taken) -> None:
    """Write the operations of a pipeline stage in their order."""
    last: dict[str, int] = {}  # operation of each stream
    tokens: dict[str, int] = {}
    holds: list[int] = []  # what the compute stream waits for next
    for operation in chain.from_iterable(map(operations_of, program.items)):
        if isinstance(operation, Wait):
            if operation.token in tokens:
                holds.append(tokens.pop(operation.token))
            continue
        if isinstance(operation, Collective) and operation.id in taken.step.silent:
            continue
        token = None if isinstance(operation, Compute) else operation.token
        stream = "compute" if token is None else getattr(operation, "stream", TRANSFERS)
        stream = f"{stream} {operation.name}" if isinstance(operation, Transfer) else stream
        waits = {one for one in (last.get("compute"), last.get(stream)) if one is not None}
        waits |= set(holds)
        holds = [] if token is None else holds
        number = _node(writer, operation, taken, heads, sorted(waits))
        last[stream] = number
        if token is not None:
            tokens[token] = number


def _node(
    writer: Writer, operation: Operation, taken: _Taken, heads: list[int], waits: list[int]
) -> int:
    """Write one operation; return its number."""
    seconds = taken.seconds(operation)
    if isinstance(operation, Compute):
        kernels = operation.kernels
        return writer.compute(
            operation.name,
            waits,
            seconds,
            flops=sum(k.flops * k.count for k in kernels),
            moved=sum(taken.moved_bytes(k) * k.count for k in kernels),
            precision=max(kernels, key=lambda k: k.flops).precision if kernels else "bf16",
        )
    if isinstance(operation, Collective):
        return writer.collective(operation, waits, seconds)
    assert isinstance(operation, Transfer)
    return writer.transfer(operation, waits, heads[operation.peer], seconds)
