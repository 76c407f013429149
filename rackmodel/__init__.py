"""How fast, how hot and at what cost racks of accelerators train large models.

In:  a machine (a named topology, a file, or a networkx graph) and a job (model, plan, batch).
Out: `simulate(...) -> Result`; `compare`, `search`, `sweep`, `validate` for many of them.

>>> import rackmodel
>>> job = rackmodel.Job(model=rackmodel.load_model("gpt3-13b"), plan=rackmodel.Plan(tp=2, dp=8),
...     seq_len=2048, global_batch=64)
>>> result = rackmodel.simulate("dgx-h100", job)
>>> 0 < result.mfu < 1
True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rackmodel.api import compare as compare, search as search, simulate as simulate
    from rackmodel.assess.halls import hall_over_time as hall_over_time
    from rackmodel.assess.series import (
        heat_over_time as heat_over_time,
        power_over_time as power_over_time,
    )
    from rackmodel.engine.networks import clear_caches as clear_caches
    from rackmodel.errors import (
        CannotRun as CannotRun,
        DoesNotFit as DoesNotFit,
        InvalidInput as InvalidInput,
        InvalidPlan as InvalidPlan,
        NoRoute as NoRoute,
        RackModelError as RackModelError,
        UnknownName as UnknownName,
    )
    from rackmodel.halls.api import hall as hall
    from rackmodel.hardware import load_catalog as load_catalog
    from rackmodel.requests.api import (
        front_requests as front_requests,
        serve_requests as serve_requests,
    )
    from rackmodel.result.comparison import Comparison as Comparison
    from rackmodel.result.result import Result as Result
    from rackmodel.serving.api import front as front, serve as serve
    from rackmodel.topology import load_topology as load_topology, read_topology as read_topology
    from rackmodel.verbs.answer import Answer as Answer
    from rackmodel.verbs.domain_answers import (
        domains as domains,
        domains_serving as domains_serving,
    )
    from rackmodel.verbs.machines import collective as collective, draw as draw, goodput as goodput
    from rackmodel.verbs.page import report as report
    from rackmodel.verbs.plans import advise as advise, diff as diff, emit as emit, replay as replay
    from rackmodel.verbs.power import caps as caps, heat as heat
    from rackmodel.verbs.studies import (
        claims as claims,
        design as design,
        sensitivity as sensitivity,
        validate as validate,
    )
    from rackmodel.verbs.sweeping import sweep as sweep
    from rackmodel.workload import (
        Job as Job,
        Model as Model,
        Plan as Plan,
        load_model as load_model,
    )
    from rackmodel.workload.launch import read_launch as read_launch

__version__ = "0.14.0"

_HOME = {
    "simulate": "rackmodel.api",
    "compare": "rackmodel.api",
    "search": "rackmodel.api",
    **dict.fromkeys(["serve", "front"], "rackmodel.serving.api"),
    "hall": "rackmodel.halls.api",
    **dict.fromkeys(["serve_requests", "front_requests"], "rackmodel.requests.api"),
    "clear_caches": "rackmodel.engine.networks",
    **dict.fromkeys(["domains", "domains_serving"], "rackmodel.verbs.domain_answers"),
    "sweep": "rackmodel.verbs.sweeping",
    **dict.fromkeys(["collective", "goodput", "draw"], "rackmodel.verbs.machines"),
    **dict.fromkeys(["heat", "caps"], "rackmodel.verbs.power"),
    **dict.fromkeys(["validate", "sensitivity", "claims", "design"], "rackmodel.verbs.studies"),
    **dict.fromkeys(["advise", "replay", "diff", "emit"], "rackmodel.verbs.plans"),
    "report": "rackmodel.verbs.page",
    **dict.fromkeys(["power_over_time", "heat_over_time"], "rackmodel.assess.series"),
    "hall_over_time": "rackmodel.assess.halls",
    "Answer": "rackmodel.verbs.answer",
    "Comparison": "rackmodel.result.comparison",
    "Result": "rackmodel.result.result",
    "load_catalog": "rackmodel.hardware",
    "load_topology": "rackmodel.topology",
    "read_topology": "rackmodel.topology",
    "Job": "rackmodel.workload",
    "Model": "rackmodel.workload",
    "Plan": "rackmodel.workload",
    "load_model": "rackmodel.workload",
    "read_launch": "rackmodel.workload.launch",
    **dict.fromkeys(
        [
            "CannotRun",
            "DoesNotFit",
            "InvalidInput",
            "InvalidPlan",
            "NoRoute",
            "RackModelError",
            "UnknownName",
        ],
        "rackmodel.errors",
    ),
}
__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    """Import a name of the front door when it is first used: `import rackmodel` is light."""
    if name not in _HOME:
        raise AttributeError(f"module 'rackmodel' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
