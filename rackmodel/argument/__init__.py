"""Scale-up against scale-out: the study and the claims, an application of the library.

In:  specs of points, claims.
Out: rows, verdicts, answers.
Left out: everything that a user needs without the argument.
"""
