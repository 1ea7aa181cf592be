"""A leader's claim to lead: heartbeats, and giving up when they go unanswered.

A leader that a majority has not answered for an election timeout steps down ("check quorum",
thesis §6.2): half cut off, it would keep its followers from electing one that can commit.
"""

from __future__ import annotations

from raftcore import quorum
from raftcore.messages import Heartbeat
from raftcore.progress import Progress
from raftcore.state import Leading, Node
from raftcore.types import NodeId


def send_heartbeats(node: Node, leading: Leading) -> None:
    """To everybody, each with what is known to be committed of what it is known to hold."""
    leading.heartbeat_due_ms = node.now_ms + node.config.heartbeat_ms
    leading.sequence += 1
    leading.heartbeats_sent_ms.append(node.now_ms)
    time_ms = node.clock.read(node.now_ms)
    for member, progress in leading.progress.items():
        node.outbox.send(
            member,
            Heartbeat(
                term=node.current_term,
                leader=node.node_id,
                leader_commit=min(node.log.commit_index, progress.match_index),
                sequence=leading.sequence,
                time_ms=time_ms,
            ),
        )


def contact(leading: Leading, progress: Progress, sequence: int) -> None:
    """A heartbeat was answered: the follower followed at some time after it was sent.

    Counting from the sending makes an answer that was long under way prove no more than it does.
    """
    behind = leading.sequence - sequence
    if 0 <= behind < len(leading.heartbeats_sent_ms):
        sent_ms = leading.heartbeats_sent_ms[-1 - behind]
        progress.contact_ms = max(sent_ms, progress.contact_ms or sent_ms)


def quorum_contact_ms(node: Node, leading: Leading) -> int:
    """The time after which a quorum is known to have followed."""

    def contact_ms(member: NodeId) -> int:
        if member == node.node_id:
            return node.now_ms
        progress = leading.progress.get(member)
        if progress is None or progress.contact_ms is None:
            return leading.since_ms
        return progress.contact_ms

    return quorum.reached(node.membership, contact_ms)


def on_timer(node: Node, leading: Leading) -> None:
    """The leader's timer."""
    config, now_ms = node.config, node.now_ms
    if now_ms < leading.heartbeat_due_ms:
        return
    asleep = now_ms - leading.heartbeat_due_ms >= config.election_timeout_ms // 2
    if asleep and not leading.grace_given:
        # This node itself was asleep and asked nobody: give the others time to answer, once.
        leading.grace_given = True
        leading.grace_until_ms = now_ms + config.election_timeout_ms
    if now_ms >= leading.grace_until_ms:
        silent_ms = now_ms - quorum_contact_ms(node, leading)
        if silent_ms >= config.election_timeout_ms or _disk_stalled(node):
            node.become_follower(node.current_term, None)
            return
        leading.grace_given = False
    send_heartbeats(node, leading)


def _disk_stalled(node: Node) -> bool:
    since_ms = node.log.writes.waiting_since_ms
    return (
        since_ms is not None
        and node.now_ms - since_ms >= node.config.write_stall_ms
        and bool(node.other_voters)
    )
