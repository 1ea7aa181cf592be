"""Errors of the endpoints: always JSON, always `{code, detail, leader}`.

The project's own `REST_FRAMEWORK` settings have no say here: nodes must understand each other
whatever a project prefers for its own API.
"""

from __future__ import annotations

import logging
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework import exceptions, status
from rest_framework.response import Response

from raftcore.errors import Malformed
from raftdjango.node.forming import PeerRefused
from raftdjango.node.fragments import FragmentRefused
from raftdjango.node.signing import SignatureRefused, StaleBoot

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


def _facts(error: Exception) -> tuple[int, str, str]:
    """Status, code and text of an error."""
    if isinstance(error, StaleBoot):
        return status.HTTP_409_CONFLICT, error.code, error.detail
    if isinstance(error, SignatureRefused):
        replayed = error.code in {"replayed", "wrong_receiver"}
        found = status.HTTP_409_CONFLICT if replayed else status.HTTP_401_UNAUTHORIZED
        return found, error.code, error.detail
    if isinstance(error, PeerRefused):
        return status.HTTP_403_FORBIDDEN, error.code, error.detail
    if isinstance(error, FragmentRefused):
        large = error.code == "too_large"
        found = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE if large else status.HTTP_400_BAD_REQUEST
        return found, error.code, error.detail
    if isinstance(error, Malformed):
        return status.HTTP_400_BAD_REQUEST, "malformed", f"This is no batch of messages: {error}"
    if isinstance(error, exceptions.APIException):
        return error.status_code, str(error.get_codes()), str(error.detail)
    if isinstance(error, Http404):
        return status.HTTP_404_NOT_FOUND, "not_found", "There is nothing at this address."
    if isinstance(error, PermissionDenied):
        return status.HTTP_403_FORBIDDEN, "permission_denied", str(error) or "Not allowed."
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
