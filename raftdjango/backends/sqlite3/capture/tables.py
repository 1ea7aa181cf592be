"""Tables as write-sets mean them, read from the database's own catalogue."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from raftdjango.exceptions import NotReplicable
from raftdjango.writeset import Table

if TYPE_CHECKING:
    import sqlite3

_ACTION = re.compile(r"\bON\s+(UPDATE|DELETE)\b", re.IGNORECASE)


def quote(name: str) -> str:
    """An identifier for SQL."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True)
class TableSpec:
    """A table and what else capturing it needs to know."""

    table: Table
    autoincrement: bool
    """Whether `sqlite_sequence` keeps its keys."""
    rowid_key: str | None
    """Name of the INTEGER PRIMARY KEY column, whose keys SQLite may choose."""
    key_types: tuple[str, ...]
    """As declared, in capitals, in the order of the key."""
    select_sql: str
    """Selects a row by key, in storage classes."""
    has_actions: bool
    """Whether actions of its foreign keys may change its rows."""

    @property
    def name(self) -> str:
        """The table's name."""
        return self.table.name


def read_spec(connection: sqlite3.Connection, name: str) -> TableSpec:
    """Read a table's spec; `NotReplicable` where its rows cannot travel."""
    found = connection.execute(
        "SELECT type, sql, name FROM main.sqlite_master WHERE name = ? COLLATE NOCASE"
        " AND type IN ('table', 'view')",
        (name,),
    ).fetchone()
    if found is None:
        raise NotReplicable(f'Not replicable: there is no table "{name}" in the database.')
    kind, sql, name = found  # As it was declared: names are compared without regard to case.
    if kind == "view":
        raise NotReplicable(f'Not replicable: "{name}" is a view; write the tables behind it.')
    if sql.lstrip()[:22].upper().split()[:2] == ["CREATE", "VIRTUAL"]:
        raise NotReplicable(
            f'Not replicable: "{name}" is a virtual table. '
            "Keep it in a database that is not replicated."
        )
    _refuse_triggers(connection, name)
    return _spec(connection, name, sql)


def _refuse_triggers(connection: sqlite3.Connection, name: str) -> None:
    triggers = connection.execute(
        "SELECT name FROM main.sqlite_master WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE",
        (name,),
    ).fetchall()
    if triggers:
        raise NotReplicable(
            f'Not replicable: the table "{name}" has the trigger "{triggers[0][0]}", which would '
            "fire again on every node. Drop it in a migration and do its work in code."
        )


def _spec(connection: sqlite3.Connection, name: str, sql: str) -> TableSpec:
    columns: list[str] = []
    ranked: list[tuple[int, int]] = []
    types: list[str] = []
    for row in connection.execute(f"PRAGMA main.table_xinfo({quote(name)})"):
        _, column, declared, _, _, rank, hidden = row
        if hidden:
            if rank:
                raise NotReplicable(
                    f'Not replicable: the primary key of "{name}" holds a generated column.'
                )
            continue
        if rank:
            ranked.append((rank, len(columns)))
        columns.append(column)
        types.append(declared.upper())
    if not ranked:
        raise NotReplicable(
            f'Not replicable: the table "{name}" has no primary key, so that its rows have no '
            "name that is the same on every node. Declare one."
        )
    key = tuple(position for _, position in sorted(ranked))
    table = Table(name, tuple(columns), key)
    lone = key[0] if len(key) == 1 else None
    return TableSpec(
        table=table,
        autoincrement="AUTOINCREMENT" in sql.upper(),
        rowid_key=columns[lone] if lone is not None and types[lone] == "INTEGER" else None,
        key_types=tuple(types[position] for position in key),
        # Unary plus hides the declared type, or the driver's converters would change the values.
        select_sql="SELECT {} FROM main.{} WHERE {}".format(
            ", ".join(f"+{quote(column)}" for column in columns),
            quote(name),
            " AND ".join(f"{quote(columns[position])} = ?" for position in key),
        ),
        has_actions=_ACTION.search(sql) is not None,
    )
