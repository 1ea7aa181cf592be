"""What the foot of each page says: which node answered, who leads, how far this node is."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import DEFAULT_DB_ALIAS, DatabaseError
from django.utils.functional import SimpleLazyObject

from raftdjango.conf import get_settings, replicated_aliases
from raftdjango.models import State
from raftdjango.status import Unreachable, ask

if TYPE_CHECKING:
    from django.http import HttpRequest

STATUS_TIMEOUT_S = 0.5
STATUS_FRESH_S = 0.5


@dataclass(frozen=True)
class Footer:
    """One page's view of the cluster."""

    node: str
    leader: str = ""
    role: str = ""
    applied_index: int | None = None
    nodes: tuple[str, ...] = ()
    replicated: bool = True
    problem: str = ""


class _Status:
    """The raftnode's answer, asked at most twice a second by each process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked_at = -STATUS_FRESH_S
        self._answer: dict[str, Any] = {}
        self._problem = ""

    def get(self) -> tuple[dict[str, Any], str]:
        """The answer and what went wrong, either of which may be empty."""
        with self._lock:
            if time.monotonic() - self._asked_at >= STATUS_FRESH_S:
                self._answer, self._problem = self._ask()
                self._asked_at = time.monotonic()
            return self._answer, self._problem

    def _ask(self) -> tuple[dict[str, Any], str]:
        try:
            return ask(DEFAULT_DB_ALIAS, timeout_s=STATUS_TIMEOUT_S), ""
        except Unreachable as error:
            return {}, str(error)


_status = _Status()


def _applied_index() -> int | None:
    try:
        return State.objects.using(DEFAULT_DB_ALIAS).values_list("applied_index", flat=True).first()
    except DatabaseError:  # a database that no entry has been applied to yet
        return None


def footer() -> Footer:
    """Ask the raftnode for its leader, and the database for its index: both are quick and local."""
    settings = get_settings()
    if DEFAULT_DB_ALIAS not in replicated_aliases():
        return Footer(node=settings.node_id, replicated=False)
    answer, problem = _status.get()
    return Footer(
        node=settings.node_id,
        leader=answer.get("leader") or "",
        role=answer.get("role") or "",
        applied_index=_applied_index(),
        nodes=tuple(sorted(settings.nodes)),
        problem=problem,
    )


def cluster(request: HttpRequest) -> dict[str, Any]:
    """Context processor: `cluster`, worked out only by pages that show it."""
    return {"cluster": SimpleLazyObject(footer)}
