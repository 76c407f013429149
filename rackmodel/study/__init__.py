"""What moves a result: resources doubled, constants that nobody knows exactly.

In:  a machine and a job.
Out: frames of gains, shadow prices, error bars.
Left out: one simulation (api), what to show (reporting).
"""
