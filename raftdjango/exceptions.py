"""What a replicated write can raise.  All are `django.db.OperationalError`.

Constraint violations stay `django.db.IntegrityError`, as in any Django project.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, OperationalError

from raftdjango.naming import model_label

if TYPE_CHECKING:
    from collections.abc import Callable


class ReplicationError(OperationalError):
    """Base of everything that this package raises for a write or a read."""


class TransactionConflict(ReplicationError):
    """Another transaction changed the same rows first; nothing was written.  Run it again."""

    def __init__(
        self,
        message: str,
        *,
        table: str = "",
        key: tuple[Any, ...] = (),
        log_index: int = 0,
        stale_read: bool = False,
    ) -> None:
        super().__init__(message)
        self.table = table
        self.key = key
        """The primary key of the row, as it is stored: one value for each of its columns."""
        self.log_index = log_index
        """Index of the entry that won; where the node does not know it, one that is not earlier.

        A database that was applied up to there shows the winner.
        """
        self.stale_read = stale_read
        """Lost at its first write, to a read that no longer held: begin IMMEDIATE next time."""

    @property
    def model(self) -> str | None:
        """`app_label.Model` of the row; None where no model has its table, or no row is known."""
        return model_label(self.table)


class ConstraintConflict(TransactionConflict, IntegrityError):
    """A constraint that held locally no longer held at the transaction's place in the log.

    Code that catches `IntegrityError` (`get_or_create()`) works; `atomic_retry` retries it.
    """


class ClusterUnavailable(ReplicationError):
    """No majority could be asked before the deadline.  Nothing was written."""


class CommitUncertain(ReplicationError):
    """The deadline passed after the write had left this node: it may or may not have been made."""

    def __init__(self, message: str, *, resolver: Callable[[float], bool | None]) -> None:
        super().__init__(message)
        self._resolver = resolver

    def resolve(self, timeout_s: float = 30.0) -> bool | None:
        """Ask again: True it was written, False it never will be, None still unknown."""
        return self._resolver(timeout_s)


class TransactionTooLarge(ReplicationError):
    """The transaction's entry exceeds `TRANSACTION_BYTES_MAX`.  Nothing was written."""


class MigrationLockLost(ReplicationError):
    """Another `migrate` took the lock, which had run out, so this one's plan may be done already.

    The transaction wrote nothing.  To run it again does not help: `migrate` has to begin anew.
    """


class NotReplicable(ReplicationError):
    """This statement or table cannot be replicated; the message names it and what to do."""
