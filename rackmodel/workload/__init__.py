"""What each accelerator has to do in a training step: models, plans, placement, operations, memory.

In:  a model and a plan.
Out: programs of operations with FLOPs, bytes and shapes; groups of ranks; bytes of HBM by kind.
Left out: seconds and links; see `simulate` and `network`.
"""

from rackmodel.software import Software, software_of
from rackmodel.workload.catalog import (
    describe,
    load_model,
    model_from_columns,
    model_names,
    model_rows,
)
from rackmodel.workload.memory import (
    KINDS,
    check_fits,
    fits,
    least_recompute,
    memory,
    memory_timeline,
    peak_memory,
    printed_bytes,
)
from rackmodel.workload.models import Block, Mamba, Mla, Model
from rackmodel.workload.operations import (
    Collective,
    Compute,
    Kernel,
    Operation,
    Program,
    Recv,
    Segment,
    Send,
    Wait,
)
from rackmodel.workload.plan import Job, Plan
from rackmodel.workload.precision import PRECISIONS, Precision, precision_of
from rackmodel.workload.programs import programs, rank_actions
from rackmodel.workload.schedules.schedule import Action, actions, bubble_fraction
from rackmodel.workload.stages import chunks_of, layers_of_stages, transfer_bytes
from rackmodel.workload.validity import check

__all__ = [
    "KINDS",
    "PRECISIONS",
    "Action",
    "Block",
    "Collective",
    "Compute",
    "Job",
    "Kernel",
    "Mamba",
    "Mla",
    "Model",
    "Operation",
    "Plan",
    "Precision",
    "Program",
    "Recv",
    "Segment",
    "Send",
    "Software",
    "Wait",
    "actions",
    "bubble_fraction",
    "check",
    "check_fits",
    "chunks_of",
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
    "peak_memory",
    "precision_of",
    "printed_bytes",
    "programs",
    "rank_actions",
    "software_of",
    "transfer_bytes",
]
