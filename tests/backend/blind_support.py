"""What the tests of blind statements share."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection, connections

from raftdjango.backends.sqlite3.replication import Replication
from raftdjango.backends.sqlite3.transactions import commit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


both_ways = pytest.mark.parametrize(
    "_database",
    [
        pytest.param(None, marks=pytest.mark.django_db(transaction=True), id="committed"),
        pytest.param(None, marks=pytest.mark.django_db, id="in a TestCase"),
    ],
)
committed = pytest.mark.django_db(transaction=True)


@pytest.fixture
def proposed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Kinds of operations of each write-set proposed."""
    seen: list[list[str]] = []
    original = commit.propose_body

    def propose_body(replication: Any, body: Any) -> Any:
        seen.append([type(operation).__name__ for operation in body.operations])
        return original(replication, body)

    monkeypatch.setattr(commit, "propose_body", propose_body)
    return seen


@contextmanager
def never_blind() -> Iterator[None]:
    """Everything is executed locally and captured."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Replication, "in_true_autocommit", lambda self: False)
        patch.setattr(Replication, "note_blind_candidate", lambda self, operation: None)
        yield


def stored(table: str, key: Any) -> list[Any]:
    """The row as SQLite stores it: value and storage class of every column but the key."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT name FROM pragma_table_xinfo('{table}') WHERE NOT pk")
        columns = [name for (name,) in cursor.fetchall()]
        terms = ", ".join(f'typeof("{name}"), quote("{name}")' for name in columns)
        cursor.execute(f'SELECT {terms} FROM "{table}" WHERE rowid = %s', [key])
        (row,) = cursor.fetchall()
    return list(row)


def elsewhere(work: Callable[[], Any]) -> None:
    """Have another connection do something and wait until it is done."""

    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


def overtake(work: Callable[[], Any]) -> None:
    """Have somebody else commit after this block gave its lock back, before its entry is proposed."""
    original = commit.propose

    def propose(replication: Any, unit: Any) -> Any:
        patch.undo()
        elsewhere(work)
        return original(replication, unit)

    patch = pytest.MonkeyPatch()
    patch.setattr(commit, "propose", propose)


@pytest.fixture
def lagging(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Lets this node see something that others did only once it asks for a fresh view."""

    def lag(work: Callable[[], Any]) -> None:
        client_type = type(connection.replication.client)
        original = client_type.refresh

        def refresh(self: Any, *, timeout_s: float) -> int:
            monkeypatch.setattr(client_type, "refresh", original)
            elsewhere(work)
            return original(self, timeout_s=timeout_s)

        monkeypatch.setattr(client_type, "refresh", refresh)

    return lag


@pytest.fixture
def leased(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Gives this process blocks of keys, as answers of a node would."""
    allocator = connection.replication.allocator
    allocator.reset()

    def feed(**blocks: range) -> None:
        connection.ensure_connection()
        version = connection.replication.schema_version()
        allocator.feed({f"backend_{name}": keys for name, keys in blocks.items()}, version)

    yield feed
    allocator.reset()
