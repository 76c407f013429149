"""A training step as events: ranks, groups, folding, the clock under SimPy.

In:  a topology and a job with a complete plan.
Out: what every rank did and when.
Left out: figures that people ask for (result), watts and dollars (assess), plans (planning).
"""
