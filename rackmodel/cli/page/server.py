"""The server of the page: files of this folder, and the worker behind two addresses.

In:  a free port.
Out: `serve_page`, which answers on the loopback until it is stopped.
Left out: running command lines (`worker`).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rackmodel.cli.page.worker import Worker, working
from rackmodel.errors import InvalidInput

HOST = "127.0.0.1"
_FILES = {
    "/": "index.html",
    "/page.css": "page.css",
    "/page.js": "page.js",
    "/icon.svg": "icon.svg",
}
_LARGEST = 100_000  # bytes of a request
#: Nothing is loaded from elsewhere, no other page may show or ask this one.
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def listening(port: int) -> socket.socket:
    """Return a socket of the loopback that listens; port 0 stands for any that is free.

    Raises
    ------
    InvalidInput
        If the port is taken, or the extra is not installed.
    """
    if find_spec("starlette") is None or find_spec("uvicorn") is None:
        raise InvalidInput("app: starlette and uvicorn are missing; pip install 'rackmodel[app]'")
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((HOST, port))
    except OSError as error:
        taken.close()
        raise InvalidInput(
            f"--port: {port} can't be used ({error.strerror}); give another, or 0 for any"
        ) from error
    taken.listen()
    return taken


def application(worker: Worker) -> Any:
    """Return the ASGI application of the page."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import Request
    from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
    from starlette.routing import Route

    folder = Path(__file__).parent

    def file(name: str) -> Callable[[Request], Any]:
        async def send(request: Request) -> Response:
            return FileResponse(folder / name, headers=_HEADERS)

        return send

    async def form(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(worker.ask, ["form"]), headers=_HEADERS)

    def answering(ask: Callable[[list[str]], Any]) -> Callable[[Request], Any]:
        async def send(request: Request) -> Response:
            return await told(request, ask)

        return send

    async def told(request: Request, ask: Callable[[list[str]], Any]) -> Response:
        # A form of another page can't send this type without the browser asking first.
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return PlainTextResponse("JSON alone is read", 415)
        if int(request.headers.get("content-length", _LARGEST + 1)) > _LARGEST:
            return PlainTextResponse("too long", 413)
        try:
            given = await request.json()
            words = given["words"]
        except (ValueError, KeyError, TypeError):
            return PlainTextResponse("no words", 400)
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            return PlainTextResponse("words are a list of texts", 400)
        return JSONResponse(await run_in_threadpool(ask, words), headers=_HEADERS)

    async def stop(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return PlainTextResponse("JSON alone is read", 415)
        await run_in_threadpool(worker.stop)
        return JSONResponse({}, headers=_HEADERS)

    pages = [Route(path, file(name)) for path, name in _FILES.items()]
    posts = [
        Route("/run", answering(worker.ask), methods=["POST"]),
        Route("/draft", answering(worker.estimate), methods=["POST"]),
        Route("/stop", stop, methods=["POST"]),
    ]
    known_hosts = Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    return Starlette(routes=[*pages, Route("/form", form), *posts], middleware=[known_hosts])


def serve_page(taken: socket.socket) -> None:
    """Answer on a socket until interrupted."""
    with working() as worker:  # it begins while the server does
        import uvicorn

        settings = uvicorn.Config(
            application(worker), log_level="error", lifespan="off", timeout_graceful_shutdown=1
        )
        asyncio.run(uvicorn.Server(settings).serve([taken]))
