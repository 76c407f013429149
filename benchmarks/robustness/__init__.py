"""Whatever is given, whatever fails: fuzzed inputs, killed sweeps, laws between runs.

In:  nothing but the package; the seeds of all random choices are numbers.
Out: one table: `python -m benchmarks.robustness`; the short form is a test.
Left out: accuracy (`benchmarks.validation`) and speed (`benchmarks.speed`).
"""
