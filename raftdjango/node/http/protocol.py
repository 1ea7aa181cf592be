"""One HTTP/1.1 connection to this node: bytes in, requests to the views, answers out, bounds kept.

httptools parses.  Requests are answered in the order in which they came, one at a time; what a
client sends beyond that waits in its socket.  An answer is one write.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from enum import Enum
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

import httptools

from raftdjango.node.http.request import (
    BODY_BYTES_MAX,
    Answer,
    Incoming,
    Problem,
    malformed,
    too_large,
)
from raftdjango.node.sockets import sending_at_once

if TYPE_CHECKING:
    from raftdjango.node.http.views import Pending, Views

logger = logging.getLogger("raftdjango.node")

HEAD_BYTES_MAX = 64 * 1024
REQUEST_BYTES_MAX = BODY_BYTES_MAX + 1024 * 1024
"""With head, and with what surrounds the chunks of a body."""
CONNECTIONS_MAX = 512
HEAD_S = 30.0
BODY_S = 30.0
"""A body must be there by then."""
KEEP_ALIVE_S = 75.0
DRAIN_S = 30.0
"""A client takes an answer by then."""
LINGER_S = 2.0
"""How long to listen to a client that has been refused: were the socket closed while it is still
sending, it might never read why."""


class State(Enum):
    """What a connection waits for."""

    REQUEST = "request"
    HEAD = "head"
    BODY = "body"
    ANSWER = "answer"
    DRAIN = "drain"
    END = "end"


class Owner(Protocol):
    """The server of a connection."""

    @property
    def views(self) -> Views: ...

    @property
    def connections(self) -> set[HttpProtocol]: ...

    def disconnected(self, connection: HttpProtocol) -> None:
        """It is closed."""


class HttpProtocol(asyncio.Protocol):
    """See above.  Callbacks of the transport, and of the parser (`on_...`)."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport = None  # type: ignore[assignment]
        self._incoming = Incoming()
        self._reading = State.REQUEST
        """REQUEST: between two, HEAD or BODY: of `_incoming`, END: what comes is ignored."""
        self._read_bytes = 0
        """Of the request that is being read."""
        self._message_ended = False
        self._told_continue = False
        self._queue: deque[Incoming | Problem] = deque()
        self._current: Incoming | None = None
        self._pending: Pending | None = None
        self._reading_paused = False
        self._writing_paused = False
        self._stopping = False
        self._state: State | None = None
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    # -- the transport's callbacks -------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come; one too many is told so."""
        self._transport = sending_at_once(transport)
        connections = self._owner.connections
        connections.add(self)
        if len(connections) > 2 * CONNECTIONS_MAX:
            self._transport.abort()
        elif len(connections) > CONNECTIONS_MAX:
            detail = f"This node serves {CONNECTIONS_MAX} connections; try later."
            self._refuse(Problem(HTTPStatus.SERVICE_UNAVAILABLE, "busy", detail))
        else:
            self._state = State.HEAD
            self._wait(HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits for an answer any more."""
        self._reading = State.END
        self._queue.clear()
        self._current = None
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # The parser holds this connection's methods.
        self._parser = None  # type: ignore[assignment]
        self._owner.disconnected(self)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        if self._reading is State.END:
            return
        self._message_ended = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Answered as if it had not asked; what follows need not be HTTP.
            self._reading = State.END
            if self._queue and isinstance(last := self._queue[-1], Incoming):
                last.keep_alive = False
        except httptools.HttpParserError as error:
            self._refuse(_problem_of(error))
            return
        self._read_bytes = 0 if self._message_ended else self._read_bytes + len(data)
        if self._read_bytes > HEAD_BYTES_MAX and self._reading is not State.BODY:
            self._refuse(malformed("The request's head is too long."))
        elif self._read_bytes > REQUEST_BYTES_MAX:
            self._refuse(too_large())
        else:
            self._proceed()

    def pause_writing(self) -> None:
        """The client takes its answers too slowly: no more of them for now."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """It has caught up."""
        self._writing_paused = False
        self._proceed()

    # -- the parser's callbacks ----------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        self._incoming = Incoming()
        self._reading = State.HEAD
        self._told_continue = False

    def on_url(self, url: bytes) -> None:
        """Its target, perhaps in pieces."""
        self._incoming.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; after the body they are ignored."""
        if self._reading is State.HEAD:
            self._incoming.add_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there; a body may follow."""
        parser = self._parser
        self._reading = State.BODY
        self._incoming.head_done(
            parser.get_method(),
            keep_alive=parser.should_keep_alive() and parser.get_http_version() == "1.1",
        )

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        self._incoming.add_body(data)

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._incoming.body_done()
        self._queue.append(self._incoming)
        self._reading = State.REQUEST
        self._message_ended = True

    # -- answering -----------------------------------------------------------------------------

    def _refuse(self, problem: Problem) -> None:
        """After the answers that are due, say `problem` and end."""
        self._reading = State.END
        self._queue.append(problem)
        self._proceed()

    def _proceed(self) -> None:
        """Answer what has been read as far as that goes now; then see to it what to wait for."""
        while self._queue and self._current is None and not self._writing_paused:
            item = self._queue.popleft()
            if isinstance(item, Problem):
                self._write(Answer.of_problem(item), None)
                return
            self._current = item
            answer = self._owner.views.answer(item, self._answered)
            if not isinstance(answer, Answer):
                self._pending = answer
            elif self._write(answer, item):
                return
        busy = self._current is not None or self._writing_paused
        if not busy:
            self._continue()
        self._pause_reading(
            pause=busy and (bool(self._queue) or self._reading in (State.HEAD, State.BODY))
        )
        self._look_at_the_clock()

    def _answered(self, answer: Answer) -> None:
        self._pending = None
        item = self._current
        if item is not None and not self._write(answer, item):
            self._proceed()

    def _write(self, answer: Answer, item: Incoming | None) -> bool:
        """Send `answer` to `item`; whether it was the last on this connection."""
        keep_alive = (
            item is not None and item.keep_alive and not answer.close and not self._stopping
        )
        with_body = item is None or item.method != "HEAD"
        self._current = None
        self._state = None
        self._transport.write(answer.encode(keep_alive=keep_alive, with_body=with_body))
        if keep_alive:
            return False
        self._queue.clear()
        self._reading = State.END
        if item is None:
            self._linger()
        else:
            self._transport.close()
        return True

    def _linger(self) -> None:
        self._pause_reading(pause=False)
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._state = State.END
        self._wait(LINGER_S)

    def _continue(self) -> None:
        """The body may come, if the client has waited for this."""
        if (
            self._reading is State.BODY
            and not self._told_continue
            and self._incoming.wants_continue
        ):
            self._told_continue = True
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _pause_reading(self, *, pause: bool) -> None:
        if pause is not self._reading_paused:
            self._reading_paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    # -- the server's ----------------------------------------------------------------------------

    def stop(self) -> None:
        """End, after the request under way if there is one."""
        self._stopping = True
        if self._current is None and not self._queue and self._reading is not State.BODY:
            if self._state is State.END:
                self._transport.abort()
            else:
                self._transport.close()

    def abort(self) -> None:
        """End at once."""
        self._transport.abort()

    # -- patience ------------------------------------------------------------------------------

    def _look_at_the_clock(self) -> None:
        """Wait for something else now?  What dribbles in does not prolong the time for it."""
        if self._current is not None:
            state = State.ANSWER
        elif self._writing_paused:
            state = State.DRAIN
        else:
            state = self._reading
        if state is not self._state and not (state is State.REQUEST and self._state is State.HEAD):
            self._state = state
            self._wait(_patience(state))

    def _wait(self, seconds: float | None) -> None:
        """From now on, `seconds`.  One timer per connection, moved only when it fires too early."""
        if seconds is None:
            self._deadline = None
            return
        self._deadline = self._loop.time() + seconds
        if self._timer is not None:
            if self._timer_at <= self._deadline:
                return
            self._timer.cancel()
        self._set_timer(self._deadline)

    def _set_timer(self, when: float) -> None:
        self._timer_at = when
        self._timer = self._loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self._loop.time() < self._deadline:
            self._set_timer(self._deadline)
        elif self._state is State.BODY:
            detail = f"The body was not there after {BODY_S:.0f} s."
            self._refuse(Problem(HTTPStatus.REQUEST_TIMEOUT, "timeout", detail))
        elif self._state in (State.DRAIN, State.END):
            # Closing would wait for the client to take what is written.
            self._transport.abort()
        else:
            self._transport.close()


def _patience(state: State) -> float | None:
    match state:
        case State.REQUEST:
            return KEEP_ALIVE_S
        case State.HEAD:
            return HEAD_S
        case State.BODY:
            return BODY_S
        case State.DRAIN:
            return DRAIN_S
        case State.END:
            return LINGER_S
    return None


def _problem_of(error: httptools.HttpParserError) -> Problem:
    """What to tell a client; a callback's own exception is the context of the parser's."""
    if not isinstance(error, httptools.HttpParserCallbackError):
        return malformed("This is no HTTP request.")
    if isinstance(error.__context__, Problem):
        return error.__context__
    logger.error("A request could not be read.", exc_info=error)
    return Problem(500, "error", "This node failed; its log says how.")
