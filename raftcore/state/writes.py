"""What has been asked of the disk, and what it has answered.

A promise counts from the moment its write is durable, neither earlier nor for anything but what
was written.  So each write remembers the last entry it makes durable, and entries that are
replaced while it is under way are taken off it again: its answer then says nothing about them,
even if an equal entry has come back since, because on disk the three writes may be apart.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from raftcore.errors import InvariantViolation


@dataclass(slots=True)
class _Write:
    ticket: int
    last_index: int
    """Entries up to here are durable with it."""
    issued_ms: int


class Writes:
    """Tickets of `Persist` effects, in order."""

    __slots__ = ("_confirmed", "_pending", "_state_ticket", "last_ticket")

    def __init__(self) -> None:
        self.last_ticket = 0
        self._confirmed = 0
        self._state_ticket = 0
        # Bounded by what the driver leaves unanswered; proposals are refused long before.
        self._pending: deque[_Write] = deque()

    def issue(self, last_index: int, *, with_state: bool, now_ms: int) -> int:
        """A ticket for a write of entries up to `last_index`, with the hard state or without."""
        self.last_ticket += 1
        if with_state:
            self._state_ticket = self.last_ticket
        self._pending.append(_Write(self.last_ticket, last_index, now_ms))
        return self.last_ticket

    def clip(self, first: int) -> None:
        """Entries from `first` on were replaced: no write under way makes them durable."""
        for write in self._pending:
            write.last_index = min(write.last_index, first - 1)

    def confirm(self, ticket: int) -> int:
        """This ticket and all before it are durable; the last index that is so by them, or 0."""
        if ticket > self.last_ticket:
            raise InvariantViolation(f"ticket {ticket} was never handed out")
        last_index = 0
        while self._pending and self._pending[0].ticket <= ticket:
            last_index = max(last_index, self._pending.popleft().last_index)
        self._confirmed = max(self._confirmed, ticket)
        return last_index

    @property
    def after_state(self) -> int:
        """The ticket to wait for before anything that tells of the hard state; 0 for none."""
        return self._state_ticket if self._state_ticket > self._confirmed else 0

    @property
    def after_all(self) -> int:
        """The ticket to wait for before anything that tells of the log's end; 0 for none."""
        return self.last_ticket if self.last_ticket > self._confirmed else 0

    @property
    def waiting_since_ms(self) -> int | None:
        """When the oldest unanswered write was handed out."""
        return self._pending[0].issued_ms if self._pending else None
