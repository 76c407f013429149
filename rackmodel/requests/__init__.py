"""Requests as events: what single users wait for, on the steps that the engine has simulated.

In:  a served job, arrivals of requests.
Out: percentiles, goodput, queues, caches and power over time.
Left out: what a step takes (`serving`).
"""
