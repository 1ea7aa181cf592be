"""What a seed draws: the cluster, its network, its disks, and which faults are on.

Swarm testing: with every fault always on, each hides what the others would show.  So each seed
switches each of them on or off, and picks its own bounds.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from raftcore import Config, Membership

MS = 1000
"""Simulated time is counted in whole microseconds."""
ELECTION_TIMEOUT_MS = 150
HEARTBEAT_MS = 30
WRITE_STALL_MS = 600
RATES = (950, 1050)
"""How fast clocks run where they differ, in parts per thousand."""
CLOCK_DRIFT = 0.12
"""A little more than by what those differ."""

FAULTS = (
    "crash",
    "crash all",
    "pause",
    "disk stall",
    "split",
    "isolate",
    "isolate leader",
    "one way",
    "cut link",
    "transfer",
    "freeze",
    "failed sync",
    "full disk",
    "bit flip",
    "bit flip in a snapshot",
)
REMAINING_TROUBLES = (
    "none",
    "minority down",
    "minority isolated",
    "minority deaf",
    "minority mute",
    "minority disk stuck",
    "link cut",
)
"""What is left broken while the cluster must already serve again."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One seed's draw."""

    voters: tuple[str, ...]
    fault_time_us: int
    faults: tuple[str, ...]
    fault_every_us: int
    duel: bool
    """Whether the faults end with two nodes left of which one has the later, one the longer log."""
    remaining_trouble: str
    # The network.
    loss: float
    duplication: float
    delay_max_us: int
    straggler: float
    """Share of messages that take up to an election timeout and more."""
    fifo: bool
    cut_in_flight: bool
    """Whether a partition also takes what is already under way."""
    through_codec: bool
    # Disks.
    write_max_us: int
    keeps_unsynced: bool
    """Whether a crash may leave writes on disk that were never reported durable."""
    read_early: bool
    """Whether readers see writes before they are durable."""
    segment_bytes: int
    """Size of the real log's segments; 0: the log is in memory."""
    # Snapshots.
    snapshots: bool
    snapshot_log_bytes: int
    snapshot_trailing_entries: int
    snapshot_every_us: int
    """Time between those that a driver takes unasked, on average; 0: never."""
    snapshot_max_us: int
    """How long it takes to write one."""
    snapshot_padding: int
    """Bytes by which each is larger than its content."""
    chunk_bytes: int
    chunks_ahead: int
    """Chunks that are sent before the receiver answers."""
    gives_up_us: int
    """Silence after which a sender gives up."""
    streams: bool
    """Whether they are sent by the library's own means."""
    stream_bytes_per_s: int
    """How fast those send at most; 0: as fast as they can."""
    sends_on: bool
    """Whether a leader that is none any more goes on with what it sends."""
    state_on_disk: bool
    """Whether state machines survive a crash; else they begin with the newest snapshot."""
    # Processes.
    crash_at_steps: bool
    """Whether crashes come in the middle of what is done with snapshots, too."""
    turn_max_us: int
    """How long inputs are collected before effects are taken; 0: never."""
    apply_max_us: int
    rates: tuple[int, ...]
    """How fast each node's clock runs, in parts per thousand."""
    churn_every_us: int
    """Time between changes of the membership, on average; 0: never."""
    witnesses: bool
    """Whether some of those that are added keep no data."""
    priorities: tuple[int, ...]
    # Clients.
    propose_every_us: int
    burst_max: int
    data_bytes_max: int
    clients: int
    keys: int
    think_us: int
    """How long a client waits between two operations, on average."""
    reads: bool
    """Whether clients read by read index, too, or by entries alone."""
    lease_reads: bool
    # Bounds of the core.
    append_bytes_max: int
    inflight_max: int
    inflight_bytes_max: int
    uncommitted_bytes_max: int
    apply_bytes_max: int
    cache_bytes_max: int

    def config(self, node_id: str, *, witness: bool = False) -> Config:
        return Config(
            node_id=node_id,
            witness=witness,
            priority=self.priorities[int(node_id[1:]) % len(self.priorities)],
            election_timeout_ms=ELECTION_TIMEOUT_MS,
            heartbeat_ms=HEARTBEAT_MS,
            append_bytes_max=self.append_bytes_max,
            inflight_max=self.inflight_max,
            inflight_bytes_max=self.inflight_bytes_max,
            uncommitted_bytes_max=self.uncommitted_bytes_max,
            apply_bytes_max=self.apply_bytes_max,
            cache_bytes_max=self.cache_bytes_max,
            write_stall_ms=WRITE_STALL_MS,
            lease_reads=self.lease_reads,
            clock_drift=CLOCK_DRIFT,
            snapshots=self.snapshots,
            snapshot_log_bytes=self.snapshot_log_bytes,
            snapshot_trailing_entries=self.snapshot_trailing_entries,
        )

    @property
    def membership(self) -> Membership:
        return Membership(frozenset(self.voters))


def draw(rng: random.Random) -> Plan:
    """Draw a plan."""
    size = rng.choices((1, 3, 5), (1, 8, 4))[0]
    voters = tuple(f"n{number}" for number in range(1, size + 1))
    faults = tuple(fault for fault in FAULTS if rng.random() < 0.4)
    small = rng.random() < 0.3
    turn_max_us = rng.choice((0, 0, 1, 10)) * MS
    skewed = rng.random() < 0.5
    lease_reads = rng.random() < 0.3
    if lease_reads:
        # Leases are only as good as clocks are: one that stands still breaks them.
        faults = tuple(fault for fault in faults if fault != "freeze")
    segment_bytes = 0
    if "bit flip" in faults or rng.random() < 0.1:
        segment_bytes = rng.choice((4096, 65536))
    snapshot_log_bytes = rng.choice((0, 600, 2000, 6000))
    return Plan(
        voters=voters,
        fault_time_us=rng.randint(1500, 5000) * MS,
        faults=faults,
        fault_every_us=rng.choice((60, 150, 400)) * MS,
        duel=size > 1 and rng.random() < 0.15,
        remaining_trouble=rng.choice(REMAINING_TROUBLES) if size > 1 else "none",
        loss=rng.choice((0.0, 0.0, 0.02, 0.15)),
        duplication=rng.choice((0.0, 0.02, 0.15)),
        delay_max_us=rng.choice((1, 5, 20)) * MS,
        straggler=rng.choice((0.0, 0.0, 0.02)),
        fifo=rng.random() < 0.3,
        cut_in_flight=rng.random() < 0.5,
        through_codec=rng.random() < 0.15,
        write_max_us=rng.choice((0, 2, 10, 60)) * MS,
        keeps_unsynced=rng.random() < 0.6,
        read_early=rng.random() < 0.5,
        segment_bytes=segment_bytes,
        snapshots=rng.random() < 0.85,
        snapshot_log_bytes=snapshot_log_bytes,
        snapshot_trailing_entries=rng.choice((0, 0, 3, 20)),
        snapshot_every_us=rng.choice((0, 40, 200) if snapshot_log_bytes else (40, 200)) * MS,
        snapshot_max_us=rng.choice((1, 20, 100)) * MS,
        snapshot_padding=rng.choice((0, 600, 1500)),
        chunk_bytes=rng.choice((40, 150, 1000)),
        chunks_ahead=rng.choice((1, 1, 3)),
        gives_up_us=rng.choice((100, 400, 1500)) * MS,
        streams=rng.random() < 0.5,
        stream_bytes_per_s=rng.choice((0, 0, 5000)),
        sends_on=rng.random() < 0.5,
        state_on_disk=rng.random() < 0.5,
        crash_at_steps=rng.random() < 0.5,
        turn_max_us=turn_max_us,
        # Where little is handed out at once, each helping must not take long: appliers keep up.
        apply_max_us=rng.choice((0, 1) if small else (0, 2, 20)) * MS,
        rates=tuple(rng.randint(*RATES) if skewed else 1000 for _ in voters),
        churn_every_us=rng.choice((0, 0, 60, 200)) * MS,
        # What a witness has agreed to may be on one disk alone: that one must not be damaged.
        witnesses=not {"bit flip", "bit flip in a snapshot"} & set(faults) and rng.random() < 0.7,
        priorities=tuple(rng.randint(1, 3) for _ in range(5)) if rng.random() < 0.4 else (1,),
        propose_every_us=rng.choice((4, 15, 60)) * MS,
        burst_max=rng.choice((1, 1, 5)),
        data_bytes_max=rng.choice((8, 64, 400)),
        clients=rng.choice((2, 4, 8)),
        keys=rng.choice((1, 3, 10)),
        think_us=rng.choice((5, 20, 80)) * MS,
        reads=rng.random() < 0.8,
        lease_reads=lease_reads,
        append_bytes_max=rng.choice((1, 200, 1000)) if small else 1 << 20,
        inflight_max=rng.choice((1, 2, 4)) if small else 64,
        inflight_bytes_max=rng.choice((1, 500, 2000)) if small else 8 << 20,
        uncommitted_bytes_max=rng.choice((1, 1000)) if small else 64 << 20,
        apply_bytes_max=rng.choice((2000, 2000 if turn_max_us else 1)) if small else 16 << 20,
        cache_bytes_max=rng.choice((1, 300, 3000)) if small else 16 << 20,
    )
