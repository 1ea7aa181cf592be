"""A `migrate` that stood still while its lock ran out and another one migrated: nothing is done twice."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, migrations, transaction
from django.test import TransactionTestCase

from raftdjango.backends.sqlite3.transactions import migration_lock
from raftdjango.backends.sqlite3.transactions.migration_lock import HeldLock
from raftdjango.exceptions import MigrationLockLost
from raftdjango.writeset import MigrationLock, WriteSet, decode_command
from tests.backend.helpers import elsewhere, raw
from tests.backend.models import Account, Booking
from tests.node.nodes import wait_until

RECORDED = "SELECT count(*) FROM django_migrations WHERE app = 'sessions'"


def table(name: str) -> migrations.RunSQL:
    return migrations.RunSQL(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY)", f"DROP TABLE {name}")


def book(apps: object, editor: object) -> None:
    """Two transactions where the migration is none; rows that are in nobody's way."""
    (account,) = Account.objects.all()
    for amount in (1, 2):
        with transaction.atomic():
            Booking.objects.create(account=account, amount=amount)


class TestFence(TransactionTestCase):
    def setUp(self) -> None:
        call_command("migrate", "sessions", "zero", verbosity=0)
        Account.objects.create(name="a")
        # Whoever takes the lock has lost it the next moment.
        self.enterContext(mock.patch.multiple(migration_lock, LEASE_MS=0, POLL_S=0.01))

    def tearDown(self) -> None:
        raw("DROP TABLE IF EXISTS made")
        call_command("migrate", "sessions", "zero", fake=True, verbosity=0)
        raw("DROP TABLE IF EXISTS django_session")
        call_command("migrate", "sessions", verbosity=0)

    @contextmanager
    def overtaken(self, *, at: int, by: Callable[[], object]) -> Iterator[None]:
        """Right before its `at`-th transaction reaches the log, `by()` is done elsewhere."""
        client = connection.replication.client
        propose, seen = client.propose, []

        def late(proposal_id: bytes, command: bytes, **kwargs: object) -> object:
            if isinstance(decode_command(command).body, WriteSet):
                seen.append(command)
                if len(seen) == at:
                    client.end_turn(proposal_id)
                    elsewhere(by)
            return propose(proposal_id, command, **kwargs)

        client.propose = late
        try:
            yield
        finally:
            del client.propose
        assert len(seen) >= at

    @contextmanager
    def migration(self, *operations: object, atomic: bool = True) -> Iterator[None]:
        module = importlib.import_module("django.contrib.sessions.migrations.0001_initial")
        with (
            mock.patch.object(module.Migration, "atomic", atomic),
            mock.patch.object(module.Migration, "operations", list(operations)),
        ):
            yield

    def lose(
        self, at: int, *arguments: str, by: Callable[[], object] | None = None, **options: object
    ) -> None:
        """`migrate`, while which another one does the same."""

        def same() -> None:
            call_command("migrate", "sessions", *arguments, verbosity=0, **options)

        with (
            self.overtaken(at=at, by=by or same),
            pytest.raises(
                CommandError, match=r"another migrate has had it since(?s:.*)Run migrate again"
            ),
        ):
            same()
        assert connection.replication.fence == b""

    def amounts(self) -> list[int]:
        return list(Booking.objects.order_by("pk").values_list("amount", flat=True))

    def test_rows_that_are_in_nobodys_way(self) -> None:
        with self.migration(migrations.RunPython(book)):
            self.lose(1)
            assert self.amounts() == [1, 2]
            assert raw(RECORDED) == [(1,)]
            call_command("migrate", "sessions", verbosity=0)
        assert self.amounts() == [1, 2]

    def test_tables_and_rows(self) -> None:
        with self.migration(table("made"), migrations.RunPython(book)):
            self.lose(1)
        assert self.amounts() == [1, 2]
        assert raw(RECORDED) == [(1,)]

    def test_steps_of_their_own(self) -> None:
        """What is not atomic may be begun twice, as on stock SQLite, but goes no further unawares."""
        with self.migration(migrations.RunPython(book), atomic=False):
            self.lose(2)
        assert self.amounts() == [1, 1, 2]
        assert raw(RECORDED) == [(1,)]

    def test_a_statement_alone(self) -> None:
        """One means the same on any schema, so that nothing else would be in its way."""
        with self.migration(table("made"), atomic=False):
            self.lose(1, by=self.have_the_lock_for_a_while)
        assert raw("SELECT name FROM sqlite_master WHERE name = 'made'") == []

    def test_the_record_of_what_is_not_atomic(self) -> None:
        with self.migration(table("made"), atomic=False):
            self.lose(2, by=self.have_the_lock_for_a_while)
        assert raw(RECORDED) == [(0,)]

    def test_a_fake(self) -> None:
        self.lose(1, fake=True)
        assert raw(RECORDED) == [(1,)]

    def test_the_way_back(self) -> None:
        with self.migration(migrations.RunPython(migrations.RunPython.noop, book)):
            call_command("migrate", "sessions", verbosity=0)
            self.lose(1, "zero")
        assert self.amounts() == [1, 2]
        assert raw(RECORDED) == [(0,)]

    def test_as_long_as_nobody_else_took_it_it_is_held(self) -> None:
        """That its time is over does no harm: nobody else has migrated."""
        with self.migration(migrations.RunPython(book)):
            call_command("migrate", "sessions", verbosity=0)
        assert self.amounts() == [1, 2]
        assert raw(RECORDED) == [(1,)]

    def have_the_lock_for_a_while(self) -> None:
        other = HeldLock(connection.replication)
        wait_until(other.take, "the lock")
        other.release()

    def test_what_others_write_is_not_fenced(self) -> None:
        with self.overtaken(at=1, by=self.have_the_lock_for_a_while):
            Account.objects.create(name="b")
        assert Account.objects.count() == 2

    def test_the_thread_that_renews_says_so(self) -> None:
        """And does not take it anew, though it is free: the plan is from before."""
        with (
            mock.patch.object(migration_lock, "RENEW_S", 0.001),
            migration_lock.migration_lock(connection.replication, on_wait=pytest.fail) as mine,
        ):
            with self.assertLogs("raftdjango.migrations", "ERROR"):
                elsewhere(self.have_the_lock_for_a_while)
                wait_until(lambda: mine.lost, "the loss noticed")
            assert raw("SELECT * FROM raftdjango_lock") == []
            with pytest.raises(MigrationLockLost, match="another migrate"):
                mine.renew()
        assert raw("SELECT * FROM raftdjango_lock") == []

    def test_a_migration_that_has_not_begun_does_not_begin(self) -> None:
        client = connection.replication.client
        propose = client.propose

        def late(proposal_id: bytes, command: bytes, **kwargs: object) -> object:
            body = decode_command(command).body
            if isinstance(body, MigrationLock) and body.renew:
                elsewhere(self.have_the_lock_for_a_while)
            return propose(proposal_id, command, **kwargs)

        client.propose = late
        try:
            with (
                self.migration(migrations.RunPython(book)),
                pytest.raises(CommandError, match="again"),
            ):
                call_command("migrate", "sessions", verbosity=0, stdout=io.StringIO())
        finally:
            del client.propose
        assert self.amounts() == []
