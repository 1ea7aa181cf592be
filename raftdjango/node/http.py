"""The raftnode's HTTP server: uvicorn on the node's own loop, and a thin bridge to the views.

The bridge reads the body within its bound and calls the view with a request made by hand; none of
the project's middleware runs.  `messages` is called on the loop, since it never waits; the cold
views run in a small pool.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import json
import logging
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from http import HTTPStatus
from io import BytesIO
from typing import TYPE_CHECKING, Any

import uvicorn
from django.db import close_old_connections
from django.http import HttpRequest, QueryDict
from django.urls import Resolver404, ResolverMatch, get_resolver
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from raftdjango.node.errors import StartRefused
from raftdjango.node.links import Exchange
from raftdjango.node.served import REQUEST_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from raftdjango.node.served import ServedNode

logger = logging.getLogger("raftdjango.node")

URLCONF = "raftdjango.api.urls"
BODY_BYTES_MAX = 4 * 1024 * 1024
"""Longest body of a request; peers cut what is larger into fragments."""
HEAD_BYTES_MAX = 64 * 1024
HEAD_S = 30.0
BODY_S = 30.0
"""A body must be there by then."""
CONNECTIONS_MAX = 512
KEEP_ALIVE_S = 75
POOL_THREADS = 2
COLD_MAX = 32
"""Cold requests waiting for the pool."""
ON_LOOP_S = 5.0
STOP_S = 1.0

ON_LOOP = frozenset({"messages", "live"})
"""Names of the views that never wait and touch no database."""

Scope = dict[str, Any]


class _Problem(Exception):
    """Refused before there was a request."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail


def _json_body(code: str, detail: str) -> bytes:
    return json.dumps({"code": code, "detail": detail, "leader": None}).encode()


class NodeRequest(HttpRequest):
    """A request whose body has been read."""

    def __init__(self, scope: Scope, body: bytes, server: HttpServer) -> None:
        super().__init__()
        self.method = scope["method"]
        self.path = self.path_info = scope["path"]
        self.META = {"REQUEST_METHOD": self.method, "PATH_INFO": self.path, REQUEST_KEY: server}
        for name, value in scope["headers"]:
            self.META[_meta_key(name)] = value.decode("latin-1")
        self.META["CONTENT_LENGTH"] = str(len(body))
        self.content_type = self.META.get("CONTENT_TYPE", "")
        self.content_params: dict[str, str] = {}
        if scope["query_string"]:
            self.GET = QueryDict(scope["query_string"])
        self._read_started = False
        self._body = body
        self._stream = BytesIO(body)


@lru_cache(maxsize=256)
def _meta_key(name: bytes) -> str:
    key = name.decode("latin-1").upper().replace("-", "_")
    return key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"


class _Protocol(HttpToolsProtocol):
    """uvicorn's, with refusals in JSON, and with bounds on size and time of a request's head."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_bytes = 0
        self._in_head = True
        self._patience = self.loop.call_later(HEAD_S, self._out_of_patience)

    def connection_lost(self, exc: Exception | None) -> None:
        self._patience.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
                self.send_400_response("The request's head is too long.")

    def on_headers_complete(self) -> None:
        self._patience.cancel()
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        self._in_head = True
        super().on_message_complete()

    def _out_of_patience(self) -> None:
        """The first head never came; between later ones uvicorn's keep-alive timer runs."""
        if not self.transport.is_closing():
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        body = _json_body("malformed", msg)
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
            + f"content-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        self.transport.close()


class _Uvicorn(uvicorn.Server):
    """Leaves the process' signals to the raftnode."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class HttpServer:
    """Serves one node's endpoints.  Made and used on the loop."""

    def __init__(self, node: ServedNode) -> None:
        self.node = node
        self.address: tuple[str, int] = ("", 0)
        self._resolver = get_resolver(URLCONF)
        # Importing the views takes longer than a heartbeat may; not in the first request.
        self._resolver.check()
        self._matches: dict[str, ResolverMatch] = {}
        self._pool = ThreadPoolExecutor(POOL_THREADS, "raft-views")
        self._cold = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._uvicorn: _Uvicorn | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Bind and serve; raises `StartRefused` where that cannot be."""
        settings = self.node.settings
        listener = bind(*settings.listen_address, secret=settings.secret)
        self.address = listener.getsockname()[:2]
        self._loop = asyncio.get_running_loop()
        config = uvicorn.Config(
            self,
            interface="asgi3",
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_keep_alive=KEEP_ALIVE_S,
            backlog=CONNECTIONS_MAX,
        )
        self._uvicorn = _Uvicorn(config)
        self._task = asyncio.create_task(self._uvicorn.serve([listener]))
        while not self._uvicorn.started and not self._task.done():
            await asyncio.sleep(0.001)

    async def stop(self) -> None:
        """Finish the requests under way, briefly, and close."""
        if self._uvicorn is not None and self._task is not None:
            self._uvicorn.should_exit = True
            done, _ = await asyncio.wait({self._task}, timeout=STOP_S)
            if not done:
                self._uvicorn.force_exit = True
                await self._task
        self._pool.shutdown(wait=False, cancel_futures=True)

    def on_loop(self, call: Callable[[], Any]) -> Any:
        """The result of `call`, made on the loop; from there or from the pool."""
        with contextlib.suppress(RuntimeError):
            if asyncio.get_running_loop() is self._loop:
                return call()
        assert self._loop is not None

        async def made() -> Any:
            return call()

        return asyncio.run_coroutine_threadsafe(made(), self._loop).result(ON_LOOP_S)

    # -- the bridge ----------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """The ASGI application."""
        try:
            body = await _read_body(scope, receive)
            match = self._match(scope["path"])
            request = NodeRequest(scope, body, self)
            if match.url_name in ON_LOOP:
                response = await _on_loop(match.func(request, *match.args, **match.kwargs))
            else:
                response = await self._in_pool(match.func, request, match.kwargs)
        except Resolver404:
            await _send(send, 404, _json_body("not_found", "There is nothing at this address."))
        except _Problem as problem:
            await _send(send, problem.status, _json_body(problem.code, problem.detail), close=True)
        else:
            await _send(send, response.status_code, response.content, response.items())

    def _match(self, path: str) -> ResolverMatch:
        """The view of a path; those of the loop are looked up once."""
        match = self._matches.get(path)
        if match is None:
            match = self._resolver.resolve(path)
            if match.url_name in ON_LOOP and match.kwargs.get("group", "") in (
                "",
                *self.node.groups,
            ):
                self._matches[path] = match
        return match

    async def _in_pool(self, view: Any, request: HttpRequest, kwargs: dict[str, Any]) -> Any:
        if self._cold >= COLD_MAX:
            raise _Problem(HTTPStatus.SERVICE_UNAVAILABLE, "busy", "Too many requests; try later.")
        self._cold += 1
        try:
            assert self._loop is not None
            return await self._loop.run_in_executor(self._pool, _call_cold, view, request, kwargs)
        finally:
            self._cold -= 1


async def _on_loop(response: Any) -> Any:
    """Render; an exchange with a peer only when what the node makes of its batch can ride along."""
    if not isinstance(response.data, Exchange):
        return response.render()
    try:
        await response.data.settled()
        return response.render()
    finally:
        response.data.close()


def _call_cold(view: Any, request: HttpRequest, kwargs: dict[str, Any]) -> Any:
    close_old_connections()
    try:
        return view(request, **kwargs).render()
    finally:
        close_old_connections()


async def _read_body(scope: Scope, receive: Any) -> bytes:
    for name, value in scope["headers"]:
        if name == b"content-length" and int(value) > BODY_BYTES_MAX:
            raise _too_large()
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        return body
    chunks, size = [body], len(body)
    try:
        async with asyncio.timeout(BODY_S):
            while message.get("more_body", False):
                message = await receive()
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                if size > BODY_BYTES_MAX:
                    raise _too_large()
    except TimeoutError:
        raise _Problem(408, "timeout", f"The body was not there after {BODY_S:.0f} s.") from None
    return b"".join(chunks)


def _too_large() -> _Problem:
    return _Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "too_large",
        f"A request's body may have {BODY_BYTES_MAX} bytes; larger batches travel as fragments.",
    )


async def _send(
    send: Any,
    status: int,
    body: bytes,
    headers: Iterable[tuple[str, str]] = (),
    *,
    close: bool = False,
) -> None:
    given = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    if not given:
        given = [(b"content-type", b"application/json")]
    given.append((b"content-length", b"%d" % len(body)))
    if close:
        # What is left of the body is not worth reading.
        given.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": given})
    await send({"type": "http.response.body", "body": body})


# -- binding -----------------------------------------------------------------------------------


def is_loopback(host: str) -> bool:
    """Whether `host` can only mean this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def bind(host: str, port: int, *, secret: str) -> socket.socket:
    """A bound socket; raises `StartRefused` with what to do."""
    if not secret and not is_loopback(host):
        raise StartRefused(
            f"Without RAFTDJANGO['SECRET'] a raftnode binds only to loopback, and {host!r} is not. "
            "Set the same SECRET on every node, or use 127.0.0.1 addresses."
        )
    try:
        info = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = info[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            why = "the port is in use. Is another raftnode running? If not, change this node's URL or LISTEN"
        elif error.errno == errno.EADDRNOTAVAIL:
            why = "this machine has no such address. Set RAFTDJANGO['LISTEN'] to one that it has"
        elif error.errno == errno.EACCES:
            why = "that port needs more rights. Choose one above 1023"
        else:
            why = f"{error.strerror or error}. Correct this node's URL in NODES, or set LISTEN"
        raise StartRefused(f"Cannot listen on {host}:{port}: {why}.") from error
    listener.setblocking(False)  # noqa: FBT003
    return listener
