"""How long kernels take on an accelerator: products, attention, host launches, contention.

In:  an accelerator, a software family at its date, operations of a workload.
Out: seconds.
Left out: links between accelerators (network), when a kernel runs (engine).
"""
