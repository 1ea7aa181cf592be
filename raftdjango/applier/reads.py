"""Whether what a serializable transaction read is still so at its entry's place in the log."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from raftdjango.applier.faults import Refused, is_same_everywhere
from raftdjango.writeset import Verdict, VerdictKind, rows_digest, storage_sql

if TYPE_CHECKING:
    from collections.abc import Iterable

    from raftdjango.applier.changes import Changes
    from raftdjango.writeset import Query, Reads

READ = "read"
"""Message of the conflict: part of stored verdicts, a word for programs."""


def check(connection: sqlite3.Connection, changes: Changes, reads: Reads) -> None:
    """Raise `Refused` unless every read would give the same now.  Before the entry's own changes."""
    if changed := _changed(changes, reads.tables, reads.log_index):
        raise _conflict(changed[0])
    for query in reads.queries:
        changed = _changed(changes, query.tables, reads.log_index)
        if changed and not _gives_the_same(connection, query):
            raise _conflict(changed[0])


def _changed(changes: Changes, tables: Iterable[str], since: int) -> list[str]:
    return [table for table in tables if changes.last(table) > since]


def _conflict(table: str) -> Refused:
    return Refused(Verdict(VerdictKind.CONFLICT, table=table, message=READ))


def _gives_the_same(connection: sqlite3.Connection, query: Query) -> bool:
    # A cursor of its own: left open, a SELECT would be in the way of DDL.
    with closing(connection.cursor()) as cursor:
        cursor.row_factory = None
        try:
            cursor.execute(storage_sql(query.sql, query.columns), query.parameters)
            # One more than there were makes it another result, however many follow.
            rows = cursor.fetchmany(query.row_count + 1)
        except (sqlite3.Error, sqlite3.Warning, UnicodeError, OverflowError) as error:
            if is_same_everywhere(error):
                return False
            raise
    return len(rows) == query.row_count and rows_digest(rows) == query.digest
