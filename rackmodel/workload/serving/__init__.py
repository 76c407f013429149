"""Serving: jobs, and the operations of one step of prefill, decode or both.

In:  a model, a plan of workers, formats of weights and KV.
Out: `ServingJob`, bytes of HBM, programs of a step.
Left out: seconds, machines, how many sequences run at once.
"""
