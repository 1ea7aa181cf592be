"""Errors of the endpoints: always JSON, always `{code, detail, leader}`.

The project's own `REST_FRAMEWORK` settings have no say here: nodes must understand each other
whatever a project prefers for its own API.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from rest_framework import exceptions, status
from rest_framework.response import Response

from raftcore.errors import Malformed
from raftdjango.node.forming.decisions import PeerRefused
from raftdjango.node.peers.fragments import FragmentRefused
from raftdjango.node.peers.signing import SignatureRefused

logger = logging.getLogger("raftdjango.api")


class Refusal(exceptions.APIException):
    """A refusal with a status of its own."""

    def __init__(self, status_code: int, code: str, detail: str) -> None:
        super().__init__(detail, code)
        self.status_code = status_code


def unknown_group(group: str, known: list[str]) -> Refusal:
    """There is no such group here."""
    names = ", ".join(sorted(known)) or "none"
    return Refusal(
        status.HTTP_404_NOT_FOUND, "unknown_group", f"No group {group!r} here; groups: {names}."
    )


_CONFLICTS = {"stale_boot", "replayed", "wrong_receiver"}


def _facts(error: Exception) -> tuple[int, str, str]:
    """Status, code and text of an error."""
    match error:
        case SignatureRefused(code=code, detail=detail):
            conflict = code in _CONFLICTS
            found = status.HTTP_409_CONFLICT if conflict else status.HTTP_401_UNAUTHORIZED
            return int(found), code, detail
        case PeerRefused(code=code, detail=detail):
            return status.HTTP_403_FORBIDDEN, code, detail
        case FragmentRefused(code="too_large", detail=detail):
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", detail
        case FragmentRefused(code="busy", detail=detail):
            return status.HTTP_503_SERVICE_UNAVAILABLE, "busy", detail
        case FragmentRefused(code=code, detail=detail):
            return status.HTTP_400_BAD_REQUEST, code, detail
        case Malformed():
            return status.HTTP_400_BAD_REQUEST, "malformed", f"This is no batch: {error}"
        case exceptions.APIException():
            return error.status_code, str(error.get_codes()), str(error.detail)
    logger.error("A request failed.", exc_info=error)
    return status.HTTP_500_INTERNAL_SERVER_ERROR, "error", "This node failed; its log says how."


def error_body(code: str, detail: str, leader: str | None = None) -> dict[str, Any]:
    """The body of every refusal."""
    return {"code": code, "detail": detail, "leader": leader}


def error_response(error: Exception, *, challenge: str | None = None) -> Response:
    """The answer to a request that failed with `error`."""
    status_code, code, detail = _facts(error)
    unknown = status_code == status.HTTP_401_UNAUTHORIZED
    return Response(
        error_body(code, detail),
        status=status_code,
        headers={"WWW-Authenticate": challenge} if challenge and unknown else None,
        content_type="application/json",
    )
