"""Receiving a leader's messages (paper, Figure 2, "AppendEntries RPC: receiver implementation")."""

from __future__ import annotations

from raftcore.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Heartbeat,
    HeartbeatResponse,
    Snapshot,
)
from raftcore.protocol import priority, reads, witness
from raftcore.state import Node
from raftcore.types import NodeId


def on_append_entries(node: Node, message: AppendEntries) -> None:
    """Take entries whose predecessor is in the log, or say where the logs may agree."""
    if message.term < node.current_term:
        # "Reply false if term < currentTerm", so that a leader of the past learns that it is one.
        refuse(node, message.leader, message.session, message.prev_log_index)
        return
    node.follow(message.term, message.leader)
    log = node.log
    prev = message.prev_log_index
    if not log.matches(prev, message.prev_log_term):
        hint = log.last_index_at_most(prev, message.prev_log_term)
        refuse(node, message.leader, message.session, prev, hint, log.term(hint))
        return
    entries = witness.keeps(node, message.entries)
    if entries is None:
        # The leader takes this node for a witness.  Silence says that nothing was taken.
        return
    if entries:
        log.graft(entries)
        if node.promotable is (node.election_due_ms is None):
            # These entries have made this node a voter, or are no longer there to say that it is.
            node.reset_election_timer()
        node.clock.observe(entries[-1].time_ms, node.now_ms)
    # "set commitIndex = min(leaderCommit, index of last new entry)": what lies behind the entries
    # of this very message has not been compared with this leader's log.
    covered = prev + len(message.entries)
    log.commit_to(min(message.leader_commit, covered))
    acknowledge(node, message, max(covered, log.commit_index))


def on_heartbeat(node: Node, message: Heartbeat) -> None:
    """The leader is there, and knows this much of this node's log to be committed."""
    if message.term >= node.current_term:
        node.courtesy_ms = priority.waiting_ms(node.config, message.ahead)
        node.follow(message.term, message.leader)
        node.log.commit_to(message.leader_commit)
        node.clock.follow(message.time_ms, node.now_ms)
        reads.ask_again(node)
    node.outbox.send(
        message.leader,
        HeartbeatResponse(node.current_term, node.node_id, message.sequence, node.config.priority),
    )


def refuse(
    node: Node,
    leader: NodeId,
    session: int,
    rejected_index: int = 0,
    hint_index: int = 0,
    hint_term: int = 0,
) -> None:
    """This node's log and the leader's do not agree, or it leads no more."""
    node.outbox.send(
        leader,
        AppendEntriesResponse(
            term=node.current_term,
            follower=node.node_id,
            session=session,
            success=False,
            match_index=0,
            rejected_index=rejected_index,
            hint_index=hint_index,
            hint_term=hint_term,
        ),
    )


def acknowledge(node: Node, message: AppendEntries | Snapshot, match_index: int) -> None:
    """The logs are equal up to here, as soon as this one is on disk."""
    term, session, acknowledged_index = node.acknowledged
    if (term, session) == (message.term, message.session):
        news = isinstance(message, Snapshot) or message.entries
        if not news and match_index <= acknowledged_index:
            # Only news of the commit index: nothing that the leader has not been told.
            return
        acknowledged_index = max(acknowledged_index, match_index)
    else:
        acknowledged_index = match_index
    node.acknowledged = (message.term, message.session, acknowledged_index)
    node.outbox.acknowledge(
        message.leader,
        AppendEntriesResponse(
            term=node.current_term,
            follower=node.node_id,
            session=message.session,
            success=True,
            match_index=match_index,
            witness=node.config.witness,
        ),
    )
