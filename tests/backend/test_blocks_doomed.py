"""Lost blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.transaction import TransactionManagementError
from django.test import TransactionTestCase

from raftdjango.exceptions import TransactionConflict
from tests.backend.block_support import (
    change_elsewhere,
    names,
)
from tests.backend.helpers import elsewhere, entries, kinds, raw
from tests.backend.models import Account

if TYPE_CHECKING:
    pass


class TestDoomed(TransactionTestCase):
    """A lost block stays lost, whatever user code catches."""

    def setUp(self) -> None:
        Account.objects.create(name="ada", balance=1)

    def lose(self) -> None:
        """Inside a block: a read that no longer holds."""
        assert Account.objects.get(name="ada").balance == 1
        change_elsewhere(balance=5)
        with pytest.raises(TransactionConflict):
            Account.objects.create(name="bob")

    def test_every_statement_raises_the_same(self) -> None:
        statements = [
            lambda: Account.objects.create(name="carl"),
            Account.objects.count,
            lambda: raw("UPDATE backend_account SET balance = 9"),
            connection.savepoint,
            transaction.atomic().__enter__,
            lambda: raw("PRAGMA foreign_keys"),
            lambda: list(Account.objects.iterator()),
            lambda: list(Account.objects.select_for_update()),
        ]
        with pytest.raises(TransactionConflict) as last, transaction.atomic():
            outer = connection.savepoint()
            self.lose()
            messages = set()
            for statement in statements:
                with pytest.raises(TransactionConflict) as caught:
                    statement()
                messages.add(str(caught.value))
            for end in (transaction.savepoint_commit, transaction.savepoint_rollback):
                with pytest.raises(TransactionConflict) as caught:
                    end(outer)
                messages.add(str(caught.value))
        assert messages == {str(last.value)}
        assert names() == ["ada"]
        assert Account.objects.get().balance == 5

    def test_everything_swallowed_everywhere(self) -> None:
        """`except Exception: pass` around every statement and every inner block."""
        with entries() as found, pytest.raises(TransactionConflict), transaction.atomic():
            self.lose()
            for number in range(3):
                try:
                    with transaction.atomic():
                        try:
                            Account.objects.create(name=f"x{number}")
                        except Exception:
                            pass
                except Exception:
                    pass
                try:
                    raw("UPDATE backend_account SET balance = 9")
                except Exception:
                    pass
        assert [
            kinds(each) for each in found if each.operations[0].table.name != "backend_account"
        ] == []
        assert names() == ["ada"]
        assert Account.objects.get().balance == 5

    def test_lost_in_an_inner_block_that_swallowed_it(self) -> None:
        """Django marks the outer block for rollback then, and would end it without a word."""
        with pytest.raises(TransactionConflict), transaction.atomic():
            assert Account.objects.get(name="ada").balance == 1
            change_elsewhere(balance=5)
            try:
                with transaction.atomic():
                    Account.objects.create(name="bob")
            except TransactionConflict:
                pass
        assert names() == ["ada"]

    def test_lost_in_save_that_was_swallowed(self) -> None:
        """`Model.save()` marks the block for rollback, too."""
        with pytest.raises(TransactionConflict), transaction.atomic():
            ada = Account.objects.get(name="ada")
            change_elsewhere(balance=5)
            try:
                ada.save()
            except TransactionConflict:
                pass

    def test_users_own_error_is_not_replaced(self) -> None:
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            self.lose()
            1 / 0
        assert names() == ["ada"]

    def test_rollback_on_purpose_is_obeyed_in_silence(self) -> None:
        with transaction.atomic():
            self.lose()
            transaction.set_rollback(True)
        assert names() == ["ada"]

    def test_the_write_lock_is_given_back_at_once(self) -> None:
        with pytest.raises(TransactionConflict), transaction.atomic():
            self.lose()
            elsewhere(lambda: Account.objects.create(name="other"))
        assert names() == ["ada", "other"]

    def test_the_next_block_is_a_fresh_one(self) -> None:
        with pytest.raises(TransactionConflict), transaction.atomic():
            self.lose()
        with transaction.atomic():
            Account.objects.create(name="bob")
        assert names() == ["ada", "bob"]

    def test_without_autocommit(self) -> None:
        transaction.set_autocommit(False)
        try:
            self.lose()
            with pytest.raises(TransactionConflict):
                transaction.commit()
            transaction.rollback()
            Account.objects.create(name="bob")
            transaction.commit()
        finally:
            transaction.set_autocommit(True)
        assert names() == ["ada", "bob"]

    def test_error_that_rolls_back_everything_dooms(self) -> None:
        with pytest.raises(TransactionConflict), transaction.atomic():
            Account.objects.create(name="bob")
            try:
                raw("INSERT OR ROLLBACK INTO backend_account (name, balance) VALUES ('ada', 0)")
            except Exception:
                pass
            try:
                raw("INSERT INTO backend_account (name, balance) VALUES ('carl', 0)")
            except Exception:
                pass
        assert names() == ["ada"]

    def test_ordinary_errors_do_not_doom(self) -> None:
        with transaction.atomic():
            with pytest.raises(IntegrityError), transaction.atomic():
                Account.objects.create(name="ada")
            Account.objects.create(name="bob")
        assert names() == ["ada", "bob"]
        with pytest.raises(TransactionManagementError), transaction.atomic():
            with pytest.raises(IntegrityError):
                Account.objects.create(name="ada")
            Account.objects.create(name="carl")
