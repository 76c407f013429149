"""The best plan for a job on a machine: estimated all, simulated few.

In:  a machine and a job with parts left open.
Out: ranked plans.
Left out: one simulation (engine), what to show (reporting).
"""
