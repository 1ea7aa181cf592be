"""What a raftnode says of its cluster, read for people: `raftctl` and the admin show the same.

Judges the answer of one node; asks nothing and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from raftdjango.conf import get_settings
from raftdjango.exceptions import ReplicationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.utils.functional import _StrPromise

    from raftdjango.client import NodeClient

START_COMMAND = "manage.py raftnode"
LAG_ENTRIES_MAX = 1000
"""A member that lacks more entries than these is shown as behind."""


class Unreachable(Exception):
    """This machine's raftnode gave no status; the message says what to do."""


class Health(Enum):
    """State of one member.  Values are used in style sheets; `label` is for people."""

    GOOD = "good"
    BEHIND = "behind"
    SILENT = "silent"
    UNHEARD = "unheard"
    NOT_READY = "not-ready"
    UNKNOWN = "unknown"

    @property
    def label(self) -> _StrPromise:
        """In a word or two."""
        return _LABELS[self]


_LABELS = {
    Health.GOOD: _("in step"),
    Health.BEHIND: _("behind"),
    Health.SILENT: _("does not answer"),
    Health.UNHEARD: _("not heard since the election"),
    Health.NOT_READY: _("not ready"),
    Health.UNKNOWN: _("not known here"),
}


@dataclass(frozen=True)
class Member:
    """One member as the asked node sees it."""

    id: str
    address: str
    role: str
    match_index: int | None
    lag: int | None
    last_contact_ms: int | None
    here: bool
    health: Health


def ask(alias: str, *, timeout_s: float) -> dict[str, Any]:
    """This machine's raftnode's status; raises `Unreachable`."""
    try:
        return _client(alias).status(timeout_s=timeout_s)
    except (ReplicationError, OSError) as error:
        raise Unreachable(_explained(error)) from error


def _explained(error: Exception) -> str:
    """Why there is no status, and what to try next."""
    # The client's errors are those of a write, which this was not.
    reason = str(error).removeprefix("Nothing was written: ").rstrip(".")
    text = gettext("The raftnode of this machine gives no status: %(reason)s.") % {"reason": reason}
    if START_COMMAND not in reason:
        text += " " + gettext("Is it running? Start it with: %(command)s.") % {
            "command": START_COMMAND
        }
    return text


def _client(alias: str) -> NodeClient:
    """The client that this thread's connection commits through; most often it is connected."""
    client: NodeClient = connections[alias].replication.client  # type: ignore[attr-defined]
    return client


def members(status: Mapping[str, Any]) -> list[Member]:
    """The members in the order the node gave, judged."""
    silent_ms = 2 * get_settings().election_timeout_ms
    return [_member(status, row, silent_ms) for row in status.get("members") or ()]


def _member(status: Mapping[str, Any], row: Mapping[str, Any], silent_ms: int) -> Member:
    here = row.get("id") == status.get("node")
    return Member(
        id=str(row.get("id")),
        address=str(row.get("address") or ""),
        role=str(row.get("role") or ""),
        match_index=row.get("match_index"),
        lag=row.get("lag"),
        last_contact_ms=row.get("last_contact_ms"),
        here=here,
        health=_own_health(status) if here else _health(status, row, silent_ms),
    )


def _own_health(status: Mapping[str, Any]) -> Health:
    if status.get("not_ready_reason"):
        return Health.NOT_READY
    behind = (status.get("commit_index") or 0) - (status.get("applied_index") or 0)
    return Health.BEHIND if behind > LAG_ENTRIES_MAX else Health.GOOD


def _health(status: Mapping[str, Any], row: Mapping[str, Any], silent_ms: int) -> Health:
    contact, lag, told = row.get("last_contact_ms"), row.get("lag"), told_ms(status)
    if contact is None:
        # Only a leader hears from everybody, and a new one has heard from nobody yet.
        return Health.UNKNOWN if told is None else Health.UNHEARD
    # That the leader's word is a little old makes nobody silent; the leader was heard first-hand.
    if contact - (0 if row.get("role") == "leader" else told or 0) > silent_ms:
        return Health.SILENT
    if lag is not None and lag > LAG_ENTRIES_MAX:
        return Health.BEHIND
    return Health.GOOD


def told_ms(status: Mapping[str, Any]) -> int | None:
    """How old the leader's word on the members is; 0 where the leader was asked, None without any."""
    told: int | None = status.get("members_told_ms")
    return told


def ago(milliseconds: int | None) -> str:
    """`last_contact_ms` for people; empty where it is not known."""
    if milliseconds is None:
        return ""
    if milliseconds < 1000:
        return gettext("%(count)d ms ago") % {"count": milliseconds}
    seconds = milliseconds // 1000
    if seconds < 120:
        return ngettext("%(count)d second ago", "%(count)d seconds ago", seconds) % {
            "count": seconds
        }
    minutes = seconds // 60
    return ngettext("%(count)d minute ago", "%(count)d minutes ago", minutes) % {"count": minutes}
