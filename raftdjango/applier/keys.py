"""Leases of auto-increment keys."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from raftdjango.applier.faults import Refused
from raftdjango.applier.tables import KEY, quote
from raftdjango.writeset import KeyLease, Verdict, VerdictKind
from raftdjango.writeset.rows import INTEGER_MAX

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

    from raftdjango.applier.schema import Schema, TableSchema
    from raftdjango.writeset import Statement


NO_KEYS_LEFT = "has no keys left"
KEYS = "keys"
"""Message of the conflict: part of stored verdicts, a word for programs."""


def _refused(table: str, message: str) -> Refused:
    return Refused(Verdict(VerdictKind.OPERATIONAL_ERROR, table=table, message=message))


def sequences(schema: Schema) -> dict[str, int]:
    """SQLite's own counters of AUTOINCREMENT tables."""
    if not schema.rows("SELECT 1 FROM main.sqlite_master WHERE name = 'sqlite_sequence'"):
        return {}
    # Users may write there what SQLite would not: a number as a text, a table twice.
    rows = schema.rows(
        "SELECT name, max(CAST(seq AS INTEGER)) FROM main.sqlite_sequence GROUP BY name"
    )
    return {str(name): seq for name, seq in rows if isinstance(seq, int)}


def counters_at_stake(schema: Schema, statements: Iterable[Statement]) -> dict[str, int]:
    """The counters, if one of these statements may reset them."""
    named = any("sqlite_sequence" in each.sql.lower() for each in statements)
    return sequences(schema) if named else {}


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
    _lease_up_to(cursor, name, first + command.count)
    return Verdict(VerdictKind.APPLIED, first_key=first)


def _lease_up_to(cursor: sqlite3.Cursor, name: str, following: int) -> None:
    cursor.execute(
        f"INSERT OR REPLACE INTO main.{KEY} (table_name, next_key) VALUES (?, ?)", (name, following)
    )


def check_unused(
    cursor: sqlite3.Cursor, schema: Schema, name: str, first: int, *, or_leased: bool
) -> None:
    """Refuse keys that were chosen from `first` on if somebody was given some of them first."""
    declared = schema.table(name)
    if declared is None or not declared.integer_key:
        return  # The write-set makes it.
    following = next_key(cursor, declared.table.name) if or_leased else 0
    if max(following, highest_key(schema, declared) + 1) > first:
        raise Refused(Verdict(VerdictKind.CONFLICT, table=name, message=KEYS))


def lease_used(cursor: sqlite3.Cursor, schema: Schema, name: str) -> None:
    """After rows whose keys were chosen without a lease: they are as if leased.

    So they stay used when rows are gone, and when a table is made anew and SQLite's counter is lost.
    """
    declared = schema.table(name)
    if declared is None or not declared.integer_key:
        return
    following = min(highest_key(schema, declared) + 1, INTEGER_MAX)
    if following > max(next_key(cursor, declared.table.name), 1):
        _lease_up_to(cursor, declared.table.name, following)


@contextmanager
def renames_followed(cursor: sqlite3.Cursor, schema: Schema, sql: str) -> Iterator[None]:
    """Around a statement: what was leased of a table stays so under another name."""
    before = _by_place(schema) if "rename" in sql.lower() else {}
    yield
    after = _by_place(schema) if before else {}
    for place, old in before.items():
        new = after.get(place, old)
        following = next_key(cursor, old)
        if new != old and following > 1:
            cursor.execute(f"DELETE FROM main.{KEY} WHERE table_name = ?", (old,))
            _lease_up_to(cursor, new, max(following, next_key(cursor, new)))


def _by_place(schema: Schema) -> dict[int, str]:
    """Tables by where they are in the file, which stays the same."""
    found = schema.rows(
        "SELECT rootpage, name FROM main.sqlite_master WHERE type = 'table' AND rootpage"
    )
    return {int(str(place)): str(name) for place, name in found}


def after_statements(
    cursor: sqlite3.Cursor, schema: Schema, counters: dict[str, int], changed: Iterable[str]
) -> None:
    """Tables that are gone need no keys, and a reset sequence, which `counters` tell, starts anew.

    Of `changed` tables rows have been written with keys that were not leased.
    """
    _forget_lost(cursor, schema, counters)
    for name in sorted(changed):
        lease_used(cursor, schema, name)


def _forget_lost(cursor: sqlite3.Cursor, schema: Schema, before: dict[str, int]) -> None:
    after = sequences(schema)
    leased = [str(row[0]) for row in schema.rows(f"SELECT table_name FROM main.{KEY}")]
    for name in leased:
        reset = name in before and after.get(name, 0) < before[name]
        if reset or schema.table(name) is None:
            cursor.execute(f"DELETE FROM main.{KEY} WHERE table_name = ?", (name,))
