"""A leader's claim to lead: heartbeats, and giving up when they go unanswered.

A leader that a majority has not answered for an election timeout steps down ("check quorum",
thesis §6.2): half cut off, it would keep its followers from electing one that can commit.
"""

from __future__ import annotations

from raftcore import quorum
from raftcore.messages import Heartbeat
from raftcore.protocol import priority, reads
from raftcore.state import Leading, Node
from raftcore.state.progress import Progress, ProgressState
from raftcore.types import NodeId

_NEVER_MS = -(1 << 62)


def send_heartbeats(node: Node, leading: Leading) -> None:
    """To everybody, each with what is known to be committed of what it is known to hold."""
    leading.sequence += 1
    time_ms = node.clock.read(node.now_ms)
    ahead = priority.ahead(node, leading)
    for member, progress in leading.progress.items():
        node.outbox.send(
            member,
            Heartbeat(
                term=node.current_term,
                leader=node.node_id,
                leader_commit=min(node.log.commit_index, progress.match_index),
                sequence=leading.sequence,
                time_ms=time_ms,
                ahead=ahead.get(member, 0),
            ),
        )
    reads.join_round(node, leading)


def beat(node: Node, leading: Leading) -> None:
    """The heartbeats of the timer.

    Only these put the next ones off: with them comes the look at whether this node should lead on,
    which any number of reads must not keep from happening.
    """
    leading.heartbeat_due_ms = node.now_ms + node.config.heartbeat_ms
    leading.heartbeats_sent.append((leading.sequence + 1, node.now_ms))
    send_heartbeats(node, leading)


def contact(leading: Leading, progress: Progress, sequence: int) -> bool:
    """A heartbeat was answered: the follower followed at some time after it was sent.

    Counting from the sending makes an answer that was long under way prove no more than it does.
    One sent for a read counts as the timer's last before it.  Returns whether it was the timer's.
    """
    if sequence > leading.sequence:
        return False
    progress.answered_sequence = max(sequence, progress.answered_sequence)
    for number, sent_ms in reversed(leading.heartbeats_sent):
        if number <= sequence:
            progress.contact_ms = max(sent_ms, progress.contact_ms or sent_ms)
            return number == sequence
    return False


def lease_until_ms(node: Node, leading: Leading) -> int | None:
    """Until when nobody else can have been elected, by this node's clock (thesis §6.4.1).

    A voter that answered a heartbeat votes for nobody else for an election timeout of its own clock
    after it came, so for `election_timeout_ms / (1 + clock_drift)` of this one's after it was sent.
    A millisecond at either end is what counting in whole ones hides.
    """
    config = node.config
    if not config.lease_reads or leading.lease_void:
        return None

    def contact_ms(member: NodeId) -> int:
        if member == node.node_id:
            return node.now_ms
        progress = leading.progress.get(member)
        known_ms = progress.contact_ms if progress is not None else None
        return _NEVER_MS if known_ms is None else known_ms

    given_ms = quorum.reached(node.membership, contact_ms)
    lasts_ms = int((config.election_timeout_ms - 1) / (1 + config.clock_drift)) - 1
    return None if given_ms == _NEVER_MS else given_ms + lasts_ms


def serve_reads(node: Node) -> None:
    """Have reads answered, by the lease or by a round of heartbeats."""
    if not node.reads.active:
        return
    reads.settle(node)
    leading = node.leading
    if leading is None or not reads.may_serve(node):
        return
    until_ms = lease_until_ms(node, leading)
    if until_ms is not None and node.now_ms < until_ms:
        reads.grant_waiting(node)
    elif not node.reads.rounds:
        # One round at a time, or a thousand reads a second would be a thousand heartbeats.
        send_heartbeats(node, leading)


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
    commit_stalled = _commit_stalled(node, leading)
    if now_ms >= leading.grace_until_ms:
        silent_ms = now_ms - quorum_contact_ms(node, leading)
        if silent_ms >= config.election_timeout_ms or _disk_stalled(node) or commit_stalled:
            node.become_follower(node.current_term, None)
            return
        leading.grace_given = False
    beat(node, leading)


def _commit_stalled(node: Node, leading: Leading) -> bool:
    # Heartbeats are small and travel apart from entries: that they arrive does not mean that these
    # do.  A follower that takes anything at all is reason to stay, as a slow one is no better off
    # with another leader.  Nor is one that is being sent a snapshot; how long that may take its
    # driver knows.
    stall_ms, log = node.config.commit_stall_ms, node.log
    others = [leading.progress[voter] for voter in node.other_voters if voter in leading.progress]
    matched = sum(progress.match_index for progress in others)
    moved = (log.commit_index, matched)
    if moved != leading.moved or log.commit_index == log.last_index or not others:
        leading.moved = moved
        leading.moved_ms = node.now_ms
    stalled = bool(stall_ms) and node.now_ms - leading.moved_ms >= stall_ms
    return stalled and all(progress.state is not ProgressState.SNAPSHOT for progress in others)


def _disk_stalled(node: Node) -> bool:
    since_ms = node.log.writes.waiting_since_ms
    return (
        since_ms is not None
        and node.now_ms - since_ms >= node.config.write_stall_ms
        and bool(node.other_voters)
    )
