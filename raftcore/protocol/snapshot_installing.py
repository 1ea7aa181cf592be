"""A follower that is brought up to date by a snapshot (paper §7, Figure 13).

A snapshot holds committed entries only, so whoever sent it, and in whatever term, each of them is
in the log of every later leader (Leader Completeness, §5.4.3): it may be installed when the term
has moved on, and a transfer of hours is not lost to an election.  What is durable counts as ever:
the answer leaves once the new log is on disk, and nothing is applied behind it before.
"""

from __future__ import annotations

from raftcore.messages import Snapshot
from raftcore.protocol import follower
from raftcore.state import Installing, Node
from raftcore.types import Role


def arrived(node: Node, message: Snapshot) -> bool:
    """A snapshot is here; whether it is going to be installed."""
    meta, log = message.meta, node.log
    present = message.term >= node.current_term
    if not present:
        # "Reply immediately if term < currentTerm" (Figure 13).
        follower.refuse(node, message.leader, message.session)
    elif (message.term, message.leader) != (node.current_term, node.leader):
        node.become_follower(message.term, message.leader)
        # No sign of life, though: it may have left long ago.
        node.heard_leader_ms = None
    if node.leading is not None:
        return False
    wanted = meta.index > log.commit_index
    if wanted and log.holds(meta.index, meta.term):
        # "If existing log entry has same index and term as snapshot's last included entry, retain
        # log entries following it" (Figure 13): and those before, which are applied as ever.
        log.commit_to(meta.index)
        wanted = False
    if wanted:
        _install(node, message)
    if present:
        follower.acknowledge(node, message, log.commit_index)
    return wanted


def on_snapshot(node: Node, message: Snapshot) -> None:
    """A snapshot without state has come, which is all that a witness needs.

    It takes it whether it compacts its own log or not: the entries are gone elsewhere.
    """
    if node.config.witness:
        arrived(node, message)


def finish(node: Node) -> None:
    """Be a full member again, once log and state machine are the snapshot's."""
    installing = node.installing
    if installing is None:
        return
    index = installing.meta.index
    if node.log.stable_index >= index and node.applying.applied_index >= index:
        node.installing = None
        node.reset_election_timer()


def _install(node: Node, message: Snapshot) -> None:
    # "Discard the entire log" (Figure 13); what was to be done to it has no object any more.
    meta, unfinished = message.meta, node.installing
    skipped_from = node.applying.offered_index + 1
    if unfinished is not None and not unfinished.handed_out:
        skipped_from = unfinished.skipped_from
    node.log.restore(meta)
    node.applying.skip_to(meta.index)
    node.compaction.effects.clear()
    node.clock.observe(meta.time_ms, node.now_ms)
    if node.role is not Role.FOLLOWER:
        # A candidate's log is not what it asked for votes with.
        node.become_follower(node.current_term, None)
    node.installing = Installing(meta, skipped_from)
    node.reset_election_timer()
