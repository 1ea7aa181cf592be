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
def keys_followed(cursor: sqlite3.Cursor, schema: Schema, sql: str) -> Iterator[None]:
    """Around a statement: what becomes of leases when it resets a counter, drops or renames a table."""
    text = sql.lower()
    resets, drops = "sqlite_sequence" in text, "drop" in text
    counters = sequences(schema) if resets or drops else {}
    tables = _by_place(schema) if drops or "rename" in text else {}
    yield
    if resets:
        _reset(cursor, counters, sequences(schema))
    if tables:
        _follow(cursor, counters, tables, _by_place(schema))


def _reset(cursor: sqlite3.Cursor, before: dict[str, int], after: dict[str, int]) -> None:
    """A sequence that was lowered starts anew."""
    for name, counter in before.items():
        if after.get(name, 0) < counter:
            cursor.execute(f"DELETE FROM main.{KEY} WHERE table_name = ?", (name,))


def _follow(
    cursor: sqlite3.Cursor, counters: dict[str, int], before: dict[int, str], after: dict[int, str]
) -> None:
    for place, old in before.items():
        if old in after.values():
            continue
        new = after.get(place)
        following = next_key(cursor, old)
        if new is None or new in before.values():  # which auto-vacuum has moved there
            # Another may take its place: a table is rebuilt so, and loses SQLite's counter.
            following = max(following, min(counters.get(old, 0) + 1, INTEGER_MAX))
            new = old
        else:
            cursor.execute(f"DELETE FROM main.{KEY} WHERE table_name = ?", (old,))
        if following > next_key(cursor, new):
            _lease_up_to(cursor, new, following)


def _by_place(schema: Schema) -> dict[int, str]:
    """Tables by where they are in the file, which a new name does not change."""
    found = schema.rows(
        "SELECT rootpage, name FROM main.sqlite_master WHERE type = 'table' AND rootpage"
    )
    return {int(str(place)): str(name) for place, name in found}


def after_statements(cursor: sqlite3.Cursor, schema: Schema, changed: Iterable[str]) -> None:
    """Tables that are gone need no keys.  Rows of `changed` ones have keys that were not leased."""
    for (name,) in schema.rows(f"SELECT table_name FROM main.{KEY}"):
        if schema.table(str(name)) is None:
            cursor.execute(f"DELETE FROM main.{KEY} WHERE table_name = ?", (name,))
    for name in sorted(changed):
        lease_used(cursor, schema, name)
