"""Reads: buffered, never pinning the snapshot; large ones streamed."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import TestCase, TransactionTestCase

from raftdjango.backends.sqlite3 import chunks
from tests.backend.helpers import elsewhere, raw
from tests.backend.models import Account


class TestBuffered(TransactionTestCase):
    def test_an_unfinished_read_pins_nothing(self) -> None:
        for name in ("a", "b"):
            Account.objects.create(name=name)
        with connection.cursor() as cursor:
            cursor.execute("SELECT name FROM backend_account ORDER BY name")
            assert cursor.fetchone() == ("a",)
            Account.objects.create(name="c")
            assert Account.objects.count() == 3
            assert cursor.fetchall() == [("b",)]

    def test_the_cursor_protocol(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT value FROM json_each('[1,2,3,4,5]')")
            assert cursor.description[0][0] == "value"
            assert cursor.fetchmany() == [(1,)]
            assert cursor.fetchmany(2) == [(2,), (3,)]
            assert list(cursor) == [(4,), (5,)]
            assert cursor.fetchone() is None
            assert cursor.fetchmany(2) == []
            assert cursor.fetchall() == []
            assert cursor.rowcount == -1
        with pytest.raises(DatabaseError):
            cursor.fetchone()

    def test_closed_cursor(self) -> None:
        cursor = connection.cursor()
        cursor.execute("SELECT 1")
        cursor.close()
        with pytest.raises(DatabaseError):
            cursor.fetchall()


class TestIterator(TransactionTestCase):
    def setUp(self) -> None:
        Account.objects.bulk_create([Account(name=f"{n:03}") for n in range(10)])

    def test_rows_saved_while_iterating_are_seen(self) -> None:
        for account in Account.objects.order_by("name").iterator(chunk_size=2):
            account.balance = 5
            account.save()
            assert Account.objects.get(pk=account.pk).balance == 5
            # So are they by another iteration.
            assert next(Account.objects.filter(pk=account.pk).iterator()).balance == 5

    def test_it_does_not_hold_the_connections_snapshot(self) -> None:
        rows = Account.objects.order_by("name").iterator(chunk_size=2)
        next(rows)
        elsewhere(lambda: Account.objects.create(name="new"))
        assert Account.objects.filter(name="new").exists()
        assert len(list(rows)) == 9

    def test_its_connection_cannot_write(self) -> None:
        with connection.chunked_cursor() as cursor, pytest.raises(DatabaseError):
            cursor.execute("DELETE FROM backend_account")

    def test_connections_are_used_again_and_closed(self) -> None:
        for _ in range(5):
            list(Account.objects.iterator())
        assert len(connection._chunk_pool._idle) == 1
        running = Account.objects.iterator(chunk_size=2)
        next(running)
        connection.close()
        assert connection._chunk_pool._idle == []
        running.close()
        assert connection._chunk_pool._idle == []

    def test_in_a_block_it_reads_the_blocks_own_rows(self) -> None:
        with transaction.atomic():
            Account.objects.create(name="mine")
            assert len(list(Account.objects.iterator(chunk_size=3))) == 11

    def test_in_a_block_many_rows_go_to_a_file(self) -> None:
        with pytest.MonkeyPatch.context() as patch, transaction.atomic():
            patch.setattr(chunks, "ROWS_IN_MEMORY_MAX", 3)
            Account.objects.create(name="mine")
            found = [account.name for account in Account.objects.order_by("name").iterator()]
            assert found == [f"{n:03}" for n in range(10)] + ["mine"]
            with connection.chunked_cursor() as cursor:
                cursor.execute("SELECT name FROM backend_account ORDER BY name")
                assert cursor.fetchone() == ("000",)
                assert cursor.fetchmany(2) == [("001",), ("002",)]
                assert len(cursor.fetchall()) == 8

    def test_in_a_block_it_is_one_of_the_reads_that_must_hold(self) -> None:
        from raftdjango.exceptions import TransactionConflict

        for rows_in_memory in (3, 1000):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(chunks, "ROWS_IN_MEMORY_MAX", rows_in_memory)
                with transaction.atomic():
                    list(Account.objects.filter(name__lt="004").iterator())
                    elsewhere(lambda: Account.objects.filter(name="009").update(balance=7))
                    Account.objects.filter(name="000").update(balance=1)
                with pytest.raises(TransactionConflict), transaction.atomic():
                    list(Account.objects.iterator())
                    elsewhere(lambda: Account.objects.filter(name="009").update(balance=8))
                    Account.objects.filter(name="000").update(balance=1)
            Account.objects.update(balance=0)


class TestIteratorInATestCase(TestCase):
    def test_it_reads_the_tests_own_rows(self) -> None:
        Account.objects.create(name="mine")
        assert [account.name for account in Account.objects.iterator()] == ["mine"]


class TestAttachedState(TransactionTestCase):
    def test_the_applied_index_is_readable(self) -> None:
        before = raw("SELECT applied_index FROM raftdjango_state")
        Account.objects.create(name="ada")
        assert raw("SELECT applied_index FROM raftdjango_state") > before
