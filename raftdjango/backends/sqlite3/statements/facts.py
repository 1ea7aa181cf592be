"""What a statement reads and writes, as SQLite itself says when it compiles it.

The authorizer is asked while a statement is compiled, and not again for one from the driver's cache.
So each text is compiled once more to learn it, by an EXPLAIN that is never the same text twice, and
what was learnt is kept for as long as the schema stays as it was.
"""

from __future__ import annotations

import itertools
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raftdjango.backends.sqlite3.capture.guard import PRODUCT_PREFIX
from raftdjango.backends.sqlite3.capture.tables import quote
from raftdjango.backends.sqlite3.capture.triggers import TRIGGER_PREFIX

if TYPE_CHECKING:
    from raftdjango.backends.sqlite3.capture.triggers import Capture

ANY_TABLE = ""
"""As `Reads.tables` has it."""
KEPT_MAX = 1_000
FUNCTIONS = frozenset({"count", "coalesce", "ifnull", "nullif"})
"""Those that a repeatable query may call; the text says so too, but not what a view calls."""
SQLITES_OWN = FUNCTIONS | {"binary", "nocase", "rtrim"}
"""Functions and collations that must be what they are on the appliers' connections."""
_WRITES = frozenset({sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE})
_VIRTUAL_COLUMN = 2
_PURE = frozenset({"json_each", "json_tree", ANY_TABLE})
"""Virtual tables that look at nothing but their arguments."""


@dataclass(frozen=True, slots=True)
class Facts:
    """About one text of SQL under one schema."""

    read: frozenset[str] = frozenset()
    """User tables that it looks into; parents and children of foreign keys are among them."""
    written: frozenset[str] = frozenset()
    """With those that cascades reach."""
    plain: bool = False
    """It reads ordinary tables alone, and calls nothing that depends on anything else."""
    resolves_conflicts: bool = False
    """A table that it writes says itself what becomes of rows in the way."""


UNKNOWN = Facts(frozenset({ANY_TABLE}), frozenset({ANY_TABLE}))


class FactsCache:
    """What is known of the statements of one connection."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._known: dict[str, Facts] = {}
        self._cookie = -1
        self._numbers = itertools.count()

    def forget(self) -> None:
        """The schema was changed in a transaction that may be undone: SQLite's counter may repeat."""
        self._known.clear()
        self._cookie = -1

    def of(self, sql: str, parameters: Any, *, keep: bool = True) -> Facts:
        """What the statement does; call it in the transaction in which it was executed."""
        cookie = self._capture.cookie()
        if cookie != self._cookie or len(self._known) >= KEPT_MAX:
            self._known.clear()
            self._cookie = cookie
        facts = self._known.get(sql)
        if facts is None:
            facts = self._learn(sql, parameters)
            if keep and facts is not UNKNOWN:  # Perhaps it was interrupted.
                self._known[sql] = facts
        return facts

    def _learn(self, sql: str, parameters: Any) -> Facts:
        connection, guard = self._capture.connection, self._capture.guard
        observer = _Observer()
        with guard.unlocked():
            guard.observer = observer
            try:
                text = f"EXPLAIN /* {next(self._numbers)} */ {sql}"
                connection.execute(text, parameters).close()
            except (sqlite3.Error, sqlite3.Warning):
                return UNKNOWN
            finally:
                guard.observer = None
        if any(map(self._may_read_anything, observer.read)):
            observer.read.add(ANY_TABLE)
        plain = observer.plain and not connection.overrides(SQLITES_OWN)
        return Facts(
            frozenset(observer.read),
            frozenset(observer.written),
            plain and all(map(self._is_ordinary, observer.read)),
            any(map(self._says_what_to_do, observer.written)),
        )

    def _may_read_anything(self, table: str) -> bool:
        """A virtual table looks wherever it likes, and SQLite does not say where."""
        if table in _PURE:
            return False
        kind, sql = self._declaration(table)
        return kind != "view" and not _is_table(sql)

    def _is_ordinary(self, table: str) -> bool:
        """Neither a view nor virtual, without columns that are computed when they are read."""
        _, sql = self._declaration(table)
        if not _is_table(sql):
            return False
        columns = self._capture.connection.execute(f"PRAGMA main.table_xinfo({quote(table)})")
        return all(column[6] != _VIRTUAL_COLUMN for column in columns.fetchall())

    def _says_what_to_do(self, table: str) -> bool:
        return "CONFLICT" in self._declaration(table)[1].upper()

    def _declaration(self, name: str) -> tuple[str, str]:
        """Whether it is a table or a view, and how it was made."""
        found = self._capture.connection.execute(
            "SELECT type, sql FROM main.sqlite_master WHERE type IN ('table', 'view')"
            " AND name = ? COLLATE NOCASE",
            (name,),
        ).fetchone()
        return (str(found[0]), str(found[1])) if found else ("", "")


def _is_table(sql: str) -> bool:
    return sql.split(None, 2)[:2] == ["CREATE", "TABLE"]


class _Observer:
    """Takes down what the authorizer is asked about one statement."""

    def __init__(self) -> None:
        self.read: set[str] = set()
        self.written: set[str] = set()
        self.plain = True

    def __call__(
        self,
        action: int,
        first: str | None,
        second: str | None,
        database: str | None,
        by: str | None,
    ) -> None:
        if by is not None and by.startswith(TRIGGER_PREFIX):
            return  # Capture's own triggers look at the row that is being written.
        if action == sqlite3.SQLITE_READ:
            self._reads(first or "", second or "", database)
            if by is not None:
                self.plain = False  # By way of a view, or of a WITH.
        elif action == sqlite3.SQLITE_FUNCTION:
            self.plain = self.plain and (second or "").lower() in FUNCTIONS
        elif action == sqlite3.SQLITE_RECURSIVE:
            self.plain = False
        elif action in _WRITES and database == "main" and not _is_nobodys(first or ""):
            self.written.add(first or "")

    def _reads(self, table: str, column: str, database: str | None) -> None:
        if column == "ROWID":
            self.plain = False  # Of a table without an INTEGER PRIMARY KEY: each node has its own.
        if database == "temp":
            self.plain = False
        elif table == "sqlite_sequence":
            self.read.add(ANY_TABLE)  # It follows the rows of every table with AUTOINCREMENT.
            self.plain = False
        elif _is_nobodys(table):
            self.plain = False
        else:
            self.read.add(table)


def _is_nobodys(table: str) -> bool:
    """SQLite's own tables change with the schema; the product's hold nothing of the user's."""
    return table.lower().startswith((PRODUCT_PREFIX, "sqlite_"))
