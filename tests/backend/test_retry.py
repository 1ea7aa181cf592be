"""`atomic_retry` runs a function again after a conflict, and refuses where that could not work.

On a plain SQLite alias, where conflicts are raised by hand: what causes them is tested elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import Group
from django.db import IntegrityError, OperationalError, connections, transaction
from django.db.transaction import TransactionManagementError

from raftdjango.exceptions import (
    ClusterUnavailable,
    CommitUncertain,
    ConstraintConflict,
    TransactionConflict,
)
from raftdjango.transaction import atomic_retry, waiting
from raftdjango.transaction import retry as module
from raftdjango.transaction.waiting import wait_applied

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "plain"])
retry = atomic_retry(using="plain")


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """No test waits; what would have been the longest pause is noted."""
    longest: list[float] = []
    monkeypatch.setattr(module.random, "uniform", lambda low, high: longest.append(high) or 0)
    return longest


def losing(times: int, error: Exception | None = None) -> Callable[[], int]:
    """A function that writes a row and then loses so many times."""
    runs = 0

    def run() -> int:
        nonlocal runs
        runs += 1
        Group.objects.using("plain").create(name=f"run {runs}")
        if runs <= times:
            raise error or TransactionConflict("another was first")
        return runs

    return run


def names() -> list[str]:
    return list(Group.objects.using("plain").values_list("name", flat=True))


def test_a_function_runs_again_until_it_wins() -> None:
    assert retry(losing(2))() == 3
    assert names() == ["run 3"], "what the defeats wrote is gone"


def test_a_lost_unique_race_is_a_conflict_as_well() -> None:
    assert retry(losing(1, ConstraintConflict("UNIQUE constraint failed")))() == 2


@pytest.mark.parametrize(
    "error",
    [
        IntegrityError("UNIQUE constraint failed"),
        OperationalError("database is locked"),
        ClusterUnavailable("no majority"),
        CommitUncertain("who knows", resolver=lambda timeout_s: None),
        ValueError("no"),
    ],
)
def test_nothing_else_is_run_again(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        retry(losing(1, error))()
    assert caught.value is error
    assert names() == []


def test_the_last_conflict_is_raised_when_attempts_are_used_up() -> None:
    conflict = TransactionConflict("another was first")
    run = losing(99, conflict)
    with pytest.raises(TransactionConflict) as caught:
        atomic_retry(using="plain", attempts=3)(run)()
    assert caught.value is conflict
    assert caught.value.__notes__ == ["atomic_retry gave up after 3 attempts."]
    assert run.__closure__
    assert names() == []


def test_pauses_are_random_below_a_growing_bound(pauses: list[float]) -> None:
    retry(losing(9))()
    assert pauses == sorted(pauses)
    assert pauses[0] == module.BACKOFF_S_MIN
    assert pauses[-1] == module.BACKOFF_S_MAX


def test_attempts_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one attempt"):
        atomic_retry(attempts=0)


def test_it_decorates_with_and_without_arguments() -> None:
    @atomic_retry
    def bare(value: int) -> int:
        """Bare."""
        return value

    @atomic_retry()
    def empty(value: int) -> int:
        return value

    @atomic_retry("plain")
    def named(value: int, *, more: int) -> int:
        return value + more

    assert (bare.__name__, bare.__doc__, empty.__name__) == ("bare", "Bare.", "empty")
    assert named(1, more=2) == 3


class Teller:
    @atomic_retry(using="plain")
    def tell(self) -> Teller:
        return self


def test_methods_keep_their_self() -> None:
    teller = Teller()
    assert teller.tell() is teller


def test_the_function_runs_in_an_atomic_block_and_hooks_run_once_after_it() -> None:
    heard: list[bool] = []
    run = losing(1)

    @retry
    def book() -> None:
        transaction.on_commit(lambda: heard.append(connection.in_atomic_block), using="plain")
        assert connection.in_atomic_block
        run()

    connection = connections["plain"]
    book()
    assert heard == [False]


def test_a_conflict_that_was_swallowed_inside_is_still_one() -> None:
    """As a doomed block raises it again at its end."""
    runs = 0

    @retry
    def swallow() -> int:
        nonlocal runs
        runs += 1
        if runs == 1:
            transaction.on_commit(lambda: pytest.fail("committed"), using="plain")
            raise TransactionConflict("at commit")
        return runs

    assert swallow() == 2


def test_it_is_never_a_context_manager() -> None:
    with (
        pytest.raises(TypeError, match="cannot be run again"),
        atomic_retry(using="plain"),  # type: ignore[attr-defined]
    ):
        pass


def test_functions_whose_body_runs_later_are_refused() -> None:
    async def later() -> None: ...

    async def later_still() -> AsyncIterator[int]:
        yield 1

    def one_by_one() -> Iterator[int]:
        yield 1

    with pytest.raises(TypeError, match="sync_to_async"):
        atomic_retry(later)
    with pytest.raises(TypeError, match="sync_to_async"):
        atomic_retry(using="plain")(later_still)
    with pytest.raises(TypeError, match="Return a list"):
        atomic_retry(one_by_one)


def test_a_function_that_returns_a_coroutine_is_refused_and_rolled_back() -> None:
    async def later() -> None: ...

    @retry
    def start() -> Any:
        losing(0)()
        return later()

    with pytest.raises(TypeError, match="awaitable"):
        start()
    assert names() == []


def test_it_refuses_to_run_inside_another_block() -> None:
    run = retry(losing(0))
    with (
        transaction.atomic(using="plain"),
        pytest.raises(TransactionManagementError, match="outermost"),
    ):
        run()
    with pytest.raises(TransactionManagementError, match="outermost"):
        retry(run)()
    assert names() == []


def test_a_block_of_another_database_does_not_matter() -> None:
    with transaction.atomic(using="plain"):
        assert atomic_retry(using="default")(lambda: 1)() == 1


@pytest.mark.django_db(transaction=False, databases=["default", "plain"])
def test_inside_a_test_case_of_django_it_runs() -> None:
    assert retry(losing(1))() == 2


def test_it_refuses_without_autocommit() -> None:
    connection = connections["plain"]
    connection.set_autocommit(False)
    try:
        with pytest.raises(TransactionManagementError, match="autocommit is off"):
            retry(losing(0))()
    finally:
        connection.rollback()
        connection.set_autocommit(True)


class Replication:
    def __init__(self) -> None:
        self.immediate = 0

    def begin_immediate_once(self) -> None:
        self.immediate += 1


def test_after_a_stale_read_the_next_run_takes_the_lock_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replication = Replication()
    monkeypatch.setattr(connections["plain"], "replication", replication, raising=False)
    retry(losing(1))()
    assert replication.immediate == 0
    Group.objects.using("plain").all().delete()
    retry(losing(2, TransactionConflict("a read differs", stale_read=True)))()
    assert replication.immediate == 2


def test_the_next_run_waits_until_the_winner_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    applied = iter([3, 5, 6, 7, 100])
    seen: list[int] = []

    def applied_index(connection: Any) -> int:
        seen.append(next(applied))
        return seen[-1]

    monkeypatch.setattr(waiting, "_applied_index", applied_index)
    retry(losing(1, TransactionConflict("another was first", log_index=7)))()
    assert seen == [3, 5, 6, 7]


def test_waiting_for_the_winner_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_applied_index", lambda connection: 0)
    assert not wait_applied(connections["plain"], 1, 0.01)


def test_how_far_the_database_is_applied_is_read_from_it() -> None:
    connection = connections["plain"]
    assert wait_applied(connection, 10**9, 0), "not replicated: nothing to wait for"
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE raftdjango_state (id INTEGER PRIMARY KEY, applied_index INT)")
        cursor.execute("INSERT INTO raftdjango_state VALUES (1, 7)")
    try:
        assert wait_applied(connection, 7, 0)
        assert not wait_applied(connection, 8, 0)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE raftdjango_state")
