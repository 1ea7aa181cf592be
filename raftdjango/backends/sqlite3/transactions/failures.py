"""Constraints that failed inside a block: before it commits, each has to fail on a fresh view as well.

User code has seen the error and gone on, so it must have been true of what the cluster had committed.
Each statement is executed again amid the rows that the block had written by then, whatever became of
them later, in a transaction that is always rolled back.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from raftdjango.backends.sqlite3.capture.journal import changes_between, statement_of
from raftdjango.backends.sqlite3.capture.own_actions import in_order
from raftdjango.backends.sqlite3.capture.tables import TableSpec, quote
from raftdjango.backends.sqlite3.capture.triggers import DELETED, INSERTED, NEW, OLD, STATEMENT
from raftdjango.exceptions import NotReplicable, TransactionConflict
from raftdjango.writeset import Row, Table, row_digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from raftdjango.backends.sqlite3.capture.triggers import Capture
    from raftdjango.backends.sqlite3.replication import Replication

    JournalRow = tuple[int | None, str, Row]

FAILURES_MAX = 16
"""Failures of one block that are confirmed."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A statement that met an `IntegrityError`."""

    sql: str
    params: Any
    many: bool
    as_statement: bool
    """Whether it would have travelled as such."""
    message: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Where and amid what it failed."""

    statement: Failed
    applied_index: int
    rows: list[JournalRow]
    """What the journal held before it."""
    may_have_left_rows: bool
    foreign_keys_deferred: bool


@dataclass(slots=True)
class Failures:
    """Those of one block."""

    met: list[Failure] = field(default_factory=list)
    too_many: bool = False
    specs: dict[int, TableSpec] = field(default_factory=dict)
    """By the numbers in the journal's rows; of those undone, `Capture` forgets them."""
    _intact: int = 0
    """How many rows of the last failure the journal still holds."""

    def note(
        self, capture: Capture, statement: Failed, applied_index: int, before: int | None
    ) -> None:
        """A statement has just failed; `before`: the journal's length, where it may have left rows."""
        if len(self.met) >= FAILURES_MAX:
            self.too_many = True
            return
        # The rows themselves are shared between failures: a long journal is copied once.
        rows = self.met[-1].rows[: self._intact] if self.met else []
        rows += capture.entries(after=len(rows))
        if before is not None:
            del rows[before:]
        self._intact = len(rows)
        self.specs.update(capture.specs)
        (deferred,) = capture.connection.execute("PRAGMA defer_foreign_keys").fetchone()
        left = before is not None
        self.met.append(Failure(statement, applied_index, rows, left, bool(deferred)))

    def undone(self, capture: Capture) -> None:
        """The block was rolled back to a savepoint."""
        if self.met:
            self._intact = min(self._intact, capture.length())


def confirm(replication: Replication, failures: Failures) -> None:
    """Raise a conflict unless every failure is met on a fresh view; call it without a transaction."""
    now = replication.refresh()
    if failures.met[0].applied_index == now:
        return  # As were those that came later.
    repetition = _Repetition(replication, failures.specs)
    try:
        confirmed = not failures.too_many and all(map(repetition.fails_again, failures.met))
    finally:
        replication.speculation.roll_back()
    if not confirmed:
        raise TransactionConflict(
            "A constraint failed inside the transaction on a view of the database that was no "
            "longer current. Nothing was written; run it again.",
            log_index=now,
        )


class _Different(Exception):
    """What the block wrote could not have been written on this view."""


class _Repetition:
    """The block's way up to each failure, on a fresh view."""

    def __init__(self, replication: Replication, specs: dict[int, TableSpec]) -> None:
        self._statements = replication.statements
        self._speculation = replication.speculation
        self._connection = replication.speculation.connection
        self._specs = specs
        self._rows: list[JournalRow] | None = None
        """Those that are written in the present transaction; None: begin another."""
        self._old: Row = ()

    def fails_again(self, failure: Failure) -> bool:
        """Whether the statement fails now as it failed then."""
        try:
            self._write(failure)
            message = self._statements.failure_of(failure.statement)
        except sqlite3.Error:
            self._speculation.check()
            return False
        except (_Different, NotReplicable):
            return False
        if failure.may_have_left_rows:
            self._rows = None
        return message == failure.statement.message

    def _write(self, failure: Failure) -> None:
        written, self._rows = self._rows, None
        if written is None or failure.rows[: len(written)] != written:
            written = []
            self._speculation.roll_back()
            self._speculation.begin(immediate=True)
        # Each row was legal where it was written, but of a cascade the last comes first.
        self._defer_foreign_keys(deferred=True)
        for row in in_order(failure.rows[len(written) :], self._specs):
            self._repeat(*row)
        self._defer_foreign_keys(deferred=failure.foreign_keys_deferred)
        self._rows = failure.rows

    def _defer_foreign_keys(self, *, deferred: bool) -> None:
        with self._speculation.undisturbed():
            self._connection.execute(f"PRAGMA defer_foreign_keys = {int(deferred)}")

    def _repeat(self, number: int | None, op: str, values: Row) -> None:
        if op == STATEMENT:
            self._statements.repeat(statement_of(values))
            return
        assert number is not None
        spec = self._specs[number]
        row = values[: len(spec.table.columns)]
        if op == INSERTED:
            self._change(insert_sql(spec.table), row)
        elif op == OLD:
            self._old = row
        elif op == NEW:
            self._update(spec, self._old, row)
        elif op == DELETED:
            self._must_be_there(spec, row)
            self._change(delete_sql(spec.table), spec.table.key_of(row))

    def _update(self, spec: TableSpec, old: Row, new: Row) -> None:
        self._must_be_there(spec, old)
        changes = changes_between(old, new)
        if changes:
            columns, values = zip(*changes, strict=True)
            self._change(update_sql(spec.table, columns), (*values, *spec.table.key_of(old)))

    def _must_be_there(self, spec: TableSpec, row: Row) -> None:
        with self._speculation.undisturbed():
            key = spec.table.key_of(row)
            found = self._connection.execute(spec.select_sql, key).fetchone()
        if found is None or row_digest(found) != row_digest(row):
            raise _Different

    def _change(self, sql: str, values: Sequence[Any]) -> None:
        # Captured again, as any write of this connection: what is compiled once may come again.
        self._speculation.run(lambda: self._connection.execute(sql, values))


@lru_cache(maxsize=256)
def insert_sql(table: Table) -> str:
    """Of a whole row; OR ABORT, whatever the table says of conflicts."""
    names = ", ".join(map(quote, table.columns))
    marks = ", ".join("?" * len(table.columns))
    return f"INSERT OR ABORT INTO main.{quote(table.name)} ({names}) VALUES ({marks})"


@lru_cache(maxsize=256)
def update_sql(table: Table, columns: tuple[int, ...]) -> str:
    """Of some columns, by key."""
    changes = ", ".join(f"{quote(table.columns[place])} = ?" for place in columns)
    return f"UPDATE OR ABORT main.{quote(table.name)} SET {changes} WHERE {_by_key(table)}"


@lru_cache(maxsize=256)
def delete_sql(table: Table) -> str:
    """By key."""
    return f"DELETE FROM main.{quote(table.name)} WHERE {_by_key(table)}"


def _by_key(table: Table) -> str:
    return " AND ".join(f"{quote(table.columns[place])} = ?" for place in table.key)
