"""What to show: plots, words, traces and one HTML page.

In:  frames and dictionaries as `simulate --json` prints them.
Out: matplotlib axes and figures, texts, files.
Left out: reckoning anything; no other package is imported here.
"""
