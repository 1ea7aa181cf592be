"""Where a statement gets the keys that SQLite would have chosen.

From the process' leased blocks, and from the node when those are empty.  A new lease is applied on this
machine too.  While this connection has the write lock, that has to wait, but the node foretells what
it comes to.  Where it cannot, because of what else waits to be applied, and where no lease comes for
want of a leader, keys are chosen as the applier would lease them, from the snapshot: behind every key
leased or used; if somebody else is given some of these first, that is a conflict at commit.
In a transaction that has changed the schema they are chosen so as well: the node may not know its
tables yet, and all leases from before it are void behind it.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from django.db import OperationalError

from raftdjango.conf import get_settings
from raftdjango.exceptions import ClusterUnavailable
from raftdjango.writeset.rows import INTEGER_MAX

if TYPE_CHECKING:
    from raftdjango.backends.sqlite3.base import DatabaseWrapper
    from raftdjango.backends.sqlite3.replication import Replication

LEASE_UNDER_LOCK_S = 1.0
"""Long enough for a lease on a slow disk, and until the applier has taken the lock if that is what a
lease waits for; too short to keep others waiting for a majority that is not there."""
_COUNTER = "max(CAST(seq AS INTEGER)) FROM main.sqlite_sequence"
"""What SQLite makes of a counter, which users may have written."""


def version_to_draw_for(replication: Replication) -> int:
    """The schema version at which a statement that needs keys now will be made, if nothing moves."""
    if replication.holds_write_lock():
        return replication.speculation.block.schema_version
    pinned = replication.capture.schema_version
    # What is pinned may be outdated, which only a blind operation is told.
    if pinned is not None and replication.in_true_autocommit() and not replication.nested.active:
        return pinned
    return replication.schema_version()


def draw_keys(
    connection: DatabaseWrapper, table: str, column: str, count: int, version: int, *, probe: bool
) -> list[int]:
    """`count` keys for `table`, for rows that are written at this version of the schema.

    `probe` looks for keys in use in the local database, where a block of keys may hold some that
    somebody chose himself.  A blind insert does without: the applier would tell.
    """
    replication = connection.replication
    look = _prober(_raw(connection), table, column) if probe else None
    allocator = replication.allocator
    locked = replication.holds_write_lock()
    timeout_s = LEASE_UNDER_LOCK_S if locked else get_settings().commit_timeout_s
    keys: list[int] = []
    try:
        if not replication.has_changed_schema():
            allocator.take(
                replication.client,
                table,
                count,
                timeout_s=timeout_s,
                version=version,
                probe=look,
                into=keys,
            )
    except ClusterUnavailable:
        if not locked:
            raise
    if missing := count - len(keys):
        first = max(behind_all(connection, table, column), max(keys, default=0) + 1)
        if first + missing > INTEGER_MAX:
            raise OperationalError(f"table {table} has no keys left")
        keys.extend(range(first, first + missing))
    return keys


def behind_all(connection: DatabaseWrapper, table: str, column: str) -> int:
    """The first key behind all that the transaction's snapshot knows to be leased or used.

    If anybody else is given one from there on first, that is a conflict at commit.
    """
    replication, raw = connection.replication, _raw(connection)
    with replication.speculation.undisturbed():
        name = replication.capture.spec(table).name  # As it was declared, by which keys are leased.
        first = _next_local_key(raw, name, column)
        # The table may be another one by now than the name means to everybody else.
        if not replication.has_changed_schema():
            replication.speculation.block.keys_chosen.setdefault(name, first)
    return first


def largest_local_key(raw: sqlite3.Connection, table: str, column: str) -> int:
    """The largest key that a table has, or had with AUTOINCREMENT, as the snapshot knows."""
    largest = _number(raw, f"SELECT max({_quote(column)}) FROM main.{_quote(table)}")
    try:
        return max(largest, _number(raw, f"SELECT {_COUNTER} WHERE name = ?", table), 0)
    except sqlite3.OperationalError:
        if _number(raw, "SELECT count(*) FROM main.sqlite_master WHERE name = 'sqlite_sequence'"):
            raise
        return max(largest, 0)  # No table here is AUTOINCREMENT.


def largest_local_row(raw: sqlite3.Connection, table: str, column: str, up_to: int) -> int:
    """The largest key of a row, up to that one."""
    name, key = _quote(table), _quote(column)
    return _number(raw, f"SELECT max({key}) FROM main.{name} WHERE {key} <= ?", up_to)


def set_local_counter(connection: DatabaseWrapper, table: str, last: int) -> None:
    """Have SQLite choose keys behind `last`, in the transaction that the connection is in."""
    replication = connection.replication
    raw = connection.connection
    # Outside of the transaction, which may have been rolled back meanwhile, it would be committed.
    with replication.speculation.undisturbed(), replication.capture.guard.unlocked():
        change = "UPDATE main.sqlite_sequence SET seq = ? WHERE name = ?"
        if not raw.execute(change, (last, table)).rowcount:
            change = "INSERT INTO main.sqlite_sequence (seq, name) VALUES (?, ?)"
            raw.execute(change, (last, table))


def _next_local_key(raw: sqlite3.Connection, table: str, column: str) -> int:
    leased = _number(raw, "SELECT next_key FROM raftdjango_key WHERE table_name = ?", table)
    return max(largest_local_key(raw, table, column) + 1, leased, 1)


def _prober(raw: sqlite3.Connection, table: str, column: str) -> Any:
    name, key = _quote(table), _quote(column)
    sql = f"SELECT max({key}) FROM {name} WHERE {key} BETWEEN ? AND ?"

    def probe(first: int, last: int) -> int | None:
        found: int | None = raw.execute(sql, (first, last)).fetchall()[0][0]
        return found

    return probe


def _number(raw: sqlite3.Connection, sql: str, *parameters: str | int) -> int:
    # To its end: a statement left half-read would pin the connection's snapshot.
    rows = raw.execute(sql, parameters).fetchall()
    return (rows[0][0] or 0) if rows else 0


def _raw(connection: DatabaseWrapper) -> sqlite3.Connection:
    """The driver's connection: nobody's query log or execute wrapper is concerned."""
    connection.ensure_connection()
    raw: sqlite3.Connection = connection.connection
    return raw


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
