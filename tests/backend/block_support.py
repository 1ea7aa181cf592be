"""What tests of blocks share: others that come between, and the watchdog at a chosen moment."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import TransactionTestCase

from raftdjango.client import proposal_ids
from raftdjango.writeset import Barrier, Command, encode_command
from tests.backend.helpers import elsewhere
from tests.backend.models import Account

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def given_way_at(part: str, *, skip: int = 0) -> Iterator[list[str]]:
    """The watchdog steps in, once, while a statement with `part` in its SQL is executed."""
    left = skip
    speculation = connection.replication.speculation
    driver = connection.connection
    met: list[str] = []
    armed = False
    watchdog = threading.Thread(target=speculation._give_way)

    def began(sql: str) -> None:
        nonlocal armed, left
        if part in sql and not met:
            left -= 1
            if left < 0:
                met.append(sql)
                armed = True

    def step() -> int:
        nonlocal armed
        if not armed:
            return 0
        armed = False
        watchdog.start()
        while speculation.doomed is None:
            assert watchdog.is_alive()
        return 1  # what interrupt() does, which the watchdog is calling now

    def over() -> None:
        if watchdog.ident is not None:
            watchdog.join(60)
            assert not watchdog.is_alive()

    def unwatch() -> None:
        over()  # As the real one does: or the interrupt might meet the rollback that follows.
        type(write_lock).unwatch(write_lock)

    write_lock = speculation.write_lock
    write_lock.unwatch = unwatch
    driver.set_trace_callback(began)
    driver.set_progress_handler(step, 1)
    try:
        yield met
    finally:
        over()
        del write_lock.unwatch
        driver.set_trace_callback(None)
        driver.set_progress_handler(None, 1)


@contextmanager
def refreshing(meanwhile: Callable[[], Any] = lambda: None) -> Iterator[list[int]]:
    """As a node does it, by an empty entry; before it comes what others did `meanwhile`."""
    client = connection.replication.client
    refresh = client.refresh
    refreshed: list[int] = []

    def by_entry(*, timeout_s: float) -> int:
        client.refresh = refresh
        elsewhere(meanwhile)
        command = Command(proposal_ids.next(), client.cluster_time_ms() + 60_000, Barrier())
        client.consensus.propose(encode_command(command), None)
        refreshed.append(refresh(timeout_s=timeout_s))
        client.refresh = by_entry
        return refreshed[-1]

    client.refresh = by_entry
    try:
        yield refreshed
    finally:
        client.__dict__.pop("refresh", None)


def names() -> list[str]:
    return list(Account.objects.order_by("name").values_list("name", flat=True))


def change_elsewhere(**values: object) -> None:
    elsewhere(lambda: Account.objects.filter(name="ada").update(**values))


def fails(function: Callable[[], Any], match: str = "constraint failed") -> None:
    """Run it in an inner block, as `get_or_create()` does, and go on when it fails."""
    with pytest.raises(IntegrityError, match=match), transaction.atomic():
        function()


def create(name: str) -> Account:
    return Account.objects.create(name=name)


INSERT = "INSERT INTO backend_account (name, balance) VALUES (%s, 0)"


def many(sql: str, *params: Any) -> None:
    """The statement once for each set of parameters."""
    with connection.cursor() as cursor:
        cursor.executemany(sql, params)


class Refreshed(TransactionTestCase):
    """Nobody else writes; but to know that takes an entry."""

    def setUp(self) -> None:
        self.enterContext(refreshing())
