"""What a node tells of one of its groups: the facts of `raftctl status --json`.

What a follower knows of the others is the leader's word (`hearsay`), and `members_told_ms` says how
old that is.  What nobody told is null, never a guess.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from raftdjango.node.consensus.loop import monotonic_ms
from raftdjango.node.limits import DISK_STALL_S
from raftdjango.right_of_way.holders import foreign_holder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from raftcore import Status
    from raftdjango.node.group import Group
    from raftdjango.node.opening import OpenedGroup
    from raftdjango.node.peers.peer_pb2 import MemberFact, MemberFacts


def member_facts(
    status: Status, addresses: Mapping[str, str], told: MemberFacts | None, told_ms: int
) -> list[dict[str, Any]]:
    """One dictionary per member; `told` is the leader's word, `told_ms` old."""
    said = {fact.id: fact for fact in told.members} if told is not None else {}
    last_index = told.last_index if told is not None else 0
    facts = []
    for member in status.members:
        me = member.id == status.node_id
        leads = member.id == status.leader
        fact = said.get(member.id)
        if fact is not None and not leads and not fact.HasField("last_contact_ms"):
            # Not heard by this leader: what it would say is only what every leader begins with.
            fact = None
        contact = member.last_contact_ms  # what was heard first-hand is the better word
        if contact is None and fact is not None and fact.HasField("last_contact_ms"):
            contact = fact.last_contact_ms + told_ms
        role: str | None = None
        if me:
            role = status.role.name.lower()
        elif leads:
            role = "leader"
        elif fact is not None:
            role = "follower" if member.voter else "learner"
        facts.append(
            {
                "id": member.id,
                "address": addresses.get(member.id, ""),
                "role": role,
                "voter": member.voter,
                "match_index": _match_index(status, fact, me=me),
                "lag": max(0, last_index - fact.match_index) if fact is not None else None,
                "last_contact_ms": contact,
            }
        )
    return facts


def _match_index(status: Status, fact: MemberFact | None, *, me: bool) -> int | None:
    if fact is not None:
        return fact.match_index
    return status.last_index if me else None


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
    now_ms = monotonic_ms()
    status = group.core.status(now_ms)
    told, told_ms = group.hearsay.under(status, now_ms) or (None, None)
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
        "log_bytes": opened.store.content_bytes,
        "log_disk_bytes": opened.store.size_bytes,
        "log_compacted": False,
        "log_syncs": group.log.syncs,
        "members": member_facts(status, group.forming.members, told, told_ms or 0),
        "members_told_ms": told_ms,
        "ready": not reason,
        "not_ready_reason": reason,
        "queues": {
            "proposals": len(group.proposals),
            "proposal_bytes": group.proposals.waiting_bytes,
            "reads": len(group.reads),
            "log_bytes": group.log.pending_bytes,
            "apply_bytes": group.applier.pending_bytes,
            "connections": len(group.channel),
        },
        "turns": {
            "holder": group.turns.queue.holder,
            "waiting": len(group.turns.queue),
            "held": len(group.forwards),
            "granted": group.turns.queue.granted,
            "timed_out": group.turns.queue.timed_out,
        },
        "write_lock_holder": lock_holder(group, opened) or None,
    }
