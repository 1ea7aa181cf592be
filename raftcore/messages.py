"""The protocol's messages: one frozen dataclass per remote call and one per answer.

`term` is always the sender's current term, except in `PreVote`, where it is the term the sender
would campaign in (thesis §9.6).  A message is one-way: an answer is a message of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from raftcore.types import Entry, NodeId, SnapshotMeta


@dataclass(frozen=True, slots=True)
class PreVote:
    """Would you vote for me in `term`?  Changes nothing on either side (thesis §9.6)."""

    term: int
    candidate: NodeId
    last_log_index: int
    last_log_term: int


@dataclass(frozen=True, slots=True)
class PreVoteResponse:
    term: int
    """The term asked for where granted, else the voter's own current term."""
    voter: NodeId
    granted: bool


@dataclass(frozen=True, slots=True)
class RequestVote:
    """Paper §5.2, §5.4.1."""

    term: int
    candidate: NodeId
    last_log_index: int
    last_log_term: int
    transfer: bool = False
    """Set when the leader itself asked for this election (thesis §3.10): stickiness is waived."""


@dataclass(frozen=True, slots=True)
class RequestVoteResponse:
    term: int
    voter: NodeId
    granted: bool


@dataclass(frozen=True, slots=True)
class AppendEntries:
    """Paper §5.3."""

    term: int
    leader: NodeId
    prev_log_index: int
    prev_log_term: int
    entries: tuple[Entry, ...]
    leader_commit: int
    session: int
    """Which replication stream of this leader this belongs to; echoed, so that late answers to an
    earlier stream can be told apart."""


@dataclass(frozen=True, slots=True)
class AppendEntriesResponse:
    term: int
    follower: NodeId
    session: int
    success: bool
    match_index: int
    """On success: the last index known to equal the leader's, durable on the follower."""
    rejected_index: int = 0
    """On failure: the `prev_log_index` that did not match."""
    hint_index: int = 0
    """On failure: the last index at which the logs may agree (paper §5.3, end)."""
    hint_term: int = 0
    """On failure: the follower's term at `hint_index`."""
    witness: bool = False
    """The follower keeps no data, so that its copy is none."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """An empty AppendEntries on a lane of its own: keeps authority, never waits behind data."""

    term: int
    leader: NodeId
    leader_commit: int
    """Never beyond what this follower is known to hold."""
    sequence: int
    """The leader's own counter; read rounds and quorum checks are keyed by it."""
    time_ms: int = 0
    """The leader's estimate of cluster time, for a node that was down while nothing was written."""
    ahead: int = 0
    """How many other voters should rather lead than this follower."""


@dataclass(frozen=True, slots=True)
class HeartbeatResponse:
    term: int
    follower: NodeId
    sequence: int
    priority: int = 1
    """`Config.priority` of the follower."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """InstallSnapshot (paper §7, Figure 13) without the state, which travels by other means.

    To a witness this is all there is to send, and it comes as any message.  To everybody else it
    goes with the state, and is handed to `RaftCore.snapshot_arrived` when all of that is there.
    """

    term: int
    leader: NodeId
    session: int
    """As in `AppendEntries`: the answer is one to an append up to `meta.index`."""
    meta: SnapshotMeta


@dataclass(frozen=True, slots=True)
class Removed:
    """You are no member any more, and never will be: that is committed (thesis §4.2.3)."""

    term: int
    member: NodeId
    """Who says so."""


@dataclass(frozen=True, slots=True)
class TimeoutNow:
    """Leadership transfer: campaign at once (thesis §3.10)."""

    term: int
    leader: NodeId


@dataclass(frozen=True, slots=True)
class ReadIndex:
    """How far must a state machine be, to show what was acknowledged by now (thesis §6.4)?"""

    term: int
    follower: NodeId
    request: int
    """Finds the answer's way back to what this follower asked, and nothing else: which round of
    heartbeats answers it the leader decides."""


@dataclass(frozen=True, slots=True)
class ReadIndexResponse:
    term: int
    leader: NodeId
    request: int
    granted: bool
    """False where the asked one does not lead, or not any more."""
    index: int
    """The commit index at some time after the question, while this node led."""


Message = (
    PreVote
    | PreVoteResponse
    | RequestVote
    | RequestVoteResponse
    | AppendEntries
    | AppendEntriesResponse
    | Heartbeat
    | HeartbeatResponse
    | TimeoutNow
    | Removed
    | Snapshot
    | ReadIndex
    | ReadIndexResponse
)
