"""What the applier knows of the user's tables: columns, keys and foreign keys.

Read from the database, never from models, and kept until the schema changes.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from raftdjango.applier.tables import quote
from raftdjango.writeset import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

ACTIONS = frozenset({"CASCADE", "SET NULL", "SET DEFAULT"})


@dataclass(frozen=True, slots=True, eq=False)
class ForeignKey:
    """One foreign key, with the look-ups that check it by one tuple of values."""

    child: str
    columns: tuple[str, ...]
    """Of the child, in lower case."""
    parent: str
    parent_columns: tuple[str, ...]
    """In lower case."""
    on_delete: str
    on_update: str
    broken: str
    """SQLite's message, when the parent does not exist or has no such key; else empty."""
    parent_sql: str
    """Is there a parent with these values?"""
    child_sql: str
    """Is there a child with these values?"""
    child_where: str


@dataclass(frozen=True, slots=True)
class TableSchema:
    """A table as the database declares it."""

    table: Table
    generated: tuple[str, ...]
    """Columns that do not travel."""
    defaults: dict[str, str]
    """By column in lower case: the default as SQL has it."""
    integer_key: bool
    """Is the primary key the rowid, so that SQLite would choose one?"""


class Schema:
    """The user's tables, read when asked for."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._cursor.row_factory = None
        self._cookie = -1
        self.generation = 0
        """Raised whenever what is known was forgotten."""
        self._outgoing: dict[str, list[ForeignKey]] | None = None
        self._incoming: dict[str, list[ForeignKey]] = {}
        self._tables: dict[str, TableSchema | None] = {}

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """Rows as plain tuples, whatever the connection makes of them elsewhere."""
        cursor = self._connection.cursor()
        cursor.row_factory = None
        return cursor.execute(sql, parameters).fetchall()

    def refresh(self) -> None:
        """Forget everything if the schema was changed since, by whomever."""
        ((cookie,),) = self._cursor.execute("PRAGMA main.schema_version").fetchall()
        if cookie != self._cookie:
            self.forget()
            self._cookie = int(cookie)

    def forget(self) -> None:
        """The schema may have changed: read anew what is asked for next."""
        self._cookie = -1
        self.generation += 1
        self._outgoing = None
        self._tables.clear()

    @property
    def is_read(self) -> bool:
        """Whether the foreign keys of all tables are known."""
        return self._outgoing is not None

    def outgoing(self, name: str) -> Sequence[ForeignKey]:
        """Foreign keys by which this table refers to others (or to itself)."""
        if self._outgoing is None:
            self._read_foreign_keys()
        return (self._outgoing or {}).get(name.lower(), ())

    def incoming(self, name: str) -> Sequence[ForeignKey]:
        """Foreign keys by which others (or the table itself) refer to this table."""
        if self._outgoing is None:
            self._read_foreign_keys()
        return self._incoming.get(name.lower(), ())

    def has_update_actions(self) -> bool:
        """Does some foreign key change children when a parent's key changes?"""
        if self._outgoing is None:
            self._read_foreign_keys()
        return any(
            key.on_update in ACTIONS for keys in (self._outgoing or {}).values() for key in keys
        )

    def table(self, name: str) -> TableSchema | None:
        """The table as the database has it; None: there is no such table."""
        lower = name.lower()
        if lower not in self._tables:
            self._tables[lower] = self._read_table(name)
        return self._tables[lower]

    def _read_table(self, name: str) -> TableSchema | None:
        found = self.rows(
            "SELECT name, sql FROM main.sqlite_master WHERE type = 'table' AND lower(name) = lower(?)",
            (name,),
        )
        if not found:
            return None
        exact, sql = str(found[0][0]), str(found[0][1] or "")
        columns: list[str] = []
        generated: list[str] = []
        defaults: dict[str, str] = {}
        key: list[tuple[int, int]] = []
        types: dict[str, str] = {}
        for column, declared, default, place, hidden in self.rows(
            "SELECT name, type, dflt_value, pk, hidden FROM pragma_table_xinfo(?, 'main')", (exact,)
        ):
            column_name = str(column)
            if hidden:
                generated.append(column_name)
                continue
            if place:
                key.append((int(str(place)), len(columns)))
                types[column_name] = str(declared).upper()
            if default is not None:
                defaults[column_name.lower()] = str(default)
            columns.append(column_name)
        positions = tuple(position for _, position in sorted(key))
        integer_key = list(types.values()) == ["INTEGER"] and not _is_without_rowid(sql)
        table = Table(exact, tuple(columns), positions)
        return TableSchema(table, tuple(generated), defaults, integer_key)

    def _read_foreign_keys(self) -> None:
        raw: dict[tuple[str, int], list[tuple[object, ...]]] = defaultdict(list)
        for row in self.rows(
            'SELECT m.name, f.id, f."table", f."from", f."to", f.on_update, f.on_delete'
            " FROM main.sqlite_master m, pragma_foreign_key_list(m.name, 'main') f"
            " WHERE m.type = 'table' ORDER BY m.name, f.id, f.seq"
        ):
            raw[str(row[0]), int(str(row[1]))].append(row)
        outgoing, incoming = defaultdict(list), defaultdict(list)
        for (child, _), rows in raw.items():
            key = self._foreign_key(child, rows)
            outgoing[child.lower()].append(key)
            incoming[key.parent.lower()].append(key)
        self._outgoing, self._incoming = dict(outgoing), dict(incoming)

    def _foreign_key(self, child: str, rows: list[tuple[object, ...]]) -> ForeignKey:
        _, _, parent_name, _, first_to, on_update, on_delete = rows[0]
        columns = tuple(str(row[3]).lower() for row in rows)
        parent = self.table(str(parent_name))
        broken, collations = "", ("BINARY",) * len(columns)
        if parent is None:
            broken = f"no such table: main.{parent_name}"
            parent_columns = tuple(str(row[4] or row[3]).lower() for row in rows)
        else:
            if first_to is None:
                parent_columns = tuple(parent.table.columns[p].lower() for p in parent.table.key)
            else:
                parent_columns = tuple(str(row[4]).lower() for row in rows)
            found = self._collations(parent, parent_columns)
            if found is None or len(parent_columns) != len(columns):
                broken = f'foreign key mismatch - "{child}" referencing "{parent_name}"'
            else:
                collations = found
        name = parent.table.name if parent else str(parent_name)
        parent_where = " AND ".join(f"{quote(column)} = ?" for column in parent_columns)
        # The parent's collation decides what refers to it, also where the child declares another.
        child_where = " AND ".join(
            f"{quote(column)} = ? COLLATE {quote(collation)}"
            for column, collation in zip(columns, collations, strict=False)
        )
        return ForeignKey(
            child=child,
            columns=columns,
            parent=name,
            parent_columns=parent_columns,
            on_delete=str(on_delete).upper(),
            on_update=str(on_update).upper(),
            broken=broken,
            parent_sql=f"SELECT 1 FROM main.{quote(name)} WHERE {parent_where} LIMIT 1",
            child_sql=f"SELECT 1 FROM main.{quote(child)} WHERE {child_where} LIMIT 1",
            child_where=child_where,
        )

    def _collations(self, parent: TableSchema, columns: tuple[str, ...]) -> tuple[str, ...] | None:
        """Collations of the parent's columns in the key that is referred to; None: no such key."""
        key = tuple(parent.table.columns[position].lower() for position in parent.table.key)
        for (index,) in self.rows(
            """SELECT name FROM pragma_index_list(?, 'main') WHERE "unique" AND NOT partial""",
            (parent.table.name,),
        ):
            members = {
                str(column or "").lower(): str(collation)
                for column, collation in self.rows(
                    "SELECT name, coll FROM pragma_index_xinfo(?, 'main') WHERE key", (index,)
                )
            }
            if set(members) == set(columns):
                return tuple(members[column] for column in columns)
        if set(columns) == set(key):
            return ("BINARY",) * len(columns)
        return None


def _is_without_rowid(sql: str) -> bool:
    return "WITHOUT" in sql.upper().rsplit(")", 1)[-1]
