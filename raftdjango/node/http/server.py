"""The raftnode's HTTP server: a listener on the node's own loop, and its connections.

One connection is `http_protocol`; which view answers a request, `http_views`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
from typing import TYPE_CHECKING, Any

from raftdjango.node.errors import StartRefused
from raftdjango.node.http.protocol import CONNECTIONS_MAX, HttpProtocol
from raftdjango.node.http.views import Views

if TYPE_CHECKING:
    from collections.abc import Callable

    from raftdjango.node.http.served import ServedNode

ON_LOOP_S = 5.0
STOP_S = 1.0


class HttpServer:
    """Serves one node's endpoints.  Made and used on the loop."""

    def __init__(self, node: ServedNode) -> None:
        self.node = node
        self.address: tuple[str, int] = ("", 0)
        self.views = Views(self)
        self.connections: set[HttpProtocol] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listener: asyncio.Server | None = None
        self._all_gone = asyncio.Event()

    async def start(self) -> None:
        """Bind and serve; raises `StartRefused` where that cannot be."""
        settings = self.node.settings
        listener = bind(*settings.listen_address, secret=settings.secret)
        self.address = listener.getsockname()[:2]
        self._loop = asyncio.get_running_loop()
        try:
            self._listener = await self._loop.create_server(
                lambda: HttpProtocol(self), sock=listener, backlog=CONNECTIONS_MAX
            )
        except BaseException:
            listener.close()
            raise

    async def stop(self) -> None:
        """Finish the requests under way, briefly, and close."""
        if self._listener is not None:
            self._listener.close()
        self._all_gone.clear()
        for connection in tuple(self.connections):
            connection.stop()
        if self.connections:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_gone.wait(), STOP_S)
        for connection in tuple(self.connections):
            connection.abort()
        self.views.close()

    def disconnected(self, connection: HttpProtocol) -> None:
        """One connection less."""
        self.connections.discard(connection)
        if not self.connections:
            self._all_gone.set()

    def on_loop(self, call: Callable[[], Any]) -> Any:
        """The result of `call`, made on the loop; from there or from the pool."""
        with contextlib.suppress(RuntimeError):
            if asyncio.get_running_loop() is self._loop:
                return call()
        assert self._loop is not None

        async def made() -> Any:
            return call()

        return asyncio.run_coroutine_threadsafe(made(), self._loop).result(ON_LOOP_S)


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
