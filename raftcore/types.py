"""The nouns of the protocol: entries, hard state, membership.

Everything here is immutable and knows nothing of disks, sockets or clocks.  Names are those of the
Raft paper (Ongaro and Ousterhout, 2014).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

NodeId = str
"""A member's name, unique for the life of the cluster and never reused (thesis §4.1)."""

NODE_ID_CHARACTERS_MAX = 255
_SURROGATES = re.compile("[\ud800-\udfff]")
"""Half characters, which have no bytes in UTF-8."""


def is_node_id(value: object) -> bool:
    """Whether a member may be called this: a text of 1 to 255 characters."""
    if not isinstance(value, str) or not 0 < len(value) <= NODE_ID_CHARACTERS_MAX:
        return False
    return _SURROGATES.search(value) is None


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
    WITNESSED = 4
    """A command as a witness keeps it: its index, its term, and none of its data."""


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
    """Who takes part.

    Invariants: nobody is voter and learner; the last four fields name nobody in vain, except that
    `removed` names only those who take part no more.
    """

    voters: frozenset[NodeId]
    learners: frozenset[NodeId] = frozenset()
    """They get everything and count for nothing (thesis §4.2.1)."""
    voters_outgoing: frozenset[NodeId] = frozenset()
    """The old majority while a joint configuration is in force (paper §6); else empty."""
    learners_next: frozenset[NodeId] = frozenset()
    """Of the old majority, those that stay as learners once the joint configuration is left."""
    witnesses: frozenset[NodeId] = frozenset()
    """Of all those, the ones that keep no data; what somebody is in this it stays for ever."""
    auto_leave: bool = False
    """The leader leaves the joint configuration by itself as soon as it is committed."""
    removed: frozenset[NodeId] = frozenset()
    """Who took part once.  They are never let in again: an id stands for one log and one vote."""

    def __post_init__(self) -> None:
        for ids in (
            self.voters,
            self.learners,
            self.voters_outgoing,
            self.learners_next,
            self.witnesses,
            self.removed,
        ):
            if not isinstance(ids, frozenset):
                raise TypeError(f"A membership is made of frozensets of node ids, not of {ids!r}.")
            for name in ids:
                if not is_node_id(name):
                    raise ValueError(f"{name!r} is no node id: a text of 1 to 255 characters.")

    @property
    def joint(self) -> bool:
        """Whether two majorities are needed."""
        return bool(self.voters_outgoing)

    @property
    def members(self) -> frozenset[NodeId]:
        """Everybody that takes part."""
        return self.voters | self.learners | self.voters_outgoing


@dataclass(frozen=True, slots=True)
class SnapshotMeta:
    """What a snapshot stands for: everything up to `index`, all of it committed (paper §7)."""

    index: int
    """The last entry that it replaces ("last included index")."""
    term: int
    """That entry's term ("last included term"): what follows is checked against it."""
    time_ms: int
    """That entry's cluster time, which goes on from there."""
    membership: Membership
    """The latest one up to `index` ("the latest configuration in the log as of last included
    index"): a log that begins behind it has nothing else to say who takes part."""
    membership_index: int = 0
    """The entry that brought it; 0 for the one that the log began with."""
    size: int = 0
    """Bytes of the state, as it is kept and sent; 0 for a witness's, which has none."""
