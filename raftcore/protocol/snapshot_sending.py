"""A leader sending snapshots to followers that need entries it no longer has (paper §7).

The state travels by the driver's means, beside everything else, and heartbeats go on meanwhile.
A follower is sent one at a time.  It is over when the driver says so, when the follower
acknowledges far enough for entries to go on, or with the leadership; then it is probed, so that a
wrong "arrived" costs a message and nothing more.  A witness has no state: what the snapshot stands
for is sent to it as a message, which is repeated as any probe is.
"""

from __future__ import annotations

from dataclasses import replace

from raftcore.effects import SendSnapshot
from raftcore.messages import Snapshot
from raftcore.state import Leading, Node
from raftcore.state.progress import Progress, ProgressState
from raftcore.types import NodeId, SnapshotMeta


def send(node: Node, leading: Leading, member: NodeId, progress: Progress, *, through: int) -> None:
    """This follower needs an entry that is gone; `through` is the last that it may be told of."""
    meta = node.log.snapshot
    if meta is None or not node.config.snapshots or meta.index > through:
        return
    if member in node.membership.witnesses:
        _send_to_witness(node, leading, member, progress, meta)
    elif progress.state is not ProgressState.SNAPSHOT and _may_send(node, progress):
        progress.send_snapshot(meta.index, leading.next_session())
        leading.snapshots.append(
            SendSnapshot(member, _message(node, progress, meta), node.log.writes.after_state)
        )


def sent(node: Node, member: NodeId, message: Snapshot, *, ok: bool) -> None:
    """The driver has brought a snapshot to its end, whole or not."""
    leading = node.leading
    progress = leading.progress.get(member) if leading is not None else None
    if (
        leading is None
        or progress is None
        or progress.state is not ProgressState.SNAPSHOT
        or (message.term, message.session) != (node.current_term, progress.session)
    ):
        # Of an earlier term, or no longer waited for.
        return
    if ok:
        progress.probe(progress.snapshot_index + 1, leading.next_session())
    else:
        progress.snapshot_due_ms = node.now_ms + node.config.election_timeout_ms
        progress.probe(progress.match_index + 1, leading.next_session())


def _may_send(node: Node, progress: Progress) -> bool:
    # Not to one that is not there: the heartbeats will tell when it is back.
    heard_ms = progress.heard_ms
    return (
        node.now_ms >= progress.snapshot_due_ms
        and heard_ms is not None
        and node.now_ms - heard_ms < node.config.election_timeout_ms
    )


def _send_to_witness(
    node: Node, leading: Leading, member: NodeId, progress: Progress, meta: SnapshotMeta
) -> None:
    if progress.state is not ProgressState.PROBE or progress.check_due:
        progress.probe(progress.next_index, leading.next_session())
    if not progress.probe_sent:
        progress.probe_sent = True
        node.outbox.send(member, _message(node, progress, replace(meta, size=0)))


def _message(node: Node, progress: Progress, meta: SnapshotMeta) -> Snapshot:
    return Snapshot(node.current_term, node.node_id, progress.session, meta)
