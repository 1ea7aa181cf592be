"""One replicated statement: pinned, fenced in, executed."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from raftdjango.applier.tables import PREFIX
from raftdjango.writeset.pinning import FORBIDDEN_FUNCTIONS, Pinning

if TYPE_CHECKING:
    from raftdjango.writeset import Statement

_DENIED = frozenset(
    {
        # These would end the entry's transaction, or outlive it on one node's connection.
        sqlite3.SQLITE_TRANSACTION,
        sqlite3.SQLITE_SAVEPOINT,
        sqlite3.SQLITE_ATTACH,
        sqlite3.SQLITE_DETACH,
        sqlite3.SQLITE_CREATE_TEMP_INDEX,
        sqlite3.SQLITE_CREATE_TEMP_TABLE,
        sqlite3.SQLITE_CREATE_TEMP_TRIGGER,
        sqlite3.SQLITE_CREATE_TEMP_VIEW,
    }
)
_DERIVED = frozenset({sqlite3.SQLITE_REINDEX, sqlite3.SQLITE_ANALYZE})
"""Without a name they mean every table, ours included, and change nothing that rows say."""
_READS = frozenset({sqlite3.SQLITE_READ, sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE})


def authorize(action: int, first: str | None, second: str | None, *_: object) -> int:
    """What a replicated statement may do: not leave the entry's transaction, not touch our tables."""
    if action in _READS:
        return sqlite3.SQLITE_OK
    if action in _DENIED:
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_PRAGMA and second is not None and first not in _HARMLESS_PRAGMAS:
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_FUNCTION:
        forbidden = (second or "").lower() in FORBIDDEN_FUNCTIONS
        return sqlite3.SQLITE_DENY if forbidden else sqlite3.SQLITE_OK
    if action in _DERIVED:
        return sqlite3.SQLITE_OK
    # DROP INDEX and the like name the table second, ALTER TABLE too.
    if any(name is not None and name.lower().startswith(PREFIX) for name in (first, second)):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


_HARMLESS_PRAGMAS = frozenset(
    {
        "foreign_key_check",
        "foreign_key_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "integrity_check",
        "quick_check",
        "table_info",
        "table_xinfo",
    }
)


def run_statement(
    connection: sqlite3.Connection, pinning: Pinning, statement: Statement, *, fenced: bool
) -> int:
    """Execute a statement as every node does; the number of rows it changed, or 0.

    `fenced=False` where the connection has an authorizer of its own, which cannot be put back.
    """
    cursor = connection.cursor()
    if fenced:
        connection.set_authorizer(authorize)
    try:
        with pinning.pinned(statement.pins):
            cursor.execute(statement.sql, statement.parameters)
            cursor.fetchall()
    finally:
        if fenced:
            connection.set_authorizer(None)
        count = cursor.rowcount
        cursor.close()
    return max(count, 0)
