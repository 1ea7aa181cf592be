"""`migrate` takes the group's lock through the log."""

from __future__ import annotations

import importlib
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, migrations, transaction
from django.db.models.signals import post_migrate, pre_migrate
from django.test import TestCase, TransactionTestCase

from raftdjango.backends.sqlite3.transactions import migration_lock
from raftdjango.backends.sqlite3.transactions.migration_lock import HeldLock
from raftdjango.exceptions import ClusterUnavailable, MigrationLockLost, TransactionConflict
from raftdjango.right_of_way.lock_file import RightOfWay
from raftdjango.writeset import Statement, WriteSet, decode_command
from tests.backend.helpers import elsewhere, raw, together
from tests.backend.models import Tag
from tests.node.nodes import wait_until


def lock_row() -> list[tuple[object, ...]]:
    return raw(
        "SELECT * FROM raftdjango_lock WHERE until_ms > (SELECT time_ms FROM raftdjango_state)"
    )


class TestLock(TransactionTestCase):
    def test_one_at_a_time(self) -> None:
        mine, other = HeldLock(connection.replication), HeldLock(connection.replication)
        assert mine.take()
        assert not other.take()
        mine.renew()
        with pytest.raises(MigrationLockLost):
            other.renew()
        mine.release()
        assert other.take()
        other.release()

    def test_migrate_holds_it_and_gives_it_back(self) -> None:
        held = []

        def look(*args: object, **kwargs: object) -> None:
            held.append(elsewhere(lambda: bool(lock_row())))

        post_migrate.connect(look)
        try:
            call_command("migrate", verbosity=0)
        finally:
            post_migrate.disconnect(look)
        assert held
        assert all(held)
        assert not lock_row()

    def test_looking_takes_no_lock(self) -> None:
        before = raw("SELECT applied_index FROM raftdjango_state")
        call_command("migrate", plan=True, stdout=io.StringIO())
        call_command("migrate", check_unapplied=True, verbosity=0)
        assert raw("SELECT applied_index FROM raftdjango_state") == before

    def test_without_a_raftnode(self) -> None:
        """The operator gets one line, not a traceback."""

        def refuse(lock: HeldLock) -> bool:
            raise ClusterUnavailable("Nothing was written: no raftnode answers")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(HeldLock, "take", refuse)
            with pytest.raises(CommandError, match="no raftnode answers"):
                call_command("migrate", verbosity=0)

    def test_a_conflict_says_what_to_do(self) -> None:
        def lose(*args: object, **kwargs: object) -> None:
            raise TransactionConflict("This transaction held the write lock for too long.")

        pre_migrate.connect(lose)
        try:
            with pytest.raises(
                CommandError, match=r"too long.*\n.*Run migrate again.*LOCK_YIELD_MS"
            ):
                call_command("migrate", verbosity=0)
        finally:
            pre_migrate.disconnect(lose)
        assert not lock_row()

    def test_the_applier_waits_longer_for_a_migration(self) -> None:
        connection.ensure_connection()
        write_lock = connection.replication.speculation.write_lock
        found: list[int | None] = []

        def look(*args: object, **kwargs: object) -> None:
            found.append(right_of_way.lock_yield_ms)

        pre_migrate.connect(look)
        original = write_lock.find_right_of_way
        try:
            for usual in (20, 120_000):
                right_of_way = RightOfWay.open(self.folder(), lock_yield_ms=usual)
                write_lock.find_right_of_way = lambda here=right_of_way: here
                call_command("migrate", verbosity=0)
                assert right_of_way.lock_yield_ms == usual
        finally:
            write_lock.find_right_of_way = original
            write_lock.right_of_way = None
            pre_migrate.disconnect(look)
        assert set(found) == {migration_lock.YIELD_MS, 120_000}

    def folder(self) -> Path:
        return Path(self.enterContext(tempfile.TemporaryDirectory()))

    def test_several_at_once(self) -> None:
        """From nothing: one makes the tables, the others find nothing left to do."""
        call_command("migrate", "sessions", "zero", verbosity=0)
        assert "django_session" not in connection.introspection.table_names()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(migration_lock, "POLL_S", 0.01)
            outputs = together(self.migrate, 3)
        assert "django_session" in connection.introspection.table_names()
        worked = [output for output in outputs if "Applying sessions.0001_initial... OK" in output]
        assert len(worked) == 1

    def test_who_waits_is_told_for_whom(self) -> None:
        other, told = HeldLock(connection.replication), []
        assert other.take()

        def on_wait(holder: str) -> None:
            told.append(holder)
            other.release()

        with (
            pytest.MonkeyPatch.context() as patch,
            migration_lock.migration_lock(connection.replication, on_wait=on_wait),
        ):
            patch.setattr(migration_lock, "POLL_S", 0.01)
        assert told == [f"n1 (process {os.getpid()})"]

    def test_a_long_migration_keeps_it(self) -> None:
        def until(mine: HeldLock) -> int:
            ((holder, until_ms),) = raw("SELECT holder, until_ms FROM raftdjango_lock")
            assert holder == mine.holder
            return int(until_ms)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(migration_lock, "RENEW_S", 0.01)
            with migration_lock.migration_lock(connection.replication, on_wait=pytest.fail) as mine:
                first = until(mine)
                wait_until(lambda: until(mine) > first, "the lock renewed")
        assert not lock_row()

    def migrate(self, number: int) -> str:
        output = io.StringIO()
        call_command("migrate", "sessions", stdout=output, stderr=io.StringIO())
        return output.getvalue()

    def test_a_plain_database_needs_no_lock(self) -> None:
        from raftdjango.management.commands.migrate import Command

        assert Command().lock is None


class TestLost(TransactionTestCase):
    """Somebody else changes the schema while a migration is on its way."""

    def setUp(self) -> None:
        call_command("migrate", "sessions", "zero", verbosity=0)

    def tearDown(self) -> None:
        raw("DROP TABLE IF EXISTS another")
        call_command("migrate", "sessions", "zero", fake=True, verbosity=0)
        call_command("migrate", "sessions", verbosity=0)

    @contextmanager
    def losing(self, times: int, *, first: int = 0) -> Iterator[list[int]]:
        """So many of the transactions with rows are lost, from the first one on."""
        client = connection.replication.client
        propose, seen = client.propose, []

        def late(proposal_id: bytes, command: bytes, **kwargs: object) -> object:
            body = decode_command(command).body
            if isinstance(body, WriteSet) and not is_all_statements(body):
                seen.append(len(seen))
                if first <= seen[-1] < first + times:
                    elsewhere(self.change_schema)
            return propose(proposal_id, command, **kwargs)

        client.propose = late
        try:
            yield seen
        finally:
            del client.propose

    def change_schema(self) -> None:
        raw("DROP TABLE IF EXISTS another")
        raw("CREATE TABLE another (id INTEGER PRIMARY KEY)")

    def migrate(self, *, atomic: bool = True) -> str:
        """A migration that writes rows, in one transaction or in two."""

        def rows(apps: object, editor: object) -> None:
            for slug in ("first", "second"):
                with transaction.atomic():
                    Tag.objects.create(slug=slug)

        said = io.StringIO()
        module = importlib.import_module("django.contrib.sessions.migrations.0001_initial")
        with (
            mock.patch.object(module.Migration, "atomic", atomic),
            mock.patch.object(module.Migration, "operations", [migrations.RunPython(rows)]),
        ):
            call_command("migrate", "sessions", verbosity=0, stderr=said)
        return said.getvalue()

    def test_it_runs_again(self) -> None:
        with self.losing(2):
            assert self.migrate().count("nothing was written, trying again") == 2
        assert Tag.objects.count() == 2

    def test_not_for_ever(self) -> None:
        with self.losing(3), pytest.raises(CommandError, match="Run migrate again"):
            self.migrate()
        assert not Tag.objects.exists()

    def test_not_where_some_of_it_is_done(self) -> None:
        with self.losing(1, first=1), pytest.raises(CommandError, match="atomic = False"):
            self.migrate(atomic=False)
        assert Tag.objects.get().slug == "first"


def is_all_statements(write_set: WriteSet) -> bool:
    return all(isinstance(operation, Statement) for operation in write_set.operations)


class TestInATestCase(TestCase):
    def test_migrate_runs_nested(self) -> None:
        call_command("migrate", verbosity=0)
