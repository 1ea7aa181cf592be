"""Leases of auto-increment keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftdjango.applier.faults import Refused
from raftdjango.applier.tables import KEY, quote
from raftdjango.writeset import KeyLease, Verdict, VerdictKind
from raftdjango.writeset.rows import INTEGER_MAX

if TYPE_CHECKING:
    import sqlite3

    from raftdjango.applier.schema import Schema, TableSchema


NO_KEYS_LEFT = "has no keys left"


def _refused(table: str, message: str) -> Refused:
    return Refused(Verdict(VerdictKind.OPERATIONAL_ERROR, table=table, message=message))


def sequences(schema: Schema) -> dict[str, int]:
    """SQLite's own counters of AUTOINCREMENT tables."""
    if not schema.rows("SELECT 1 FROM main.sqlite_master WHERE name = 'sqlite_sequence'"):
        return {}
    return {
        str(name): seq
        for name, seq in schema.rows("SELECT name, seq FROM main.sqlite_sequence")
        if isinstance(seq, int)
    }


def highest_key(schema: Schema, declared: TableSchema) -> int:
    """The highest key that the table has, or had while it counts with AUTOINCREMENT."""
    column = quote(declared.table.columns[declared.table.key[0]])
    ((highest,),) = schema.rows(f"SELECT max({column}) FROM main.{quote(declared.table.name)}")
    seq = sequences(schema).get(declared.table.name, 0)
    return max(int(str(highest)) if highest is not None else 0, seq, 0)


def leasable(schema: Schema, table: str) -> TableSchema:
    """The table, if keys of it can be leased."""
    declared = schema.table(table)
    if declared is None:
        raise _refused(table, f"no such table: {table}")
    if not declared.integer_key:
        raise _refused(table, f"table {table} has no integer primary key")
    return declared


def next_key(cursor: sqlite3.Cursor, name: str) -> int:
    """The key behind the last one leased."""
    found = cursor.execute(
        f"SELECT next_key FROM main.{KEY} WHERE table_name = ?", (name,)
    ).fetchall()
    return int(found[0][0]) if found else 1


def first_key(schema: Schema, declared: TableSchema, count: int, following: int) -> int:
    """Where a lease begins: behind every key that exists, was used, or was leased before."""
    name = declared.table.name
    first = max(following, highest_key(schema, declared) + 1)
    if first + count - 1 > INTEGER_MAX - 1:
        raise _refused(name, f"table {name} {NO_KEYS_LEFT}")
    return first


def lease(cursor: sqlite3.Cursor, schema: Schema, command: KeyLease) -> Verdict:
    """Reserve a block of keys; `foresight` tells the same before."""
    declared = leasable(schema, command.table)
    name = declared.table.name
    first = first_key(schema, declared, command.count, next_key(cursor, name))
    cursor.execute(
        f"INSERT OR REPLACE INTO main.{KEY} (table_name, next_key) VALUES (?, ?)",
        (name, first + command.count),
    )
    return Verdict(VerdictKind.APPLIED, first_key=first)


def forget_lost_sequences(cursor: sqlite3.Cursor, schema: Schema, before: dict[str, int]) -> None:
    """After statements: tables that are gone need no keys, and a reset sequence starts anew."""
    after = sequences(schema)
    leased = [str(row[0]) for row in schema.rows(f"SELECT table_name FROM main.{KEY}")]
    for name in leased:
        reset = name in before and after.get(name, 0) < before[name]
        if reset or schema.table(name) is None:
            cursor.execute(f"DELETE FROM main.{KEY} WHERE table_name = ?", (name,))
