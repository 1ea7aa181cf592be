"""What goes into the applier, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raftdjango.writeset import Verdict


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A committed entry, as the applier needs it."""

    index: int
    term: int
    time_ms: int
    """Cluster time, stamped by the leader."""
    command: bytes | None
    """None: an entry of the protocol's own; only its place counts."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one entry."""

    index: int
    proposal_id: bytes | None
    verdict: Verdict | None
    time_ms: int
