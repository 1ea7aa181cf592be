"""One HTTP connection to a peer's raftnode, on the loop: one request at a time, answered by callback.

It is made when it is needed and kept while both sides are content.  It never retries: a request is
signed with a counter that is good for one attempt.  `requests` is for what is large and may block a
thread (`bulk.py`); a small write passes here, where handing it to a thread and back would cost more
than everything else on its way.
"""

from __future__ import annotations

import asyncio
import ssl
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import certifi
import httptools

from raftdjango.node.sockets import sending_at_once

if TYPE_CHECKING:
    from collections.abc import Callable

    Done = Callable[["PeerAnswer | OSError"], None]

CONNECT_S = 1.0
RESPONSE_BYTES_MAX = 8 * 1024 * 1024
"""A longer answer is a breach of protocol."""


class PeerAnswer(NamedTuple):
    """What came back: `headers` by their lower-case names."""

    status: int
    headers: dict[str, str]
    body: bytes


class PeerConnection:
    """Asks one peer.  Made and used on the loop."""

    def __init__(self, url: str, loop: asyncio.AbstractEventLoop) -> None:
        parts = urlsplit(url)
        self._loop = loop
        self._tls = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._tls else 80)
        self._wire: _Wire | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._done: Done | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.reused = False
        """Whether the last request went over a connection that had carried one before: that it
        broke may only mean that the peer had closed it."""

    def ask(self, request: bytes, *, answer_s: float, done: Done) -> None:
        """Send `request` and call `done` with the answer, or with why there is none, once.

        Never before this returns.  `answer_s` counts from when there is a connection.
        """
        assert self._done is None, "one request at a time"
        self._done = done
        self.reused = self._wire is not None
        if self._wire is None:
            self._connecting = self._loop.create_task(self._connect(request, answer_s))
        else:
            self._send(self._wire, request, answer_s)

    def close(self) -> None:
        """End; a request under way is forgotten, its `done` is not called."""
        self._done = None
        if self._connecting is not None:
            self._connecting.cancel()
        self._end_timer()
        self._drop()

    async def _connect(self, request: bytes, answer_s: float) -> None:
        try:
            async with asyncio.timeout(min(CONNECT_S, answer_s)):
                _, wire = await self._loop.create_connection(
                    lambda: _Wire(self),
                    self._host,
                    self._port,
                    ssl=_tls_context() if self._tls else None,
                )
        except TimeoutError:
            self._end(TimeoutError("no connection in time"))
            return
        except Exception as error:
            # Whatever it is (a name that cannot be encoded, TLS): somebody waits to be told.
            self._end(error if isinstance(error, OSError) else ConnectionError(str(error)))
            return
        finally:
            self._connecting = None
        if wire.lost is not None:
            wire.abort()
            self._end(wire.lost)
            return
        self._wire = wire
        self._send(wire, request, answer_s)

    def _send(self, wire: _Wire, request: bytes, answer_s: float) -> None:
        self._timer = self._loop.call_later(answer_s, self._late)
        wire.write(request)

    def _late(self) -> None:
        self._end(TimeoutError("no answer in time"))

    def answered(self, answer: PeerAnswer, *, keep_alive: bool) -> None:
        """Called by the wire."""
        if not keep_alive:
            self._drop()
        self._end(answer)

    def broken(self, wire: _Wire, error: OSError) -> None:
        """Called by the wire when it can carry no more."""
        if wire is self._wire:
            self._end(error)

    def _end(self, end: PeerAnswer | OSError) -> None:
        if isinstance(end, OSError):
            self._drop()
        self._end_timer()
        done, self._done = self._done, None
        if done is not None:
            done(end)

    def _end_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _drop(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.abort()


class _Wire(asyncio.Protocol):
    """Bytes of one connection; callbacks of the transport, and of the parser (`on_...`)."""

    def __init__(self, owner: PeerConnection) -> None:
        self._owner = owner
        self._transport: asyncio.Transport = None  # type: ignore[assignment]
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._keep_alive = False
        self._complete = 0
        self._owes_answer = False
        self.lost: OSError | None = None
        """Why it can carry no more."""

    def write(self, data: bytes) -> None:
        self._owes_answer = True
        self._transport.write(data)

    def abort(self) -> None:
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = sending_at_once(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._break(str(exc or "the peer closed the connection"))
        # The parser holds this object's methods.
        self._parser = None  # type: ignore[assignment]

    def _break(self, why: str) -> None:
        self.lost = self.lost or ConnectionError(why)
        self._owner.broken(self, self.lost)

    def data_received(self, data: bytes) -> None:
        if self.lost is not None:
            return
        if not self._owes_answer:
            # Whatever it is, it must not pass for the answer to the next request.
            self._break("it spoke without being asked")
            return
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._break(f"no HTTP answer: {error}")
            return
        if self._size > RESPONSE_BYTES_MAX:
            self._break("the answer is too long")
        elif self._complete > 1:
            self._break("more than one answer")
        elif self._complete:
            self._complete = 0
            self._owes_answer = False
            status = self._parser.get_status_code()
            answer = PeerAnswer(status, self._headers, b"".join(self._body))
            self._headers, self._body, self._size = {}, [], 0
            self._owner.answered(answer, keep_alive=self._keep_alive)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._keep_alive = self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        self._complete += 1


@lru_cache(maxsize=1)
def _tls_context() -> ssl.SSLContext:
    """The authorities that `requests` trusts."""
    return ssl.create_default_context(cafile=certifi.where())
