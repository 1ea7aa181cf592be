"""What a connection knows about replication: the seam between wrapper, cursors and compilers.

One `Replication` per `DatabaseWrapper`, as `connection.replication`.  It owns the client and the
parts that work on the raw connection, and answers what a compiler has to ask.
"""

from __future__ import annotations

import sqlite3
import weakref
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from django.db.backends.utils import strip_quotes

from raftdjango.backends.keys import OutdatedKeys, allocator_of
from raftdjango.backends.sqlite3.capture.triggers import Capture
from raftdjango.backends.sqlite3.reads.freshness import Freshness
from raftdjango.backends.sqlite3.statements import blind
from raftdjango.backends.sqlite3.statements.execution import Statements
from raftdjango.backends.sqlite3.transactions import commit
from raftdjango.backends.sqlite3.transactions.block import State
from raftdjango.backends.sqlite3.transactions.failures import confirm
from raftdjango.backends.sqlite3.transactions.nested import Nested
from raftdjango.backends.sqlite3.transactions.speculation import Speculation
from raftdjango.backends.sqlite3.transactions.write_lock import busy_timeout_s, holds_up_others
from raftdjango.client import connect
from raftdjango.conf import get_settings, group_of
from raftdjango.exceptions import NotReplicable, TransactionConflict
from raftdjango.right_of_way.lock_file import FILE_NAME, RightOfWay

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from raftdjango.backends.keys import KeyAllocator
    from raftdjango.backends.sqlite3.base import DatabaseWrapper
    from raftdjango.backends.sqlite3.statements.blind import BlindOperation, InsertShape, Quoted
    from raftdjango.backends.sqlite3.transactions.locked import LockedConnection
    from raftdjango.backends.sqlite3.transactions.write_lock import Turns
    from raftdjango.client import NodeClient, Outcome
    from raftdjango.writeset import Row, Table, WriteSet

SHAPES_MAX = 1_000
"""Kinds of INSERT remembered by a connection."""


class Replication:
    """Replication as one connection sees it."""

    capture: Capture
    speculation: Speculation
    statements: Statements

    def __init__(self, wrapper: DatabaseWrapper) -> None:
        # Weakly, here and below: a wrapper is to go with its thread, not when memory is collected.
        self._wrapper = weakref.ref(wrapper)
        self.nested = Nested(weakref.proxy(self))
        self.freshness = Freshness(weakref.proxy(self))
        self.last_index = 0
        """Of the last entry that was written through this connection."""
        self.commits = 0
        """How many transactions of this connection have been applied."""
        self.beginning = False
        """Set while Django's own BEGIN is executed."""
        self._client: NodeClient | None = None
        self._raw: LockedConnection | None = None
        self._allocator: KeyAllocator | None = None
        self._immediate_once = False
        self.for_update_within = False
        """Set when a subquery is compiled that asks for its rows to be protected."""
        self.turn: bytes | None = None
        """The proposal id of the exclusive turn that the next transaction has."""
        self.fence = b""  # The migration lock's holder, while this connection migrates.
        self._blind: tuple[BlindOperation, int, int] | None = None
        self.keys_drawn_for: int | None = None
        """The schema version for which the keys in the statement about to be executed were drawn."""

    @property
    def wrapper(self) -> DatabaseWrapper:
        """The connection as Django sees it."""
        wrapper = self._wrapper()
        if wrapper is None:
            raise ReferenceError("The database connection is gone.")
        return wrapper

    # -- the connection's life ------------------------------------------------------------------

    def attach(self, raw: LockedConnection) -> None:
        """Take a new connection under guard."""
        raw.isolation_level = None
        # Without it INSERT OR REPLACE would delete rows that no trigger sees.
        raw.execute("PRAGMA recursive_triggers = ON")
        raw.execute("PRAGMA temp_store = MEMORY")
        self.capture = Capture(raw)
        self.capture.forbid_changes()
        raw.guard_by(self.capture.guard)
        self.speculation = Speculation(raw, self.capture)
        here = weakref.proxy(self)
        self.speculation.write_lock.find_right_of_way = lambda: here._right_of_way()
        self.speculation.write_lock.timeout_s = busy_timeout_s(raw)
        self.statements = Statements(here, self.speculation)
        self.nested.reset()
        self.freshness.forget()
        self._raw = raw

    def detach(self) -> None:
        """The connection is about to be closed."""
        if self._raw is not None:
            self._raw = None
            self.speculation.forget()
        self.nested.reset()
        if self._client is not None:
            self._client.close()

    def forget_process(self) -> None:
        """In a forked child: everything is the parent's, and goes on there."""
        if self._raw is not None:
            self._raw = None
            self.speculation.forget_process()
        self._client = self.turn = self.keys_drawn_for = None

    def _right_of_way(self) -> Turns | None:
        """The group's file, where the node has made one."""
        if hasattr(self.client, "right_of_way"):  # in tests
            return self.client.right_of_way  # type: ignore[no-any-return]
        try:
            folder = get_settings().group_dir(group_of(self.wrapper.alias))
        except KeyError:
            return None
        return RightOfWay.open(folder) if (folder / FILE_NAME).exists() else None

    @property
    def client(self) -> NodeClient:
        """This connection's way to its node; connects at its first call."""
        if self._client is None:
            self._client = connect(self.wrapper.alias)
            bind = getattr(self._client, "bind", None)
            if bind is not None:
                bind(self.wrapper)
        return self._client

    def forget_client(self) -> None:
        """Ask for a client anew: the test runner has switched the alias over."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    @property
    def allocator(self) -> KeyAllocator:
        """The process' blocks of auto-increment keys for this alias."""
        self._allocator = self._allocator or allocator_of(self.wrapper.alias)
        return self._allocator

    @property
    def doomed(self) -> TransactionConflict | None:
        """What the open block was lost to."""
        return self.speculation.doomed if self._raw is not None else None

    # -- what compilers ask ---------------------------------------------------------------------

    def in_autocommit(self) -> bool:
        """Whether a statement now would be a transaction of its own."""
        return self.wrapper.autocommit or self.nested.in_autocommit()

    def in_true_autocommit(self) -> bool:
        """Whether a statement now would be a transaction of its own and may go blind.

        Real autocommit (or what stands for it inside Django's `TestCase`), foreign keys minded, no
        execute wrappers, queries not logged, rows not travelling as statements.
        """
        wrapper = self.wrapper
        wrapper.ensure_connection()
        return (
            self.in_autocommit()
            and not wrapper.execute_wrappers
            and not wrapper.needs_rollback
            and not wrapper.queries_logged
            and not self.statements.as_statements
            and self.capture.minds_foreign_keys()
        )

    def table(self, name: str) -> Table | None:
        """The table as write-sets name it; None if it cannot be replicated by rows.

        In autocommit it may be outdated: `commit.propose_blind` finds out.  The connection must be open.
        """
        if self.capture.schema_version is None and self.speculation.state is State.IDLE:
            self.capture.pin_schema_version(self.schema_version())
        try:
            return self.capture.spec(strip_quotes(name)).table
        except NotReplicable:
            return None
        except sqlite3.Error:
            # Interrupted, perhaps, because the block has lost the write lock.
            self.speculation.check()
            raise

    def insert_shape(self, name: str, columns: tuple[str, ...]) -> InsertShape | None:
        """How an INSERT of these columns can go blind; None if it has to be executed."""
        table = self.table(name)
        shapes = self.capture.insert_shapes
        try:
            return shapes[name, columns]
        except KeyError:
            shape = None
            if table is not None:
                with self.speculation.undisturbed():
                    shape = blind.insert_shape(self.speculation.connection, table, columns)
            if len(shapes) >= SHAPES_MAX:
                shapes.clear()
            shapes[name, columns] = shape
            return shape

    def quoted(self, name: str) -> Quoted | None:
        """How the names of a table stand in SQL; None if it cannot be replicated by rows."""
        table = self.table(name)
        if table is None:
            return None
        quoted = self.capture.quoted.get(name)
        if quoted is None:
            quote_name = self.wrapper.ops.quote_name
            quoted = self.capture.quoted[name] = blind.Quoted(table, quote_name)
        return quoted

    def holds_write_lock(self) -> bool:
        """Whether the open transaction has the write lock, so that nothing may be proposed now."""
        return self._raw is not None and self.speculation.state is State.WRITING

    def has_changed_schema(self) -> bool:
        """Whether the open transaction has, so that nobody else may know its tables."""
        return self.holds_write_lock() and self.speculation.block.schema_changed

    def schema_version(self) -> int:
        """The replicated schema's version as the local database has it."""
        self.speculation.read_state()
        return self.speculation.block.schema_version

    def check_keys(self, version: int) -> None:
        """Raise `OutdatedKeys` if keys were drawn for an older schema than they are written at."""
        if self.keys_drawn_for is not None and self.keys_drawn_for < version:
            raise OutdatedKeys

    def renew_view(self) -> bool:
        """Let a block whose first write found no row go on at a fresh view; whether it is a newer one.

        Call it after a write that changed nothing: the answer may be due to a view that had not yet
        seen the row.  Then execute the statement again.
        """
        block = self.speculation.block
        if self.nested.active or self.speculation.state is not State.WRITING:
            return False
        if block.renewed or block.wrote or not block.reads.complete:
            return False  # Its reads could not be compared.
        with self.speculation.undisturbed():
            if self.capture.entries():
                return False
        # Once is enough: that view is newer than the block's beginning.
        block.renewed = True
        newer = self.speculation.renew(self.refresh)
        if newer:
            block.statements -= 1
        return newer

    def may_be_only_statement(self) -> bool:
        """Whether the statement just executed is the first of its block."""
        return self.speculation.block.statements <= 1

    def note_blind_candidate(self, operation: BlindOperation) -> None:
        """Tell that the statement just executed in a block could have gone blind.

        Set `expected_rows` to the row count that user code is told.  If it stays the block's only
        statement, reads included, the block commits as this operation.
        """
        with self.speculation.undisturbed():
            length = self.capture.length()
        self._blind = (operation, id(self.speculation.block), length)

    def lock_for_update(self, table: str, keys: Sequence[Row]) -> None:
        """Have the rows with these keys checked at commit (`select_for_update()`).

        `keys` hold storage values in the order of `Table.key`.  Rows that do not exist (any more)
        are validated as absent.
        """
        if self.in_autocommit():
            return
        self.ensure_begun()
        with self.speculation.undisturbed():
            for key in keys:
                self.speculation.lock_row(strip_quotes(table), key)

    @contextmanager
    def as_statements(self) -> Iterator[None]:
        """Within it writes travel as statements, not as rows: flush, sequence resets, DDL copying."""
        self.wrapper.ensure_connection()
        statements = self.statements
        statements.as_statements += 1
        try:
            yield
        finally:
            statements.as_statements -= 1

    def begin_immediate_once(self) -> None:
        """Have the next block take the write lock at its start, so that its reads cannot go stale."""
        self._immediate_once = True

    # -- blocks ---------------------------------------------------------------------------------

    def ensure_begun(self) -> None:
        """With autocommit switched off, a transaction begins with its first statement."""
        if self.speculation.state is State.IDLE:
            self.begin()

    def begin(self) -> None:
        """Begin a block's local transaction."""
        mode = self.wrapper.transaction_mode  # type: ignore[attr-defined]
        exclusive = self._immediate_once or self.turn is not None
        immediate = exclusive or mode in {"IMMEDIATE", "EXCLUSIVE"}
        self._immediate_once = False
        self._blind = None
        self.nested.reset()
        self.freshness.before_block()
        self.speculation.begin(immediate=immediate)

    def commit(self) -> None:
        """The outermost commit."""
        speculation = self.speculation
        if speculation.state is State.IDLE:
            return
        speculation.check()
        if speculation.state is State.READING:
            speculation.roll_back()
            return
        block = speculation.block
        unit = commit.collect(self, blind=self._blind_operation())
        kept = unit is not None and not block.failures.met and holds_up_others(self.wrapper.alias)
        with speculation.write_lock.keep() if kept else nullcontext():
            speculation.roll_back()
            if unit is None:
                return
            if block.failures.met:
                confirm(self, block.failures)
            commit.propose(self, unit)

    def roll_back(self) -> None:
        """The outermost rollback."""
        self.speculation.roll_back()
        self.nested.reset()

    def _blind_operation(self) -> BlindOperation | None:
        if self._blind is None:
            return None
        operation, block, length = self._blind
        present = self.speculation.block
        only = present.statements == 1 and not present.locked and not present.keys_chosen
        only = only and block == id(present)
        with self.speculation.undisturbed():  # Nor has anything else written, in whatever way.
            only = only and not present.foreign_keys_off and self.capture.length() == length
        return operation if only and self.table(operation.table.name) == operation.table else None

    # -- the client -----------------------------------------------------------------------------

    def refresh(self, *, timeout_s: float | None = None) -> int:
        """Wait until all that was committed before is applied here; the index applied."""
        return self.freshness.refresh(timeout_s or get_settings().commit_timeout_s)

    def send(
        self,
        proposal_id: bytes,
        command: bytes,
        *,
        timeout_s: float,
        want_keys: Mapping[str, int],
        keys_after: int,
    ) -> Outcome:
        """Propose; inside Django's `TestCase` have it applied on this very connection."""
        if not self.nested.active:
            return self.client.propose(
                proposal_id,
                command,
                timeout_s=timeout_s,
                want_keys=want_keys or None,
                keys_after=keys_after,
            )
        client: Any = self.client
        self.speculation.start_writing()
        try:
            with self.capture.guard.unlocked(), self.speculation.connection.plain():
                outcome: Outcome = client.propose_nested(self.speculation.connection, command)
                return outcome
        finally:
            # The triggers do not know the applier from anybody else.
            self.capture.clear()
            self.capture.schema_changed()

    def verifiable(self, write_set: WriteSet) -> WriteSet:
        """In the tests' verify mode: with a digest of the tables as they are now."""
        verify = getattr(self.client, "verifiable", None)
        with self.speculation.connection.plain():
            return verify(self.speculation.connection, write_set) if verify else write_set
