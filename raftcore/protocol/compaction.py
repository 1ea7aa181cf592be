"""When a node takes a snapshot of its own state, and what of its log may go then (paper §7).

"Each server takes snapshots independently, covering just the committed entries in its log."  What
has been applied counts by its bytes, and when it is enough the driver is asked for a snapshot, one
at a time.  A request that fails is made again after a while.  One is also asked for where the state
machine began with less than the newest snapshot covers: that one could not be used.  Some entries
before the snapshot are kept for followers that lag a little; and as long as a snapshot is on its
way to a follower, all that follow it, or it would need another as soon as it has arrived.
"""

from __future__ import annotations

from dataclasses import replace

from raftcore.effects import Compact, TakeSnapshot
from raftcore.errors import InvariantViolation
from raftcore.state import Node
from raftcore.types import SnapshotMeta

_RETRY_TIMEOUTS = 10
"""Election timeouts after which a snapshot that failed is asked for again."""


def start(node: Node) -> None:
    """Find out how far the newest snapshot is behind, and whether it is of any use."""
    if node.config.snapshots:
        node.applying.measure(node.log)
        if node.applying.applied_index < node.log.snapshot_index:
            node.compaction.unusable_index = node.log.snapshot_index


def ask(node: Node) -> None:
    """Ask for a snapshot, if the log has grown enough or the newest is of no use."""
    config, compaction, applying = node.config, node.compaction, node.applying
    if not config.snapshots or not config.snapshot_log_bytes or compaction.asked:
        return
    covered = node.log.snapshot_index
    # Behind it, so that it stands for something else.
    useless = 0 < covered == compaction.unusable_index < applying.applied_index
    enough = applying.bytes_since_snapshot > config.snapshot_log_bytes or useless
    if not enough or node.now_ms < compaction.due_ms:
        return
    if config.witness:
        # There is no state to keep: what it would stand for is all there is to it.
        _compact(node, node.log.meta(applying.applied_index))
    else:
        compaction.asked = True
        compaction.effects.append(TakeSnapshot(applying.applied_index))


def taken(node: Node, meta: SnapshotMeta) -> None:
    """The driver has a snapshot, durable."""
    if not node.config.snapshots:
        raise ValueError(
            "A snapshot was taken, but Config.snapshots is off. Switch it on: once a log was "
            "compacted, it has to stay on."
        )
    node.compaction.asked = False
    if meta.index <= node.log.snapshot_index:
        # A newer one has been installed meanwhile, or this one was told of already.
        return
    if meta.index > node.applying.offered_index:
        raise InvariantViolation(
            f"A snapshot at {meta.index}, but {node.applying.offered_index} handed out."
        )
    _compact(node, meta)


def failed(node: Node) -> None:
    """The driver could not take it; there will be another try."""
    node.compaction.asked = False
    node.compaction.due_ms = node.now_ms + _RETRY_TIMEOUTS * node.config.election_timeout_ms


def _compact(node: Node, meta: SnapshotMeta) -> None:
    through = max(0, meta.index - node.config.snapshot_trailing_entries)
    if node.leading is not None:
        for progress in node.leading.progress.values():
            if progress.awaits_snapshot and progress.in_contact(node.now_ms, node.config):
                through = min(through, progress.snapshot_index)
    node.log.compact(meta, through)
    node.applying.measure(node.log)
    node.compaction.effects.append(Compact(meta, through))


def meta_of(node: Node, index: int, size: int) -> SnapshotMeta | None:
    """What a snapshot of the state at `index` stands for; None if a newer one was installed."""
    if index > node.applying.offered_index:
        raise InvariantViolation(f"{index} applied, but {node.applying.offered_index} handed out")
    known = node.log.snapshot
    if known is not None and index == known.index:
        return known
    if index <= node.log.snapshot_index:
        return None
    return replace(node.log.meta(index), size=size)
