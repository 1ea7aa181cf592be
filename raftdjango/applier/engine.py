"""Entry and database in, verdict out: the one place where replicated rows are written.

Applying is a pure function of the database and the entry; where a batch begins and ends must not
show.  So several entries share a COMMIT, each in its own savepoint, because nothing of a verdict is
left to COMMIT: foreign keys are checked by look-ups at the entry's end.  An entry with statements
has its own transaction, since SQLite's foreign keys are switched for it.
"""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from raftdjango.applier import commands, reads, tables
from raftdjango.applier.changes import Changes
from raftdjango.applier.entries import Applied
from raftdjango.applier.faults import (
    EnvironmentFault,
    OutOfOrder,
    Refused,
    VerificationFailed,
    environment_fault,
    is_too_long,
)
from raftdjango.applier.foresight import foresee
from raftdjango.applier.groups import groups, light_bounds, light_group
from raftdjango.applier.keys import after_statements, keys_followed
from raftdjango.applier.lock import Lock
from raftdjango.applier.operations import SCHEMA, Operations
from raftdjango.applier.outcomes import PRUNE_EVERY, Outcomes
from raftdjango.applier.references import deferred_actions
from raftdjango.applier.schema import Schema
from raftdjango.applier.statements import run_statement
from raftdjango.applier.tables import AppliedState
from raftdjango.applier.whereabouts import Whereabouts
from raftdjango.writeset import (
    FormCluster,
    Statement,
    Verdict,
    VerdictKind,
    WriteSet,
    decode_command,
)
from raftdjango.writeset.digests import expected_digest
from raftdjango.writeset.pinning import Pinning

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from raftdjango.applier.entries import LogEntry
    from raftdjango.applier.groups import Group
    from raftdjango.writeset import Body, Command

PATIENCE_S = 5.0
WAL_PAGES = 1000
"""From so many pages in SQLite's write-ahead log on, a COMMIT makes a checkpoint; its own default."""

_ENTRY = "raftdjango_entry"
_NESTED = "raftdjango_nested"

_EXPIRED = Verdict(VerdictKind.EXPIRED)
_SCHEMA_CONFLICT = Verdict(VerdictKind.CONFLICT, message=SCHEMA)


class Applier:
    """Applies entries to one database, on one connection, in one thread at a time."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        nested: bool = False,
        waiting: Callable[[int], AbstractContextManager[object]] = nullcontext,
        patience_s: float = PATIENCE_S,
        pinning: Pinning | None = None,
    ) -> None:
        """`waiting(since_ns)` surrounds the wait for a write lock that somebody else holds.

        `nested`: the connection is a test's own, in a transaction of its own (`apply_nested`);
        `pinning` then is the one that the connection already has, if any.
        """
        self._connection = connection
        self._nested = nested
        self._pinning = pinning or Pinning(connection, outside="real" if nested else "refused")
        self._schema = Schema(connection)
        self._operations = Operations(connection, self._schema, self._run_statement)
        self._cursor = connection.cursor()
        self._cursor.row_factory = None
        self._whereabouts = Whereabouts(connection)
        self._state = AppliedState()
        self._next_state = self._state
        self._foreign_keys: bool | None = None
        self._outcomes = Outcomes(self._cursor)
        self._changes = Changes(self._cursor)
        self.unhurried: Callable[[], bool] = lambda: False
        """Asked again and again while somebody else has the write lock, by whoever applies: whether
        nothing that waits for it is urgent.  Until it says no, workers are not asked to give way."""
        self._lock = Lock(
            self._cursor,
            waiting=waiting,
            unhurried=lambda: self.unhurried(),
            patience_s=patience_s,
        )
        self._alone = False
        self._may_checkpoint = True

    @property
    def state(self) -> AppliedState:
        """How far the database has come, as of the last COMMIT of this applier."""
        return self._state

    def prepare(self) -> None:
        """Make the product's tables where they are missing, and read how far the database is."""
        if not tables.has_tables(self._connection):
            if self._nested:
                tables.create_tables(self._connection)
            else:
                self._switch_foreign_keys(on=False)
                self._lock.begin()
                tables.create_tables(self._connection)
                self._cursor.execute("COMMIT")
        self._read_state()

    def _read_state(self) -> None:
        state = tables.read_state(self._connection)
        if state is None:
            raise EnvironmentFault("The database is not prepared: it has no raftdjango_* tables.")
        self._state = state

    # Batches -------------------------------------------------------------------------------------

    def apply_batch(self, entries: Sequence[LogEntry]) -> list[Applied]:
        """Apply entries that follow the applied index, and commit them.

        Raises `EnvironmentFault` when this node cannot go on; what was committed before it is in
        the fault's `applied`, and the rest has left no trace.
        """
        done: list[Applied] = []
        try:
            self._let_checkpoint(allowed=True)
            for group, foreign_keys in groups(entries):
                done += self._apply_group(group, foreign_keys=foreign_keys)
        except EnvironmentFault as fault:
            fault.applied = done
            raise
        except (sqlite3.Error, MemoryError) as error:
            failed = environment_fault(error, f"after entry {self._state.applied_index}")
            failed.applied = done
            raise failed from error
        return done

    def apply_at_once(self, entries: Sequence[LogEntry]) -> list[Applied] | None:
        """Apply entries as `apply_batch` does, if that waits for nothing and is little work.

        None: it would, or is not; nothing was done, and `apply_batch` takes the same entries.
        Rows that are too long for that turn out only on the way, and then all is undone.
        No checkpoint is made meanwhile: every now and then `apply_batch` must be called for that.
        """
        group = light_group(entries, self._operations)
        if group is None:
            return None
        try:
            self._let_checkpoint(allowed=False)
            self._switch_foreign_keys(on=False)
            with light_bounds(self._connection, self._operations):
                return self._commit(group) if self._lock.try_begin() else None
        except (sqlite3.Error, MemoryError) as error:
            if is_too_long(error):
                return None
            raise environment_fault(error, f"after entry {self._state.applied_index}") from error

    def foresee(self, entries: Sequence[LogEntry]) -> list[Applied]:
        """The leases of keys among entries that follow the applied index, as they will be applied.

        Only those that are certain.  To be called by whoever applies, also while `unhurried` is asked.
        """
        try:
            self._schema.refresh()
            return foresee(self._cursor, self._schema, self._outcomes, entries)
        except sqlite3.Error:
            return []  # As applying them will say.

    def _let_checkpoint(self, *, allowed: bool) -> None:
        """Whether a COMMIT may bring what is in SQLite's write-ahead log into the database file."""
        if self._may_checkpoint is not allowed:
            self._cursor.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES if allowed else 0}")
            self._may_checkpoint = allowed

    def _apply_group(self, group: Group, *, foreign_keys: bool | None) -> list[Applied]:
        self._switch_foreign_keys(on=bool(foreign_keys))
        self._lock.begin()
        return self._commit(group, alone=foreign_keys is not None)

    def _commit(self, group: Group, *, alone: bool = False) -> list[Applied]:
        """Entries that share the transaction begun; an entry with statements comes alone."""
        self._alone = alone
        try:
            done = self._attempt(group)
            try:
                self._cursor.execute("COMMIT")
            except sqlite3.IntegrityError as error:
                if not alone:
                    raise
                # What statements left to COMMIT.  The entry is alone in its transaction, so that
                # this, too, depends on nothing else.
                self._abandon()
                self._lock.begin()
                verdict = Verdict(VerdictKind.INTEGRITY_ERROR, message=str(error))
                done = self._attempt(group, verdict)
                self._cursor.execute("COMMIT")
        except BaseException:
            self._abandon()
            raise
        self._state = self._next_state
        return done

    def _attempt(self, group: Group, decided: Verdict | None = None) -> list[Applied]:
        self._whereabouts.check(self._state)
        self._schema.refresh()
        self._next_state = self._state
        self._forget_pending()
        following = self._state.applied_index
        done = []
        for entry, command in group:
            following += 1
            if entry.index != following:
                raise OutOfOrder(
                    f"Entry {entry.index} was to be applied where entry {following} belongs."
                )
            done.append(self._apply_entry(entry, command, decided))
        self._write(group[-1][0])
        return done

    def _switch_foreign_keys(self, *, on: bool) -> None:
        """SQLite's own checks; only between transactions."""
        if self._foreign_keys is not on:
            self._cursor.execute(f"PRAGMA foreign_keys = {int(on)}")
            self._foreign_keys = on

    def _abandon(self) -> None:
        """Nothing of the transaction in progress stays."""
        if not self._operations.bounded:  # Light entries leave the schema as it is.
            self._schema.forget()
        self._forget_pending()
        if self._connection.in_transaction:
            self._cursor.execute("ROLLBACK")

    def _forget_pending(self) -> None:
        self._outcomes.forget_pending()
        self._changes.forget_pending()

    # Inside a test's transaction -----------------------------------------------------------------

    def apply_nested(self, entry: LogEntry) -> Verdict:
        """Apply one entry on a test's own connection, inside its transaction.  Test mode only."""
        if entry.command is None:
            raise ValueError("Only commands are applied in a test's transaction.")
        command = decode_command(entry.command)
        self._read_state()
        self._next_state = self._state
        self._schema.refresh()
        self._forget_pending()
        self._cursor.execute(f"SAVEPOINT {_NESTED}")
        try:
            applied = self._apply_entry(entry, command)
            self._write(entry)
        except BaseException:
            self._schema.forget()
            self._cursor.execute(f"ROLLBACK TO {_NESTED}")
            self._cursor.execute(f"RELEASE {_NESTED}")
            raise
        self._cursor.execute(f"RELEASE {_NESTED}")
        self._state = self._next_state
        if applied.verdict is None:
            raise AssertionError("A command always has a verdict.")
        return applied.verdict

    # One entry -----------------------------------------------------------------------------------

    def _apply_entry(
        self, entry: LogEntry, command: Command | None, decided: Verdict | None = None
    ) -> Applied:
        verdict = None
        proposal_id = None
        if command is not None:
            proposal_id = command.proposal_id
            verdict = self._outcomes.find(proposal_id)
            if verdict is None:
                expires_at_ms = command.expires_at_ms
                if expires_at_ms and entry.time_ms > expires_at_ms:
                    # Not stored: whatever was decided under this id before was pruned only after
                    # it had expired, and must not be contradicted.
                    verdict = _EXPIRED
                else:
                    verdict = decided or self._decide(entry, command.body)
                    self._outcomes.record(entry.index, entry.time_ms, command, verdict)
        if entry.index % PRUNE_EVERY == 0:
            self._outcomes.prune(entry.time_ms)
        return Applied(entry.index, proposal_id, verdict, entry.time_ms)

    def _decide(self, entry: LogEntry, body: Body) -> Verdict:
        try:
            if isinstance(body, WriteSet):
                return self._change(entry, body)
            verdict = commands.run(self._cursor, self._schema, body, entry.time_ms)
        except Refused as refused:
            return refused.verdict
        if isinstance(body, FormCluster):
            self._next_state = tables.read_state(self._connection) or self._next_state
        return verdict

    def _change(self, entry: LogEntry, body: WriteSet) -> Verdict:
        if body.fence:
            commands.check_fence(self._cursor, body.fence)
        statements = [each for each in body.operations if type(each) is Statement]
        # One statement alone means the same on any schema.  What several mean together does not: to
        # rebuild a table is to drop the columns that somebody has added since.
        alone = len(statements) == len(body.operations) == 1 and body.reads is None
        if not alone and body.schema_version != self._next_state.schema_version:
            return _SCHEMA_CONFLICT
        if body.reads is not None:
            reads.check(self._connection, self._changes, body.reads)
        if statements:
            verdict = self._run_whole(entry, body, statements)
            self._changes.schema_changed()
            return verdict
        one_step = self._operations.is_one_step(body)
        verdict = self._operations.run(body) if one_step else self._run_whole(entry, body, [])
        self._changes.note(self._operations.changed, entry.index)
        return verdict

    def _run_whole(
        self, entry: LogEntry, write_set: WriteSet, statements: list[Statement]
    ) -> Verdict:
        """All of a write-set, or nothing and `Refused`."""
        self._cursor.execute(f"SAVEPOINT {_ENTRY}")
        try:
            verdict = self._run(write_set, statements)
        except Refused:
            if statements:
                self._schema.forget()
            self._undo()
            raise
        self._cursor.execute(f"RELEASE {_ENTRY}")
        if statements:
            self._next_state = replace(self._next_state, schema_version=entry.index)
        return verdict

    def _run(self, write_set: WriteSet, statements: list[Statement]) -> Verdict:
        if self._foreign_keys is False:
            verdict = self._operations.run(write_set)
        else:
            with deferred_actions(self._connection, self._schema):
                verdict = self._operations.run(write_set)
        if statements:
            # A rename shows its new name to no authorizer.
            if strangers := tables.strangers(self._connection):
                message = f"the name {strangers[0]} is reserved"
                raise Refused(Verdict(VerdictKind.OPERATIONAL_ERROR, message=message))
            after_statements(self._cursor, self._schema, self._operations.changed)
        expected = write_set.expected_digest
        if expected and expected != expected_digest(self._connection, write_set):
            raise VerificationFailed(
                "Verify mode: the tables differ from what they were after the speculative run."
            )
        return verdict

    def _undo(self) -> None:
        if not self._connection.in_transaction:
            # SQL that rolled everything back (`OR ROLLBACK`): can only be a replicated statement,
            # whose entry is alone in the transaction, so that nothing else is lost.
            if not self._alone:
                raise EnvironmentFault("An entry's SQL undid the whole transaction of its batch.")
            self._lock.begin()
            return
        self._cursor.execute(f"ROLLBACK TO {_ENTRY}")
        self._cursor.execute(f"RELEASE {_ENTRY}")

    def _run_statement(self, statement: Statement) -> int:
        with keys_followed(self._cursor, self._schema, statement.sql):
            fenced = not self._nested
            return run_statement(self._connection, self._pinning, statement, fenced=fenced)

    def _write(self, last: LogEntry) -> None:
        self._outcomes.store()
        self._changes.store()
        before = self._next_state
        state = AppliedState(
            last.index,
            last.term,
            last.time_ms,
            before.schema_version,
            before.cluster_id,
            before.group_name,
        )
        tables.write_state(self._cursor, state)
        self._next_state = state
