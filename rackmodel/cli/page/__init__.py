"""The local page of `rackmodel app`: a form whose every change is a command line that is run.

In:  the words that the page sends.
Out: `commands` (what can be asked), `form` (fields), `worker` (a process that answers), `server`.
Left out: the commands themselves.
"""
