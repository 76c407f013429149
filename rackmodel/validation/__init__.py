"""Published runs beside predicted ones.

In:  a table of runs.
Out: errors and bands.
Left out: fitting (benchmarks/validation).
"""
