"""A connection that one thread uses at a time.

The watchdog of the write lock rolls back from a thread of its own.  SQLite would bear two threads on one
connection, but Python would not: one holds the connection's mutex and waits for the interpreter's lock
to call the authorizer, the other the other way round.  So each call that asks the authorizer or sets
a callback takes this connection's lock first.

It also shuts the doors of the driver that lead past guard and journal.  Tests have a list of all that
the driver offers, and of why each is safe.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from raftdjango.backends.sqlite3.statements.classify import Kind, classify
from raftdjango.exceptions import NotReplicable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Never, Self

    from raftdjango.backends.sqlite3.capture.guard import Guard

T = TypeVar("T")
_TEXT_FACTORY: Any = vars(sqlite3.Connection)["text_factory"]
_ISOLATION_LEVEL: Any = vars(sqlite3.Connection)["isolation_level"]
_LEGACY_TRANSACTION_CONTROL = -1
_HARMLESS_SETTINGS = frozenset({1007, 1013, 1014})
"""SQLITE_DBCONFIG_ENABLE_QPSG, DQS_DML and DQS_DDL, which Python 3.11 has no names for."""


class LockedConnection(sqlite3.Connection):
    """The driver's connection, behind a lock."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.lock = threading.RLock()
        self.made_by_user: set[str] = set()
        """Names of functions and collations, in lower case, that are not (or no longer) SQLite's own."""
        self._extensible = False
        self._guard: Guard | None = None
        self._plain = 0
        self._row_factory: Any = None
        self._text_factory: Any = str
        kwargs.pop("autocommit", None)  # With it, rollback() might be none, or begin anew.
        super().__init__(*args, **kwargs)

    # -- what is fetched ------------------------------------------------------------------------

    # The application's factories are for the application's cursors.  The driver itself never has
    # them, so that what `execute()` of this connection fetches is what the database holds: capture
    # and applier depend on it.

    @property
    def row_factory(self) -> Any:
        """What makes rows for the application's cursors."""
        return self._row_factory

    @row_factory.setter
    def row_factory(self, factory: Any) -> None:
        self._row_factory = factory

    @property
    def text_factory(self) -> Any:
        """What makes texts for the application's cursors."""
        return self._text_factory

    @text_factory.setter
    def text_factory(self, factory: Any) -> None:
        self._text_factory = factory

    def fetch(self, fetch: Callable[[], T]) -> T:
        """Fetch for the application."""
        with self.lock:
            if self._text_factory is str:
                return fetch()
            _TEXT_FACTORY.__set__(self, self._text_factory)
            try:
                return fetch()
            finally:
                _TEXT_FACTORY.__set__(self, str)

    @contextmanager
    def plain(self) -> Iterator[None]:
        """Cursors that are made within fetch what the database holds."""
        self._plain += 1
        try:
            yield
        finally:
            self._plain -= 1

    def cursor(self, factory: Any = None) -> Any:
        """A cursor of the application's."""
        with self.lock:
            if factory is None:
                factory = LockedCursor if self._plain else ApplicationCursor
            made = super().cursor(factory)
            made.row_factory = None if self._plain else self._row_factory
            return made

    def execute(self, *args: Any) -> Any:
        """Execute on a cursor that fetches what the database holds."""
        with self.lock:
            return super().cursor(LockedCursor).execute(*args)

    def executemany(self, *args: Any) -> Any:
        """As `execute()`."""
        with self.lock:
            return super().cursor(LockedCursor).executemany(*args)

    # -- the driver's methods, behind the lock --------------------------------------------------

    def create_function(self, name: str, *args: Any, **kwargs: Any) -> None:
        """As the driver's; noted."""
        self.made_by_user.add(name.lower())
        with self.lock:
            super().create_function(name, *args, **kwargs)

    def create_aggregate(self, name: str, *args: Any) -> None:
        """As the driver's; noted."""
        self.made_by_user.add(name.lower())
        with self.lock:
            super().create_aggregate(name, *args)

    def create_window_function(self, name: str, *args: Any) -> None:
        """As the driver's; noted."""
        self.made_by_user.add(name.lower())
        with self.lock:
            super().create_window_function(name, *args)

    def create_collation(self, name: str, *args: Any) -> None:
        """As the driver's; noted."""
        self.made_by_user.add(name.lower())
        with self.lock:
            super().create_collation(name, *args)

    def overrides(self, names: frozenset[str]) -> bool:
        """Whether a function or collation of these names may be another one than SQLite's."""
        return self._extensible or not names.isdisjoint(self.made_by_user)

    def enable_load_extension(self, *args: Any) -> None:
        """As the driver's, where it has that; noted."""
        self._extensible = True
        with self.lock:
            super().enable_load_extension(*args)

    def set_trace_callback(self, *args: Any) -> None:
        """As the driver's."""
        with self.lock:
            super().set_trace_callback(*args)

    def set_progress_handler(self, *args: Any, **kwargs: Any) -> None:
        """As the driver's."""
        with self.lock:
            super().set_progress_handler(*args, **kwargs)

    def commit(self) -> None:
        """As the driver's."""
        with self.lock:
            super().commit()

    def rollback(self) -> None:
        """As the driver's."""
        with self.lock:
            super().rollback()

    def __exit__(self, *error: Any) -> Any:  # noqa: PYI036 - as the driver's
        with self.lock:
            return super().__exit__(*error)

    def close(self) -> None:
        """As the driver's."""
        with self.lock:
            super().close()

    # -- what would lead past replication -------------------------------------------------------

    def guard_by(self, guard: Guard) -> None:
        """Have SQLite ask `guard` before it compiles a statement."""
        self._guard = guard
        super().set_authorizer(guard)

    def refuse_changes(self, sql: Any) -> None:
        """Of rows, by the driver's own cursors: nobody would know which keys they were given, nor that
        the block did more than Django's own statements.
        """
        guard = self._guard
        if guard is None or guard.expects_changes or not isinstance(sql, str):
            return
        if classify(sql) is Kind.WRITE:
            _refuse(
                "rows are changed through Django's cursors, not the driver's own. "
                "Use django.db.connection.cursor()"
            )

    def set_authorizer(self, *args: Any, **kwargs: Any) -> Never:
        """Refused: there is one already, and SQLite has room for no other."""
        _refuse(
            "set_authorizer() would take the place of the authorizer that keeps writes from "
            "slipping past replication"
        )

    def blobopen(
        self,
        table: str,
        column: str,
        row: int,
        /,
        *,
        readonly: bool = False,
        name: str = "main",
    ) -> sqlite3.Blob:
        """To read only: what is written so fires no trigger, and nobody is asked about the row."""
        if not readonly:
            _refuse(
                f'blobopen() would write "{table}" on this machine alone. '
                "Use UPDATE, or readonly=True to read"
            )
        with self.lock:
            return super().blobopen(table, column, row, readonly=True, name=name)

    def deserialize(self, *args: Any, **kwargs: Any) -> Never:
        """Refused: the connection would be one to a copy in memory."""
        _refuse("deserialize() would have this connection leave the replicated database")

    def set_trigger_depth(self, depth: int) -> None:
        """How deep triggers may go, for `Capture`."""
        super().setlimit(sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH, depth)

    def setlimit(self, category: int, limit: int, /) -> int:
        """As the driver's, but for what keeps changes out between transactions."""
        if category == sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH:
            _refuse("the limit of triggers' depth is what keeps changes to transactions")
        return super().setlimit(category, limit)

    def setconfig(self, op: int, enable: bool = True, /) -> None:  # noqa: FBT001, FBT002
        """As the driver's since Python 3.12, where triggers, keys and schema stay as they are."""
        if op not in _HARMLESS_SETTINGS:
            _refuse(
                "setconfig() may not switch what replication rests on. For foreign keys there is "
                "connection.disable_constraint_checking()"
            )
        super().setconfig(op, enable)  # type: ignore[misc]

    @property
    def isolation_level(self) -> Any:
        """None always: transactions are begun in so many words."""
        return None

    @isolation_level.setter
    def isolation_level(self, level: Any) -> None:
        if level is not None:
            _refuse("transactions of the driver's own. Use django.db.transaction")
        if not self.in_transaction:  # Else the driver would commit.
            _ISOLATION_LEVEL.__set__(self, None)

    @property
    def autocommit(self) -> int:
        """The driver's control of transactions since Python 3.12: none."""
        return _LEGACY_TRANSACTION_CONTROL

    @autocommit.setter
    def autocommit(self, value: int) -> None:
        if value != _LEGACY_TRANSACTION_CONTROL:
            _refuse("transactions of the driver's own. Use django.db.transaction")


def _refuse(reason: str) -> Never:
    raise NotReplicable(f"Not replicable: {reason}.")


class LockedCursor(sqlite3.Cursor):
    """The driver's cursor, behind its connection's lock."""

    connection: LockedConnection

    def execute(self, *args: Any, **kwargs: Any) -> Self:
        """As the driver's."""
        with self.connection.lock:
            self.connection.refuse_changes(args[0] if args else None)
            return super().execute(*args, **kwargs)

    def executemany(self, *args: Any, **kwargs: Any) -> Self:
        """As the driver's."""
        with self.connection.lock:
            self.connection.refuse_changes(args[0] if args else None)
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
        """As the driver's; one that fails leaves no query under way, whoever keeps the error."""
        with self.connection.lock:
            try:
                return super().fetchall()
            except sqlite3.Error:
                self.close()
                raise

    def __next__(self) -> Any:
        with self.connection.lock:
            return super().__next__()

    def close(self) -> None:
        """As the driver's."""
        with self.connection.lock:
            super().close()


class ApplicationCursor(LockedCursor):
    """Made by `connection.connection.cursor()`: fetches with the application's factories."""

    def fetchone(self) -> Any:
        """As the driver's."""
        return self.connection.fetch(super().fetchone)

    def fetchmany(self, *args: Any, **kwargs: Any) -> list[Any]:
        """As the driver's."""
        return self.connection.fetch(
            lambda: super(ApplicationCursor, self).fetchmany(*args, **kwargs)
        )

    def fetchall(self) -> list[Any]:
        """As the driver's."""
        return self.connection.fetch(super().fetchall)

    def __next__(self) -> Any:
        return self.connection.fetch(super().__next__)
