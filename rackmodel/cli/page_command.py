"""The command that opens the local page: app.

In:  a port.
Out: a page on the loopback, until Ctrl-C.
Left out: the page (`rackmodel.cli.page`).
"""

from __future__ import annotations

from typing import Annotated

import typer

from rackmodel.cli.output import note
from rackmodel.cli.values import count

MOST_PORT = 65535


def page(
    port: Annotated[
        int,
        typer.Option(
            "--port",
            metavar="N",
            parser=lambda word: count(str(word), "--port", MOST_PORT, least=0),
            help="Port on the loopback; 0: any that is free.",
        ),
    ] = 8350,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")
    ] = True,
) -> None:
    """Open a local page with sliders: machine, model, batch, power, prices; keep and compare.

    \b
    Examples:
      rackmodel app
      rackmodel app --port 9000 --no-browser

    Needs the extra \\[app]. Answers this machine alone and loads nothing from elsewhere; every
    result tells the command line that repeats it. From another machine:
    ssh -L 8350:127.0.0.1:8350 HOST.
    """
    from rackmodel.cli.page.server import HOST, listening, serve_page

    taken = listening(port)
    address = f"http://{HOST}:{taken.getsockname()[1]}/"
    note(f"{address} (Ctrl-C ends it)")
    if browser:
        import webbrowser

        webbrowser.open(address)
    serve_page(taken)
