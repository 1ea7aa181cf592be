"""A picture of a node for people; nothing in the protocol reads it."""

from __future__ import annotations

from dataclasses import dataclass

from raftcore import quorum
from raftcore.state import Node
from raftcore.types import NodeId, Role


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """What this node knows of a member.  Only a leader knows much of the others."""

    id: NodeId
    voter: bool
    match_index: int
    """Known to be durable there; 0 where this node cannot know."""
    last_contact_ms: int | None
    """Milliseconds since it was last heard; None if not in this term.  0 for this node itself."""


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


def status_of(node: Node, applied_index: int) -> Status:
    """The status at the node's present time."""
    membership = node.membership
    everybody = membership.learners | quorum.voters(membership)
    return Status(
        node_id=node.node_id,
        role=node.role,
        term=node.current_term,
        leader=node.leader,
        commit_index=node.log.commit_index,
        applied_index=applied_index,
        last_index=node.log.last_index,
        members=tuple(_member(node, member) for member in sorted(everybody)),
        transferring=node.leading is not None and node.leading.transfer is not None,
    )


def _member(node: Node, member: NodeId) -> MemberStatus:
    match_index, heard_ms = 0, None
    if member == node.node_id:
        match_index, heard_ms = node.log.stable_index, node.now_ms
    elif node.leading is not None:
        progress = node.leading.progress.get(member)
        if progress is not None:
            match_index, heard_ms = progress.match_index, progress.heard_ms
    elif member == node.leader:
        heard_ms = node.heard_leader_ms
    return MemberStatus(
        id=member,
        voter=quorum.is_voter(node.membership, member),
        match_index=match_index,
        last_contact_ms=None if heard_ms is None else node.now_ms - heard_ms,
    )
