"""Requests that lost to another transaction are answered anew.

A view that raises `TransactionConflict` has written nothing, so it may as well run again; it does where
that can do no harm: its request says by its method, or the view by a decorator, that twice is like
once, nothing that it wrote was committed, and whatever it did to the request can be undone.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ClassVar

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.db import connections
from django.http import HttpResponse
from django.http.request import UnreadablePostError

from raftdjango.conf import replicated_aliases
from raftdjango.consistency.recording import Record, recording
from raftdjango.exceptions import TransactionConflict
from raftdjango.middleware.marks import choice_of
from raftdjango.middleware.undo import Undo
from raftdjango.transaction.exclusive import in_turn
from raftdjango.transaction.retry import prepare_next

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

logger = logging.getLogger("raftdjango.requests")

STATE = "_raftdjango_retry"
PARTLY = (
    "Something else that this request wrote is committed and stays: an earlier block, one of another "
    "database, or what a hook wrote. So it is not answered anew."
)


class RetryMiddleware:
    """Put it last in `MIDDLEWARE`: what stands behind it is run again with the view.

    Derive from it to choose otherwise.
    """

    sync_capable = True
    async_capable = True

    methods: ClassVar[frozenset[str]] = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
    """Of which HTTP says that twice is like once."""
    attempts: ClassVar[int] = 5
    exclusive_after: ClassVar[int] = 3
    """Defeats after which nobody else may write meanwhile; see `atomic_retry`."""

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self._async = iscoroutinefunction(get_response)
        if self._async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Answer, again if the view was beaten."""
        if self._async:
            return self._answer_async(request)
        run = Run(request)
        while True:
            with ExitStack() as turn:
                self._begin(run, turn)
                with recording() as run.written:
                    response = self.get_response(request)
            if run.conflict is None:
                return response

    async def _answer_async(self, request: HttpRequest) -> HttpResponseBase:
        run = Run(request)
        while True:
            turn = ExitStack()
            # Where synchronous views, and what asynchronous ones ask the database, run as well.
            await sync_to_async(self._begin)(run, turn)
            try:
                with recording() as run.written:
                    response: HttpResponseBase = await self.get_response(request)
            finally:
                await sync_to_async(turn.close)()
            if run.conflict is None:
                return response

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> None:
        """See whether this view may run again, and that its request's body can be read again."""
        run: Run | None = getattr(request, STATE, None)
        if run is not None:
            chosen = choice_of(view, request.method)
            run.allowed = request.method in self.methods if chosen is None else chosen
            if run.allowed:
                _keep_body(request)
                if not hasattr(request, "_body"):
                    run.undo.remember_forms()

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Take a conflict that the next run may not meet."""
        run: Run | None = getattr(request, STATE, None)
        if run is None or not isinstance(error, TransactionConflict):
            return None
        if run.written.committed:
            error.add_note(PARTLY)
        if (
            not run.allowed
            or run.attempt >= self.attempts
            or run.written.may_have_written
            or not _can_be_read_again(run)
        ):
            return None
        run.conflict = error
        return HttpResponse(status=503)  # Nobody sees it.

    def _begin(self, run: Run, turn: ExitStack) -> None:
        aliases = replicated_aliases()
        only = connections[aliases[0]] if len(aliases) == 1 else None
        if run.conflict is not None:
            logger.info("%s is answered anew: %s", run.request.path, run.conflict)
            prepare_next(only, run.conflict, run.attempt)
            run.undo()
        run.begin()
        turns = run.attempt - self.exclusive_after
        if turns > 0 and only is not None:
            turn.enter_context(in_turn(only, defeats=turns - 1))


class Run:
    """A request's runs, and what it was like before the first."""

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        self.attempt = 0
        self.allowed = False
        self.conflict: TransactionConflict | None = None
        self.written = Record()
        setattr(request, STATE, self)
        self.undo = Undo(request)

    def begin(self) -> None:
        """Another run."""
        self.attempt += 1
        self.conflict = None
        self.allowed = False


def _keep_body(request: HttpRequest) -> None:
    """Read a body of a usual size now; what Django or the view would parse as it comes is left to them."""
    try:
        length = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    if (
        length > 0
        and (limit is None or length <= limit)
        and not request.content_type.startswith("multipart/")  # type: ignore[union-attr]
        and not getattr(request, "_read_started", False)
    ):
        try:
            request.body  # noqa: B018 - keeps it
        except UnreadablePostError:
            return  # The view will meet it, if it asks for the body at all.


def _can_be_read_again(run: Run) -> bool:
    request = run.request
    if hasattr(request, "_body") or not getattr(request, "_read_started", False):
        return True
    # An upload that Django has parsed.  With other methods it has the attribute without reading.
    return request.method == "POST" and run.undo.has_forms
