"""Executes a connection's statements, each in the way its kind and the moment ask for."""

from __future__ import annotations

import random
import sqlite3
import time
from contextlib import closing, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from raftdjango.backends.sqlite3.capture import journal
from raftdjango.backends.sqlite3.cursor import storage_parameters
from raftdjango.backends.sqlite3.statements import raw_keys
from raftdjango.backends.sqlite3.statements.classify import (
    Kind,
    classify,
    may_fail_halfway,
    savepoint_name,
)
from raftdjango.backends.sqlite3.transactions import commit
from raftdjango.backends.sqlite3.transactions.failures import Failed
from raftdjango.backends.sqlite3.transactions.speculation import Speculation
from raftdjango.backends.sqlite3.transactions.turn import exclusive_turn
from raftdjango.conf import get_settings
from raftdjango.exceptions import NotReplicable, TransactionConflict
from raftdjango.writeset.pinning import unpinnable

if TYPE_CHECKING:
    from raftdjango import writeset
    from raftdjango.backends.sqlite3.cursor import ReplicatedCursor
    from raftdjango.backends.sqlite3.replication import Replication

    _Attempt = tuple[commit.Unit | None, sqlite3.IntegrityError | None]
    """What to propose, and what to raise when that is done."""

ATTEMPTS_MAX = 50
EXCLUSIVE_AFTER = 5
"""Defeats after which nobody else may write until the statement is made: hot counters starve nobody."""
OWN_SAVEPOINT = "raftdjango_statement"
PAUSE_S_MIN, PAUSE_S_MAX = 0.002, 0.25

_SAVEPOINTS = frozenset({Kind.SAVEPOINT, Kind.RELEASE, Kind.ROLLBACK_TO})
_WRITES = frozenset({Kind.WRITE, Kind.SEQUENCE, Kind.SCHEMA})


class Statement:
    """One call of a cursor."""

    __slots__ = ("cursor", "kind", "many", "params", "sql")

    def __init__(self, cursor: ReplicatedCursor, sql: str, params: Any, *, many: bool) -> None:
        self.cursor = cursor
        self.sql = sql
        self.params = params
        self.many = many
        self.kind = classify(sql)

    def run(self) -> None:
        """On the local database."""
        self.cursor.run(self.sql, self.params, many=self.many)


class _View:
    """Whether the local database has been brought up to date for a statement, at most once."""

    def __init__(self, replication: Replication) -> None:
        self._replication = replication
        self._fresh = False

    def renewed_since(self, applied_index: int) -> bool:
        """Refresh, if that was not done yet; is there more now than the statement saw?"""
        if self._fresh:
            return False
        self._fresh = True
        return self._replication.refresh() != applied_index


class Statements:
    """What a connection's cursors call."""

    def __init__(self, replication: Replication, speculation: Speculation) -> None:
        self.replication = replication
        self.speculation = speculation
        self.as_statements = 0
        """Above 0, rows travel as the statements that write them."""

    def execute(self, cursor: ReplicatedCursor, sql: str, params: Any, *, many: bool) -> None:
        """Execute a statement."""
        statement = Statement(cursor, sql, params, many=many)
        self.speculation.check()
        self.replication.nested.settle(statement.kind)
        recorder = self.speculation.recorder
        try:
            if recorder is None:
                self._execute(statement)
            else:
                recorder.execute(statement, self._execute)
        except sqlite3.Error as error:
            # Whatever went wrong after the watchdog had rolled back was caused by that.
            self.speculation.check(error)
            raise

    def _execute(self, statement: Statement) -> None:
        kind = statement.kind
        if kind in _WRITES:
            self._write(statement)
        elif kind is Kind.READ:
            self._read(statement)
        elif kind in _SAVEPOINTS:
            self._savepoint(statement)
        elif kind is Kind.PRAGMA:
            self.speculation.run(statement.run)
        else:
            self._transaction(statement)

    # -- reads ----------------------------------------------------------------------------------

    def _read(self, statement: Statement) -> None:
        speculation = self.speculation
        if self.replication.in_autocommit():
            self.replication.freshness.before_statement()
            speculation.run(statement.run)
            return
        self.replication.ensure_begun()
        self.replication.freshness.inside_block()
        speculation.block.statements += 1
        speculation.run(statement.run)
        block = speculation.block
        reads = block.reads
        # Under the write lock, too: as long as nothing was written the view may be renewed.
        if not block.wrote and reads.complete and not self.replication.nested.active:
            reads.remember(statement.sql, statement.params, statement.cursor.result_digest())

    # -- writes ---------------------------------------------------------------------------------

    def _write(self, statement: Statement) -> None:
        if not self.replication.in_autocommit():
            self._write_in_block(statement)
        elif self.replication.nested.active:
            failures: list[sqlite3.IntegrityError | None] = []
            self.replication.nested.autocommit(
                lambda: failures.append(self._speculate_or_fail(statement))
            )
            _raise(failures[-1])
        else:
            self._autocommit(statement)

    def _write_in_block(self, statement: Statement) -> None:
        speculation = self.speculation
        self.replication.ensure_begun()
        self.replication.freshness.inside_block()
        speculation.start_writing()
        if not self.replication.nested.active:
            self.replication.check_keys(speculation.block.schema_version)
        self.replication.nested.before_write()
        speculation.block.statements += 1
        before = None
        if statement.many or may_fail_halfway(statement.sql):
            before = speculation.capture.length()
        try:
            self._speculate(statement)
        except sqlite3.IntegrityError as error:
            speculation.block.wrote = True  # rows of an OR FAIL, perhaps
            if speculation.doomed is None and not self.replication.nested.active:
                self._note_failed(statement, error, before)
            raise
        if statement.cursor.rowcount != 0:
            speculation.block.wrote = True

    def _note_failed(
        self, statement: Statement, error: sqlite3.IntegrityError, before: int | None
    ) -> None:
        """In a block: what is told to user code now is to be confirmed before the commit."""
        speculation = self.speculation
        failed = Failed(
            statement.sql,
            statement.params,
            statement.many,
            statement.kind is not Kind.WRITE or bool(self.as_statements),
            str(error),
        )
        block = speculation.block
        with speculation.undisturbed():
            block.failures.note(speculation.capture, failed, block.applied_index, before)

    def failure_of(self, failed: Failed) -> str | None:
        """How a statement fails in the present transaction; None if it does not."""
        with closing(self.replication.wrapper.create_cursor()) as cursor:
            statement = Statement(cursor, failed.sql, failed.params, many=failed.many)
            try:
                if failed.as_statement:
                    self._as_statement(statement)
                else:
                    self.speculation.run(statement.run)
            except sqlite3.IntegrityError as error:
                return str(error)
        return None

    def repeat(self, statement: writeset.Statement) -> None:
        """Execute in the present transaction what travelled as a statement."""
        capture, connection = self.speculation.capture, self.speculation.connection
        with self.speculation.undisturbed():
            capture.drop_triggers()
        with capture.guard.as_statement(), capture.pinning.pinned(statement.pins):
            self.speculation.run(lambda: connection.execute(statement.sql, statement.parameters))
        capture.schema_changed()

    def _speculate(self, statement: Statement) -> None:
        """Execute a write on the local database, captured."""
        if statement.kind is not Kind.WRITE or self.as_statements:
            self._as_statement(statement)
            return
        keyless = raw_keys.keyless(
            statement.sql,
            statement.params,
            many=statement.many,
            spec_of=self.speculation.capture.spec,
        )
        if keyless is None:
            self.speculation.run(statement.run)
        else:
            self._run_keyless(statement, keyless)

    def _speculate_or_fail(self, statement: Statement) -> sqlite3.IntegrityError | None:
        """The same in autocommit; the error of an `OR FAIL`, which keeps the rows before it."""
        try:
            self._speculate(statement)
        except sqlite3.IntegrityError as error:
            # Any other statement that fails undoes itself.
            if statement.many or not self.speculation.capture.entries():
                raise
            return error
        return None

    def _run_keyless(self, statement: Statement, keyless: raw_keys.Keyless) -> None:
        """Execute what leaves keys to SQLite, so that it chooses some that no other node gives."""
        reservation = raw_keys.Reservation(self.replication.wrapper, keyless)
        run = partial(self.speculation.run, statement.run)
        if keyless.rows is not None:
            reservation.execute(run)
            return
        self._own_savepoint("SAVEPOINT")
        try:
            reservation.execute_counted(run, self._undo_own)
        finally:
            self._own_savepoint("RELEASE")

    def _as_statement(self, statement: Statement) -> None:
        """Execute what travels as a statement, on the machine's terms that its entry will carry."""
        reason = unpinnable(statement.sql)
        if reason is not None:
            raise NotReplicable(f"Not replicable: {reason}. The statement was: {statement.sql}")
        capture = self.speculation.capture
        with self.speculation.undisturbed():
            capture.drop_triggers()
        pins = journal.new_pins()
        with capture.guard.as_statement(), capture.pinning.pinned(pins):
            self._run_whole(statement)
        capture.schema_changed()
        self.speculation.block.schema_changed = True
        sql = statement.cursor.driver_sql(statement.sql, statement.params)
        # Outside of the transaction, what is noted with foreign keys off would stay.
        with self.speculation.undisturbed():
            for params in statement.params if statement.many else [statement.params]:
                journal.note_statement(capture, sql, storage_parameters(params), pins)

    def _run_whole(self, statement: Statement) -> None:
        """Run it, and undo it if it made a table whose rows could never be replicated.

        Not so inside `as_statements()`: on its way to another primary key the schema editor copies
        through a table that has none.
        """
        speculation = self.speculation
        if statement.kind is not Kind.SCHEMA or self.as_statements:
            speculation.run(statement.run)
            return
        self._own_savepoint("SAVEPOINT")
        try:
            speculation.run(statement.run)
            speculation.capture.schema_changed()
            for table in speculation.guard.created:
                speculation.capture.spec(table)
        except BaseException:
            speculation.check()
            self._own_savepoint("ROLLBACK TO", "RELEASE")
            speculation.capture.schema_changed()
            raise
        self._own_savepoint("RELEASE")

    def _own_savepoint(self, *verbs: str) -> None:
        with self.speculation.guard.unlocked():
            if self.speculation.doomed is not None:
                return  # All is undone already, or about to be.
            for verb in verbs:
                self.speculation.connection.execute(f"{verb} {OWN_SAVEPOINT}")

    def _undo_own(self) -> None:
        self._own_savepoint("ROLLBACK TO")
        self.speculation.capture.undone()

    def _autocommit(self, statement: Statement) -> None:
        """A transaction of its own, executed again when another one came first.

        Nobody has seen anything of it yet, so that running it again is what its place in the log
        asks for.
        """
        self.replication.freshness.before_statement()
        deadline = time.monotonic() + get_settings().commit_timeout_s
        view = _View(self.replication)
        for attempt in range(1, ATTEMPTS_MAX + 1):
            late = attempt > EXCLUSIVE_AFTER
            try:
                with exclusive_turn(self.replication) if late else nullcontext():
                    unit, failure = self._on_fresh_view(statement, view)
                    if unit is not None:
                        commit.propose(self.replication, unit)
                _raise(failure)
            except TransactionConflict:
                if attempt == ATTEMPTS_MAX or time.monotonic() > deadline:
                    raise
                pause(attempt)
            else:
                return

    def _on_fresh_view(self, statement: Statement, view: _View) -> _Attempt:
        """Execute it; "no row" and "constraint failed" are said on a view that is fresh alone."""
        try:
            unit, failure = self._attempt(statement)
        except sqlite3.IntegrityError:
            if not view.renewed_since(self.speculation.block.applied_index):
                raise
            return self._attempt(statement)
        final = unit is not None and failure is None
        if not final and view.renewed_since(self.speculation.block.applied_index):
            return self._attempt(statement)
        return unit, failure

    def _attempt(self, statement: Statement) -> _Attempt:
        speculation = self.speculation
        speculation.begin(immediate=True)
        try:
            self.replication.check_keys(speculation.block.schema_version)
            failure = self._speculate_or_fail(statement)
            return commit.collect(self.replication), failure
        except sqlite3.Error as error:
            # Looked at before it is forgotten.
            speculation.check(error)
            raise
        finally:
            speculation.roll_back()

    # -- savepoints and transactions ------------------------------------------------------------

    def _savepoint(self, statement: Statement) -> None:
        speculation = self.speculation
        name = savepoint_name(statement.sql)
        if self.replication.wrapper.autocommit:
            raise NotReplicable(
                "Not replicable: a savepoint outside a transaction would be a transaction of its "
                "own. Use django.db.transaction.atomic()."
            )
        self.replication.ensure_begun()
        if statement.kind is Kind.SAVEPOINT:
            speculation.run(statement.run)
            speculation.savepoint(name)
        elif statement.kind is Kind.ROLLBACK_TO:
            speculation.run(statement.run)
            speculation.rolled_back_to(name)
        elif self.replication.nested.is_outermost(name):
            self.replication.nested.commit(name, statement)
        else:
            speculation.run(statement.run)
            speculation.released(name)

    def _transaction(self, statement: Statement) -> None:
        if statement.kind is Kind.TRANSACTION and self.replication.beginning:
            self.replication.begin()
            return
        word = statement.sql.split(maxsplit=1)[0].upper()
        if statement.kind is Kind.REFUSED:
            raise NotReplicable(
                f"Not replicable: {word} would work on this machine's database file alone."
            )
        raise NotReplicable(
            f"Not replicable: {word} in SQL would go around replication. "
            "Use django.db.transaction (atomic(), commit(), rollback())."
        )


def _raise(error: Exception | None) -> None:
    if error is not None:
        raise error


def pause(attempt: int) -> None:
    """Wait a random while, up to a bound that doubles with each attempt."""
    time.sleep(random.uniform(0, min(PAUSE_S_MAX, PAUSE_S_MIN * 2**attempt)))  # noqa: S311
