"""Django's `TestCase`: everything in one transaction, and still the whole way through the applier."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import TestCase

from raftdjango.writeset import decode_command
from tests.backend.helpers import far_key, kinds, raw
from tests.backend.models import Account, Booking, Tag


class TestNested(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        cls.ada = Account.objects.create(name="ada")

    def setUp(self) -> None:
        client = connection.replication.client
        self.found: list[Any] = []
        original = client.propose_nested

        def noting(connection: Any, command: bytes) -> Any:
            self.found.append(decode_command(command).body)
            return original(connection, command)

        client.propose_nested = noting
        self.addCleanup(delattr, client, "propose_nested")

    def kinds(self) -> list[list[str]]:
        return [kinds(each) for each in self.found]

    def test_statements_are_entries(self) -> None:
        Account.objects.create(name="bob")
        Account.objects.filter(name="bob").update(balance=1)
        raw("UPDATE backend_account SET balance = balance + 1")
        assert self.kinds() == [["BlindInsert"], ["Update"], ["Update", "Update"]]

    def test_the_outermost_block_of_the_test_is_one(self) -> None:
        with transaction.atomic():
            Account.objects.create(name="bob")
            with transaction.atomic():
                Account.objects.create(name="carl")
        assert self.kinds() == [["Insert", "Insert"]]

    def test_rolled_back(self) -> None:
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            Account.objects.create(name="bob")
            1 / 0
        assert self.kinds() == []
        assert Account.objects.count() == 1

    def test_a_block_without_a_savepoint(self) -> None:
        """Committed by whatever statement comes after it."""
        with transaction.atomic(savepoint=False):
            Account.objects.create(name="bob")
            Account.objects.create(name="carl")
        assert self.kinds() == []
        assert Account.objects.count() == 3
        assert self.kinds() == [["Insert", "Insert"]]

    def test_at_the_end_of_the_test(self) -> None:
        with transaction.atomic(savepoint=False):
            Account.objects.create(name="bob")
            Account.objects.create(name="carl")
        connection.check_constraints()
        assert self.kinds() == [["Insert", "Insert"]]

    def test_savepoints_in_a_block_without_one(self) -> None:
        with transaction.atomic(savepoint=False):
            Account.objects.create(name="bob")
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                Account.objects.create(name="carl")
                1 / 0
            with transaction.atomic():
                Account.objects.create(name="dora")
        assert Account.objects.count() == 3
        assert self.kinds() == [["Insert", "Insert"]]

    def test_deleted_with_what_hangs_on_it(self) -> None:
        Booking.objects.create(account=self.ada)
        self.ada.delete()
        assert not Booking.objects.exists()
        assert sorted(self.kinds()[-1]) == ["Delete", "Delete"]

    def test_failed_statement_leaves_the_test_usable(self) -> None:
        with pytest.raises(IntegrityError), transaction.atomic():
            Account.objects.create(name="ada")
        with pytest.raises(IntegrityError):
            raw("INSERT INTO backend_account (name, balance) VALUES ('ada', 1)")
        Account.objects.create(name="bob")
        assert Account.objects.count() == 2

    def test_savepoints_of_the_test_itself(self) -> None:
        savepoint = connection.savepoint()
        Account.objects.create(name="bob")
        transaction.savepoint_rollback(savepoint)
        transaction.savepoint_commit(savepoint)
        assert self.kinds() == []
        savepoint = connection.savepoint()
        Tag.objects.create(slug="x")
        Tag.objects.create(slug="y")
        transaction.savepoint_commit(savepoint)
        assert self.kinds() == [["Insert", "Insert"]]

    def test_for_update(self) -> None:
        with transaction.atomic():
            Account.objects.select_for_update().get()
            Tag.objects.create(slug="x")
        assert self.kinds() == [["ValidatedRead", "Insert"]]

    def test_schema_changes(self) -> None:
        raw("CREATE TABLE fresh (id INTEGER PRIMARY KEY)")
        raw("INSERT INTO fresh VALUES (1)")
        raw("ALTER TABLE fresh ADD COLUMN a")
        raw("UPDATE fresh SET a = 3")
        assert raw("SELECT * FROM fresh") == [(1, 3)]
        raw("DROP TABLE fresh")
        assert self.kinds() == [["Statement"], ["Insert"], ["Statement"], ["Update"], ["Statement"]]

    def test_the_applier_is_not_captured(self) -> None:
        """Triggers that are in place already, as after a `TransactionTestCase`."""
        replication = connection.replication
        replication.speculation.start_writing()
        replication.capture.install("backend_account")
        for balance in (1, 2):
            raw(f"UPDATE backend_account SET balance = {balance}")
            assert raw("SELECT count(*) FROM temp.raftdjango_journal") == [(0,)]
        raw("ALTER TABLE backend_account RENAME TO moved")
        raw("UPDATE moved SET balance = 3")
        assert raw("SELECT balance FROM moved") == [(3,)]
        assert self.kinds() == [["Update"], ["Update"], ["Statement"], ["Update"]]

    def test_a_deferred_foreign_key_is_looked_at_when_the_test_ends(self) -> None:
        key = far_key()
        Booking.objects.create(pk=1, account_id=key)
        with pytest.raises(IntegrityError):
            connection.check_constraints()
        Account.objects.create(pk=key, name="late")
        connection.check_constraints()

    def test_nothing_of_other_tests_is_left(self) -> None:
        assert list(Account.objects.values_list("name", flat=True)) == ["ada"]
        assert raw("SELECT count(*) FROM temp.raftdjango_journal") == [(0,)]


class TestOnlyReads(TestCase):
    def test_blocks(self) -> None:
        for _ in range(2):
            with transaction.atomic():
                assert not Account.objects.exists()
            savepoint = connection.savepoint()
            assert not Account.objects.exists()
            connection.savepoint_commit(savepoint)
        assert not connection.needs_rollback


class TestVerifyMode(TestCase):
    def test_a_lost_change_fails(self) -> None:
        """What capture misses is found by the applier."""
        from raftdjango.applier import VerificationFailed
        from raftdjango.backends.sqlite3.capture import journal

        with pytest.MonkeyPatch.context() as patch:
            original = journal._operations
            patch.setattr(journal, "_operations", lambda capture: list(original(capture))[:-1])
            with pytest.raises(VerificationFailed), transaction.atomic():
                Account.objects.create(name="ada")
                Account.objects.create(name="bob")


class TestOnAFreshConnection(TestCase):
    """Nothing was ever written through it, so that there is no journal yet."""

    @classmethod
    def setUpClass(cls) -> None:
        connection.close()
        super().setUpClass()

    def test_a_block_that_only_reads(self) -> None:
        with transaction.atomic():
            assert not Account.objects.exists()

    def test_a_block_that_is_rolled_back(self) -> None:
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            Account.objects.first()
            raise ZeroDivisionError
        assert not Account.objects.exists()
