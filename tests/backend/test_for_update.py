"""`select_for_update()`: rows that must still be as they were read."""

from __future__ import annotations

import pytest
from django.db import connection, transaction
from django.test import TransactionTestCase

from raftdjango.exceptions import TransactionConflict
from tests.backend.helpers import elsewhere, entries, far_key, kinds
from tests.backend.models import Account, Booking
from tests.backend.test_autocommit import before_each


class TestForUpdate(TransactionTestCase):
    def setUp(self) -> None:
        self.ada = Account.objects.create(name="ada", balance=1)
        self.bob = Account.objects.create(name="bob", balance=1)

    def lock(self) -> Account:
        return Account.objects.select_for_update().get(name="ada")

    def change(self) -> None:
        elsewhere(lambda: Account.objects.filter(name="ada").update(balance=9))

    def test_outside_a_block_it_is_an_error(self) -> None:
        with pytest.raises(transaction.TransactionManagementError):
            self.lock()

    def test_the_row_goes_along(self) -> None:
        with entries() as found, transaction.atomic():
            self.lock()
            Booking.objects.create(account=self.bob)
        assert kinds(*found) == ["ValidatedRead", "Insert"]

    def test_in_its_place(self) -> None:
        with entries() as found, transaction.atomic():
            Account.objects.filter(pk=self.ada.pk).update(balance=2)
            self.lock()
            Account.objects.filter(pk=self.ada.pk).update(balance=3)
        assert kinds(*found) == ["Update", "ValidatedRead", "Update"]

    def test_alone_it_proposes_nothing(self) -> None:
        with entries() as found, transaction.atomic():
            self.lock()
        assert not found

    def test_changed_before_the_first_write(self) -> None:
        with pytest.raises(TransactionConflict) as caught, transaction.atomic():
            self.lock()
            self.change()
            Booking.objects.create(account=self.bob)
        assert (caught.value.table, caught.value.key) == ("backend_account", (self.ada.pk,))
        assert caught.value.stale_read
        assert not Booking.objects.exists()

    def test_changed_before_it_is_applied(self) -> None:
        with before_each("propose", lambda call: self.change()):
            with pytest.raises(TransactionConflict) as caught, transaction.atomic():
                self.lock()
                Booking.objects.create(account=self.bob)
        assert caught.value.table == "backend_account"
        assert caught.value.key == (self.ada.pk,)
        assert not Booking.objects.exists()

    def test_other_rows_may_change(self) -> None:
        with transaction.atomic():
            self.lock()
            elsewhere(lambda: Account.objects.filter(name="bob").update(balance=9))
            Booking.objects.create(account=self.bob)
        assert Booking.objects.exists()

    def test_rows_that_are_absent_must_stay_absent(self) -> None:
        replication = connection.replication
        key = far_key()

        def create_carl() -> None:
            Account.objects.create(pk=key, name="carl")

        with before_each("propose", lambda call: elsewhere(create_carl)):
            with pytest.raises(TransactionConflict), transaction.atomic():
                replication.lock_for_update("backend_account", [(key,)])
                Booking.objects.create(account=self.bob)

    def test_a_savepoint_that_is_undone_keeps_the_rows_read_before_it(self) -> None:
        with entries() as found, transaction.atomic():
            self.lock()
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                Booking.objects.create(account=self.bob)
                1 / 0
            Booking.objects.create(account=self.bob)
        assert kinds(*found) == ["ValidatedRead", "Insert"]
