"""What a simulation tells: figures that people ask for, and frames for everything else.

In:  a simulated step.
Out: `Result`, its frames of time, HBM and links.
Left out: watts and dollars (assess).
"""
