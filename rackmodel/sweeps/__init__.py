"""Many jobs into a directory that survives kills: specs, stores, workers, design search.

In:  a SPEC.toml or the same as a dict.
Out: one row a job.
Left out: what a job means to the simulator (api).
"""
