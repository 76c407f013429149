"""The verb that runs a sweep: `sweeps.api.sweep`, its frame as an `Answer`.

In:  the words of `sweeps.api.sweep`.
Out: `sweep`.
Left out: its words and what they mean (`sweeps.api`).
"""

from __future__ import annotations

from rackmodel.sweeps import api
from rackmodel.verbs.answer import answering

sweep = answering(api.sweep, "study.sweep_plot", __name__)
