"""Proposals of this node's own workers, each kept until this node's own applier meets it.

A proposal may be appended more than once, by this node or by leaders it was forwarded to: the id
makes the applier write it once (design section 7).  So the only questions here are when to send
again, which is cheap to answer too often, and what is known at the deadline, which must be exact:
UNAVAILABLE only if the proposal was never handed to a core or a transport, else UNCERTAIN.

Waiting costs an entry in a dictionary, never a thread.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

from raftdjango.client import channel_pb2
from raftdjango.node.limits import WAITING_BYTES_MAX, WAITING_PROPOSALS_MAX
from raftdjango.node.writes.intake import Placement, Refused

if TYPE_CHECKING:
    from raftdjango.applier import Applied
    from raftdjango.node.consensus.applier_runner import AppliedBatch

logger = logging.getLogger("raftdjango.node")

SWEEP_S = 0.05
"""How often deadlines and repeats are looked at, while anything waits."""
BUSY_RETRY_S = 0.05
"""After a refusal; each wait is drawn between this and twice this."""
ANSWER_RETRY_S = 1.0
"""Without an answer from the leader; likewise, and longer for large commands."""
ANSWER_BYTES_PER_S = 4 * 1024 * 1024


class Reason(IntEnum):
    """Why there is no verdict; the numbers are those of the local channel."""

    UNAVAILABLE = channel_pb2.Refusal.UNAVAILABLE
    UNCERTAIN = channel_pb2.Refusal.UNCERTAIN
    TOO_LARGE = channel_pb2.Refusal.TOO_LARGE
    BUSY = channel_pb2.Refusal.BUSY
    STOPPING = channel_pb2.Refusal.STOPPING
    STOPPED_APPLYING = channel_pb2.Refusal.STOPPED_APPLYING
    NOT_POSSIBLE = channel_pb2.Refusal.NOT_POSSIBLE


@dataclass(frozen=True, slots=True)
class Refusal:
    """A proposal's end without a verdict."""

    reason: Reason
    message: str


Settled = Callable[["Applied | Refusal"], None]
"""Called once, on the loop."""


class Ground(Protocol):
    """What proposals stand on: the group's view of consensus, and its ways to the leader."""

    node_id: str

    @property
    def leader(self) -> str | None: ...

    @property
    def term(self) -> int: ...

    @property
    def applied_index(self) -> int: ...

    def append(self, proposal_id: bytes, command: bytes) -> Placement:
        """Append here, as the leader."""

    def forward(self, to: str, proposal_id: bytes, command: bytes) -> None:
        """Send to the leader; may be lost."""


@dataclass(slots=True, eq=False)
class Waiting:
    """A proposal that is not settled.  Invariant: index > 0 implies term > 0 and left."""

    proposal_id: bytes
    command: bytes
    deadline: float
    settled: list[Settled] = field(default_factory=list)
    internal: bool = False
    handed: int = 0
    """How often it was handed to a core or a transport."""
    term: int = 0
    """Term in which it was last appended or sent; 0: nobody has it as far as is known."""
    index: int = 0
    """Where the leader of `term` put it; 0: not known."""
    retry_at: float = 0.0

    @property
    def left(self) -> bool:
        """Handed over at least once: from then on the outcome is uncertain."""
        return self.handed > 0


class Proposals:
    """The node's unsettled proposals.  Lives on the loop."""

    def __init__(
        self,
        ground: Ground,
        *,
        now: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        held_up: Callable[[], str] = lambda: "",
    ) -> None:
        """`held_up` names whoever keeps this node from applying anything."""
        self._ground = ground
        self._held_up = held_up
        self._now = now
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not secrets
        self._waiting: dict[bytes, Waiting] = {}
        self._by_index: dict[int, bytes] = {}
        self._bytes = 0
        self._settled_term = 0
        self._open = False
        self._closed: Refusal | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of unsettled commands."""
        return self._bytes

    def open(self) -> None:
        """The cluster has formed: let go what has waited for it."""
        if not self._open:
            self._open = True
            self.place_unsent()

    def close(self, refusal: Refusal) -> None:
        """Take nothing more; what was never sent is refused, the rest is still waited for."""
        self._closed = refusal
        for waiting in [w for w in self._waiting.values() if not w.left]:
            self._settle(waiting, refusal)

    def submit(
        self,
        proposal_id: bytes,
        command: bytes,
        *,
        deadline: float,
        settled: Settled,
        internal: bool = False,
    ) -> None:
        """Take a proposal; `settled` is told its end, perhaps before this returns.

        An id that is waiting already (its worker lost the connection and asks again) gets one more
        to tell, and the later deadline.  `internal` ones do not wait for the cluster to form.
        """
        if waiting := self._waiting.get(proposal_id):
            waiting.settled.append(settled)
            waiting.deadline = max(waiting.deadline, deadline)
            return
        if self._closed is not None:
            settled(self._closed)
            return
        full = len(self._waiting) >= WAITING_PROPOSALS_MAX
        if full or (self._waiting and self._bytes + len(command) > WAITING_BYTES_MAX):
            settled(Refusal(Reason.BUSY, f"{len(self._waiting)} proposals are waiting already"))
            return
        waiting = Waiting(proposal_id, command, deadline, [settled], internal)
        self._waiting[proposal_id] = waiting
        self._bytes += len(command)
        self._place(waiting)

    def on_leader(self) -> None:
        """Leader or term changed.

        What the old leader may have appended is looked for first: the new one's log holds it, or
        nobody's does, and applying the new leader's first entry tells which.  Sending it at once
        would nearly always append it twice.
        """
        now = self._now()
        for waiting in self._waiting.values():
            if waiting.term and not self._is_placed(waiting):
                waiting.retry_at = max(waiting.retry_at, now + self._jitter(ANSWER_RETRY_S))
        self.place_unsent()

    def on_applied(self, batch: AppliedBatch) -> None:
        """The local database shows these entries now."""
        waiting, by_index = self._waiting, self._by_index
        for applied in batch.applied:
            proposal_id = applied.proposal_id
            if proposal_id is not None and proposal_id in waiting:
                self._settle(waiting[proposal_id], applied)
            displaced = by_index.pop(applied.index, None)
            if displaced is not None and displaced != proposal_id:
                self._lost(displaced, applied.index)
        if batch.last_term > self._settled_term:
            self._settled_term = batch.last_term
            for other in list(waiting.values()):
                if 0 < other.term < batch.last_term:
                    self._forget_place(other)
                    self._place(other)

    def on_foreseen(self, foreseen: Sequence[Applied]) -> None:
        """These entries are committed, and this is what they will come to: leases of keys alone."""
        for applied in foreseen:
            if (waiting := self._waiting.get(applied.proposal_id or b"")) is not None:
                self._settle(waiting, applied)

    def on_accepted(self, proposal_id: bytes, term: int, index: int) -> None:
        """The leader of `term` appended it at `index`."""
        waiting = self._waiting.get(proposal_id)
        if waiting is None or term < waiting.term:
            return
        self._forget_place(waiting)
        if index <= self._ground.applied_index:
            # It was applied here before it was asked for here, or lost its place to another.  The
            # leader's own applier may be behind, so it gets a moment before it is asked again.
            waiting.retry_at = self._now() + self._jitter(BUSY_RETRY_S)
            return
        waiting.term = term
        waiting.index = index
        self._by_index[index] = proposal_id

    def on_refused(self, proposal_id: bytes, *, too_large: bool = False) -> None:
        """The node asked did not append it."""
        waiting = self._waiting.get(proposal_id)
        if waiting is None or waiting.index:
            return
        if too_large:
            # Asked once, the node that says so is the only one that could have it.
            self._settle(waiting, _too_large(waiting, certain=waiting.handed <= 1))
            return
        waiting.term = 0
        waiting.retry_at = self._now() + self._jitter(BUSY_RETRY_S)

    def on_undelivered(self, proposal_id: bytes) -> None:
        """The transport could not carry it; it may have arrived all the same."""
        self.on_refused(proposal_id)

    def sweep(self) -> None:
        """End what is past its deadline, send again what is due."""
        now = self._now()
        for waiting in list(self._waiting.values()):
            if waiting.proposal_id not in self._waiting:
                continue  # Placing one may end an exclusive turn, and so place and settle others.
            if now >= waiting.deadline:
                self._settle(waiting, self._expired(waiting))
            elif now >= waiting.retry_at and not self._is_placed(waiting):
                self._place(waiting)

    def place_unsent(self) -> None:
        """Send what nobody has."""
        for waiting in [w for w in self._waiting.values() if not w.term]:
            if not waiting.term and waiting.proposal_id in self._waiting:  # See `sweep`.
                self._place(waiting)

    def fail_all(self, refusal: Refusal) -> None:
        """The applier stopped: nothing here will ever be met by it."""
        self._closed = refusal
        for waiting in list(self._waiting.values()):
            end = Refusal(Reason.UNCERTAIN, refusal.message) if waiting.left else refusal
            self._settle(waiting, end)

    def _is_placed(self, waiting: Waiting) -> bool:
        """Whether the present leader has it in its log: then it comes, or the term changes."""
        return waiting.index > 0 and waiting.term == self._ground.term

    def _place(self, waiting: Waiting) -> None:
        if not (self._open or waiting.internal):
            return
        ground = self._ground
        leader = ground.leader
        if leader is None:
            return
        if not (waiting.left or waiting.internal) and self._held_up():
            # It would be made, and nobody here could tell: its worker might make it again.
            return
        if leader == ground.node_id:
            self._placed_here(waiting, ground.append(waiting.proposal_id, waiting.command))
            return
        waiting.handed += 1
        waiting.term, waiting.index = ground.term, 0
        patience = ANSWER_RETRY_S + len(waiting.command) / ANSWER_BYTES_PER_S
        waiting.retry_at = self._now() + self._jitter(patience)
        ground.forward(leader, waiting.proposal_id, waiting.command)

    def _placed_here(self, waiting: Waiting, placement: Placement) -> None:
        if placement is Refused.TOO_LARGE:
            self._settle(waiting, _too_large(waiting, certain=not waiting.left))
        elif isinstance(placement, Refused):
            waiting.term = waiting.index = 0
            # At the end of an exclusive turn all that nobody has is placed.
            patience = ANSWER_RETRY_S if placement is Refused.HELD else BUSY_RETRY_S
            waiting.retry_at = self._now() + self._jitter(patience)
        else:
            waiting.handed += 1
            waiting.index, waiting.term = placement
            self._by_index[waiting.index] = waiting.proposal_id

    def _lost(self, proposal_id: bytes, index: int) -> None:
        """Its place went to another entry: a leader that fell had not spread it."""
        waiting = self._waiting.get(proposal_id)
        if waiting is not None and waiting.index == index:
            waiting.index = waiting.term = 0
            self._place(waiting)

    def _forget_place(self, waiting: Waiting) -> None:
        if self._by_index.get(waiting.index) == waiting.proposal_id:
            del self._by_index[waiting.index]
        waiting.index = waiting.term = 0

    def _settle(self, waiting: Waiting, end: Applied | Refusal) -> None:
        del self._waiting[waiting.proposal_id]
        if self._by_index.get(waiting.index) == waiting.proposal_id:
            del self._by_index[waiting.index]
        self._bytes -= len(waiting.command)
        for settled in waiting.settled:
            try:
                settled(end)
            except Exception:
                # One worker's trouble is none of the others'.
                logger.exception("The end of a proposal could not be told.")

    def _expired(self, waiting: Waiting) -> Refusal:
        holder = self._held_up()
        locked = f"the local database's write lock is held by {holder}" if holder else ""
        if waiting.left:
            return Refusal(
                Reason.UNCERTAIN,
                f"Node {self._ground.node_id} passed the write on, but could not learn in time "
                "what became of it: it may or may not have been made"
                + (f"; {locked}." if locked else "."),
            )
        why = (
            "no leader is known, so most likely no majority of the nodes can be reached"
            if self._ground.leader is None
            else "the cluster has not formed yet"
            if not self._open
            else locked or "the leader was busy"
        )
        return Refusal(Reason.UNAVAILABLE, f"Nothing was written: {why}.")

    def _jitter(self, shortest: float) -> float:
        return shortest * (1.0 + self._rng.random())


def _too_large(waiting: Waiting, *, certain: bool) -> Refusal:
    """Nodes may have different limits: one asked before may have appended what is too large here."""
    size = len(waiting.command)
    if certain:
        return Refusal(Reason.TOO_LARGE, f"The transaction is {size} bytes long: too large.")
    return Refusal(
        Reason.UNCERTAIN,
        f"The transaction is {size} bytes long, too large for the present leader, but another node was "
        "asked before: it may or may not have been made. Have RAFTDJANGO['TRANSACTION_BYTES_MAX'] the "
        "same on all nodes.",
    )
