"""The product's own tables: their names, their schema, and how to read them.

They live in the replicated database, are changed by the applier alone, and hold nothing that is
true of one node only: databases must be equal row for row at equal applied index.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

from raftdjango.applier.faults import EnvironmentFault
from raftdjango.writeset import Verdict, decode_verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "raftdjango_"
STATE = "raftdjango_state"
OUTCOME = "raftdjango_outcome"
MEMBER = "raftdjango_member"
KEY = "raftdjango_key"
LOCK = "raftdjango_lock"
CHANGES = "raftdjango_changes"
TABLES = (STATE, OUTCOME, MEMBER, KEY, LOCK, CHANGES)

FORMAT = 2
"""Of these tables.  A change of it is an entry in the log, so that all nodes change together; 1 was
never released."""

OUTCOME_GRACE_MS = 120_000
"""Outcomes outlive their proposal's expiry, so that a late duplicate and `resolve()` meet them."""

_SCHEMA = (
    f"""CREATE TABLE {STATE} (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        format INTEGER NOT NULL,
        applied_index INTEGER NOT NULL,
        applied_term INTEGER NOT NULL,
        time_ms INTEGER NOT NULL,
        schema_version INTEGER NOT NULL,
        cluster_id BLOB,
        group_name TEXT)""",
    f"""CREATE TABLE {OUTCOME} (
        proposal_id BLOB NOT NULL PRIMARY KEY,
        expires_at_ms INTEGER NOT NULL,
        log_index INTEGER NOT NULL,
        verdict BLOB NOT NULL) WITHOUT ROWID""",
    f"CREATE INDEX {OUTCOME}_expires ON {OUTCOME} (expires_at_ms)",
    f"""CREATE TABLE {MEMBER} (
        node_id TEXT NOT NULL PRIMARY KEY,
        url TEXT NOT NULL,
        incarnation BLOB)""",
    f"CREATE TABLE {KEY} (table_name TEXT NOT NULL PRIMARY KEY, next_key INTEGER NOT NULL)",
    f"""CREATE TABLE {LOCK} (
        name TEXT NOT NULL PRIMARY KEY,
        holder BLOB NOT NULL,
        until_ms INTEGER NOT NULL)""",
    f"""CREATE TABLE {CHANGES} (
        name TEXT NOT NULL PRIMARY KEY,
        log_index INTEGER NOT NULL) WITHOUT ROWID""",
    f"INSERT INTO {STATE} VALUES (1, {FORMAT}, 0, 0, 0, 0, NULL, NULL)",
)


@dataclass(frozen=True, slots=True)
class AppliedState:
    """How far a database has come."""

    applied_index: int = 0
    applied_term: int = 0
    time_ms: int = 0
    """Cluster time of the last applied entry."""
    schema_version: int = 0
    """Log index of the last applied entry with a statement in it."""
    cluster_id: bytes | None = None
    group_name: str | None = None


def quote(name: str) -> str:
    """An identifier as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def _names(connection: sqlite3.Connection, where: str) -> Iterator[str]:
    cursor = connection.cursor()
    cursor.row_factory = None
    for (name,) in cursor.execute(
        f"SELECT name FROM main.sqlite_master WHERE {where} ORDER BY name"
    ):
        yield str(name)


def has_tables(connection: sqlite3.Connection) -> bool:
    """Has this database been prepared?"""
    return STATE in _names(connection, f"type = 'table' AND name = '{STATE}'")


def strangers(connection: sqlite3.Connection) -> list[str]:
    """Names with the product's prefix that are not its own: something tries to look like it."""
    known = {*TABLES, f"{OUTCOME}_expires"}
    found = _names(connection, "name LIKE 'raftdjango\\_%' ESCAPE '\\'")
    return [name for name in found if name not in known]


def create_tables(connection: sqlite3.Connection) -> None:
    """Make the product's tables; inside the caller's transaction."""
    for statement in _SCHEMA:
        connection.execute(statement)


def read_state(connection: sqlite3.Connection) -> AppliedState | None:
    """How far this database has come; None where the product's tables are not there."""
    if not has_tables(connection):
        return None
    cursor = connection.cursor()
    cursor.row_factory = None
    row = cursor.execute(
        "SELECT format, applied_index, applied_term, time_ms, schema_version, cluster_id, group_name"
        f" FROM main.{STATE} WHERE id = 1"
    ).fetchone()
    if row is None:
        raise EnvironmentFault(f"The table {STATE} has lost its row: the database is damaged.")
    table_format, *values = row
    if table_format < FORMAT:
        raise EnvironmentFault(
            f"The database's {PREFIX}* tables have format {table_format}, of a version of raftdjango "
            f"before its first release, and this version knows format {FORMAT} alone. Begin with a "
            "new database (load what dumpdata of the old version gives)."
        )
    if table_format != FORMAT:
        raise EnvironmentFault(
            f"The database's {PREFIX}* tables have format {table_format}, and this version of "
            f"raftdjango knows format {FORMAT}. Upgrade this node."
        )
    return AppliedState(*values)


def write_state(cursor: sqlite3.Cursor, state: AppliedState) -> None:
    """Note how far the database has come; its identity stays."""
    cursor.execute(
        f"UPDATE main.{STATE} SET applied_index = ?, applied_term = ?, time_ms = ?,"
        " schema_version = ? WHERE id = 1",
        (state.applied_index, state.applied_term, state.time_ms, state.schema_version),
    )


def stored_outcome(
    connection: sqlite3.Connection, proposal_id: bytes
) -> tuple[Verdict, int] | None:
    """The verdict on a proposal and its log index; None where it is unknown (or long expired)."""
    cursor = connection.cursor()
    cursor.row_factory = None
    row = cursor.execute(
        f"SELECT verdict, log_index FROM main.{OUTCOME} WHERE proposal_id = ?", (proposal_id,)
    ).fetchone()
    return None if row is None else (decode_verdict(row[0]), row[1])


def foreign_tables(connection: sqlite3.Connection) -> list[str]:
    """Tables and views that are neither SQLite's nor the product's own."""
    return list(
        _names(
            connection,
            "type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
            " AND name NOT LIKE 'raftdjango\\_%' ESCAPE '\\'",
        )
    )
