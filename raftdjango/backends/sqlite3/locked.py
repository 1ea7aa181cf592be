"""A connection that one thread uses at a time.

The watchdog of the write lock rolls back from a thread of its own.  SQLite would bear two threads on one
connection, but Python would not: one holds the connection's mutex and waits for the interpreter's lock
to call the authorizer, the other the other way round.  So each call takes this connection's lock first;
`interrupt()` alone does without.
"""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self


class LockedConnection(sqlite3.Connection):
    """The driver's connection, behind a lock."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.lock = threading.RLock()
        self.made_by_user: set[str] = set()
        """Names of functions and collations, in lower case, that are not (or no longer) SQLite's own."""
        super().__init__(*args, **kwargs)

    def cursor(self, factory: Any = None) -> Any:
        """A cursor; `execute()` and its like come here too."""
        with self.lock:
            return super().cursor(factory or LockedCursor)

    def create_function(self, name: str, *args: Any, **kwargs: Any) -> None:
        """As the driver's; noted."""
        self.made_by_user.add(name.lower())
        super().create_function(name, *args, **kwargs)

    def create_aggregate(self, name: str, *args: Any) -> None:
        """As the driver's; noted."""
        self.made_by_user.add(name.lower())
        super().create_aggregate(name, *args)

    def create_window_function(self, name: str, *args: Any) -> None:
        """As the driver's; noted."""
        self.made_by_user.add(name.lower())
        super().create_window_function(name, *args)

    def create_collation(self, name: str, *args: Any) -> None:
        """As the driver's; noted."""
        self.made_by_user.add(name.lower())
        super().create_collation(name, *args)

    def commit(self) -> None:
        """As the driver's."""
        with self.lock:
            super().commit()

    def rollback(self) -> None:
        """As the driver's."""
        with self.lock:
            super().rollback()

    def close(self) -> None:
        """As the driver's."""
        with self.lock:
            super().close()


class LockedCursor(sqlite3.Cursor):
    """The driver's cursor, behind its connection's lock."""

    connection: LockedConnection

    def execute(self, *args: Any, **kwargs: Any) -> Self:
        """As the driver's."""
        with self.connection.lock:
            return super().execute(*args, **kwargs)

    def executemany(self, *args: Any, **kwargs: Any) -> Self:
        """As the driver's."""
        with self.connection.lock:
            return super().executemany(*args, **kwargs)

    def executescript(self, *args: Any, **kwargs: Any) -> Self:
        """As the driver's."""
        with self.connection.lock:
            super().executescript(*args, **kwargs)
        return self

    def fetchone(self) -> Any:
        """As the driver's."""
        with self.connection.lock:
            return super().fetchone()

    def fetchmany(self, *args: Any, **kwargs: Any) -> list[Any]:
        """As the driver's."""
        with self.connection.lock:
            return super().fetchmany(*args, **kwargs)

    def fetchall(self) -> list[Any]:
        """As the driver's."""
        with self.connection.lock:
            return super().fetchall()

    def __next__(self) -> Any:
        with self.connection.lock:
            return super().__next__()

    def close(self) -> None:
        """As the driver's."""
        with self.connection.lock:
            super().close()
