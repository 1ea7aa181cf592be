"""Users see their own writes on whatever machine their next request comes to.

A response to a request that wrote carries the place in the log of its last write: signed, in a cookie
for browsers, in a header for others.  A request that brings it back waits until this machine's database
has come so far, which it nearly always has.  What was not signed here or is of another cluster asks for nothing.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, ClassVar

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.core import signing
from django.db import connections
from django.http import HttpResponse

from raftdjango.conf import group_of, replicated_aliases
from raftdjango.consistency.levels import at_least_level
from raftdjango.consistency.recording import recording
from raftdjango.exceptions import ReplicationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    Places = dict[tuple[str, str], int]
    """By cluster id and group: a log index."""

SALT = "raftdjango.middleware.ReadYourWritesMiddleware"
TOKEN_LENGTH_MAX = 4096
STATE_SQL = "SELECT cluster_id, applied_index FROM main.raftdjango_state"


class ReadYourWritesMiddleware:
    """Put it first in `MIDDLEWARE`, so that whatever reads comes after it.

    Derive from it to choose otherwise.
    """

    sync_capable = True
    async_capable = True

    header: ClassVar[str] = "Raft-Position"
    cookie_name: ClassVar[str | None] = "raft_position"
    """None: the header alone."""
    max_age_s: ClassVar[int] = 600
    """So long the cookie lives, by the browser's own clock.  How old a position is says nothing else:
    machines' clocks may differ by more, and what this machine shows already costs no wait."""
    wait_s_max: ClassVar[float] = 3.0
    """After so long the request is answered by 503."""
    always: ClassVar[bool] = False
    """Tell what this machine showed, too, not only what was written: then nobody sees an older state
    on another machine, at the cost of a query and a cookie with each response."""

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self._async = iscoroutinefunction(get_response)
        if self._async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Wait for what the client has seen, answer, tell what it has written."""
        if self._async:
            return self._answer_async(request)
        seen: Places = {}
        if asked := self._asked(request):
            try:
                seen = self._catch_up(asked)
            except ReplicationError as error:
                return self.unavailable(error)
        with recording() as written:
            response = self.get_response(request)
        if written or self.always:
            self._tell(request, response, seen, written)
        return response

    async def _answer_async(self, request: HttpRequest) -> HttpResponseBase:
        seen: Places = {}
        if asked := self._asked(request):
            try:
                seen = await sync_to_async(self._catch_up)(asked)
            except ReplicationError as error:
                return self.unavailable(error)
        with recording() as written:
            response: HttpResponseBase = await self.get_response(request)
        if written or self.always:
            await sync_to_async(self._tell)(request, response, seen, written)
        return response

    # -- in -------------------------------------------------------------------------------------

    def _asked(self, request: HttpRequest) -> Places:
        tokens = [request.headers.get(self.header, "")]
        if self.cookie_name is not None:
            tokens.append(request.COOKIES.get(self.cookie_name, ""))
        asked: Places = {}
        for token in tokens:
            for place, index in self._read(token).items():
                asked[place] = max(index, asked.get(place, 0))
        return asked

    def _read(self, token: str) -> Places:
        if not token or len(token) > TOKEN_LENGTH_MAX:
            return {}
        try:
            places = signing.loads(token, salt=SALT)
            return {
                (str(cluster), str(group)): at_least_level(index).index
                for cluster, group, index in places
            }
        except (signing.BadSignature, ValueError, TypeError):
            return {}

    def _catch_up(self, asked: Places) -> Places:
        """Wait until the local databases show what was asked for; what of it is theirs."""
        seen: Places = {}
        groups = {group for _, group in asked}
        for alias in [each for each in replicated_aliases() if group_of(each) in groups]:
            place, applied_index = _state(alias)
            index = asked.get(place, 0)
            if index > applied_index:
                replication = connections[alias].replication  # type: ignore[attr-defined]
                replication.freshness.reach(at_least_level(index, self.wait_s_max))
            if index:
                seen[place] = index
        return seen

    def unavailable(self, error: ReplicationError) -> HttpResponse:
        """The response of a machine that has not caught up in time."""
        return HttpResponse(
            "This machine does not show your last change yet. Nothing was done; try again in a "
            "moment.\n",
            status=503,
            content_type="text/plain; charset=utf-8",
            headers={"Retry-After": "1", "Cache-Control": "no-store"},
        )

    # -- out ------------------------------------------------------------------------------------

    def _tell(
        self,
        request: HttpRequest,
        response: HttpResponseBase,
        seen: Places,
        written: dict[str, int],
    ) -> None:
        told = dict(seen)
        for alias in replicated_aliases():
            opened = self.always and connections[alias].connection is not None
            if alias in written or opened:
                place, applied_index = _state(alias)
                shown = applied_index if self.always else 0
                told[place] = max(told.get(place, 0), written.get(alias, 0), shown)
        if not told:
            return
        token = signing.dumps([(*place, index) for place, index in told.items()], salt=SALT)
        response.headers[self.header] = token
        if self.cookie_name is not None:
            response.set_cookie(
                self.cookie_name,
                token,
                max_age=self.max_age_s,
                domain=settings.SESSION_COOKIE_DOMAIN,
                path=settings.SESSION_COOKIE_PATH,
                secure=request.is_secure() or settings.SESSION_COOKIE_SECURE,
                httponly=True,
                samesite="Lax",
            )


def _state(alias: str) -> tuple[tuple[str, str], int]:
    """Cluster id, in hexadecimal, and group of the local database, and its applied index."""
    connection = connections[alias]
    connection.ensure_connection()
    try:
        # On the raw connection: nobody's query log or execute wrapper is concerned.
        row = connection.connection.execute(STATE_SQL).fetchone()
    except sqlite3.Error:
        row = None  # its node has not set it up yet
    cluster, applied_index = row or (b"", 0)
    return ((cluster or b"").hex(), group_of(alias)), int(applied_index)
