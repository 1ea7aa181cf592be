"""The local transaction of a block: begun, maybe written in, always rolled back.

A block begins DEFERRED, so that blocks which only read hold nobody up.  What it reads is remembered.
When its first write finds that the applier has moved on, the transaction begins again, IMMEDIATE, and
the reads are run anew: equal, and the block goes on as if it had started now; different, and the block
is lost.  A lost block is doomed: until it ends, everything in it raises the same error.

Must never commit.
"""

from __future__ import annotations

import copy
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.db.backends.sqlite3.base import SQLiteCursorWrapper

from raftdjango.backends.sqlite3.capture import journal
from raftdjango.backends.sqlite3.reads.differences import what_differs
from raftdjango.backends.sqlite3.statements.facts import FactsCache
from raftdjango.backends.sqlite3.transactions.block import Block, Left, State
from raftdjango.backends.sqlite3.transactions.write_lock import (
    NOT_SET_UP,
    WriteLock,
    not_set_up,
)
from raftdjango.exceptions import ClusterUnavailable, NotReplicable, TransactionConflict
from raftdjango.naming import row_name
from raftdjango.writeset import Row, ValidatedRead, row_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from raftdjango.backends.sqlite3.capture.triggers import Capture
    from raftdjango.backends.sqlite3.reads.recorder import Recorder
    from raftdjango.backends.sqlite3.reads.repeated import ReadMemory
    from raftdjango.backends.sqlite3.transactions.locked import LockedConnection

ROWS_AT_ONCE = 1_000
STATE_SQL = "SELECT schema_version, applied_index FROM main.raftdjango_state"


class Speculation:
    """The state of one connection's local transaction."""

    def __init__(self, connection: LockedConnection, capture: Capture) -> None:
        self.connection = connection
        self.capture = capture
        self.guard = capture.guard
        self.state = State.IDLE
        self.block = Block()
        self.doomed: TransactionConflict | None = None
        self.write_lock = WriteLock(connection, capture)
        self.facts = FactsCache(capture)
        self.recorder: Recorder | None = None
        """Of the reads, while a serializable block is open."""
        # The watchdog's thread rolls back; it must not do so in the middle of a statement.
        self.lock = connection.lock

    # -- begin and end --------------------------------------------------------------------------

    def begin(self, *, immediate: bool) -> None:
        """Open the local transaction of a block."""
        self.block = Block()
        if immediate:
            self.write_lock.begin()
            self._writing()
        else:
            if self.capture.has_wanted:
                self.capture.renew()
            with self.guard.unlocked():
                self.connection.execute("BEGIN")
            self.state = State.READING
        self.guard.transaction_open = True

    def roll_back(self) -> None:
        """End the local transaction; what doomed it is forgotten with it."""
        self._end()
        self.doomed = None
        self.recorder = None

    def _end(self) -> None:
        # Before the connection's lock is taken: a callback under way may be waiting for it.
        self.write_lock.unwatch()
        with self.lock:
            self._undo()
        self.state = State.IDLE

    def _undo(self) -> None:
        """Roll back on the database.  Changes are forbidden first: no moment is without a guard."""
        self.capture.forbid_changes()
        self.guard.transaction_open = False
        if self.connection.in_transaction:
            with self.guard.unlocked():
                self.connection.rollback()
        self.capture.undone()
        self.capture.forget_statements()

    def forget(self) -> None:
        """The connection is about to be closed; SQLite rolls back by itself."""
        self.write_lock.unwatch()
        self.state = State.IDLE
        self.doomed = None
        self.block = Block()

    def forget_process(self) -> None:
        """In a forked child: the transaction is the parent's."""
        self.write_lock = WriteLock(self.connection, self.capture)
        self.forget()

    # -- dooming --------------------------------------------------------------------------------

    def doom(self, conflict: TransactionConflict) -> None:
        """The block is lost: give the lock back now, and refuse everything until it ends."""
        self.doomed = conflict
        self._end_keeping_block()

    def _end_keeping_block(self) -> None:
        state = self.state
        self._end()
        self.state = state

    def check(self, met: BaseException | None = None) -> None:
        """Raise what doomed the block, if anything did; but not where `met` did, which says it all."""
        if self.doomed is not None and (met is None or self.doomed.__cause__ is not met):
            raise copy.copy(self.doomed) from self.doomed

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Have the watchdog wait with its rollback; what its interrupt breaks raises its reason.

        Needed for whatever must not happen outside of the transaction, which may be gone at any
        moment.  Nothing in it may call `run()`, which does not expect to be called under the lock.
        """
        with self.lock:
            self.check()
            try:
                yield
            except sqlite3.Error:
                self.check()
                raise

    def check_alive(self, error: sqlite3.Error) -> None:
        """After a failed statement: some errors make SQLite roll back the whole transaction."""
        self.check()
        if self.state is State.IDLE or self.connection.in_transaction:
            return
        if isinstance(error, sqlite3.IntegrityError):
            conflict = TransactionConflict(
                f"A constraint failed in this transaction ({error}), and ON CONFLICT ROLLBACK had "
                "SQLite undo all of it: nothing can follow in it. Nothing was written."
            )
            conflict.__cause__ = error
        else:
            conflict = TransactionConflict(
                "SQLite rolled back the whole transaction after an error in it. Run it again."
            )
        self.doom(conflict)
        self.check(error)

    def _give_way(self) -> None:
        """Called by the watchdog's thread: the applier has waited long enough."""
        if self.doomed is None:
            self.doomed = TransactionConflict(
                "This transaction held the local database's write lock for too long while entries "
                "waited to be applied, and was rolled back. Run it again; keep slow work out of it, "
                "or allow it longer by RAFTDJANGO['LOCK_YIELD_MS'].",
                # What waits is applied in order: this one before all others.
                log_index=self.block.applied_index + 1,
            )
        while not self.lock.acquire(timeout=0.005):
            self.connection.interrupt()
        try:
            self._undo()
        finally:
            self.lock.release()

    # -- the write lock -------------------------------------------------------------------------

    def start_writing(self) -> None:
        """Make sure that the block has the write lock, on a snapshot that its reads agree with."""
        if self.state is State.WRITING:
            return
        if not self.write_lock.take_in_place():
            self._begin_again()
        self._writing()

    def renew(self, refresh: Callable[[], object]) -> bool:
        """Go on at the view that `refresh` waits for, if nothing was written yet; is it newer?"""
        with self.undisturbed():
            seen_at, before = self.block.applied_index, self._left()
        # Without the lock: what is waited for has to be applied here.
        self._end_keeping_block()
        self.check()
        try:
            refresh()
        finally:
            self._begin_again(before)
            self._writing()
        return self.block.applied_index != seen_at

    def move_on(self) -> None:
        """Have a block that has only read so far go on at the newest view, without the write lock."""
        self._begin_again(immediate=False)

    def _begin_again(self, before: Left | None = None, *, immediate: bool = True) -> None:
        """Leave the snapshot for the newest one, and see that the block would have come so far on it."""
        try:
            before = self._left() if before is None else before
            self._move_to_newest(before, immediate=immediate)
        except Exception as error:
            if self.doomed is None:
                # There is no transaction any more that the block could go on in.
                lost = error if isinstance(error, TransactionConflict) else None
                self.doom(lost or TransactionConflict(f"The transaction was lost: {error}"))
            raise

    def _move_to_newest(self, before: Left, *, immediate: bool) -> None:
        block = self.block
        with self.guard.unlocked():
            self.connection.rollback()
        self.capture.undone()
        if immediate:
            self.write_lock.begin()
            self.state = State.WRITING
        else:
            with self.guard.unlocked():
                self.connection.execute("BEGIN")
        if before.defer_foreign_keys:
            self.connection.execute("PRAGMA defer_foreign_keys = ON")
        if self._data_version() != before.data_version:
            self._check_locked(block)
            self._check_reads(block.reads)
        with self.guard.unlocked():
            for name in block.savepoints:
                self.connection.execute(f'SAVEPOINT "{name.replace(chr(34), chr(34) * 2)}"')

    def _read_again(self, sql: str, parameters: Any) -> Iterator[tuple[Any, ...]]:
        with self.connection.plain():
            cursor = self.connection.cursor(SQLiteCursorWrapper)
        cursor.execute(sql, parameters)
        # With the application's texts, as it was read before.
        while rows := self.connection.fetch(lambda: cursor.fetchmany(ROWS_AT_ONCE)):
            yield from rows

    def _check_reads(self, reads: ReadMemory) -> None:
        if not reads.complete:
            self._lose(
                "Other transactions committed meanwhile, and this one had read too much to see "
                "whether that concerns it. Run it again; atomic_retry takes the lock at its start."
            )
        difference = reads.difference(self._read_again)
        if difference is None:
            return
        table, key = what_differs(self.capture, self.facts, difference)
        name = row_name(table, key)
        rows = f"Rows of {name}" if table and not key else name or "Rows"
        self._lose(
            f"{rows} that the transaction had read {'was' if key else 'were'} changed meanwhile by "
            "another one. Run it again.",
            table=table,
            key=key,
        )

    def _left(self) -> Left:
        (deferred,) = self.connection.execute("PRAGMA defer_foreign_keys").fetchone()
        return Left(self._data_version(), bool(deferred))

    def _data_version(self) -> int:
        """Changes when another connection has committed, as seen by the present snapshot."""
        return int(self.connection.execute("PRAGMA main.data_version").fetchone()[0])

    def _check_locked(self, block: Block) -> None:
        for row in block.locked:
            name = row.table.name
            if self.digest_of(name, row.key) != row.before:
                self._lose(
                    "A row that the transaction had read with select_for_update() was changed "
                    f"meanwhile: {row_name(name, row.key)}. Run it again.",
                    table=name,
                    key=row.key,
                )

    def _lose(self, message: str, *, table: str = "", key: Row = ()) -> None:
        state = self.connection.execute(STATE_SQL).fetchone()
        self.doom(
            TransactionConflict(
                message,
                table=table,
                key=key,
                log_index=state[1] if state else 0,
                stale_read=True,
            )
        )
        self.check()

    def _writing(self) -> None:
        """The lock is held: from here on rows may change."""
        self.state = State.WRITING
        self.guard.transaction_open = True
        try:
            self.read_state()
        except ClusterUnavailable:
            self._end()
            raise
        (foreign_keys,) = self.connection.execute("PRAGMA foreign_keys").fetchone()
        if not foreign_keys:
            self.block.foreign_keys_off = self.guard.let_pass = True
        self.capture.allow_changes()
        self.write_lock.watch(self._give_way)

    def read_state(self) -> None:
        """Which entry the present snapshot is of."""
        try:
            state = self.connection.execute(STATE_SQL).fetchone()
        except sqlite3.OperationalError as error:
            raise not_set_up(error) from error
        if state is None:
            raise ClusterUnavailable(NOT_SET_UP)
        self.block.schema_version, self.block.applied_index = state

    # -- what happens in it ---------------------------------------------------------------------

    def savepoint(self, name: str) -> None:
        """A savepoint was opened."""
        self.block.savepoints.append(name)

    def released(self, name: str) -> None:
        """A savepoint was released, and with it those opened after it."""
        self._cut(name, keep=0)

    def rolled_back_to(self, name: str) -> None:
        """The transaction was rolled back to a savepoint, which stays open."""
        self._cut(name, keep=1)
        self.block.raw_keys.clear()
        self.capture.undone()
        self.block.failures.undone(self.capture)

    def _cut(self, name: str, *, keep: int) -> None:
        names = self.block.savepoints
        for position in range(len(names) - 1, -1, -1):
            if names[position] == name:
                del names[position + keep :]
                return

    def lock_row(self, table: str, key: Row) -> None:
        """Have a row validated at commit, as this transaction sees it now."""
        if self.state is State.READING and not self.capture.is_current:
            self.start_writing()  # which sees to the tables' new shape
        digest = self.digest_of(table, key)
        if self.state is State.WRITING:
            journal.note_read(self.capture, table, key, digest)
        else:
            # Not in the journal, where a savepoint might undo it: the block acts on what it read.
            spec = self.capture.spec(table)
            self.block.locked.append(ValidatedRead(spec.table, key, digest))

    def digest_of(self, table: str, key: Row) -> bytes:
        """Digest of a row as it is now; empty if there is none."""
        row = self.connection.execute(self.capture.spec(table).select_sql, key).fetchone()
        return b"" if row is None else row_digest(row)

    def run(self, execute: Callable[[], Any]) -> None:
        """Execute a statement that may write, with capture in place for every table it writes."""
        try:
            with self.lock, self.guard.statement():
                self._run_captured(execute)
        except sqlite3.Error as error:
            # Not under the lock, for which the watchdog may be waiting.
            self.check_alive(error)
            raise

    def _run_captured(self, execute: Callable[[], Any]) -> None:
        while True:
            self.guard.forget()
            self.check()
            try:
                execute()
            except sqlite3.Error as error:
                self.check()
                if self.guard.refusal is not None:
                    raise self.guard.refusal from error
                if self.guard.missing is None:
                    raise
                if self.state is not State.WRITING:
                    raise NotReplicable(
                        f'Not replicable: the write of "{self.guard.missing}" was not '
                        "recognised as one in this statement."
                    ) from error
                self.capture.install(self.guard.missing)
            else:
                return
