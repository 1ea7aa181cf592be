"""`serializable()`: an atomic block that commits only if all that it read is still so."""

from __future__ import annotations

import inspect
from contextlib import ContextDecorator
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from asgiref.sync import iscoroutinefunction
from django.db import DEFAULT_DB_ALIAS, NotSupportedError, connections, transaction

from raftdjango.backends.sqlite3.reads.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from django.db.backends.base.base import BaseDatabaseWrapper

P = ParamSpec("P")
R = TypeVar("R")


@overload
def serializable(using: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def serializable(using: str | None = None, *, durable: bool = False) -> Serializable: ...
def serializable(using: Callable[..., Any] | str | None = None, *, durable: bool = False) -> Any:
    """An atomic block whose every read is checked at its place in the log: as if it ran alone.

    Context manager and decorator, with or without arguments, as `transaction.atomic()` is.  Raises
    `TransactionConflict` at its end where a row, or a range of rows, that it read is no longer as it
    was.  The outermost block alone: inside it `atomic()` makes savepoints as ever.
    """
    if callable(using):
        return Serializable(DEFAULT_DB_ALIAS, durable=False)(using)
    return Serializable(using or DEFAULT_DB_ALIAS, durable=durable)


class Serializable(ContextDecorator):
    """What `serializable()` gives; several calls of a decorated function may be under way at once."""

    def __init__(self, using: str, *, durable: bool) -> None:
        self.using = using
        self.durable = durable
        self._open: list[transaction.Atomic] = []

    def _recreate_cm(self) -> Serializable:
        """One for each call of a decorated function."""
        return Serializable(self.using, durable=self.durable)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:  # type: ignore[override]
        """Have `function` run in such a block."""
        if (
            iscoroutinefunction(function)
            or inspect.isgeneratorfunction(function)
            or inspect.isasyncgenfunction(function)
        ):
            name = getattr(function, "__qualname__", function)
            raise TypeError(
                f"serializable() cannot decorate {name}: its body would run outside of the block. "
                "Decorate a synchronous function that returns what it read, and call it with "
                "sync_to_async() where that is needed."
            )
        return super().__call__(function)

    def __enter__(self) -> Self:
        """Begin the block."""
        connection = connections[self.using]
        replication = getattr(connection, "replication", None)
        if replication is None:
            raise NotSupportedError(
                f"serializable() is for replicated databases, and {self.using!r} is none. Use "
                "transaction.atomic() there."
            )
        _refuse_nested(connection)
        atomic = transaction.Atomic(self.using, savepoint=True, durable=self.durable)
        atomic.__enter__()
        self._open.append(atomic)
        replication.speculation.recorder = Recorder(replication)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Commit it, or roll it back."""
        try:
            self._open.pop().__exit__(kind, error, traceback)
        finally:
            connection: Any = connections[self.using]
            connection.replication.speculation.recorder = None


def _refuse_nested(connection: BaseDatabaseWrapper) -> None:
    # Blocks that stand for "no block" in Django's own TestCase do not count.
    if any(not getattr(block, "_from_testcase", False) for block in connection.atomic_blocks):
        raise transaction.TransactionManagementError(
            f"serializable() was entered inside an atomic block of {connection.alias!r}, whose reads "
            "before it nobody took down. Make the outermost block the serializable one; with "
            "ATOMIC_REQUESTS, exempt the view by non_atomic_requests."
        )
    if not connection.in_atomic_block and not connection.get_autocommit():
        raise transaction.TransactionManagementError(
            f"serializable() was entered while autocommit is off for {connection.alias!r}: the "
            "transaction would not end with the block."
        )
