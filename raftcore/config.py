"""What the core can be told beforehand."""

from __future__ import annotations

from dataclasses import dataclass, fields

from raftcore.types import NodeId, is_node_id

MIB = 1024 * 1024

_TYPES: dict[object, tuple[type, ...]] = {"int": (int,), "bool": (bool,), "float": (int, float)}
"""Of settings, by their annotation."""


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

    priority: int = 1
    """How much this node should lead: of several, one with a higher priority campaigns sooner, and
    a leader hands over to it.  With 0 it stands only when nobody has led for several election
    timeouts: as long as it votes, its log may be the one without which nobody can be elected."""

    witness: bool = False
    """This node keeps no data and never leads: it votes, and knows what was agreed by index and
    term.  Set where the membership names it as a witness, before its first start and for ever."""

    commit_stall_ms: int = 60_000
    """A leader that hears its followers, and yet for this long commits nothing of what waits and
    sees none of them take anything, steps down: its entries may be what does not get through.  Must
    be longer than the largest entry travels.  0: never."""

    reads_max: int = 16_384
    """Reads that may wait for their index here, before more are refused as busy."""

    lease_reads: bool = False
    """Answer reads from a lease instead of a round of heartbeats (thesis §6.4.1).

    Then reads are only as good as clocks are: they can be stale when two clocks' rates differ by
    more than `clock_drift`, when a clock stands still while its machine is suspended, or when the
    driver passes in a time that it read before it read the question.  Every member must have it
    switched on, with equal `election_timeout_ms`: voters hold to their promise not to vote for
    anybody else, over restarts too, only where it is.
    """

    clock_drift: float = 0.1
    """The most by which the rates of two members' clocks differ, as a fraction: a lease lasts
    `election_timeout_ms / (1 + clock_drift)` from the sending of the heartbeats that gave it."""

    snapshots: bool = False
    """The driver keeps snapshots (paper §7): it is asked to take, send and install them.  Without,
    the log is never compacted.  On for every member or for none; and once on, for ever: what was
    compacted cannot be sent as entries.  A witness that needs what others have compacted gets an
    `InstallSnapshot` all the same."""

    snapshot_log_bytes: int = 64 * MIB
    """A snapshot is asked for when what was applied since the last one counts for more than this.
    0: never, the driver takes one when it likes."""

    snapshot_trailing_entries: int = 5_000
    """Entries before a snapshot that are kept all the same, so that a follower that lags a little
    gets entries and not the whole state."""

    def __post_init__(self) -> None:
        if not is_node_id(self.node_id):
            raise ValueError(f"node_id ({self.node_id!r}) is no text of 1 to 255 characters")
        for field in fields(self)[1:]:
            value = getattr(self, field.name)
            if type(value) not in _TYPES[field.type]:
                raise TypeError(f"{field.name} ({value!r}) has to be {field.type}")
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
            "reads_max",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive")
        for name in (
            "priority",
            "commit_stall_ms",
            "snapshot_log_bytes",
            "snapshot_trailing_entries",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} ({getattr(self, name)}) must not be negative")
        if not 0 <= self.clock_drift < 1:
            raise ValueError(f"clock_drift ({self.clock_drift}) must be at least 0 and below 1")
