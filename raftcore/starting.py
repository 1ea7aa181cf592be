"""Putting a log and a snapshot in order before a core is made of them (paper §7).

A crash may come between a snapshot's becoming durable and the log's hearing of it.  The snapshot
holds committed entries only, so it is always right; what the log holds beyond it is kept where it
is the continuation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftcore.types import HardState, SnapshotMeta

if TYPE_CHECKING:
    from raftcore.storage.protocol import LogStore


def align(log: LogStore, newest: SnapshotMeta | None) -> None:
    """Let the log begin behind the newest snapshot that is kept, if it does not go on from it.

    Called by a driver at its start, before it makes a `RaftCore`.  A state machine that is older
    than `log.snapshot` is then to be replaced by that snapshot.
    """
    if newest is None or (log.snapshot is not None and newest.index <= log.snapshot.index):
        return
    if newest.index <= log.last_index and log.term(newest.index) == newest.term:
        # It is all there; the core is told with `snapshot_taken` and lets go of what it can.
        return
    if log.hard_state.current_term < newest.term:
        # Nobody has been voted for in a term that was not heard of.
        log.append(HardState(newest.term), ())
        log.sync()
    log.reset(newest)
    log.sync()
