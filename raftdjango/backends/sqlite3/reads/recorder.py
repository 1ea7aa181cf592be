"""What a serializable block reads, so that its entry can carry it and every node's applier check it.

Each statement's tables are known from SQLite itself (`facts`).  A query that says the same wherever its
tables hold the same rows, made before the block wrote to any of them, travels with a digest of its
result and is repeated at its place in the log; of anything else the tables must not have changed.  In
doubt it is the tables: that costs a conflict, never a wrong answer.

What a savepoint undid was read all the same.  Rows changed by key, and rows inserted, need no reading
at all: their before-images, constraints and foreign keys are checked as in any block.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

from raftdjango.backends.sqlite3.statements.blind import NotLiteral, storage_row
from raftdjango.backends.sqlite3.statements.classify import Kind
from raftdjango.backends.sqlite3.statements.facts import ANY_TABLE, Facts
from raftdjango.writeset import (
    Query,
    Reads,
    may_be_parameters,
    pack_row,
    repeatable,
    rows_digest,
    storage_sql,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from raftdjango.backends.sqlite3.replication import Replication
    from raftdjango.backends.sqlite3.statements.execution import Statement
    from raftdjango.writeset import Row

QUERIES_MAX, QUERY_BYTES_MAX = 256, 128 * 1024
"""Queries that travel with one entry; of those beyond, the tables are checked."""
ROWS_MAX = 1_000
"""Rows of a query that is repeated."""
REPEAT_S_MAX = 0.25
"""Queries of a block that take longer here, together, would hold up the applier of every node."""

_STORAGE = frozenset({type(None), int, float, str, bytes})
_CONVERTERS = frozenset({"BOOL", "DATE", "DATETIME", "TIME", "TIMESTAMP"})
"""Python's and Django's.  What they give is none of the storage classes."""
_EXPLAIN = re.compile(r"\s*EXPLAIN\b", re.IGNORECASE)
_PRAGMA_READS_ROWS = re.compile(r"foreign_key_check|integrity_check|quick_check", re.IGNORECASE)
_INSERT = re.compile(r"\s*INSERT\s+INTO\b", re.IGNORECASE)
_LOOKS_FURTHER = re.compile(r"\b(?:SELECT|FROM|IN|OR|CONFLICT)\b", re.IGNORECASE)
"""Words without which an INSERT, or what an UPDATE sets, cannot depend on other rows."""
_BY_KEY = re.compile(
    r'(?:UPDATE (?P<updated>"(?:[^"]|"")+") SET (?P<set>.+)|DELETE FROM (?P<deleted>"(?:[^"]|"")+"))'
    r' WHERE (?P<column>"(?:[^"]|"")+"\."(?:[^"]|"")+")'
    r" (?:= (?P<one>%s)|IN \((?P<several>%s(?:, %s)*)\))",
    re.DOTALL,
)

_ORDERED = re.compile(
    r'SELECT .+ FROM (?P<table>"(?:[^"]|"")+")(?: WHERE .+)? ORDER BY (?:.+, )?'
    r'(?P<column>"(?:[^"]|"")+"\."(?:[^"]|"")+") (?:ASC|DESC) LIMIT \d+',
    re.DOTALL,
)
"""Of one table, as Django's compilers write it."""
_FROM = re.compile(r"\bFROM\b", re.IGNORECASE)


class Recorder:
    """The reads of one block so far."""

    def __init__(self, replication: Replication) -> None:
        self._replication = replication
        self._speculation = replication.speculation
        self._facts = self._speculation.facts
        # Dictionaries as ordered sets.
        self._tables: dict[str, None] = {}
        self._queries: dict[tuple[str, Row], Query] = {}
        self._bytes, self._elapsed_s = 0, 0.0
        self._written: dict[str, None] = {}
        self._schema_changed = False

    def reads(self, log_index: int) -> Reads:
        """All of them, of a snapshot that shows the log up to this index."""
        if ANY_TABLE in self._tables:
            return Reads(log_index, (ANY_TABLE,), ())
        queries = (q for q in self._queries.values() if not self._tables.keys() >= set(q.tables))
        return Reads(log_index, tuple(self._tables), tuple(queries))

    # -- statements -----------------------------------------------------------------------------

    def execute(self, statement: Statement, execute: Callable[[Statement], None]) -> None:
        """Execute a statement of the block and note what it has told."""
        began = time.monotonic()
        try:
            execute(statement)
        except sqlite3.Error:
            if self._speculation.doomed is None:
                self._failed(statement)
            raise
        elapsed_s = time.monotonic() - began
        with self._speculation.undisturbed():
            self._done(statement, elapsed_s)

    def _done(self, statement: Statement, elapsed_s: float) -> None:
        kind = statement.kind
        if kind is Kind.READ:
            if not _EXPLAIN.match(statement.sql):
                self._read(statement, elapsed_s)
        elif kind is Kind.PRAGMA:
            if _PRAGMA_READS_ROWS.search(statement.sql):
                self._depends_on([ANY_TABLE])
        elif kind is Kind.ROLLBACK_TO:
            # What was told of the rows that were written, and of keys that were free, was told.
            self._depends_on(self._written)
        elif kind is Kind.WRITE and not self._replication.statements.as_statements:
            self._wrote(statement)
        elif kind in {Kind.WRITE, Kind.SEQUENCE, Kind.SCHEMA}:
            self._schema_changed = True
            self._facts.forget()
            self._depends_on([ANY_TABLE])

    def _failed(self, statement: Statement) -> None:
        """An error tells something of the rows, too."""
        with self._speculation.undisturbed():
            facts = self._facts_of(statement)
            self._depends_on(facts.read | facts.written)

    def _depends_on(self, tables: Iterable[str]) -> None:
        """Have the tables checked at commit, from this snapshot on.

        That the block would have come so far on a newer one nobody could tell, so it must not move on.
        """
        self._tables.update(dict.fromkeys(tables))
        self._speculation.block.reads.give_up()

    def _facts_of(self, statement: Statement) -> Facts:
        parameters = statement.params
        if statement.many:
            parameters = next(iter(parameters), ())
        sql = driver_sql(statement, parameters)
        return self._facts.of(sql, parameters or (), keep=not self._schema_changed)

    # -- reads ----------------------------------------------------------------------------------

    def _read(self, statement: Statement, elapsed_s: float) -> None:
        facts = self._facts_of(statement)
        if self._tables.keys() >= facts.read:
            return
        quick = self._elapsed_s + elapsed_s <= REPEAT_S_MAX
        if quick and facts.plain and self._note_query(statement, facts):
            self._elapsed_s += elapsed_s
        else:
            self._tables.update(dict.fromkeys(facts.read))

    def _note_query(self, statement: Statement, facts: Facts) -> bool:
        """Have the query repeated, if it can be."""
        rows = statement.cursor.rows
        if rows is None or len(rows) > ROWS_MAX or isinstance(statement.params, Mapping):
            return False
        if self._schema_changed or not facts.read.isdisjoint(self._written):
            return False
        sql = driver_sql(statement, statement.params)
        query = repeatable(sql)
        if query is None or not query.shows_order(len(rows)):
            return False
        if not (query.is_whole(len(rows)) or self._in_total_order(sql)):
            return False
        try:
            parameters = storage_row(statement.params or ())
        except NotLiteral:
            return False
        if not may_be_parameters(parameters):
            return False
        if (sql, parameters) in self._queries:
            return True
        self._bytes += len(sql) + len(pack_row(parameters))
        if len(self._queries) >= QUERIES_MAX or self._bytes > QUERY_BYTES_MAX:
            return False
        columns = len(statement.cursor.description)
        stored = self._storage_rows(rows, sql, parameters, columns)
        tables = tuple(sorted(facts.read))
        self._queries[sql, parameters] = Query(
            sql, parameters, columns, len(rows), rows_digest(stored), tables
        )
        return True

    def _in_total_order(self, sql: str) -> bool:
        """Whether its ORDER BY leaves no choice which rows a LIMIT leaves: it ends with the key."""
        match = _ORDERED.fullmatch(sql)
        if match is None or len(_FROM.findall(sql)) != 1:
            return False
        quoted = self._replication.quoted(match["table"])
        if quoted is None or quoted.key != match["column"]:
            return False
        # No row is without this key, and none has another one's.
        return self._speculation.capture.spec(quoted.source.name).rowid_key is not None

    def _storage_rows(
        self, rows: Iterable[Row], sql: str, parameters: Row, columns: int
    ) -> Iterable[Row]:
        """The rows as SQLite has them, before converters."""
        connection = self._speculation.connection
        known = _CONVERTERS.issuperset(sqlite3.converters) and connection.text_factory is str
        if known and all(_STORAGE.issuperset(map(type, row)) for row in rows):
            return rows
        with connection.plain(), closing(connection.cursor()) as cursor:
            found: list[Row] = cursor.execute(storage_sql(sql, columns), parameters).fetchall()
            return found

    # -- writes ---------------------------------------------------------------------------------

    def _wrote(self, statement: Statement) -> None:
        facts = self._facts_of(statement)
        self._written.update(dict.fromkeys(facts.written))
        if ANY_TABLE in facts.written:
            self._schema_changed = True
        if not (self._only_inserted(statement, facts) or self._found_by_key(statement)):
            self._depends_on(facts.read | facts.written)

    def _only_inserted(self, statement: Statement, facts: Facts) -> bool:
        """Whether it put known rows where none were, which the applier's constraints check."""
        if facts.resolves_conflicts or not _INSERT.match(statement.sql):
            return False
        return _LOOKS_FURTHER.search(statement.sql) is None

    def _found_by_key(self, statement: Statement) -> bool:
        """Whether it changed the rows of all keys that it names, whose before-images are checked."""
        match = _BY_KEY.fullmatch(statement.sql)
        if match is None or isinstance(statement.params, Mapping):
            return False
        if match["set"] is not None and (
            " WHERE " in match["set"] or _LOOKS_FURTHER.search(match["set"])
        ):
            return False
        table = match["updated"] or match["deleted"]
        quoted = self._replication.quoted(table)
        if quoted is None or quoted.key != match["column"]:
            return False
        keys = 1 if match["one"] else match["several"].count("%s")
        times = len(statement.params) if statement.many else 1
        return bool(statement.cursor.rowcount == keys * times)


def driver_sql(statement: Statement, parameters: Any) -> str:
    """The statement as SQLite gets it."""
    if parameters is None:
        return statement.sql
    names: Sequence[str] | None = list(parameters) if isinstance(parameters, Mapping) else None
    return str(statement.cursor.convert_query(statement.sql, param_names=names))
