"""Constraints that failed inside a block on a view that was not fresh: the block is a conflict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import TestCase, TransactionTestCase

from raftdjango.backends.sqlite3.transactions import failures
from raftdjango.exceptions import ClusterUnavailable, TransactionConflict
from tests.backend.block_support import (
    INSERT,
    Refreshed,
    create,
    fails,
    given_way_at,
    many,
    names,
    refreshing,
)
from tests.backend.helpers import far_key, raw
from tests.backend.models import Account, Booking, Tag

if TYPE_CHECKING:
    from collections.abc import Callable


class TestStale(TransactionTestCase):
    """User code was told what is not so."""

    def setUp(self) -> None:
        create("ada")

    def lost(self, meanwhile: Callable[[], Any], block: Callable[[], Any]) -> None:
        before = set(Tag.objects.values_list("slug", flat=True))
        with (
            refreshing(meanwhile) as refreshed,
            pytest.raises(TransactionConflict, match="no longer current") as caught,
            transaction.atomic(),
        ):
            Tag.objects.create(slug="mine")
            block()
        assert caught.value.log_index == refreshed[-1]
        assert set(Tag.objects.values_list("slug", flat=True)) == before
        assert not connection.connection.in_transaction

    def test_the_row_is_gone(self) -> None:
        self.lost(
            lambda: Account.objects.filter(name="ada").delete(),
            lambda: fails(lambda: create("ada")),
        )

    def test_the_second_of_two(self) -> None:
        def block() -> None:
            create("bob")
            fails(lambda: create("bob"))
            fails(lambda: create("ada"))

        self.lost(lambda: Account.objects.filter(name="ada").delete(), block)

    def test_it_fails_for_another_reason(self) -> None:
        key = far_key()

        def meanwhile() -> None:
            Account.objects.filter(name="ada").delete()
            Account.objects.create(pk=key, name="eva")

        self.lost(meanwhile, lambda: fails(lambda: Account.objects.create(pk=key, name="ada")))

    def test_the_block_could_not_have_written_its_own_row(self) -> None:
        """And has undone it itself, so that nothing of it is in the entry."""

        def block() -> None:
            savepoint = connection.savepoint()
            create("bob")
            fails(lambda: create("ada"))
            transaction.savepoint_rollback(savepoint)

        self.lost(lambda: create("bob"), block)

    def test_the_block_changed_a_row_that_is_different_now(self) -> None:
        def block() -> None:
            savepoint = connection.savepoint()
            raw("UPDATE backend_account SET name = 'bob' WHERE balance = 0")
            fails(lambda: create("bob"))
            transaction.savepoint_rollback(savepoint)

        self.lost(lambda: Account.objects.update(balance=9), block)

    def test_the_block_deleted_a_row_that_is_gone(self) -> None:
        def block() -> None:
            savepoint = connection.savepoint()
            bob = create("bob")
            Account.objects.filter(name="ada").delete()
            fails(lambda: create("bob"))
            bob.delete()
            transaction.savepoint_rollback(savepoint)

        self.lost(lambda: Account.objects.filter(name="ada").delete(), block)

    def test_the_table_is_not_so_any_more(self) -> None:
        """A row that the block refers to is gone: no longer a question of the name."""
        account = Account.objects.get()

        def block() -> None:
            savepoint = connection.savepoint()
            Booking.objects.create(pk=1, account=account)
            fails(lambda: Booking.objects.bulk_create([Booking(pk=1, account=account)]))
            transaction.savepoint_rollback(savepoint)
            fails(lambda: create("ada"))

        self.lost(Account.objects.all().delete, block)

    def test_what_is_left_of_the_failed_statement_does_not_count(self) -> None:
        """It would make it fail, whatever others did."""

        def half_of_many() -> None:
            with pytest.raises(IntegrityError):
                many(INSERT, ["bob"], ["ada"])

        def or_fail() -> None:
            with pytest.raises(IntegrityError):
                raw(INSERT.replace("INTO", "OR FAIL INTO") % "'bob'" + ", ('ada', 0)")

        for block in (half_of_many, or_fail):
            self.lost(lambda: Account.objects.filter(name="ada").delete(), block)
            create("ada")

    def test_others_wrote_what_does_not_matter(self) -> None:
        with refreshing(lambda: create("carl")), transaction.atomic():
            fails(lambda: create("ada"))
            create("bob")
            fails(lambda: create("bob"))
        assert names() == ["ada", "bob", "carl"]


class TestLock(Refreshed):
    """The repetition needs the write lock, and may lose it."""

    def setUp(self) -> None:
        super().setUp()
        create("ada")

    def test_lost_on_the_way(self) -> None:
        """To the watchdog, at whatever the repetition executes."""
        failing = "INSERT INTO backend_account VALUES (500, 'ada', 0)"
        for part, skip in (
            ("defer_foreign_keys = 1", 0),
            ("INSERT OR ABORT", 0),
            ('SELECT +"id"', 0),
            ("UPDATE OR ABORT", 0),
            (failing, 1),
        ):
            with (
                given_way_at(part, skip=skip) as met,
                pytest.raises(TransactionConflict, match="for too long"),
                transaction.atomic(),
            ):
                create("bob")
                raw("UPDATE backend_account SET balance = 3 WHERE name = 'bob'")
                fails(lambda: raw(failing))
            assert met, part
            assert names() == ["ada"]

    def test_not_to_be_had(self) -> None:
        write_lock = connection.replication.speculation.write_lock

        def taken() -> None:
            write_lock._try_begin = lambda: False

        with (
            refreshing(taken),
            pytest.raises(TransactionConflict, match="not to be had"),
            transaction.atomic(),
        ):
            create("bob")
            fails(lambda: create("bob"))
        del write_lock._try_begin
        assert names() == ["ada"]

    def test_no_majority(self) -> None:
        def unreachable(*, timeout_s: float) -> int:
            raise ClusterUnavailable("no majority")

        with pytest.raises(ClusterUnavailable), transaction.atomic():
            create("bob")
            fails(lambda: create("bob"))
            connection.replication.client.refresh = unreachable
        assert not connection.connection.in_transaction
        assert names() == ["ada"]


class TestInsideATestCase(TestCase):
    """There views are never stale, and nothing is remembered for nobody."""

    def test_failures(self) -> None:
        for _ in range(failures.FAILURES_MAX + 2):
            with transaction.atomic():
                fails(lambda: create(None), match="NOT NULL")
                create("ada").delete()
        assert connection.replication.speculation.block.failures.met == []
