"""A database with an applier, as one node has it, and short ways to give it entries."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from raftdjango.applier import Applied, Applier, LogEntry, open_database
from raftdjango.writeset import (
    Body,
    Command,
    Delete,
    Insert,
    Operation,
    Pins,
    Query,
    Row,
    Statement,
    Table,
    Update,
    ValidatedRead,
    Verdict,
    WriteSet,
    encode_command,
    row_digest,
    rows_digest,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

PINS = Pins(b"seed", "2026-02-03 04:05:06.789")
NEVER_MS = 10**9


def sql(text: str, *parameters: Any, pins: Pins = PINS) -> Statement:
    return Statement(text, parameters, pins)


class Replica:
    """One node's database.  Every method applies through the log; nothing writes around it."""

    def __init__(self, *schema: str, path: Path | str = ":memory:") -> None:
        self.connection = open_database(path)
        self.applier = Applier(self.connection)
        self.applier.prepare()
        self.proposals = 0
        self.time_ms = 1000
        if schema:
            self.apply(*map(sql, schema))

    # Proposing

    def command(self, *operations: Operation, **options: Any) -> bytes:
        """A command with a write-set of these operations, on the present schema."""
        version = options.pop("schema_version", self.applier.state.schema_version)
        return self.wrap(WriteSet(version, operations, **options))

    def wrap(self, body: Body, *, expires_at_ms: int = NEVER_MS, proposal_id: bytes = b"") -> bytes:
        self.proposals += 1
        proposal_id = proposal_id or b"%024d" % self.proposals
        return encode_command(Command(proposal_id, expires_at_ms, body))

    def apply(self, *operations: Operation, **options: Any) -> Verdict:
        """One entry with these operations; its verdict."""
        return self.submit(self.command(*operations, **options))

    def do(self, body: Body) -> Verdict:
        return self.submit(self.wrap(body))

    def submit(self, command: bytes | None) -> Verdict:
        (applied,) = self.batch([command])
        return applied.verdict  # type: ignore[return-value]

    def entries(self, commands: Iterable[bytes | None]) -> list[LogEntry]:
        following = self.applier.state.applied_index + 1
        made = [
            LogEntry(following + n, 1, self.time_ms + n, command)
            for n, command in enumerate(commands)
        ]
        self.time_ms += len(made)
        return made

    def batch(self, commands: Iterable[bytes | None]) -> list[Applied]:
        return self.applier.apply_batch(self.entries(commands))

    # Captured operations, as a worker would have made them from the database as it is now

    def row(self, table: Table, *key: Any) -> Row:
        columns = ", ".join(f'+"{name}"' for name in table.columns)
        where = " AND ".join(f'"{table.columns[place]}" IS ?' for place in table.key)
        found = self.select(f'SELECT {columns} FROM "{table.name}" WHERE {where}', *key)
        return found[0] if found else ()

    def insert(self, table: Table, *row: Any) -> Insert:
        return Insert(table, row)

    def update(self, table: Table, *key: Any, **changes: Any) -> Update:
        pairs = tuple((table.columns.index(name), value) for name, value in changes.items())
        return Update(table, key, row_digest(self.row(table, *key)), pairs)

    def delete(self, table: Table, *key: Any) -> Delete:
        return Delete(table, key, row_digest(self.row(table, *key)))

    def read(self, table: Table, *key: Any) -> ValidatedRead:
        row = self.row(table, *key)
        return ValidatedRead(table, key, row_digest(row) if row else b"")

    def query(
        self, text: str, parameters: Row = (), tables: tuple[str, ...] = (), *, stale: bool = False
    ) -> Query:
        """A query that a serializable transaction made; `stale`: of rows that are no more."""
        try:
            rows = self.select(text, *parameters)
        except sqlite3.Error:
            rows = []
        columns = len(rows[0]) if rows else text.partition("FROM")[0].count(",") + 1
        digest = rows_digest([*rows, ("stale",)] if stale else rows)
        return Query(text, parameters, columns, len(rows) + stale, digest, tables)

    # Looking

    def select(self, text: str, *parameters: Any) -> list[Any]:
        return self.connection.execute(text, parameters).fetchall()

    def dump(self) -> dict[str, list[Any]]:
        """Everything in the database, the product's tables and the schema included."""
        tables = self.select(
            "SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY name"
        )
        contents = {
            name: sorted(self.select(f'SELECT * FROM "{name}"'), key=repr) for name, _ in tables
        }
        contents["sqlite_master"] = tables
        return contents
