"""What a node tells of one of its groups: the facts of `raftctl status --json`.

A follower knows the leader's view of nobody; what it does not know is null, never a guess.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from raftdjango.node.consensus import monotonic_ms
from raftdjango.node.limits import DISK_STALL_S
from raftdjango.right_of_way import foreign_holder

if TYPE_CHECKING:
    from raftcore import Status
    from raftdjango.node.group import Group
    from raftdjango.node.opening import OpenedGroup


def member_facts(status: Status, addresses: dict[str, str]) -> list[dict[str, Any]]:
    """One dictionary per member."""
    leads = status.leader == status.node_id
    facts = []
    for member in status.members:
        me = member.id == status.node_id
        known = leads or me
        role: str | None = None
        if me:
            role = status.role.name.lower()
        elif member.id == status.leader:
            role = "leader"
        elif leads:
            role = "follower" if member.voter else "learner"
        match_index = (status.last_index if me else member.match_index) if known else None
        lag = max(0, status.last_index - match_index) if leads and match_index is not None else None
        facts.append(
            {
                "id": member.id,
                "address": addresses.get(member.id, ""),
                "role": role,
                "voter": member.voter,
                "match_index": match_index,
                "lag": lag,
                "last_contact_ms": 0 if me else member.last_contact_ms,
            }
        )
    return facts


READY_LAG_MAX = 10_000
"""Committed entries that a node may still have to apply and call itself ready."""
LOCK_WAIT_S = 1.0
"""After so long beyond the applier's own patience without the database's write lock, a node is not ready and names the holder."""


def not_ready_reason(group: Group, opened: OpenedGroup) -> str:
    """Why the group does not serve writes and fresh reads now; empty when it does."""
    status = group.core.status(monotonic_ms())
    if group.stopping:
        return "stopping"
    if group.applier_fault:
        return f"stopped applying: {group.applier_fault}"
    if group.forming.evicted:
        return group.forming.evicted
    if (stalled_s := group.log.stalled_s) > DISK_STALL_S:
        return f"the disk has not answered for {stalled_s:.0f} s"
    if holder := lock_holder(group, opened):
        return f"the database's write lock is held by {holder}"
    if status.leader is None:
        return "no leader is known: most likely no majority of the nodes can be reached"
    if not group.cluster_id:
        return "the cluster has not formed yet"
    if status.commit_index - group.applied_index > READY_LAG_MAX:
        return f"{status.commit_index - group.applied_index} committed entries are not applied yet"
    return ""


def lock_holder(group: Group, opened: OpenedGroup) -> str:
    """Who keeps the applier from the write lock for too long; empty while nobody does."""
    since = group.applier.locked_since
    if not since or time.monotonic() - since < LOCK_WAIT_S:
        return ""
    holders = opened.right_of_way.holders()
    holder = holders[0] if holders else foreign_holder(opened.database)
    return str(holder) if holder else "an unknown process"


def group_status(group: Group, opened: OpenedGroup) -> dict[str, Any]:
    """All facts of one group."""
    status = group.core.status(monotonic_ms())
    reason = not_ready_reason(group, opened)
    return {
        "node": group.node_id,
        "group": group.name,
        "cluster_id": group.cluster_id.hex(),
        "role": status.role.name.lower(),
        "term": status.term,
        "leader": status.leader,
        "commit_index": status.commit_index,
        "applied_index": group.applied_index,
        "last_index": status.last_index,
        "log_bytes": opened.store.size_bytes,
        "log_compacted": False,
        "members": member_facts(status, dict(group.forming.members)),
        "ready": not reason,
        "not_ready_reason": reason,
        "queues": {
            "proposals": len(group.proposals),
            "proposal_bytes": group.proposals.waiting_bytes,
            "log_bytes": group.log.pending_bytes,
            "apply_bytes": group.applier.pending_bytes,
            "connections": len(group.channel),
        },
        "write_lock_holder": lock_holder(group, opened) or None,
    }
