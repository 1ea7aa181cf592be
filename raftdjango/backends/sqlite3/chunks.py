"""`iterator()`: results too large to buffer, read from connections that pin nobody's snapshot.

Outside blocks each running iteration has a read-only connection of its own, since an unfinished
SELECT holds its connection's snapshot fast.  Inside a block the rows must come from the block's own
transaction; there they are buffered, in a temporary file when they are many.
"""

from __future__ import annotations

import pickle
import sqlite3
import tempfile
from collections import deque
from typing import TYPE_CHECKING, Any

from django.db.backends.sqlite3.base import SQLiteCursorWrapper

from raftdjango.backends.sqlite3.capture.guard import Guard
from raftdjango.backends.sqlite3.cursor import ReplicatedCursor
from raftdjango.backends.sqlite3.reads.repeated import ResultDigest
from raftdjango.backends.sqlite3.transactions.locked import LockedConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

IDLE_MAX = 2
ROWS_IN_MEMORY_MAX = 10_000


class ReadOnlyConnection(LockedConnection):
    """Under a guard that never heard of a transaction, so that no write is let pass."""

    guard: Guard

    def forbid_writes(self) -> None:
        """Begin to read only: Django is done with setting it up."""
        self.isolation_level = None
        self.execute("PRAGMA query_only = ON")
        self.guard = Guard({}, self.lock)
        self.guard_by(self.guard)


class ChunkPool:
    """Read-only connections of one wrapper."""

    def __init__(self) -> None:
        self._idle: list[ReadOnlyConnection] = []
        self._closed = False

    def take(self) -> ReadOnlyConnection | None:
        """A connection that nobody reads from."""
        self._closed = False
        return self._idle.pop() if self._idle else None

    def give_back(self, connection: ReadOnlyConnection) -> None:
        """Done with it."""
        if len(self._idle) < IDLE_MAX and not self._closed:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close those that are idle; the others follow with their cursors."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()


class ChunkedCursor(SQLiteCursorWrapper):
    """Streams from a connection of its own."""

    connection: ReadOnlyConnection
    pool: ChunkPool | None = None

    def execute(self, query: str, params: Any = None) -> Self:
        """Execute a query."""
        return self._guarded(super().execute, query, params)

    def executemany(self, query: str, param_list: Any) -> Self:
        """Execute a statement for each set of parameters, which nothing that reads needs."""
        return self._guarded(super().executemany, query, param_list)

    def _guarded(self, execute: Callable[[str, Any], Any], query: str, params: Any) -> Self:
        guard = self.connection.guard
        guard.forget()
        try:
            execute(query, params)
        except sqlite3.Error as error:
            if guard.refusal is not None:
                raise guard.refusal from error
            raise
        return self

    def close(self) -> None:
        """Give the connection back."""
        super().close()
        pool, self.pool = self.pool, None
        if pool is not None:
            pool.give_back(self.connection)


class SpillingCursor(ReplicatedCursor):
    """Inside a block: buffers many rows in a temporary file."""

    _digest: ResultDigest | None = None
    _spilled: Iterator[tuple[Any, ...]] | None = None

    def run(self, query: str, params: Any, *, many: bool) -> None:
        """Execute and read to the end, at most `ROWS_IN_MEMORY_MAX` rows in memory."""
        self._spilled = None
        self.rows = None
        SQLiteCursorWrapper.execute(self, query, params)
        first = self._next_rows()
        self._digest = None
        if len(first) == ROWS_IN_MEMORY_MAX:
            self._spill(first)
        else:
            self.rows = deque(first)

    def result_digest(self) -> ResultDigest:
        """Taken while spilling, if that was done."""
        return self._digest or super().result_digest()

    def _next_rows(self) -> list[tuple[Any, ...]]:
        return self.fetch_plain(lambda: sqlite3.Cursor.fetchmany(self, ROWS_IN_MEMORY_MAX))

    def _spill(self, rows: list[tuple[Any, ...]]) -> None:
        file = tempfile.TemporaryFile(prefix="raftdjango-rows-")  # noqa: SIM115 - by its reader
        self._digest = ResultDigest()
        while rows:
            self._digest.add(rows)
            pickle.dump(rows, file)
            rows = self._next_rows()
        file.seek(0)
        self._spilled = _unpickled(file)

    def fetchone(self) -> Any:
        """The next row, or None."""
        if self._spilled is None:
            return super().fetchone()
        return self.made(next(self._spilled, None))

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """The next rows."""
        if self._spilled is None:
            return super().fetchmany(size)
        rows = []
        for _ in range(self.arraysize if size is None else size):
            row = next(self._spilled, None)
            if row is None:
                break
            rows.append(self.made(row))
        return rows

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        return super().fetchall() if self._spilled is None else list(map(self.made, self._spilled))

    def __iter__(self) -> Self:
        return self


def _unpickled(file: Any) -> Iterator[tuple[Any, ...]]:
    # A file of this process, unlinked at birth: nobody else writes it.
    with file:
        while True:
            try:
                rows = pickle.load(file)  # noqa: S301
            except EOFError:
                return
            yield from rows
