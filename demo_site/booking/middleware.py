"""Says which node answered, and turns a write that could not be made into a page that explains it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import HttpResponse, JsonResponse
from django.template.loader import render_to_string

from raftdjango.conf import get_settings
from raftdjango.exceptions import ClusterUnavailable, CommitUncertain, TransactionConflict

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

NODE_HEADER = "X-Raft-Node"

ADVICE: dict[type[Exception], tuple[str, str]] = {
    ClusterUnavailable: (
        "Nothing was written",
        "Pages can still be read. Try again in a moment, or on another node.",
    ),
    CommitUncertain: (
        "It may have been written",
        "Look whether the change is there before you try again.",
    ),
    TransactionConflict: (
        "Nothing was written",
        "Somebody else changed the same thing at the same moment, several times over. Try again.",
    ),
}
"""For each error a title and what a visitor can do.  Why it came is in its own message, which knows
whether it is this machine's raftnode or the majority that is missing, and names the remedy."""


SAID_BY_THE_PAGE = (
    "Nothing was written: ",
    "The write may or may not have been made: ",
    " Nothing was written; run it again.",
)


class ClusterMiddleware:
    """First among the project's own, so that its header is on every answer."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer, and say who did."""
        response = self.get_response(request)
        response.headers[NODE_HEADER] = get_settings().node_id
        return response

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """A view could not write."""
        return unavailable(request, error)


def unavailable(request: HttpRequest, error: BaseException | None) -> HttpResponse | None:
    """503 with an explanation, or None where the error is of another sort."""
    for kind, (title, advice) in ADVICE.items():
        if not isinstance(error, kind):
            continue
        headers = {"Retry-After": "1"}
        if request.path.startswith("/kv/") and request.path != "/kv/":  # a program's, not the page
            answer = {"error": kind.__name__, "detail": str(error)}
            return JsonResponse(answer, status=503, headers=headers)
        context = {"title": title, "advice": advice, "reason": _reason(error)}
        # No request in the context: its user may be a query that cannot be answered either.
        page = render_to_string("booking/unavailable.html", context)
        return HttpResponse(page, status=503, headers=headers)
    return None


def _reason(error: BaseException) -> str:
    """Why, without what the page says already."""
    text = str(error)
    for words in SAID_BY_THE_PAGE:
        text = text.replace(words, "", 1)
    return text[:1].upper() + text[1:]
