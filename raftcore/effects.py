"""What the core asks of its driver.  The driver's whole duty is in this page.

1. Carry out effects in the order given; `Persist` effects are written in order, several at a time
   if it likes, with one sync.
2. After a `Persist` is durable, call `core.persisted(ticket)`.  Tickets rise by one.
3. An effect with `after=ticket` must wait until that ticket is durable; 0 means at once.  This is
   how a vote is never sent before it is on disk, while a leader's entries leave in parallel with
   its own write (thesis §10.2.1).
4. Once entries are in the state machine, call `core.applied(index)`.
5. A failed write is final: stop.  Never retry a failed sync.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from raftcore.messages import Message
from raftcore.types import Entry, HardState, NodeId, Role


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
    to: NodeId
    message: Message
    after: int


@dataclass(frozen=True, slots=True)
class Apply:
    """Committed entries, in order and without gaps, of every kind."""

    entries: tuple[Entry, ...]
    after: int


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
    node follows another.  "no answer": it has been silent for an election timeout.  "busy": as
    many reads wait as may.  "witness": this node has no data to read.
    """

    read_id: int
    reason: ReadRefusal


Effect = Persist | Send | Apply | RoleChanged | ReadReady | ReadRefused
