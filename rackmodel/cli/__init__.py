"""The command line: one command is one public function of the package.

In:  words; every value is checked here before a heavy library is imported.
Out: results on stdout (a table, `--json` or `--csv`), progress and warnings on stderr,
     an exit code: 0 done, 2 wrong input, 3 can't run, 4 an `--assert` missed, 130 interrupted.
Left out: any computing; packages are imported inside the commands, so that `--help` stays fast.
"""

from __future__ import annotations

from rackmodel.cli.app import app, main

__all__ = ["app", "main"]
