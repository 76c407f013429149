"""What each accelerator has to do in a training step: models, plans, placement, operations, memory.

In:  a model and a plan.
Out: programs of operations with FLOPs, bytes and shapes; groups of ranks; bytes of HBM by kind.
Left out: seconds and links; see `engine` and `network`.
"""

from rackmodel.workload.catalog import (
    describe,
    load_model,
    model_from_columns,
    model_names,
    model_rows,
)
from rackmodel.workload.job import Job
from rackmodel.workload.memory import (
    check_fits,
    fits,
    least_recompute,
    memory,
    memory_timeline,
    more_layers,
    peak_memory,
    printed_bytes,
    recompute_that_fits,
)
from rackmodel.workload.models import Model
from rackmodel.workload.operations import (
    Collective,
    Compute,
    Operation,
    Program,
    Recv,
    Segment,
    Send,
    Wait,
)
from rackmodel.workload.plan import Plan
from rackmodel.workload.precision import precision_of
from rackmodel.workload.programs import programs, rank_actions
from rackmodel.workload.schedules.schedule import Action, actions
from rackmodel.workload.silent import settled
from rackmodel.workload.stages import layers_of_stages, send_bytes, transfer_bytes
from rackmodel.workload.validity import check

__all__ = [
    "Action",
    "Collective",
    "Compute",
    "Job",
    "Model",
    "Operation",
    "Plan",
    "Program",
    "Recv",
    "Segment",
    "Send",
    "Wait",
    "actions",
    "check",
    "check_fits",
    "describe",
    "fits",
    "layers_of_stages",
    "least_recompute",
    "load_model",
    "memory",
    "memory_timeline",
    "model_from_columns",
    "model_names",
    "model_rows",
    "more_layers",
    "peak_memory",
    "precision_of",
    "printed_bytes",
    "programs",
    "rank_actions",
    "recompute_that_fits",
    "send_bytes",
    "settled",
    "transfer_bytes",
]
