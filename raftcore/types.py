"""The nouns of the protocol: entries, hard state, membership.

Everything here is immutable and knows nothing of disks, sockets or clocks.  Names are those of the
Raft paper (Ongaro and Ousterhout, 2014).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

NodeId = str
"""A member's name, unique for the life of the cluster and never reused (thesis §4.1)."""


class Role(IntEnum):
    """What a node is at the moment (paper, Figure 4)."""

    FOLLOWER = 1
    PRE_CANDIDATE = 2
    CANDIDATE = 3
    LEADER = 4


class EntryKind(IntEnum):
    """What an entry's data means; the numbers are part of the log format."""

    COMMAND = 1
    """Opaque bytes for the state machine."""
    NOOP = 2
    """Appended by a new leader, so that entries of earlier terms can commit (paper §5.4.2, §8)."""
    MEMBERSHIP = 3
    """An encoded `Membership`; takes effect when appended (paper §6)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One log entry; (index, term) identifies it for ever (Log Matching, paper §5.3)."""

    index: int
    """Position in the log; the first entry has index 1."""
    term: int
    """Term of the leader that appended it."""
    kind: EntryKind
    time_ms: int
    """Cluster time stamped by the leader: never decreases along the log, never a wall clock."""
    data: bytes


@dataclass(frozen=True, slots=True)
class HardState:
    """What must be on disk before any message that depends on it leaves (paper, Figure 2)."""

    current_term: int = 0
    voted_for: NodeId | None = None


@dataclass(frozen=True, slots=True)
class Membership:
    """Who takes part.  Joint consensus and learners find their place here."""

    voters: frozenset[NodeId]
    learners: frozenset[NodeId] = frozenset()
    voters_outgoing: frozenset[NodeId] = frozenset()
    """The old majority while a joint configuration is in force (paper §6); else empty."""
