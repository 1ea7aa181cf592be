"""What only a leader has, and with it a transfer of leadership."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from raftcore.effects import SendSnapshot
from raftcore.state.progress import Progress
from raftcore.types import NodeId

HEARTBEATS_REMEMBERED_MAX = 128
"""Of those that the timer sends, not of those for reads: many of these may be under way at once."""


@dataclass(slots=True)
class Transfer:
    """A leadership transfer under way (thesis §3.10)."""

    to: NodeId
    deadline_ms: int
    asked: bool = False
    """TimeoutNow has been sent."""


@dataclass(slots=True)
class Leading:
    """What only a leader has; made at election and gone with it, so that nothing of it can be
    carried into another term."""

    since_ms: int
    heartbeat_due_ms: int
    grace_until_ms: int
    """Until then it does not give up for lack of answers."""
    grace_given: bool = False
    progress: dict[NodeId, Progress] = field(default_factory=dict)
    """Of everybody but itself, in the order of their names."""
    sequence: int = 0
    """Of the last heartbeat."""
    heartbeats_sent: deque[tuple[int, int]] = field(
        default_factory=lambda: deque(maxlen=HEARTBEATS_REMEMBERED_MAX)
    )
    """Number and time of the last heartbeats that the timer sent."""
    sessions: int = 0
    transfer: Transfer | None = None
    offered_ms: int = 0
    """When leadership was last offered to a voter of higher priority; at first, its beginning."""
    agreed_next: int = 0
    """The index that voters with data are expected to agree upon next (`witness`)."""
    agreed_since_ms: int = 0
    witnesses_needed: bool = False
    snapshots: list[SendSnapshot] = field(default_factory=list)
    """To be handed to the driver."""
    leaving: list[NodeId] = field(default_factory=list)
    """Removed, and to be told so once that is committed."""
    moved: tuple[int, int] = (-1, -1)
    """Commit index, and the match indexes of the other voters added up, when last looked at."""
    moved_ms: int = 0
    """When that was last seen to rise, or nothing waited."""
    lease_void: bool = False
    """TimeoutNow was sent in this term: an election may come, however late, that asks nobody to
    have lost the leader."""

    def take_snapshots(self) -> list[SendSnapshot]:
        """What the driver has to send."""
        snapshots, self.snapshots = self.snapshots, []
        return snapshots

    def next_session(self) -> int:
        """A tag for a stream of appends, never used before in this term."""
        self.sessions += 1
        return self.sessions
