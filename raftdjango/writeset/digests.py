"""Digests of whole tables, for tests that compare databases."""
# ruff: noqa: S608 - names are quoted

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from raftdjango.writeset.parts import Statement
from raftdjango.writeset.rows import DIGEST_BYTES, pack_row

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from raftdjango.writeset.parts import WriteSet

COLUMNS_MAX = 500
"""Of one SELECT; SQLite takes 2,000 unless it was built with less."""


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def tables_digest(connection: sqlite3.Connection, names: Iterable[str]) -> bytes:
    """Digest of the full contents of these tables: storage values, in the order of the key.

    Generated columns are not part of it, nor are rowids that are no column.  An empty table counts as
    a missing one of the same name.
    """
    cursor = connection.cursor()
    cursor.row_factory = None
    digest = blake2b(digest_size=DIGEST_BYTES)
    lower = sorted({name.lower() for name in names})
    digest.update(pack_row(lower))
    for name, exact in sorted(_with_rows(cursor, lower).items()):
        digest.update(pack_row([name]))
        columns = cursor.execute(
            "SELECT name, pk FROM pragma_table_xinfo(?, 'main') WHERE NOT hidden", (exact,)
        ).fetchall()
        key = [_quote(column) for column, place in sorted(columns, key=lambda c: c[1]) if place]
        names_sql = [_quote(column) for column, _ in columns]
        read = ", ".join(f"+{column} AS c{n}" for n, column in enumerate(names_sql))
        # Keys of old tables may hold several NULLs: then the other columns decide.
        order = ", ".join(key + names_sql)
        for row in cursor.execute(f"SELECT {read} FROM main.{_quote(exact)} ORDER BY {order}"):
            digest.update(pack_row(row))
    return digest.digest()


def _with_rows(cursor: sqlite3.Cursor, names: Iterable[str]) -> dict[str, str]:
    """Those of the tables that have rows: name in lower case to name.  Test databases have hundreds
    without.
    """
    tables = cursor.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'").fetchall()
    asked = set(names)
    exact = [name for (name,) in tables if name.lower() in asked]
    found: dict[str, str] = {}
    for start in range(0, len(exact), COLUMNS_MAX):
        part = exact[start : start + COLUMNS_MAX]
        columns = ", ".join(f"EXISTS (SELECT 1 FROM main.{_quote(name)})" for name in part)
        filled = cursor.execute(f"SELECT {columns}").fetchone()
        found.update((name.lower(), name) for name, rows in zip(part, filled, strict=True) if rows)
    return found


def user_tables(connection: sqlite3.Connection) -> list[str]:
    """All tables but SQLite's and the product's own."""
    cursor = connection.cursor()
    cursor.row_factory = None
    rows = cursor.execute(
        "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%'"
        " ESCAPE '\\' AND name NOT LIKE 'raftdjango\\_%' ESCAPE '\\' ORDER BY name"
    )
    return [str(name) for (name,) in rows.fetchall()]


def expected_digest(connection: sqlite3.Connection, write_set: WriteSet) -> bytes:
    """What `WriteSet.expected_digest` is to be, on a connection that has made the changes.

    Of the tables whose rows change; of all tables when there are statements, since these may
    change any.
    """
    if any(isinstance(operation, Statement) for operation in write_set.operations):
        return tables_digest(connection, user_tables(connection))
    return tables_digest(
        connection,
        {
            operation.table.name
            for operation in write_set.operations
            if not isinstance(operation, Statement)
            # The allocator's row is read, and then raised by the applier.
            and not operation.table.name.startswith("raftdjango_")
        },
    )
