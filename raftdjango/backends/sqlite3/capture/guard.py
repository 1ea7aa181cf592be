"""The authorizer of an application's connection: what SQLite is asked before it compiles a statement.

It refuses what would slip past replication, and reports which tables a statement is going to write,
cascades included, so that their capture triggers can be put in place first.  It runs when a statement
is compiled, so a statement from the driver's cache does not meet it.  What stops those is in
`capture`: between transactions no trigger may fire, and what was compiled without is compiled anew.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from raftdjango.exceptions import NotReplicable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from typing import Self

    from raftdjango.backends.sqlite3.capture.tables import TableSpec

PRODUCT_PREFIX = "raftdjango_"
JOURNAL = "raftdjango_journal"

_READS = frozenset(
    {sqlite3.SQLITE_READ, sqlite3.SQLITE_SELECT, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)
_CATALOGUES = frozenset(
    {"sqlite_master", "sqlite_schema", "sqlite_temp_master", "sqlite_temp_schema"}
)
_ROWS = frozenset({sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE})
_SCHEMA = {
    sqlite3.SQLITE_CREATE_INDEX,
    sqlite3.SQLITE_CREATE_TABLE,
    sqlite3.SQLITE_CREATE_VIEW,
    sqlite3.SQLITE_DROP_INDEX,
    sqlite3.SQLITE_DROP_TABLE,
    sqlite3.SQLITE_DROP_TRIGGER,
    sqlite3.SQLITE_DROP_VIEW,
    sqlite3.SQLITE_DROP_VTABLE,
    sqlite3.SQLITE_ALTER_TABLE,
    sqlite3.SQLITE_REINDEX,
    sqlite3.SQLITE_ANALYZE,
}
_DERIVED = {sqlite3.SQLITE_REINDEX, sqlite3.SQLITE_ANALYZE}
"""They change nothing that rows say, and without a name they mean every table."""
_REFUSED = {
    sqlite3.SQLITE_ATTACH: "ATTACH and VACUUM work on this machine's file alone",
    sqlite3.SQLITE_DETACH: "DETACH works on this machine's connection alone",
    sqlite3.SQLITE_CREATE_VTABLE: (
        "virtual tables write tables of their own; keep them in a database that is not replicated"
    ),
    sqlite3.SQLITE_CREATE_TRIGGER: (
        "a trigger would fire again on every node when its rows are applied; do its work in the "
        "code that writes the table"
    ),
    sqlite3.SQLITE_CREATE_TEMP_TABLE: (
        "a temporary table does not outlive the transaction that replicates; use a database "
        "that is not replicated"
    ),
}
_PRAGMAS_WITH_ARGUMENT = frozenset(
    {
        "busy_timeout",
        "cache_size",
        "cache_spill",
        "case_sensitive_like",
        "cell_size_check",
        "defer_foreign_keys",
        "foreign_key_check",
        "foreign_key_list",
        "foreign_keys",
        "hard_heap_limit",
        "index_info",
        "index_list",
        "index_xinfo",
        "integrity_check",
        "mmap_size",
        "quick_check",
        "soft_heap_limit",
        "table_info",
        "table_list",
        "table_xinfo",
        "threads",
    }
)
_PRAGMAS_THAT_WORK_BY_NAME = frozenset(
    {"incremental_vacuum", "optimize", "shrink_memory", "wal_checkpoint"}
)


class Guard:
    """The authorizer and what it is told and has found."""

    def __init__(
        self, captured: Mapping[str, TableSpec], lock: AbstractContextManager[Any]
    ) -> None:
        self._captured = captured
        self._lock = lock
        self._unlocked = 0
        self._statements = 0
        self._executing = False
        self.transaction_open = False
        """Whether a SAVEPOINT would be inside a transaction of ours, and rows may be written."""
        self.let_pass = False
        """Whether a write was compiled that no trigger would stop later on."""
        self.missing: str | None = None
        """A table that the last statement was going to write, without capture triggers."""
        self.refusal: NotReplicable | None = None
        """Why the last statement was refused."""
        self.created: list[str] = []
        """Tables that the last statement was going to make."""
        self.may_lack_foreign_keys = True
        """Whether somebody may have switched foreign keys off since this was set to False."""
        self.observer: Callable[..., None] | None = None
        """Is told of everything that SQLite asks, while it is set."""

    @property
    def expects_changes(self) -> bool:
        """Whether rows may be changed now, or SQLite will be asked about that anyway."""
        return self._executing or self._unlocked > 0 or not self.transaction_open

    def unlocked(self) -> Self:
        """The backend's own statements: everything is allowed within `with guard.unlocked()`.

        The guard itself, since several are entered for each transaction; also within each other.
        """
        return self

    def __enter__(self) -> None:
        self._lock.__enter__()  # The watchdog's thread comes here as well.
        self._unlocked += 1

    def __exit__(self, *error: object) -> None:
        self._unlocked -= 1
        self._lock.__exit__(None, None, None)

    @contextmanager
    def statement(self) -> Iterator[None]:
        """A statement of Django's cursors, which may change rows."""
        self._executing = True
        try:
            yield
        finally:
            self._executing = False

    @contextmanager
    def as_statement(self) -> Iterator[None]:
        """A statement that travels as such: it may change the schema, its rows are not captured."""
        self.let_pass = True
        self._statements += 1
        try:
            yield
        finally:
            self._statements -= 1

    def forget(self) -> None:
        """Before a statement."""
        self.missing = None
        self.refusal = None
        self.created.clear()

    def __call__(
        self,
        action: int,
        first: str | None,
        second: str | None,
        database: str | None,
        by: str | None,
    ) -> int:
        """SQLite's question; see sqlite3_set_authorizer() for what the arguments mean."""
        if self.observer is not None:
            self.observer(action, first, second, database, by)
        if action in _READS or self._unlocked:
            return sqlite3.SQLITE_OK
        if action in _ROWS:
            if second == "ROWID" and database == "main":
                return self._rowid(first or "")
            return self._rows(first or "", database, by)
        if action == sqlite3.SQLITE_SAVEPOINT and self.transaction_open:
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_PRAGMA:
            return self._pragma((first or "").lower(), second)
        if action in _SCHEMA and self._statements:
            return self._schema(action, first or "")
        if action in {sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SAVEPOINT}:
            return self._refuse(
                f"{first} in SQL would go around replication; use django.db.transaction"
            )
        return self._refuse(_REFUSED.get(action, "this connection may not do that"))

    def _schema(self, action: int, name: str) -> int:
        if name.lower().startswith(PRODUCT_PREFIX) and action not in _DERIVED:
            return self._refuse(f"{name} belongs to raftdjango itself")
        if action == sqlite3.SQLITE_CREATE_TABLE and not name.startswith("sqlite_"):
            self.created.append(name)
        return sqlite3.SQLITE_OK

    def _rowid(self, table: str) -> int:
        """SQLite says ROWID where a table's key is another one, and of a column of that name to update."""
        spec = self._captured.get(table)
        if spec is None or "ROWID" in spec.table.columns:
            return self._rows(table, "main", None)
        return self._refuse(
            f'the rowid of "{table}" is not its primary key, and each machine has its own. '
            "Change the key instead"
        )

    def _rows(self, table: str, database: str | None, by: str | None) -> int:
        if table in _CATALOGUES:
            # Reported for table-valued functions, too.  DDL is asked for by its own action, and the
            # catalogue itself SQLite does not let anybody write without PRAGMA writable_schema.
            return sqlite3.SQLITE_OK
        if database == "temp":
            # Only capture triggers write there; `by` names the trigger.
            if table == JOURNAL and by is not None:
                return sqlite3.SQLITE_OK
            return self._refuse("temporary tables are not replicated")
        if table.lower().startswith(PRODUCT_PREFIX):
            return self._refuse(f"{table} belongs to raftdjango itself and is written by its node")
        if not self.transaction_open:
            return self._refuse(f"{table} would be written outside a replicated transaction")
        if self._statements or table in self._captured:
            return sqlite3.SQLITE_OK
        if table == "sqlite_sequence":
            return self._refuse(
                "sqlite_sequence is written together with something else; to reset a sequence, "
                "begin the statement with UPDATE, DELETE FROM or INSERT INTO sqlite_sequence"
            )
        if table.startswith("sqlite_"):
            return self._refuse(f"{table} is SQLite's own")
        self.missing = table
        return sqlite3.SQLITE_DENY

    def _pragma(self, name: str, argument: str | None) -> int:
        if argument is None:
            if name not in _PRAGMAS_THAT_WORK_BY_NAME:
                return sqlite3.SQLITE_OK
        elif name in _PRAGMAS_WITH_ARGUMENT:
            # From the driver's cache, too: executing this pragma has it compiled anew the next time.
            self.may_lack_foreign_keys |= name == "foreign_keys"
            return sqlite3.SQLITE_OK
        instead = ". ANALYZE is replicated: use it instead" if name == "optimize" else ""
        return self._refuse(f"PRAGMA {name} would change this machine's database alone{instead}")

    def _refuse(self, reason: str) -> int:
        self.refusal = NotReplicable(f"Not replicable: {reason}.")
        return sqlite3.SQLITE_DENY
