"""What a connection knows about replication: the seam between wrapper, cursors and compilers.

One `Replication` per `DatabaseWrapper`, as `connection.replication`.  It owns the client and the
parts that work on the raw connection, and answers what a compiler has to ask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from raftdjango.backends.keys import KeyAllocator
    from raftdjango.backends.sqlite3.base import DatabaseWrapper
    from raftdjango.client import NodeClient
    from raftdjango.writeset import BlindDelete, BlindInsert, BlindUpdate, Row, Table, Verdict

    BlindOperation = BlindInsert | BlindUpdate | BlindDelete


class Replication:
    """Replication as one connection sees it."""

    def __init__(self, wrapper: DatabaseWrapper) -> None:
        self.wrapper = wrapper

    @property
    def client(self) -> NodeClient:
        """This connection's way to its node; connects at its first call."""
        raise NotImplementedError

    @property
    def allocator(self) -> KeyAllocator:
        """The process' blocks of auto-increment keys for this alias."""
        raise NotImplementedError

    def in_true_autocommit(self) -> bool:
        """Whether a statement now would be a transaction of its own and may go blind.

        Real autocommit (or what stands for it inside Django's `TestCase`), no execute wrappers,
        queries not logged, not in a schema editor.
        """
        raise NotImplementedError

    def table(self, name: str) -> Table | None:
        """The table as write-sets name it; None if it cannot be replicated by rows."""
        raise NotImplementedError

    def holds_write_lock(self) -> bool:
        """Whether this connection's transaction has written, so that nothing may be proposed now.

        The compilers then take keys from the snapshot instead of asking the node for a lease.
        """
        raise NotImplementedError

    def begin_immediate_once(self) -> None:
        """Take the write lock at once in the next outermost block (`atomic_retry`, after a defeat)."""
        raise NotImplementedError

    def propose_blind(self, *operations: BlindOperation, table: str) -> Verdict:
        """Have the applier execute the operations, as one entry; the verdict, always an applied one.

        Several only for the rows of one INSERT; `Verdict.rows` has one row for each that returns.

        Raises `IntegrityError`, `TransactionConflict` and the rest of `raftdjango.exceptions`.
        Runs again by itself when the schema version had moved but `table` is as before.
        Call it in true autocommit only.
        """
        raise NotImplementedError

    def note_blind_candidate(self, operation: BlindOperation) -> None:
        """Tell that the statement just executed in a block could have gone blind.

        Set `expected_rows` to the row count that user code is told.  If it stays the block's only
        statement, reads included, the block commits as this operation.
        """
        raise NotImplementedError

    def lock_for_update(self, table: str, keys: Sequence[Row]) -> None:
        """Have the rows with these keys checked at commit (`select_for_update()`).

        `keys` hold storage values in the order of `Table.key`.  Rows that do not exist (any more)
        are validated as absent.
        """
        raise NotImplementedError

    def as_statements(self) -> AbstractContextManager[None]:
        """Within it writes travel as statements, not as rows: flush, sequence resets, DDL copying."""
        raise NotImplementedError
