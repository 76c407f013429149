"""What one accelerator does over a step, cut into pieces in which nothing changes.

In:  the timeline frame (pieces of each rank class's time with FLOPs and bytes) and an accelerator's
     power constants.
Out: `Pieces`: energies at the reference clock, without the clock itself.
Left out: the clock that a cap leaves, power and temperature (`accelerator_power`, `clock`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from rackmodel.columns import Floats, Ints, Table, Words, each_once, floats, ints, missing
from rackmodel.errors import InvalidInput
from rackmodel.hardware import Accelerator, PowerModel
from rackmodel.hardware.power_model import best_flops_per_s, flop_energy_j
from rackmodel.result.hbm import hbm_moved

COLUMNS = {
    "rank_class",
    "kind",
    "start_s",
    "end_s",
    "flops",
    "precision",
    "hbm_bytes",
    "bare_hbm_s",
    "wire_bytes",
}
MOST_WINDOWS = 2048  # of the cap, in one step
# What a piece of each kind does; what no piece covers is a waiting kernel.
KINDS = {
    "compute": "compute",
    "collective": "collective",
    "send": "collective",
    "recv": "collective",
    "wait": "wait",
    "bubble": "wait",
}


class Pieces(NamedTuple):
    """What one rank class does in a step, cut into K pieces in which nothing changes.

    edges_s [K+1]; activity [K] (0 to 1); flop_w [K] (at reference voltage), hbm_w [K], link_w [K];
    window [K] (index of the averaging window of the power cap, M in all); clock_needed [K] (the
    clock below which the compute pieces could not have been this fast); stall_w [K] (what matrix
    units would draw if they stalled all of the time); hbm_free [K] (share of the time in which
    kernels run and HBM is not all that they wait for).
    """

    rank_class: int
    edges_s: Floats
    activity: Floats
    flop_w: Floats
    hbm_w: Floats
    link_w: Floats
    clock_needed: Floats
    stall_w: Floats
    hbm_free: Floats
    window: Ints
    windows: int

    def stalled_w(self, clock: Floats) -> Floats:
        """Power of stalled matrix units at a clock for each piece, at reference voltage. [W]"""
        return self.stall_w * np.maximum(0.0, clock * self.hbm_free - self.clock_needed)


def cut_timeline(
    timeline: Table,
    accelerator: Accelerator,
    step_s: float,
    device_busy: float = 1.0,
    units_held: float = 1.0,
) -> list[Pieces]:
    """Cut the timeline of every rank class at its starts, its ends and the windows of the cap.

    Parameters
    ----------
    timeline : one row per piece of a rank class's time: rank_class, kind, start_s, end_s, flops,
        precision, hbm_bytes, bare_hbm_s, wire_bytes. Pieces on several streams may overlap.
    step_s : length of the step. [s]
    device_busy : share of compute pieces in which kernels run; for the rest the accelerator waits
        for its host to launch them.
    units_held : share of compute pieces in which kernels hold matrix units whose operands may be
        late; for the rest a kernel starts or ends.

    Returns
    -------
    One `Pieces` per rank class, by ascending number.

    Raises
    ------
    InvalidInput
        If a column is missing, a kind is unknown, or a time is not within the step.
    """
    if lacks := missing(timeline, COLUMNS):
        raise InvalidInput(f"timeline: columns {lacks} are missing; give them")
    if not (step_s > 0 and np.isfinite(step_s)):
        raise InvalidInput(f"timeline: the step has to take more than 0 s, found {step_s!r}")
    start = floats(timeline, "start_s")
    end = floats(timeline, "end_s")
    slack = 1e-9 * step_s
    if len(start) and not (start.min() >= -slack and end.max() <= step_s + slack):
        raise InvalidInput(
            f"timeline: pieces run from {start.min():g} to {end.max():g} s, the step from 0 to "
            f"{step_s:g} s"
        )
    if not 0.0 < device_busy <= 1.0 + 1e-9:
        raise InvalidInput(f"device_busy: expected above 0 and up to 1, found {device_busy:g}")
    start, end = np.clip(start, 0.0, step_s), np.clip(end, 0.0, step_s)
    work = work_of(timeline, accelerator, device_busy)
    classes = ints(timeline, "rank_class")
    order = np.argsort(classes, kind="stable")
    names, first = np.unique(classes[order], return_index=True)
    windows = int(np.clip(step_s / accelerator.power.cap_window_s, 1, MOST_WINDOWS))
    window_edges = np.linspace(0.0, step_s, windows + 1)
    pieces = []
    for name, rows in zip(names.tolist(), np.split(order, first[1:]), strict=True):
        rows = rows[end[rows] > start[rows]]
        own = {key: values[rows] for key, values in work.items()}
        free = min(device_busy, units_held)
        pieces.append(_cut(int(name), start[rows], end[rows], own, window_edges, accelerator, free))
    return pieces


def _cut(
    name: int,
    start: Floats,
    end: Floats,
    work: dict[str, Floats],
    window_edges: Floats,
    accelerator: Accelerator,
    held: float,
) -> Pieces:
    """Cut what one rank class does; work : from `work_of`, of its rows."""
    power, step_s = accelerator.power, float(window_edges[-1])
    edges = each_once(np.concatenate((window_edges, start, end)))
    # Edges that differ by rounding only would make pieces of no length.
    edges = edges[np.concatenate((np.diff(edges) > 1e-13 * step_s, [True]))]
    edges[0] = 0.0
    begin, stop = _place(edges, start), _place(edges, end)
    keep = stop > begin
    begin, stop = begin[keep], stop[keep]
    own = {key: values[keep] for key, values in work.items()}
    length = edges[stop] - edges[begin]

    def rate(key: str) -> Floats:
        return _spread(own[key] / length, begin, stop, len(edges))

    def highest(key: str, least: float) -> Floats:
        return _highest(own[key], begin, stop, len(edges), least)

    return Pieces(
        rank_class=name,
        edges_s=edges,
        activity=highest("activity", power.act_wait),
        flop_w=rate("flop_j"),
        hbm_w=rate("hbm_j"),
        link_w=rate("link_j"),
        clock_needed=rate("best_s"),
        stall_w=highest("stall_w", 0.0),
        hbm_free=np.maximum(0.0, held - rate("bare_s")),
        window=np.searchsorted(window_edges, edges[:-1] + 0.5 * np.diff(edges)) - 1,
        windows=len(window_edges) - 1,
    )


def work_of(timeline: Table, accelerator: Accelerator, device_busy: float) -> dict[str, Floats]:
    """Return what every row of a timeline asks of an accelerator at the reference clock.

    Returns
    -------
    activity (0 to 1), best_s (what the FLOPs take at best), stall_w (of matrix units that stall all
    of the time), flop_j, hbm_j, link_j, bare_s (HBM is all that kernels wait for); one value a row.
    """
    power = accelerator.power
    levels = activity_levels(power, device_busy)
    formats = timeline["precision"]
    flops, wire = floats(timeline, "flops"), floats(timeline, "wire_bytes")
    moved = hbm_moved(floats(timeline, "hbm_bytes"), wire)
    joule = by_name(formats, lambda p: flop_energy_j(accelerator, p), "precision")
    pace = by_name(formats, lambda p: best_flops_per_s(accelerator, p), "precision")
    # What links draw without traffic stands in the idle power; a rank receives what it sends.
    link_j = 2.0 * power.e_link_j_per_byte * (1.0 - power.link_always_on)
    full_w = np.where(flops > 0, joule * pace, 0.0)  # without FLOPs no kernel holds the units
    return {
        "activity": by_name(timeline["kind"], lambda kind: levels[KINDS[kind]], "kind"),
        "best_s": np.divide(flops, pace, out=np.zeros_like(flops), where=pace > 0),
        "stall_w": power.act_stall * power.data_toggle * full_w,
        "flop_j": flops * joule * power.data_toggle,
        "hbm_j": moved * power.e_hbm_j_per_byte,
        "bare_s": floats(timeline, "bare_hbm_s"),
        "link_j": wire * link_j,
    }


def activity_levels(power: PowerModel, device_busy: float) -> dict[str, float]:
    """Return what share of `act_w` each kind of piece draws; kernels wait where the device does."""
    computing = device_busy + (1.0 - device_busy) * power.act_wait
    return {"compute": computing, "collective": power.act_collective, "wait": power.act_wait}


def by_name(column: Any, value: Callable[[str], float], what: str) -> Floats:
    """Translate a column of few distinct names into numbers, one call per name."""
    words = Words.of(column)
    table = np.zeros(len(words.names) + 1)  # -1, a missing value: the last
    for code in each_once(words.codes[words.codes >= 0]).tolist():
        try:
            table[code] = value(words.names[code])
        except KeyError:
            known, name = ", ".join(sorted(KINDS)), words.names[code]
            raise InvalidInput(f"timeline: unknown {what} {name!r} (known: {known})") from None
    numbers: Floats = table[words.codes]
    return numbers


def _place(edges: Floats, times: Floats) -> Ints:
    """Index of the edge nearest to each time."""
    at = np.clip(np.searchsorted(edges, times), 1, len(edges) - 1)
    return np.asarray(np.where(times - edges[at - 1] < edges[at] - times, at - 1, at))


def _spread(rate: Floats, begin: Ints, stop: Ints, edges: int) -> Floats:
    """Sum of the rates of all rows that run in each piece."""
    steps = np.bincount(begin, rate, edges) - np.bincount(stop, rate, edges)
    sums = np.cumsum(steps)[:-1]
    return np.asarray(np.where(sums > 1e-12 * rate.max(initial=0.0), sums, 0.0))


def _highest(level: Floats, begin: Ints, stop: Ints, edges: int, least: float) -> Floats:
    """Highest activity of the rows that run in each piece, at least that of a waiting kernel."""
    highest = np.full(edges - 1, least)
    for value in each_once(level[level > least]):  # ascending: the last to write wins
        rows = level == value
        running = np.cumsum(
            np.bincount(begin[rows], minlength=edges) - np.bincount(stop[rows], minlength=edges)
        )[:-1]
        highest[running > 0] = value
    return highest
