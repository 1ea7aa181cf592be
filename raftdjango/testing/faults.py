"""Have the next commits of a test fail as a cluster can make them fail.

    with inject(conflict, times=2):
        book(seat)               # is beaten twice, then wins

Works where the test runner has put a test database in the node's place, and nowhere else: the switch
is part of what stands in for the node, so it cannot be left on in production.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections

from raftdjango.client import Outcome
from raftdjango.client.uncertain import Uncertain
from raftdjango.exceptions import ClusterUnavailable, CommitUncertain
from raftdjango.writeset import (
    BlindDelete,
    BlindInsert,
    BlindUpdate,
    Command,
    Insert,
    Statement,
    Verdict,
    VerdictKind,
    WriteSet,
    decode_command,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from raftdjango.writeset import Row

INJECTED = "(injected by raftdjango.testing.faults)"


class Fault(Enum):
    """What a commit can come to instead."""

    CONFLICT = "TransactionConflict: another transaction changed the same row first"
    CONSTRAINT_CONFLICT = "ConstraintConflict: another transaction took the same unique value first"
    UNAVAILABLE = "ClusterUnavailable: no majority answered"
    UNCERTAIN = "CommitUncertain: whether it was made is not known"


conflict = Fault.CONFLICT
constraint_conflict = Fault.CONSTRAINT_CONFLICT
unavailable = Fault.UNAVAILABLE
uncertain = Fault.UNCERTAIN


class FaultNotMet(AssertionError):
    """A test asked for more faults than there were commits: it does not test what it says."""


class Injection:
    """A fault that is switched on, and how often it has happened."""

    def __init__(
        self,
        fault: Fault,
        times: int | None,
        *,
        applied: bool,
        before: Callable[[], object] | None = None,
    ) -> None:
        self.fault = fault
        self.times = times
        self.applied = applied
        self.before = before
        self.happened = 0

    @property
    def is_spent(self) -> bool:
        """Whether it will not happen again."""
        return self.times is not None and self.happened >= self.times

    def meet(
        self,
        using: str,
        command: Command,
        applied_index: Callable[[], int],
        apply: Callable[[], Outcome],
    ) -> Outcome:
        """What the commit comes to; `apply` makes it after all."""
        if self.before is not None:
            _elsewhere(self.before)
        if self.fault is Fault.UNAVAILABLE:
            raise ClusterUnavailable(f"Nothing was written: no majority answered {INJECTED}.")
        if self.fault is Fault.UNCERTAIN:
            if self.applied:
                apply()
            raise CommitUncertain(
                f"The write may or may not have been made: no answer came in time {INJECTED}.",
                str(Uncertain(using, command.proposal_id, command.expires_at_ms)),
            )
        # What won is there already, as far as anybody can see.
        index = applied_index()
        assert isinstance(command.body, WriteSet)
        return Outcome(self._verdict(command.body), log_index=index, winner_index=index)

    def _verdict(self, write_set: WriteSet) -> Verdict:
        table, key, columns = _first_row(write_set)
        if self.fault is Fault.CONFLICT:
            message = "" if table else f"Another transaction came first {INJECTED}. Run it again."
            return Verdict(VerdictKind.CONFLICT, table=table, key=key, message=message)
        names = ", ".join(f"{table}.{column}" for column in columns)
        message = f"UNIQUE constraint failed: {names}"
        return Verdict(VerdictKind.CONSTRAINT_CONFLICT, table=table, key=key, message=message)


_lock = threading.Lock()
_winners = threading.local()
"""Has `spared` in threads that write what others have written: they meet no fault."""
_injections: dict[str, list[Injection]] = {}


@contextmanager
def inject(
    fault: Fault,
    *,
    times: int | None = 1,
    using: str = DEFAULT_DB_ALIAS,
    applied: bool = False,
    before: Callable[[], object] | None = None,
) -> Iterator[Injection]:
    """Have the next `times` commits to the database `using`, by whatever thread, end in `fault`.

    `times=None`: all of them, until the end of the block.  `applied`, for `uncertain`: whether the
    write is made in truth, which is what `CommitUncertain.resolve()` says later.  Several at once
    happen one after another, in the order in which they were switched on.  `before`: what somebody else
    commits right before each, on connections of his own, which only `TransactionTestCase` allows.

    Raises `FaultNotMet` at its end if there were not as many commits.
    """
    if applied and fault is not Fault.UNCERTAIN:
        raise ValueError("Only the outcome `uncertain` may have been applied.")
    if times is not None and times < 1:
        raise ValueError(f"A fault happens at least once, not {times} times.")
    _check_test_database(using)
    if before is not None and connections[using].replication.nested.active:  # type: ignore[attr-defined]
        raise ImproperlyConfigured(
            "inject(before=...) has somebody else write, and a TestCase's transaction keeps everybody else "
            "out. Use TransactionTestCase, or django_db(transaction=True)."
        )
    _settle(using)
    injection = Injection(fault, times, applied=applied, before=before)
    with _lock:
        _injections.setdefault(using, []).append(injection)
    try:
        yield injection
        _settle(using)
    finally:
        with _lock:
            _injections[using].remove(injection)
            if not _injections[using]:
                del _injections[using]
    if not injection.happened or not (injection.times is None or injection.is_spent):
        wanted = "at least once" if injection.times is None else f"{injection.times} times"
        raise FaultNotMet(
            f"{fault.name.lower()} was to happen {wanted} on {using!r} and happened "
            f"{injection.happened} times: fewer transactions were committed."
        )


def _check_test_database(using: str) -> None:
    replication = getattr(connections[using], "replication", None)
    if replication is None:
        raise ImproperlyConfigured(f"{using!r} is not a replicated database: no such faults there.")
    if not getattr(replication.client, "in_process", False):
        raise ImproperlyConfigured(
            f"Faults can be injected into test databases only, and {using!r} is not one: run this "
            "under Django's test runner or pytest-django."
        )


def _settle(using: str) -> None:
    """Inside Django's `TestCase`, some blocks are committed by what comes next (`delete()` opens one)."""
    replication: Any = connections[using].replication  # type: ignore[attr-defined]
    if replication.nested.active:
        replication.nested.settle()


def pass_on(
    using: str, command: bytes, applied_index: Callable[[], int], apply: Callable[[], Outcome]
) -> Outcome:
    """Apply a command, or do what was injected instead; called by what stands in for the node."""
    if using not in _injections or getattr(_winners, "spared", False):
        return apply()
    decoded = decode_command(command)
    injection = _next(using) if isinstance(decoded.body, WriteSet) else None
    if injection is None:
        return apply()
    return injection.meet(using, decoded, applied_index, apply)


def _next(using: str) -> Injection | None:
    with _lock:
        for injection in _injections.get(using, ()):
            if not injection.is_spent:
                injection.happened += 1
                return injection
    return None


def _elsewhere(write: Callable[[], object]) -> None:
    """Have another thread write, on connections of its own."""
    errors: list[BaseException] = []

    def run() -> None:
        _winners.spared = True
        try:
            write()
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


def _first_row(write_set: WriteSet) -> tuple[str, Row, tuple[str, ...]]:
    """Table, key and key columns of a row that the write-set touches, as a conflict would name it."""
    for operation in write_set.operations:
        if isinstance(operation, Statement):
            continue
        table = operation.table
        key: Row = ()
        if isinstance(operation, Insert):
            key = table.key_of(operation.row)
        elif isinstance(operation, BlindUpdate | BlindDelete):
            key = operation.keys[0]
        elif not isinstance(operation, BlindInsert):
            key = operation.key
        return table.name, key, tuple(table.columns[position] for position in table.key)
    return "", (), ()
