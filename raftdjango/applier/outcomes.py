"""Verdicts by proposal id, kept so that a proposal that comes twice is applied once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftdjango.applier.tables import OUTCOME, OUTCOME_GRACE_MS
from raftdjango.writeset import Command, Verdict, WriteSet, decode_verdict, encode_verdict
from raftdjango.writeset.rows import INTEGER_MAX

if TYPE_CHECKING:
    import sqlite3

PRUNE_EVERY = 256
"""Outcomes are pruned at the indexes that this divides: the same on every node."""

_FIND = f"SELECT verdict FROM main.{OUTCOME} WHERE proposal_id = ?"
_ADD = (
    f"INSERT INTO main.{OUTCOME} (proposal_id, expires_at_ms, log_index, verdict)"
    " VALUES (?, ?, ?, ?)"
)
_PRUNE = f"DELETE FROM main.{OUTCOME} WHERE expires_at_ms < ?"


class Outcomes:
    """The table of outcomes, and those of the transaction in progress that are not in it yet."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor
        self._pending: dict[bytes, tuple[bytes, int, int, bytes]] = {}

    def find(self, proposal_id: bytes) -> Verdict | None:
        """The verdict that the proposal already has."""
        if pending := self._pending.get(proposal_id):
            return decode_verdict(pending[3])
        row = self._cursor.execute(_FIND, (proposal_id,)).fetchone()
        return None if row is None else decode_verdict(row[0])

    def record(self, index: int, time_ms: int, command: Command, verdict: Verdict) -> None:
        """Remember a verdict; in the table with the next `store()`."""
        expires_at_ms = command.expires_at_ms
        if not expires_at_ms:
            # It never expires, so it could come again at any time.  Of all commands only a
            # write-set does harm then.
            expires_at_ms = INTEGER_MAX if isinstance(command.body, WriteSet) else time_ms
        self._pending[command.proposal_id] = (
            command.proposal_id,
            expires_at_ms,
            index,
            encode_verdict(verdict),
        )

    def store(self) -> None:
        """Write what was recorded."""
        if len(self._pending) == 1:
            self._cursor.execute(_ADD, *self._pending.values())
        elif self._pending:
            self._cursor.executemany(_ADD, self._pending.values())
        self._pending.clear()

    def prune(self, time_ms: int) -> None:
        """Forget outcomes whose proposals expired long ago: such a proposal is only expired now."""
        self.store()
        self._cursor.execute(_PRUNE, (time_ms - OUTCOME_GRACE_MS,))

    def forget_pending(self) -> None:
        """The transaction in progress is given up."""
        self._pending.clear()
