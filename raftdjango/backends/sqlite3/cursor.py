"""Cursors: every statement goes through the connection's `Statements`, every result is read to its end.

An unfinished SELECT would pin the snapshot of its whole connection: rows that the applier wrote since,
one's own included, would not be seen.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.db.backends.sqlite3.base import SQLiteCursorWrapper

from raftdjango.backends.sqlite3.reads.repeated import ResultDigest
from raftdjango.exceptions import NotReplicable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Self

    from raftdjango.backends.sqlite3.statements.execution import Statements
    from raftdjango.backends.sqlite3.transactions.locked import LockedConnection


class ReplicatedCursor(SQLiteCursorWrapper):
    """Django's SQLite cursor, buffered, whose writes are replicated."""

    connection: LockedConnection
    statements: Statements
    """Set by the wrapper that makes the cursor."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.rows: deque[tuple[Any, ...]] | None = None

    def execute(self, query: str, params: Any = None) -> Self:
        """Execute a statement; a write in autocommit is committed by the cluster when it returns."""
        if isinstance(params, list):
            params = tuple(params)
        self.statements.execute(self, query, params, many=False)
        return self

    def executemany(self, query: str, param_list: Iterable[Any]) -> Self:
        """Execute a statement once for each set of parameters, as one transaction."""
        # It may have to run more than once, so a generator will not do.
        self.statements.execute(self, query, list(param_list), many=True)
        return self

    def executescript(self, *args: Any) -> Any:
        """Refused: the driver commits before it."""
        raise NotReplicable(
            "Not replicable: executescript() commits on this machine alone. "
            "Execute the statements one by one."
        )

    def run(self, query: str, params: Any, *, many: bool) -> None:
        """Execute on the local database and buffer the result."""
        self.rows = None
        if many:
            super().executemany(query, params)
        else:
            super().execute(query, params)
        if self.description is not None:
            self.rows = deque(self.fetch_plain(super().fetchall))

    def fetch_plain(self, fetch: Callable[[], list[Any]]) -> list[Any]:
        """Rows as tuples: those of a factory might never equal those that are read again."""
        factory, self.row_factory = self.row_factory, None
        try:
            return self.connection.fetch(fetch)
        finally:
            self.row_factory = factory

    def made(self, row: Any) -> Any:
        """The row as the application wants it."""
        return row if self.row_factory is None or row is None else self.row_factory(self, row)

    def result_digest(self) -> ResultDigest:
        """Names what the last query returned; call it before fetching."""
        return ResultDigest(self.rows or ())

    def driver_sql(self, query: str, params: Any) -> str:
        """The statement as SQLite gets it, with positional parameters."""
        if params is None:
            return query
        if isinstance(params, Mapping):
            raise NotReplicable(
                "Not replicable: a statement that travels as such takes positional parameters."
            )
        return str(self.convert_query(query))

    def fetchone(self) -> Any:
        """The next row, or None."""
        if self.rows is None:
            return super().fetchone()
        return self.made(self.rows.popleft()) if self.rows else None

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """The next rows, `arraysize` of them if not said."""
        if self.rows is None:
            return super().fetchmany(self.arraysize if size is None else size)
        count = min(self.arraysize if size is None else size, len(self.rows))
        return [self.made(self.rows.popleft()) for _ in range(count)]

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        if self.rows is None:
            return super().fetchall()
        rows = list(self.rows if self.row_factory is None else map(self.made, self.rows))
        self.rows.clear()
        return rows

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        row = self.fetchone()
        if row is None:
            raise StopIteration
        return row

    def close(self) -> None:
        """Drop the buffer too."""
        self.rows = None
        with self.connection.lock:
            super().close()


def storage_parameters(params: Sequence[Any] | None) -> tuple[Any, ...]:
    """Parameters as storage classes, by the driver's own adapters."""
    return tuple(_adapt(value) for value in params or ())


def _adapt(value: Any) -> Any:
    if value is None or type(value) in {int, float, str, bytes}:
        return value
    try:
        return sqlite3.adapt(value)  # type: ignore[call-overload]
    except sqlite3.ProgrammingError:
        return value
