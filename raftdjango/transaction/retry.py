"""`atomic_retry`: an atomic block that runs again when another transaction came first.

A conflict means that nothing was written, so running the function again is safe as far as the
database goes; what the function does elsewhere belongs into `transaction.on_commit()`.
"""

from __future__ import annotations

import functools
import inspect
import random
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar, overload

from asgiref.sync import iscoroutinefunction
from django.db import DEFAULT_DB_ALIAS, connections, transaction

from raftdjango.exceptions import TransactionConflict
from raftdjango.transaction.exclusive import EXCLUSIVE_AFTER, in_turn
from raftdjango.transaction.serializable import serializable
from raftdjango.transaction.waiting import wait_applied

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from django.db.backends.base.base import BaseDatabaseWrapper

P = ParamSpec("P")
R = TypeVar("R")

ATTEMPTS = 10
BACKOFF_S_MIN, BACKOFF_S_MAX = 0.01, 1.0
"""Upper bound of the pause after the first defeat, doubled after each; the pause is random below it."""
WINNER_WAIT_S_MAX = 5.0
"""How long to wait for the winner to show locally; running again too early only loses again."""


@overload
def atomic_retry(using: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def atomic_retry(
    using: str | None = None,
    *,
    attempts: int = ATTEMPTS,
    exclusive_after: int | None = EXCLUSIVE_AFTER,
    durable: bool = True,
    serializable: bool = False,
) -> Retry: ...
def atomic_retry(
    using: Callable[..., Any] | str | None = None,
    *,
    attempts: int = ATTEMPTS,
    exclusive_after: int | None = EXCLUSIVE_AFTER,
    durable: bool = True,
    serializable: bool = False,
) -> Any:
    """Run the decorated function in an atomic block, again after each `TransactionConflict`.

    With or without arguments: `@atomic_retry`, `@atomic_retry(using="other", attempts=3)`.
    `attempts` counts all runs; the last one's conflict is raised.  After `exclusive_after` defeats
    the block is run in an exclusive turn, while no node writes anything else: for two seconds at
    most, twice as long in each further turn, up to four fifths of `COMMIT_TIMEOUT_S`.
    0: at once; None: never.  Never inside another atomic block of the same database: only
    the outermost block can be run again.  `serializable`: the block is a `serializable()` one.
    """
    if callable(using):
        return Retry(None, ATTEMPTS, exclusive_after=EXCLUSIVE_AFTER, durable=True)(using)
    return Retry(
        using, attempts, exclusive_after=exclusive_after, durable=durable, serializable=serializable
    )


class Retry:
    """What `atomic_retry(...)` gives: a decorator, and only that."""

    def __init__(
        self,
        using: str | None,
        attempts: int,
        *,
        exclusive_after: int | None,
        durable: bool,
        serializable: bool = False,
    ) -> None:
        if attempts < 1:
            raise ValueError(f"atomic_retry needs at least one attempt, not {attempts}.")
        self.using = using or DEFAULT_DB_ALIAS
        self.attempts = attempts
        self.exclusive_after = attempts if exclusive_after is None else exclusive_after
        self.durable = durable
        self.serializable = serializable

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Wrap `function`."""
        _refuse_deferred(function)

        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            return self._run(function, args, kwargs)

        return run

    def __enter__(self) -> NoReturn:
        """A block cannot be run twice, so there is no such context manager."""
        raise TypeError(
            "atomic_retry is a decorator: a with block cannot be run again. Move the block into a "
            "function, or use transaction.atomic() and handle TransactionConflict yourself."
        )

    def __exit__(self, *exc: object) -> None:
        """Only here so that `with` calls `__enter__`, which explains."""

    def _run(self, function: Callable[..., R], args: Any, kwargs: Any) -> R:
        connection = connections[self.using]
        _refuse_nested(function, connection)
        committed: list[bool] = []
        for attempt in range(1, self.attempts + 1):
            turns = attempt - self.exclusive_after
            try:
                with (
                    in_turn(connection, defeats=turns - 1) if turns > 0 else nullcontext(),
                    self._block(),
                ):
                    _note_commit(connection, committed)
                    result = function(*args, **kwargs)
                    if inspect.isawaitable(result):
                        _refuse_awaitable(function, result)
            except TransactionConflict as conflict:
                if committed:
                    raise  # By one of its on_commit hooks: the block itself is made.
                if attempt == self.attempts:
                    conflict.add_note(f"atomic_retry gave up after {attempt} attempts.")
                    raise
                prepare_next(connection, conflict, attempt)
            else:
                return result
        raise AssertionError("unreachable")  # pragma: no cover

    def _block(self) -> AbstractContextManager[object]:
        block = serializable if self.serializable else transaction.atomic
        return block(using=self.using, durable=self.durable)


def _note_commit(connection: BaseDatabaseWrapper, committed: list[bool]) -> None:
    """Tell conflicts of the block from those of its hooks: after a commit nothing is run again."""
    if not getattr(connection.atomic_blocks[0], "_from_testcase", False):
        # The first hook.  Where a test case's transaction goes on, hooks do not run here at all.
        transaction.on_commit(lambda: committed.append(True), using=connection.alias)


def _refuse_deferred(function: Callable[..., Any]) -> None:
    """Functions whose body does not run when they are called would run outside of the block."""
    if iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"atomic_retry cannot run the async function {_name(function)}: database transactions "
            f"are synchronous. Decorate a synchronous function and call it with sync_to_async()."
        )
    if inspect.isgeneratorfunction(function):
        raise TypeError(
            f"atomic_retry cannot run the generator {_name(function)}: its body would run after "
            f"the block. Return a list instead."
        )


def _refuse_awaitable(function: Callable[..., Any], result: Any) -> NoReturn:
    if inspect.iscoroutine(result):
        result.close()
    raise TypeError(f"{_name(function)} returned an awaitable, which would run after the block.")


def _refuse_nested(function: Callable[..., Any], connection: BaseDatabaseWrapper) -> None:
    # Blocks that stand for "no block" in Django's own TestCase do not count.
    blocks = [b for b in connection.atomic_blocks if not getattr(b, "_from_testcase", False)]
    if blocks:
        raise transaction.TransactionManagementError(
            f"{_name(function)} is decorated with atomic_retry, but was called inside an atomic "
            f"block of {connection.alias!r}. Only the outermost block can be run again: decorate "
            f"that one, or, with ATOMIC_REQUESTS, exempt the view by non_atomic_requests."
        )
    if not connection.in_atomic_block and not connection.get_autocommit():
        raise transaction.TransactionManagementError(
            f"{_name(function)} is decorated with atomic_retry, but autocommit is off for "
            f"{connection.alias!r}: the transaction would not end with the function."
        )


def prepare_next(
    connection: BaseDatabaseWrapper | None, conflict: TransactionConflict, attempt: int
) -> None:
    """Pause, then wait until the winner shows locally; running sooner would only lose again."""
    pause_s_max = min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2 ** (attempt - 1))
    time.sleep(random.uniform(0, pause_s_max))  # noqa: S311 - spreads load, guards nothing
    if connection is None:
        return
    wait_applied(connection, conflict.log_index, WINNER_WAIT_S_MAX)
    replication = getattr(connection, "replication", None)
    if conflict.stale_read and replication is not None:
        replication.begin_immediate_once()


def _name(function: Callable[..., Any]) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', function)}"
