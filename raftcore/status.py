"""A picture of a node for people; nothing in the protocol reads it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from raftcore import quorum
from raftcore.protocol import authority
from raftcore.state import Leading, Node
from raftcore.state.progress import ProgressState
from raftcore.types import Membership, NodeId, Role


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """What this node knows of a member.  Only a leader knows much of the others."""

    id: NodeId
    voter: bool
    match_index: int
    """Known to be durable there; 0 where this node cannot know."""
    last_contact_ms: int | None
    """Milliseconds since it was last heard; None if not in this term.  0 for this node itself."""
    witness: bool = False
    """It keeps no data."""
    joining: bool = False
    """A voter of the new majority only, while a joint configuration is in force (paper §6)."""
    leaving: bool = False
    """A voter of the old majority only: once that configuration is left it is none any more."""
    state: str | None = None
    """How a leader sends to it: "probe" (where do the logs agree?), "replicate" (ahead of its
    answers), "snapshot"; None for itself and where this node does not lead."""
    next_index: int = 0
    """The next entry to be sent."""
    inflight: int = 0
    """Messages with entries that it has not answered."""
    inflight_bytes: int = 0
    paused: bool = False
    """Nothing is sent until it answers: a probe is under way, or the window is full."""
    snapshot_index: int = 0
    """The last index of the snapshot that is on its way to it; 0 if none is."""
    confirmed_ms: int | None = None
    """Milliseconds since it followed for certain, counted from the sending of a heartbeat that it
    has answered; None where it has answered none in this term."""


@dataclass(frozen=True, slots=True)
class Status:
    """One node's view."""

    node_id: NodeId
    role: Role
    term: int
    leader: NodeId | None
    commit_index: int
    applied_index: int
    last_index: int
    members: tuple[MemberStatus, ...]
    transferring: bool
    voted_for: NodeId | None = None
    last_term: int = 0
    first_index: int = 1
    """The oldest entry that is held."""
    stable_index: int = 0
    """Durable on this node's own disk up to here."""
    uncommitted_bytes: int = 0
    """Entries waiting to be committed; at `Config.uncommitted_bytes_max` proposals are refused."""
    memory_bytes: int = 0
    """Entries in memory, beside those on disk."""
    membership: Membership = field(default_factory=lambda: Membership(frozenset()))
    membership_index: int = 0
    """The entry that brought it; 0 for the one that the log began with."""
    membership_pending: bool = False
    """A change is under way: not committed yet, or joint and not left yet."""
    joint: bool = False
    """Two majorities are needed: of the voters not `joining`, and of those not `leaving`."""
    removed: tuple[NodeId, ...] = ()
    """Who was a member once: these ids are never let in again."""
    transfer_to: NodeId | None = None
    disk_waits_ms: int | None = None
    """For how long the oldest unfinished write has been under way; None when there is none."""
    quorum_silent_ms: int | None = None
    """At a leader: since when no quorum is known to have followed.  At an election timeout it steps
    down."""
    lease_ms: int | None = None
    """At a leader: for how long reads still need no messages; None without a lease."""
    reads_pending: int = 0
    """This node's own reads that wait for their index."""
    snapshot_index: int = 0
    """What the newest snapshot covers; 0 without one."""
    snapshot_behind_bytes: int = 0
    """About what was applied since; at `Config.snapshot_log_bytes` another one is asked for."""
    snapshot_asked: bool = False
    """The driver has been asked for a snapshot and has not answered yet."""
    installing_index: int = 0
    """A snapshot up to here is taking the place of log and state machine; 0: none."""


def status_of(node: Node) -> Status:
    """The status at the node's present time."""
    membership, log, leading = node.membership, node.log, node.leading
    waiting_since_ms = log.writes.waiting_since_ms
    return Status(
        node_id=node.node_id,
        role=node.role,
        term=node.current_term,
        leader=node.leader,
        commit_index=log.commit_index,
        applied_index=node.applying.applied_index,
        last_index=log.last_index,
        members=tuple(_member(node, member) for member in sorted(membership.members)),
        transferring=leading is not None and leading.transfer is not None,
        voted_for=node.voted_for,
        last_term=log.last_term,
        first_index=log.first_index,
        stable_index=log.stable_index,
        uncommitted_bytes=log.uncommitted_bytes,
        memory_bytes=log.memory_bytes,
        membership=membership,
        membership_index=log.membership_index,
        membership_pending=membership.joint or log.membership_index > log.commit_index,
        joint=membership.joint,
        removed=tuple(sorted(membership.removed)),
        transfer_to=leading.transfer.to if leading is not None and leading.transfer else None,
        disk_waits_ms=None if waiting_since_ms is None else node.now_ms - waiting_since_ms,
        quorum_silent_ms=None if leading is None else _silent_ms(node, leading),
        lease_ms=None if leading is None else _lease_ms(node, leading),
        reads_pending=node.reads.pending,
        snapshot_index=log.snapshot_index,
        snapshot_behind_bytes=node.applying.bytes_since_snapshot,
        snapshot_asked=node.compaction.asked,
        installing_index=node.installing.meta.index if node.installing is not None else 0,
    )


def _silent_ms(node: Node, leading: Leading) -> int:
    return node.now_ms - authority.quorum_contact_ms(node, leading)


def _lease_ms(node: Node, leading: Leading) -> int | None:
    until_ms = authority.lease_until_ms(node, leading)
    return None if until_ms is None or until_ms <= node.now_ms else until_ms - node.now_ms


def _member(node: Node, member: NodeId) -> MemberStatus:
    membership, now_ms = node.membership, node.now_ms
    outgoing = membership.voters_outgoing
    known = MemberStatus(
        id=member,
        voter=quorum.is_voter(membership, member),
        match_index=0,
        last_contact_ms=None,
        witness=member in membership.witnesses,
        joining=membership.joint and member in membership.voters - outgoing,
        leaving=member in outgoing - membership.voters,
    )
    if member == node.node_id:
        return replace(known, match_index=node.log.stable_index, last_contact_ms=0)
    progress = node.leading.progress.get(member) if node.leading is not None else None
    if progress is None:
        heard_ms = node.heard_leader_ms if member == node.leader else None
        return replace(known, last_contact_ms=_since(heard_ms, now_ms))
    return replace(
        known,
        match_index=progress.match_index,
        last_contact_ms=_since(progress.heard_ms, now_ms),
        state=progress.state.name.lower(),
        next_index=progress.next_index,
        inflight=progress.inflight,
        inflight_bytes=progress.inflight_bytes,
        paused=not progress.may_send(node.config),
        snapshot_index=(progress.snapshot_index if progress.state is ProgressState.SNAPSHOT else 0),
        confirmed_ms=_since(progress.contact_ms, now_ms),
    )


def _since(at_ms: int | None, now_ms: int) -> int | None:
    return None if at_ms is None else now_ms - at_ms
