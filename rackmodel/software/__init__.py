"""What a family of training software is and does: aliases, date, kernels, habits.

In:  the `stack` of a job.
Out: `Software`, by one row of data/stacks.toml a family.
Left out: how fast its kernels are (rackmodel.kernels).
"""

from rackmodel.software.stack import (
    UNKNOWN as UNKNOWN,
    Software as Software,
    dated as dated,
    software_of as software_of,
    stack_or_unknown as stack_or_unknown,
)
