"""Recorded steps on other machines: traces in, their operations timed anew.

In:  Kineto and Chrome traces, Chakra execution traces, of software or of ours.
Out: `read_recorded`, `replayed`; a Chakra trace of a simulated step.
Left out: plans: what was recorded keeps its groups and its order.
"""
