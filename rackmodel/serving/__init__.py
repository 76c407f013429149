"""Serving on a machine: steps simulated on its graph, the steady state of a closed loop, searches.

In:  a topology, a serving job.
Out: times to the first and per token, throughput, HBM, links, heat, dollars.
Left out: single requests and their percentiles.
"""
