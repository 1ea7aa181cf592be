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


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def tables_digest(connection: sqlite3.Connection, names: Iterable[str]) -> bytes:
    """Digest of the full contents of these tables: storage values, in the order of the key.

    Generated columns are not part of it, nor are rowids that are no column.
    """
    cursor = connection.cursor()
    cursor.row_factory = None
    digest = blake2b(digest_size=DIGEST_BYTES)
    for name in sorted({name.lower() for name in names}):
        digest.update(pack_row([name]))
        columns = cursor.execute(
            "SELECT name, pk FROM pragma_table_xinfo(?, 'main') WHERE NOT hidden", (name,)
        ).fetchall()
        if not columns:
            continue
        key = [_quote(column) for column, place in sorted(columns, key=lambda c: c[1]) if place]
        names_sql = [_quote(column) for column, _ in columns]
        read = ", ".join(f"+{column} AS c{n}" for n, column in enumerate(names_sql))
        # Keys of old tables may hold several NULLs: then the other columns decide.
        order = ", ".join(key + names_sql)
        for row in cursor.execute(f"SELECT {read} FROM main.{_quote(name)} ORDER BY {order}"):
            digest.update(pack_row(row))
    return digest.digest()


def user_tables(connection: sqlite3.Connection) -> list[str]:
    """All tables but SQLite's and the product's own."""
    cursor = connection.cursor()
    cursor.row_factory = None
    rows = cursor.execute(
        "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%'"
        " ESCAPE '\\' AND name NOT LIKE 'raftdjango\\_%' ESCAPE '\\' ORDER BY name"
    )
    return [str(row[0]) for row in rows]


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
        },
    )
