"""INSERT OR ROLLBACK that meets a constraint: as with stock SQLite, an IntegrityError that ends all."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, transaction
from django.test import TransactionTestCase

from raftdjango.backends.sqlite3.statements import execution as statements
from raftdjango.exceptions import TransactionConflict
from tests.backend.helpers import elsewhere, entries, raw
from tests.backend.models import Account

TWICE = "INSERT OR ROLLBACK INTO backend_account (name, balance) VALUES ('ada', 0), ('ada', 0)"


class TestOrRollback(TransactionTestCase):
    def test_outside_of_a_block_it_is_not_repeated(self) -> None:
        def never(attempt: int) -> None:
            raise AssertionError("repeated")

        with pytest.MonkeyPatch.context() as patch, entries() as found:
            patch.setattr(statements, "pause", never)
            with pytest.raises(IntegrityError, match="UNIQUE"):
                raw(TWICE)
        assert not found
        Account.objects.create(name="ada")

    def test_in_a_block(self) -> None:
        with pytest.raises(IntegrityError, match="UNIQUE") as caught, transaction.atomic():
            Account.objects.create(name="undone")
            raw(TWICE)
        assert not isinstance(caught.value, TransactionConflict)
        assert elsewhere(Account.objects.count) == 0

    def test_a_block_that_goes_on(self) -> None:
        with pytest.raises(TransactionConflict, match="UNIQUE") as caught, transaction.atomic():
            Account.objects.create(name="undone")
            with pytest.raises(IntegrityError), transaction.atomic():
                raw(TWICE)
            with pytest.raises(TransactionConflict, match="ROLLBACK"):
                Account.objects.create(name="bob")
        assert isinstance(caught.value, TransactionConflict)
        assert elsewhere(Account.objects.count) == 0
        Account.objects.create(name="ada")

    def test_a_block_that_only_ends(self) -> None:
        with pytest.raises(TransactionConflict, match="UNIQUE"), transaction.atomic():
            Account.objects.create(name="undone")
            with pytest.raises(IntegrityError), transaction.atomic():
                raw(TWICE)
        assert elsewhere(Account.objects.count) == 0
