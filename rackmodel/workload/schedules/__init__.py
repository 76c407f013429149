"""Pipeline schedules: the order of forward and backward passes of every stage, one file each.

In:  a plan and a number of micro-batches.
Out: actions per stage.
Left out: how long a pass takes.
"""

from rackmodel.workload.schedules import (  # noqa: F401  # each registers itself
    controllable,
    dualpipe,
    gpipe,
    interleaved,
    one_f_one_b,
    zb_2p,
    zb_h1,
    zb_v,
)
