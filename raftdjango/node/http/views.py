"""From a request that has been read to its answer: which view, called where.

`messages` is called on the loop, since it never waits; the cold views run in a small pool.  There
is no task per request: what comes later comes by callback.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from django.db import close_old_connections
from django.urls import Resolver404, get_resolver

from raftdjango.consistency import local
from raftdjango.node.http.request import Answer, NodeRequest, Problem, split_target
from raftdjango.node.peers.calls import CONTENT_TYPE
from raftdjango.node.peers.links import Exchange
from raftdjango.node.peers.signing import RESPONSE_HEADER

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.urls import ResolverMatch

    from raftdjango.node.http.request import Incoming
    from raftdjango.node.http.served import Server

    Done = Callable[[Answer], None]

logger = logging.getLogger("raftdjango.node")

URLCONF = "raftdjango.api.urls"
POOL_THREADS = 2
COLD_MAX = 32
"""Cold requests waiting for the pool."""

ON_LOOP = frozenset({"messages", "live"})
"""Names of the views that never wait and touch no database."""


_PROTOBUF = ("Content-Type", CONTENT_TYPE)


class Pending(Protocol):
    """An answer that comes later."""

    def cancel(self) -> object:
        """Nobody waits for it any more."""


class Later(NamedTuple):
    """What a view of the loop gives back where the exchange itself comes later."""

    exchange: asyncio.Future[Exchange]
    refusal: Callable[[Exception], Any]
    """The view's response to what went wrong."""


class Views:
    """The endpoints of one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._resolver = get_resolver(URLCONF)
        # Importing the views takes longer than a heartbeat may; not in the first request.
        self._resolver.check()
        self._hot: dict[bytes, tuple[str, ResolverMatch]] = {}
        self._pool = ThreadPoolExecutor(POOL_THREADS, "raft-views")
        self._cold = 0

    def close(self) -> None:
        """Take no more requests."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def answer(self, incoming: Incoming, done: Done) -> Answer | Pending:
        """The answer; or, where it comes later, `done` will be called with it."""
        try:
            path, query, match = self._find(incoming.target)
            request = NodeRequest(incoming, path, query, self._server)
            if match.url_name not in ON_LOOP:
                return self._in_pool(match.func, request, match.kwargs, done)
            response = match.func(request, **match.kwargs)
            if isinstance(response, Exchange):
                return _Riding(response, done)
            if isinstance(response, Later):
                return _Arriving(response, done)
            return _rendered(response)
        except Resolver404:
            return Answer.refusal(404, "not_found", "There is nothing at this address.")
        except Problem as problem:
            return Answer.of_problem(problem)
        except Exception as error:
            return _failed(error)

    def _find(self, target: bytes) -> tuple[str, bytes, ResolverMatch]:
        """Path, query and view of a target; those of the loop are looked up once."""
        hot = self._hot.get(target)
        if hot is not None:
            return hot[0], b"", hot[1]
        path, query = split_target(target)
        match = self._resolver.resolve(path)
        known = match.kwargs.get("group", "") in ("", *self._server.node.groups)
        if match.url_name in ON_LOOP and known and target == path.encode():
            self._hot[target] = path, match
        return path, query, match

    def _in_pool(
        self, view: Any, request: NodeRequest, kwargs: dict[str, Any], done: Done
    ) -> Pending:
        if self._cold >= COLD_MAX:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "busy", "Too many requests; try later.")
        loop = asyncio.get_running_loop()
        made = loop.run_in_executor(self._pool, _call_cold, view, request, kwargs)
        self._cold += 1
        return _Cold(made, done, self._cold_done)

    def _cold_done(self) -> None:
        self._cold -= 1


class _Cold:
    """A request in the pool.  It keeps its place there until it is done: who asks and leaves, again and
    again, must not fill the pool."""

    __slots__ = ("_done", "_left")

    def __init__(self, made: asyncio.Future[Answer], done: Done, left: Callable[[], None]) -> None:
        self._done: Done | None = done
        self._left = left
        made.add_done_callback(self._made)

    def _made(self, made: asyncio.Future[Answer]) -> None:
        self._left()
        if made.cancelled():
            return
        error = made.exception()
        if self._done is not None:
            self._done(made.result() if error is None else _failed(error))

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self._done = None


class _Riding:
    """An exchange with a peer: answered when what the node makes of its batch can ride along."""

    __slots__ = ("_done", "_exchange")

    def __init__(self, exchange: Exchange, done: Done) -> None:
        self._exchange, self._done = exchange, done
        exchange.when_settled(self._settled)

    def _settled(self) -> None:
        try:
            body, seal = self._exchange.reply()
            answer = Answer(200, (_PROTOBUF, (RESPONSE_HEADER, seal)), body)
        except Exception as error:
            answer = _failed(error)
        finally:
            self._exchange.close()
        self._done(answer)

    def cancel(self) -> None:
        """What would have ridden goes by lane."""
        self._exchange.close()


class _Arriving:
    """An exchange that is not there yet; then as `_Riding`."""

    __slots__ = ("_done", "_gone", "_later", "_riding")

    def __init__(self, later: Later, done: Done) -> None:
        self._later, self._done = later, done
        self._riding: _Riding | None = None
        self._gone = False
        later.exchange.add_done_callback(self._arrived)

    def _arrived(self, arrived: asyncio.Future[Exchange]) -> None:
        if arrived.cancelled():
            self._answer(Answer.refusal(503, "busy", "This node is being stopped."))
        elif (error := arrived.exception()) is not None:
            self._answer(self._refused(error))
        elif self._gone:
            arrived.result().close()
        else:
            self._riding = _Riding(arrived.result(), self._done)

    def _answer(self, answer: Answer) -> None:
        if not self._gone:
            self._done(answer)

    def _refused(self, error: BaseException) -> Answer:
        try:
            if isinstance(error, Exception):
                return _rendered(self._later.refusal(error))
        except Exception as other:
            error = other
        return _failed(error)

    def cancel(self) -> None:
        """Nobody waits for the answer; what has come counts all the same."""
        self._gone = True
        if self._riding is not None:
            self._riding.cancel()


def _rendered(response: Any) -> Answer:
    response.render()
    return Answer(response.status_code, response.items(), response.content)


def _failed(error: BaseException) -> Answer:
    logger.error("A request failed.", exc_info=error)
    return Answer.refusal(500, "error", "This node failed; its log says how.")


def _call_cold(view: Any, request: NodeRequest, kwargs: dict[str, Any]) -> Answer:
    close_old_connections()
    try:
        # Who looks after a cluster that has no majority has to be let in to do so.
        with local():
            return _rendered(view(request, **kwargs))
    finally:
        close_old_connections()
