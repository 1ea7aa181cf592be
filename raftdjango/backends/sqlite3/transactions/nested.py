"""Replication inside Django's `TestCase`, where everything happens in one transaction that never commits.

There the blocks that the test case itself opened count as "no transaction", and the release of the first
savepoint below them as the outermost commit: the journal is collected, the savepoint is rolled back, and
the applier applies the entry on the very same connection.  So a whole test suite goes the whole way
from capture to applier.  Production never comes here: only the tests' client can do this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raftdjango import writeset
from raftdjango.backends.sqlite3.statements.classify import Kind
from raftdjango.backends.sqlite3.statements.execution import ATTEMPTS_MAX
from raftdjango.backends.sqlite3.transactions import commit
from raftdjango.backends.sqlite3.transactions.block import State
from raftdjango.exceptions import CommitUncertain, TransactionConflict

if TYPE_CHECKING:
    from collections.abc import Callable

    from raftdjango.backends.sqlite3.replication import Replication
    from raftdjango.backends.sqlite3.statements.execution import Statement

SAVEPOINT = "raftdjango_nested"


class Nested:
    """The test case's blocks of one connection, and what is captured below them."""

    def __init__(self, replication: Replication) -> None:
        self.replication = replication
        self._owner: Any = None
        """The `atomic(savepoint=False)` block for which a savepoint of our own is open."""

    def reset(self) -> None:
        """The transaction is over, or there is a new connection."""
        self._owner = None

    @property
    def active(self) -> bool:
        """Whether the connection is inside a test case's own atomic blocks."""
        blocks = self.replication.wrapper.atomic_blocks
        return bool(blocks) and getattr(blocks[0], "_from_testcase", False)

    def _own_blocks(self) -> int:
        """How many of the atomic blocks, from the outside, are the test case's."""
        count = 0
        for block in self.replication.wrapper.atomic_blocks:
            if not getattr(block, "_from_testcase", False):
                break
            count += 1
        return count

    def outermost(self) -> str | None:
        """The savepoint that stands for the transaction; None where none is open."""
        mine = {
            str(name).lower()
            for name in self.replication.wrapper.savepoint_ids[: max(0, self._own_blocks() - 1)]
        }
        for name in self.replication.speculation.block.savepoints:
            if name not in mine:
                return name
        return None

    def is_outermost(self, name: str) -> bool:
        """Whether releasing this savepoint stands for the commit."""
        return self.active and name == self.outermost()

    def in_autocommit(self) -> bool:
        """Whether a statement now would be a transaction of its own."""
        wrapper = self.replication.wrapper
        return (
            self.active
            and len(wrapper.atomic_blocks) == self._own_blocks()
            and self.outermost() is None
        )

    def before_write(self) -> None:
        """A block without a savepoint gets one before its first write, to be undone to."""
        if not self.active or self.outermost() is not None:
            return
        speculation = self.replication.speculation
        speculation.connection.execute(f"SAVEPOINT {SAVEPOINT}")
        speculation.savepoint(SAVEPOINT)
        self._owner = self.replication.wrapper.atomic_blocks[self._own_blocks()]

    def settle(self, kind: Kind | None = None) -> None:
        """Commit what a block without a savepoint wrote, once that block is over.

        Nothing tells of its end, so it is done by whatever comes next.
        """
        if self._owner is None or self._owner in self.replication.wrapper.atomic_blocks:
            return
        self._owner = None
        if kind is Kind.ROLLBACK_TO:
            return
        try:
            self.commit(SAVEPOINT, None)
        except BaseException:
            # There is nobody else to roll back.
            self._roll_back_to(SAVEPOINT)
            self.replication.speculation.connection.execute(f"RELEASE {SAVEPOINT}")
            self.replication.speculation.released(SAVEPOINT)
            raise

    def autocommit(self, execute: Callable[[], None]) -> None:
        """Run a statement as a transaction of its own; again, as in production, when it has lost."""
        for _ in range(ATTEMPTS_MAX - 1):
            try:
                self._autocommit_once(execute)
            except TransactionConflict:
                continue  # Injected, so there is nobody to make way for.
            return
        self._autocommit_once(execute)

    def _autocommit_once(self, execute: Callable[[], None]) -> None:
        speculation = self.replication.speculation
        speculation.start_writing()
        speculation.connection.execute(f"SAVEPOINT {SAVEPOINT}")
        speculation.savepoint(SAVEPOINT)
        try:
            execute()
            self._apply(SAVEPOINT)
        except BaseException:
            self._roll_back_to(SAVEPOINT)
            raise
        finally:
            speculation.connection.execute(f"RELEASE {SAVEPOINT}")
            speculation.released(SAVEPOINT)

    def commit(self, name: str, statement: Statement | None) -> None:
        """The outermost commit; on failure the savepoint stays open for whoever rolls back."""
        speculation = self.replication.speculation
        self._apply(name)
        if statement is None:
            speculation.connection.execute(f'RELEASE "{name}"')
        else:
            speculation.run(statement.run)
        speculation.released(name)

    def _apply(self, name: str) -> None:
        if self.replication.speculation.state is not State.WRITING:
            return  # Nothing in the whole test has been written yet.
        # As of the test's transaction, in which earlier entries were applied already.
        self.replication.speculation.read_state()
        unit = commit.collect(self.replication)
        self._roll_back_to(name)
        if unit is not None:
            if any(
                isinstance(operation, writeset.Statement) for operation in unit.write_set.operations
            ):
                self.replication.capture.drop_triggers()
            try:
                commit.propose(self.replication, unit)
            except CommitUncertain:
                # Injected.  What was made stays, whoever rolls back to this savepoint now.
                self.replication.speculation.connection.execute(f'RELEASE "{name}"')
                self.replication.speculation.connection.execute(f'SAVEPOINT "{name}"')
                raise

    def _roll_back_to(self, name: str) -> None:
        speculation = self.replication.speculation
        speculation.connection.execute(f'ROLLBACK TO "{name}"')
        speculation.rolled_back_to(name)
