"""`python -m rackmodel` and the console script `rackmodel`.

In:  the words of the command line.
Out: results on stdout, all else on stderr, and an exit code (see `rackmodel.cli`).
Left out: everything else; the commands are in `rackmodel.cli`.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line; leaves by `SystemExit`."""
    from rackmodel.cli import main as run

    run()


if __name__ == "__main__":
    main()
