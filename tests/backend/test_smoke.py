"""The first things anybody does."""

from __future__ import annotations

import pytest
from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase

from tests.backend.models import Account, Booking, Tag


class Everyday:
    def test_create_save_update_delete(self) -> None:
        account = Account.objects.create(name="ada", balance=1)
        account.balance = 2
        account.save()
        assert Account.objects.filter(pk=account.pk).update(balance=3) == 1
        assert Account.objects.get(name="ada").balance == 3
        account.delete()
        assert not Account.objects.exists()

    def test_atomic(self) -> None:
        with transaction.atomic():
            account = Account.objects.create(name="ada")
            Booking.objects.create(account=account, amount=5)
            tag = Tag.objects.create(slug="x")
            tag.accounts.add(account)
        assert list(Booking.objects.values_list("account__name", "amount")) == [("ada", 5)]
        assert list(tag.accounts.all()) == [account]

    def test_rolled_back(self) -> None:
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            Account.objects.create(name="ada")
            1 / 0
        assert not Account.objects.exists()

    def test_savepoint_rolled_back(self) -> None:
        with transaction.atomic():
            Account.objects.create(name="ada")
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                Account.objects.create(name="bob")
                1 / 0
        assert list(Account.objects.values_list("name", flat=True)) == ["ada"]

    def test_raw(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO backend_account (name, balance) VALUES (%s, 1)", ["ada"])
            cursor.execute("UPDATE backend_account SET balance = balance + 1")
            assert cursor.rowcount == 1
        assert Account.objects.get().balance == 2


class TestReal(Everyday, TransactionTestCase):
    pass


class TestNested(Everyday, TestCase):
    pass
