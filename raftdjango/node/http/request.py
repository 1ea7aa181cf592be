"""One HTTP request: as it is read, and as the views get it.

The views' request is made by hand: none of the project's middleware runs, and what only few views
ask for (query, cookies) is made when it is asked for.
"""

from __future__ import annotations

import json
from functools import cached_property, lru_cache
from http import HTTPStatus
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httptools
from django.http import HttpRequest, QueryDict
from django.utils.datastructures import MultiValueDict

from raftdjango.node.http.served import REQUEST_KEY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from raftdjango.node.http.served import Server

BODY_BYTES_MAX = 4 * 1024 * 1024
"""Longest body of a request; peers cut what is larger into fragments."""


class Problem(Exception):
    """Refused before a view could; after it the connection is closed."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail


def too_large() -> Problem:
    """The body is above its bound."""
    return Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "too_large",
        f"A request's body may have {BODY_BYTES_MAX} bytes; larger batches travel as fragments.",
    )


def malformed(detail: str) -> Problem:
    """This is no request."""
    return Problem(HTTPStatus.BAD_REQUEST, "malformed", detail)


@lru_cache(maxsize=256)
def _meta_key(name: bytes) -> str:
    """Where a header goes in META; nowhere with an underscore, which would pass for a hyphen."""
    if b"_" in name:
        return ""
    key = name.decode("latin-1").upper().replace("-", "_")
    return key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"


class Incoming:
    """A request while the parser reads it; complete when it is handed to the views."""

    __slots__ = ("_parts", "_size", "body", "keep_alive", "meta", "method", "target")

    def __init__(self) -> None:
        self.target = b""
        self.method = ""
        self.meta: dict[str, Any] = {}
        self.keep_alive = True
        self.body = b""
        self._parts: list[bytes] = []
        self._size = 0

    def add_header(self, name: bytes, value: bytes) -> None:
        """Take a header in; of two with one name the later counts."""
        if key := _meta_key(name):
            self.meta[key] = value.decode("latin-1")

    def head_done(self, method: bytes, *, keep_alive: bool) -> None:
        """The head is complete; raises `Problem` if the body it announces is too large."""
        self.method = method.decode("ascii")
        self.keep_alive = keep_alive
        # The parser has seen that it is a number.
        if int(self.meta.get("CONTENT_LENGTH") or 0) > BODY_BYTES_MAX:
            raise too_large()

    def add_body(self, data: bytes) -> None:
        """A piece of the body; raises `Problem` when it is too much."""
        self._parts.append(data)
        self._size += len(data)
        if self._size > BODY_BYTES_MAX:
            raise too_large()

    def body_done(self) -> None:
        """The body is complete."""
        self.body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()

    @property
    def wants_continue(self) -> bool:
        """The client sends the body only when told to."""
        expected: str = self.meta.get("HTTP_EXPECT", "")
        return expected.lower() == "100-continue"


def split_target(target: bytes) -> tuple[str, bytes]:
    """Path and query of a request's target; raises `Problem`."""
    try:
        url = httptools.parse_url(target)
        return unquote(url.path.decode("ascii")), url.query or b""
    except (httptools.HttpParserError, AttributeError, UnicodeDecodeError):
        raise malformed("The request's target is no path.") from None


class NodeRequest(HttpRequest):
    """A request whose body has been read.  `HttpRequest.__init__` would make all that is made later."""

    def __init__(self, incoming: Incoming, path: str, query: bytes, server: Server) -> None:
        self._query = query
        self.path = self.path_info = path
        self.method = incoming.method
        meta = self.META = incoming.meta
        meta["REQUEST_METHOD"] = incoming.method
        meta["PATH_INFO"] = path
        meta["CONTENT_LENGTH"] = str(len(incoming.body))
        meta[REQUEST_KEY] = server
        self.content_type = meta.get("CONTENT_TYPE", "")
        self.content_params = {}
        self.resolver_match = None
        self._read_started = False
        self._body = incoming.body

    @cached_property
    def _stream(self) -> BytesIO:  # type: ignore[override]
        return BytesIO(self._body)

    @cached_property
    def GET(self) -> QueryDict:  # type: ignore[override]  # noqa: N802
        """The query's parameters."""
        return QueryDict(self._query)

    @cached_property
    def POST(self) -> QueryDict:  # type: ignore[override]  # noqa: N802
        """No view reads forms."""
        return QueryDict(b"")

    @cached_property
    def FILES(self) -> MultiValueDict[str, Any]:  # type: ignore[override]  # noqa: N802
        """Nor files."""
        return MultiValueDict()

    @cached_property
    def COOKIES(self) -> dict[str, str]:  # type: ignore[override]  # noqa: N802
        """Nor cookies."""
        return {}


@lru_cache(maxsize=64)
def _status_line(status: int) -> str:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n"


class Answer:
    """What goes back."""

    __slots__ = ("_body", "_headers", "_status", "close")

    def __init__(
        self, status: int, headers: Iterable[tuple[str, str]], body: bytes, *, close: bool = False
    ) -> None:
        self._status, self._headers, self._body = status, headers, body
        self.close = close
        """What is left of the request is not worth reading."""

    @classmethod
    def refusal(cls, status: int, code: str, detail: str, *, close: bool = False) -> Answer:
        """One that no view has made."""
        body = json.dumps({"code": code, "detail": detail, "leader": None}).encode()
        return cls(status, (("content-type", "application/json"),), body, close=close)

    @classmethod
    def of_problem(cls, problem: Problem) -> Answer:
        """The refusal that `problem` is."""
        return cls.refusal(problem.status, problem.code, problem.detail, close=True)

    def encode(self, *, keep_alive: bool, with_body: bool = True) -> bytes:
        """The bytes on the wire, in one piece."""
        lines = "".join([f"{name}: {value}\r\n" for name, value in self._headers])
        closing = "" if keep_alive else "connection: close\r\n"
        head = (
            f"{_status_line(self._status)}{lines}content-length: {len(self._body)}\r\n{closing}\r\n"
        )
        return head.encode("latin-1") + self._body if with_body else head.encode("latin-1")
