"""Steps that were simulated before: what moves the site alone is answered without another.

In:  what a step hangs on: machine, parts, job, the engine's options.
Out: `keeping`, within which `run` simulates the same step once; `once`.
Left out: the site, which every answer works out anew; steps at other clocks than the usual one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields, replace
from typing import Any

from rackmodel.engine.options import EngineOptions
from rackmodel.hardware import Catalog
from rackmodel.result.result import Result
from rackmodel.topology import Topology
from rackmodel.workload import Job

MOST = 4  # steps that are kept, the last ones asked for
_kept: ContextVar[OrderedDict[str, Result] | None] = ContextVar("_kept", default=None)


@contextmanager
def keeping() -> Iterator[None]:
    """Keep the steps that are simulated inside."""
    token = _kept.set(OrderedDict())
    try:
        yield
    finally:
        _kept.reset(token)


def once(
    asked: tuple[Topology, Catalog, tuple[Job, Job], EngineOptions | None],
    simulate: Callable[[Mapping[str, float]], Result],
    assess: Callable[[Result], Any],
    clocks: Mapping[str, float],
) -> Result:
    """Return the result of a step at clocks; at the usual ones simulated unless it is kept.

    asked : machine, parts, job (settled, as given), options. assess : what its site makes of it.
    """
    machine, parts, job, options = asked
    known = _kept.get()
    if known is None or any(one != 1.0 for one in clocks.values()) or machine.own_graph is not None:
        return simulate(clocks)
    # Prices and chassis, like the site, do nothing to a step.
    rates = (
        *(parts.accelerators, parts.links, parts.switches, parts.transports),
        parts.host_speed,
    )
    key = repr((machine.text(), machine.accelerator, rates, job, options))
    if key not in known:
        result = simulate(clocks)
    else:
        before = known.pop(key)
        result = replace(before, assess=assess, machine=machine, catalog=parts)
        own = {one.name for one in fields(Result)} | {"assessment"}
        # Frames and figures of the step that were worked out stay.
        vars(result).update({k: v for k, v in vars(before).items() if k not in own})
    known[key] = result
    while len(known) > MOST:
        known.popitem(last=False)
    return result
