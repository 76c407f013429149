"""The verbs beside a training step, as the commands of the same names have them.

In:  what the command of the same name takes, as Python values.
Out: `Answer`: the keys that the command prints as JSON, with a frame, a picture, HTML.
Left out: simulate, compare, search (`api`), serving, sweeps; words of the command line (`cli`).
"""
