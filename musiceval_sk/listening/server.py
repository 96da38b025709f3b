"""The server of a listening test: gives each rater the page and the own trials, and stores answers before it acknowledges them."""

import asyncio
import contextlib
import errno
import json
import logging
import os
import socket
import sqlite3
import warnings
from collections.abc import AsyncIterator, Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from musiceval_sk._optional import import_optional
from musiceval_sk.listening.answers import EXPERIMENTER, GroupCommit, check_answer
from musiceval_sk.listening.page.build import MEDIA_TYPES, PAGE_FILES
from musiceval_sk.listening.served import ServedTest

_PURPOSE = "The server of a listening test"
_MOST_BYTES = 256 * 1024
_MOST_HEAD = 64 * 1024
_SECONDS_TO_ASK = 60
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; media-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_DATA_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_OVERVIEW_FILES = ("overview.html", "overview.js", "overview.css")


def make_app(served: ServedTest) -> Any:
    """Make the web application of a served test (ASGI).

    Parameters
    ----------
    served : ServedTest
        The test, with its answers.

    Returns
    -------
    ASGI application
        ``GET /`` and the page's files; ``GET /api/test`` and ``POST /api/answers`` with a rater's token, ``GET /api/overview`` with the
        experimenter's, as ``Authorization: Bearer ...``; ``GET /overview``.

    Raises
    ------
    ImportError
        If starlette is missing; it comes with the extra ``listen``.
    """
    starlette: Any = import_optional("starlette.applications", extra="listen", purpose=_PURPOSE)
    routing: Any = import_optional("starlette.routing", extra="listen", purpose=_PURPOSE)
    endpoints = _Endpoints(served)
    assets = files("musiceval_sk.listening.page") / "assets"
    sent: dict[str, Any] = {f"/{name}": served.folder / name for name in (*PAGE_FILES, "texts.js")}
    sent |= {f"/{name}": assets / name for name in _OVERVIEW_FILES}
    sent |= {"/": sent.pop("/index.html"), "/overview": sent.pop("/overview.html")}
    app = starlette.Starlette(
        routes=[
            routing.Route("/api/test", endpoints.own_test),
            routing.Route("/api/answers", endpoints.receive, methods=["POST"]),
            routing.Route("/api/overview", endpoints.overview),
            routing.Route("/test.js", endpoints.no_test),
            *[routing.Route(path, endpoints.file(file)) for path, file in sent.items()],
            routing.Route("/audio/{name}", endpoints.sound),
        ],
        lifespan=endpoints.lifespan,
    )
    return _with_headers(app)


class _Endpoints:
    """What the server answers."""

    def __init__(self, served: ServedTest):
        self._served = served
        self._commits: GroupCommit
        self._responses: Any = import_optional("starlette.responses", extra="listen", purpose=_PURPOSE)
        exceptions: Any = import_optional("starlette.exceptions", extra="listen", purpose=_PURPOSE)
        requests: Any = import_optional("starlette.requests", extra="listen", purpose=_PURPOSE)
        self._error: Any = exceptions.HTTPException
        self._gone: Any = requests.ClientDisconnect

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Any) -> AsyncIterator[None]:
        """Store answers while the server runs."""
        self._commits = GroupCommit(self._served.store)
        with contextlib.suppress(asyncio.CancelledError):  # a second Ctrl+C, while connections are waited for
            yield
        await self._commits.finish()
        self._served.store.close()

    async def own_test(self, request: Any) -> Any:
        """Give a rater's own trials, and what the rater answered."""
        rater = self._rater(request)
        content = {"test": self._served.test, "rater": rater, "batches": self._served.batches[rater]}
        answers = await asyncio.to_thread(self._served.store.answers, rater)
        return self._responses.JSONResponse(content | {"answers": answers})

    async def receive(self, request: Any) -> Any:
        """Store answers; they are on the disk when this is acknowledged."""
        rater = self._rater(request)
        answers = await self._answers(request)
        try:
            for answer in answers:
                check_answer(answer, rater, self._served.trials[rater], self._served.test)
        except ValueError as error:
            raise self._error(422, str(error)) from error
        try:
            first = await self._commits.add(answers)
        except sqlite3.OperationalError as error:  # of a full disk, or one that broke
            words = f"{self._served.store.path}: cannot store answers ({error}); pages keep them, and send them again"
            logging.getLogger("uvicorn.error").error(words)
            raise self._error(503, "answers cannot be stored now") from error
        stored = [
            [answer["batch"], answer["position"]]
            for answer, other in zip(answers, first, strict=True)
            if other is None
        ]
        conflicts = [other for other in first if other is not None]
        content = {"stored": stored, "conflicts": conflicts}
        return self._responses.JSONResponse(content, 409 if conflicts else 200)

    async def overview(self, request: Any) -> Any:
        """Tell the experimenter who is how far."""
        if self._whose(request) != EXPERIMENTER:
            raise self._error(403, "not the experimenter's token")
        return self._responses.JSONResponse(await asyncio.to_thread(self._served.overview))

    async def no_test(self, request: Any) -> Any:
        """Stand in for the file of all raters' trials, which is no rater's business."""
        return self._responses.Response("window.listenTest = null;\n", media_type="text/javascript")

    def file(self, file: Any) -> Any:
        """Make an endpoint of a file."""

        async def send(request: Any) -> Any:
            return self._responses.FileResponse(file, headers={"Cache-Control": "no-cache"})

        return send

    async def sound(self, request: Any) -> Any:
        """Give a clip, or a range of its bytes; none but the test's own."""
        name = "audio/" + request.path_params["name"]
        if name not in self._served.sounds:
            raise self._error(404)
        media_type = "audio/" + MEDIA_TYPES[Path(name).suffix]
        return self._responses.FileResponse(self._served.folder / name, media_type=media_type)

    def _whose(self, request: Any) -> str:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        name = self._served.whose(token) if scheme == "Bearer" else None
        if name is None:
            raise self._error(401, "no valid token", {"WWW-Authenticate": "Bearer"})
        return name

    def _rater(self, request: Any) -> str:
        name = self._whose(request)
        if name not in self._served.batches:
            raise self._error(403, "not a rater's token")
        return name

    async def _answers(self, request: Any) -> list[Any]:
        body = bytearray()
        with contextlib.suppress(self._gone):
            async for part in request.stream():
                body += part
                if len(body) > _MOST_BYTES:
                    raise self._error(413, f"at most {_MOST_BYTES} bytes at once")
        try:
            answers = json.loads(body)
        except (ValueError, RecursionError):
            raise self._error(400, "the body is no JSON") from None
        if not isinstance(answers, list):
            raise self._error(422, "the body is a list of answers")
        return answers


def _with_headers(app: Any) -> Any:
    """Put the security headers on every response."""
    shared, data = (
        [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        for headers in (_HEADERS, _DATA_HEADERS)
    )

    async def run(scope: Any, receive: Any, send: Any) -> None:
        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    *(data if scope["path"].startswith("/api/") else shared),
                ]
            await send(message)

        await app(scope, receive, send_with_headers)

    return run


def serve_page(
    folder: str | Path,
    answers: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    links: str | Path | None = None,
    url: str | None = None,
    renew: bool = False,
    design: str | Path | None = None,
    tell: Callable[[str], object] = print,
) -> None:
    """Serve a listening test until it is interrupted; it then waits for answers that are on their way, unless interrupted again.

    Parameters
    ----------
    folder : str or Path
        The folder that `build_page` wrote.
    answers : str or Path
        SQLite file of the answers, outside of the folder; made if it is not there. Killed and started again, the server goes on.
    host : str, default="127.0.0.1"
        Address to listen at: by default this machine alone. Put a web server with TLS before it for raters elsewhere.
    port : int, default=8000
        Port to listen at.
    links : str or Path, default=None
        CSV file to which links with the raters' tokens are written, and the overview's. By default ``answers`` with the suffix
        ``.links.csv``. Links that were written before stay valid.
    url : str, default=None
        Where raters reach the server, for the links. By default host and port.
    renew : bool, default=False
        Make new links for all and void the old ones.
    design : str or Path, default=None
        The test's design, so that the overview names clips by their ids. The page does not know them.
    tell : callable, default=print
        Given a line on where links and server are, as it starts.

    Raises
    ------
    ValueError
        If the folder holds no built test, the file answers of another, the design is that of another, or the port is taken.
    ImportError
        If starlette or uvicorn is missing; they come with the extra ``listen``.
    KeyboardInterrupt
        If it is interrupted a second time.
    """
    uvicorn: Any = import_optional("uvicorn", extra="listen", purpose=_PURPOSE)
    served = ServedTest(folder, answers, design)
    listener = _bind(host, port)
    app = make_app(served)
    url = url or f"http://{host}:{port}"
    links = Path(links or Path(answers).with_suffix(".links.csv"))
    if written := served.write_links(links, url, renew=renew):
        tell(f"wrote {written} links to {links}: one for each rater, the overview's for you alone")
    elif not links.exists() or f",{url.rstrip('/')}/" not in links.read_text(encoding="utf-8"):
        fault = f"has no links to {url}" if links.exists() else "is not there"
        words = f"{links}: {fault}; links given away stay valid, and renew=True makes new ones"
        warnings.warn(words, stacklevel=2)
    tell(f"serving {folder} at {url}, answers in {answers}; stop by Ctrl+C")
    # uvicorn takes uvloop where it is, too: with both an answer costs a third less of the core.
    config = uvicorn.Config(
        app, http=bounded_protocol(), log_level="warning", access_log=False, server_header=False
    )
    server, log = uvicorn.Server(config), logging.getLogger("uvicorn.error")

    def is_error(record: logging.LogRecord) -> bool:
        return not server.force_exit  # requests that are cut are none

    log.addFilter(is_error)
    with listener, contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    log.removeFilter(is_error)
    if server.force_exit:
        raise KeyboardInterrupt


def bounded_protocol() -> type[asyncio.Protocol]:
    """Make uvicorn's protocol close who sends a head without end, or takes for ever to ask."""
    httptools: Any = import_optional(
        "uvicorn.protocols.http.httptools_impl", extra="listen", purpose=_PURPOSE
    )

    class Bounded(httptools.HttpToolsProtocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._begin()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._is_in_head:
                self._head += len(data)
                if self._head > _MOST_HEAD:
                    self.transport.close()

        def on_message_begin(self) -> None:
            self._deadline.cancel()
            self._begin()
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._is_in_head = False
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._deadline.cancel()
            super().on_message_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._deadline.cancel()
            super().connection_lost(exc)

        def _begin(self) -> None:
            self._is_in_head, self._head = True, 0
            self._deadline = self.loop.call_later(_SECONDS_TO_ASK, self.transport.close)

    return Bounded


def _bind(host: str, port: int) -> socket.socket:
    """Take a port before anything is written for it; who connects is refused until the server listens."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        if os.name == "posix":  # a killed server's port can be taken again at once
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        way_out = "host= is an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all; port= is 1024 or more"
        if error.errno == errno.EADDRINUSE:
            way_out = (
                "stop the program that has the port, perhaps the server of another test, or set another port="
            )
        raise ValueError(f"cannot listen at {host}, port {port} ({error.strerror}); {way_out}") from error
    return listener
