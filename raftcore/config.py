"""What the core can be told beforehand."""

from __future__ import annotations

from dataclasses import dataclass

from raftcore.types import NodeId

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Config:
    """One node's settings; times and bounds need not agree between nodes, only fit each other."""

    node_id: NodeId

    election_timeout_ms: int = 1000
    """Silence after which a follower campaigns; drawn anew each time, from this to twice this
    (paper §5.2)."""

    heartbeat_ms: int = 150
    """Time between heartbeats; well below the election timeout, so that one may get lost."""

    append_bytes_max: int = MIB
    """Entries per AppendEntries; one entry larger than this travels alone."""

    inflight_max: int = 64
    """AppendEntries that may be on their way to one follower, unanswered."""

    inflight_bytes_max: int = 8 * MIB
    """And their bytes; one message may always be on its way."""

    uncommitted_bytes_max: int = 64 * MIB
    """Entries waiting to be committed, before proposals are refused as busy."""

    apply_bytes_max: int = 16 * MIB
    """Entries handed out to be applied and not yet reported as applied."""

    cache_bytes_max: int = 16 * MIB
    """Recent entries kept in memory beyond those that have to be, so that replication seldom reads
    the disk."""

    write_stall_ms: int = 10_000
    """A leader whose own disk has owed an answer for this long steps down: its heartbeats would
    keep the others from electing somebody who can write."""

    def __post_init__(self) -> None:
        if not self.node_id:
            raise ValueError("node_id is empty")
        if not 0 < self.heartbeat_ms * 2 <= self.election_timeout_ms:
            raise ValueError(
                f"heartbeat_ms ({self.heartbeat_ms}) must be positive and at most half of "
                f"election_timeout_ms ({self.election_timeout_ms})"
            )
        for name in (
            "append_bytes_max",
            "inflight_max",
            "inflight_bytes_max",
            "uncommitted_bytes_max",
            "apply_bytes_max",
            "cache_bytes_max",
            "write_stall_ms",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive")
