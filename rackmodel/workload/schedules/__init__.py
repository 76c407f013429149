"""Pipeline schedules: the order of forward and backward passes of every stage.

In:  a plan and a number of micro-batches.
Out: actions per stage.
Left out: how long a pass takes.
"""
