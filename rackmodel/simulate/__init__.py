"""How long a training step takes: kernels, folding, ranks under SimPy, the result.

In:  a topology and a job with a complete plan.
Out: `simulate_step` (what every rank did and when) and `Result` (what people ask for).
Left out: watts and dollars (assess), choices of plans (study).
"""
