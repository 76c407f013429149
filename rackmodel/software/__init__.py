"""What a family of training software does: aliases, dates, habits, defaults.

In:  the `stack` of a job.
Out: its era and its habits.
Left out: how fast its kernels are (kernels).
"""
