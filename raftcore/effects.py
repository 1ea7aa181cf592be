"""What the core asks of its driver.  The driver's whole duty is in this page.

A start:

1. Open the log, and find the snapshot to start from: `storage.starting_point`, told if this is a
   witness.  `align` lets the log begin behind it where the log does not continue it.
2. Bring the state machine to that snapshot, if it is older.  A witness has neither.
3. Make the core.  `hard_state` is the log's; `applied_index` is how far the state machine is, which
   at a witness is the index of what (1) gave, or 0.
4. Where `Config.snapshots` is on, call `core.snapshot_taken` with what (1) gave.

Then, input by input or for several at once, call `core.take_effects` until it gives none, and carry
them out in the order given:

5. `Persist`, `Compact` and `InstallSnapshot` are writes to the log, in that order.  Several
   `Persist` may share one sync, and `Compact` may go on beside them (`storage.LogStore`).
6. Once a `Persist` or an `InstallSnapshot` is durable, call `core.persisted(ticket)`.  Tickets rise
   by one, and one ticket confirms all before it.  A failed write is final: stop.  Never retry a
   failed sync, and never call `persisted` before it has returned.
7. An effect with `after=ticket` waits until that ticket is durable; 0 means at once.  This is how a
   vote is never sent before it is on disk, while a leader's entries leave in parallel with its own
   write (thesis §10.2.1).  Messages may be lost, doubled and reordered; in order is quickest.
8. What came by a `Send` is for `core.receive`, what came by a `SendSnapshot` for
   `core.snapshot_arrived`, whatever the message.
9. Apply what an `Apply` brings, passing over what is no `EntryKind.COMMAND`, and call
   `core.applied(index)`.  Each entry comes once per start.  Applying never fails: a command that is
   wrong is so on every node, and is refused by its result.
10. Each `core.read_index` gets one `ReadReady` or `ReadRefused`; from `ReadReady` on, the state
    machine as it is then or later may be read.
11. Tell whoever waits for a proposal: with the result, if an `Apply` brings its index with its
    term; that it is lost, if with another term; that nothing is known, if its index is passed over
    by an `InstallSnapshot`, from `skipped_from` on.

Snapshots are asked for only where `Config.snapshots` is on, on every member and for ever; then the
driver keeps them, durable, before it tells of them, and the newest at all times:

12. On `TakeSnapshot`, keep a snapshot of the state machine, at its index or later, and call
    `core.snapshot_taken`, or `core.snapshot_failed`.
13. On `SendSnapshot`, bring its message and the snapshot that it names to that node by whatever
    means, and call `core.snapshot_sent` when all of it is there, or when it is given up, as it may
    be when `RoleChanged` says that this node leads no more.
14. When a message and its snapshot have come in whole and the snapshot is durable, call
    `core.snapshot_arrived`; what is not wanted may be thrown away.
15. On `InstallSnapshot`, first the log, then the state machine, then `core.applied`; a witness,
    which has no state, does the first and the last.  An `Apply` behind it is for afterwards.

Errors: `Refused`, `TypeError` and `ValueError` out of an input are the caller's, and nothing has
happened.  After any other the core must not be used any more, `InvariantViolation` first of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from raftcore.messages import Message, Snapshot
from raftcore.types import Entry, HardState, NodeId, Role, SnapshotMeta


@dataclass(frozen=True, slots=True)
class Persist:
    """Make hard state and entries durable.

    Entries that start at or below the store's last index replace everything from there on.
    """

    hard_state: HardState | None
    entries: tuple[Entry, ...]
    ticket: int


@dataclass(frozen=True, slots=True)
class Send:
    """Bring a message to a member; it may be lost."""

    to: NodeId
    message: Message
    after: int


@dataclass(frozen=True, slots=True)
class Apply:
    """Committed entries, in order and without gaps, of every kind."""

    entries: tuple[Entry, ...]
    after: int
    """0: only what is durable here is handed out."""


@dataclass(frozen=True, slots=True)
class RoleChanged:
    """Role, term or known leader changed."""

    role: Role
    term: int
    leader: NodeId | None


@dataclass(frozen=True, slots=True)
class ReadReady:
    """The state machine, as it is now or later, shows all that was acknowledged before the read.

    It has been reported as applied up to `index` at least (thesis §6.4).
    """

    read_id: int
    index: int


ReadRefusal = Literal["no leader", "leader lost", "no answer", "busy", "witness"]


@dataclass(frozen=True, slots=True)
class ReadRefused:
    """Nothing can be said for this read; asking again is always safe.

    "no leader": none is known here.  "leader lost": the one that was asked leads no more, or this
    node follows another.  "no answer": it has been silent for an election timeout, and with it what
    may be read.  "busy": as many reads wait as may.  "witness": this node has no data to read.
    """

    read_id: int
    reason: ReadRefusal


@dataclass(frozen=True, slots=True)
class TakeSnapshot:
    """The log has grown enough: a snapshot of the state machine is wanted, at this index or later.

    There is one at a time.  What it stands for `core.snapshot_meta` says.
    """

    index: int


@dataclass(frozen=True, slots=True)
class Compact:
    """A snapshot covers the log up to `meta.index`: `log.compact(meta, through)`."""

    meta: SnapshotMeta
    through: int
    """Entries up to here may go; there may be none.  Those behind it are kept for followers."""


@dataclass(frozen=True, slots=True)
class SendSnapshot:
    """This follower needs entries that are gone: it gets the state instead (paper §7).

    The driver opens the snapshot `message.meta` at once and keeps it until it is sent.
    """

    to: NodeId
    message: Snapshot
    after: int


@dataclass(frozen=True, slots=True)
class InstallSnapshot:
    """A snapshot that has arrived takes the place of log and state machine.

    First the log, `log.reset(meta)`; once that is durable, `core.persisted(ticket)`.  Then the
    state machine; once it is what the snapshot holds, `core.applied(meta.index)`.  A driver that
    starts with a state machine older than its log's snapshot does that part first.
    """

    meta: SnapshotMeta
    ticket: int
    skipped_from: int
    """Entries from here to `meta.index` never come in an `Apply`.  They were committed, and what
    became of each of them only the new state machine knows: whoever waits for one has to be told
    to look there, or that nothing is known."""


Effect = (
    Persist
    | Send
    | Apply
    | RoleChanged
    | ReadReady
    | ReadRefused
    | TakeSnapshot
    | Compact
    | SendSnapshot
    | InstallSnapshot
)
