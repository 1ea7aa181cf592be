"""Blocks: one entry each, with savepoints and hooks."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import TransactionTestCase

from raftdjango.backends.sqlite3.transactions.speculation import State
from raftdjango.exceptions import TransactionConflict
from tests.backend.block_support import (
    change_elsewhere,
    names,
)
from tests.backend.helpers import applied_index, elsewhere, entries, kinds, only, raw
from tests.backend.models import Account, Booking, Tag

if TYPE_CHECKING:
    pass


class TestOneEntry(TransactionTestCase):
    def test_a_block_is_one_entry_in_the_order_of_its_statements(self) -> None:
        with entries() as found, transaction.atomic():
            ada = Account.objects.create(name="ada")
            booking = Booking.objects.create(account=ada)
            Account.objects.filter(pk=ada.pk).update(balance=1)
            booking.delete()
        assert kinds(*found) == ["Insert", "Insert", "Update", "Delete"]

    def test_a_block_that_only_reads_proposes_nothing(self) -> None:
        before = applied_index()
        with entries() as found, transaction.atomic():
            assert not Account.objects.exists()
        assert not found
        assert applied_index() == before

    def test_a_block_that_only_reads_does_not_take_the_write_lock(self) -> None:
        with transaction.atomic():
            assert names() == []
            elsewhere(lambda: Account.objects.create(name="bob"))

    def test_a_block_whose_changes_were_undone_proposes_nothing(self) -> None:
        with entries() as found, transaction.atomic():
            savepoint = connection.savepoint()
            Account.objects.create(name="ada")
            transaction.savepoint_rollback(savepoint)
        assert not found

    def test_the_lock_is_not_held_while_proposing(self) -> None:
        client = connection.replication.client
        propose = client.propose
        states = []

        def watch(*args: object, **kwargs: object) -> object:
            states.append(
                (connection.replication.speculation.state, connection.connection.in_transaction)
            )
            return propose(*args, **kwargs)

        client.propose = watch
        try:
            with transaction.atomic():
                Account.objects.create(name="ada")
                Account.objects.create(name="bob")
        finally:
            del client.propose
        assert states == [(State.IDLE, False)]

    def test_an_update_that_wrote_what_was_there_is_a_validated_read(self) -> None:
        Account.objects.create(name="ada", balance=1)
        Account.objects.create(name="bob", balance=1)
        with entries() as found, transaction.atomic():
            Account.objects.filter(name="ada").update(balance=1)
            Account.objects.filter(name="bob").update(balance=2)
        ada, bob = only(found)
        assert ada.changes == ()
        assert len(bob.changes) == 1

    def test_set_autocommit_false(self) -> None:
        with entries() as found:
            transaction.set_autocommit(False)
            try:
                Account.objects.create(name="ada")
                Account.objects.create(name="bob")
                transaction.commit()
                Account.objects.create(name="carl")
                with transaction.atomic():
                    Account.objects.create(name="dora")
                transaction.rollback()
            finally:
                transaction.set_autocommit(True)
        assert names() == ["ada", "bob"]
        assert len(found) == 1

    def test_closing_the_connection_in_a_block_loses_the_block(self) -> None:
        with transaction.atomic():
            Account.objects.create(name="ada")
            connection.close()
        assert names() == []


class TestSavepoints(TransactionTestCase):
    def test_in_every_order(self) -> None:
        """Three nested savepoints, each kept or undone, against a model of what stays."""
        for fates in itertools.product([True, False], repeat=3):
            Account.objects.all().delete()
            with transaction.atomic():
                Account.objects.create(name="0")
                self.nest(list(fates), 1)
            expected = ["0"] + [str(n + 1) for n in range(3) if all(fates[: n + 1])]
            assert names() == expected, fates

    def nest(self, fates: list[bool], depth: int) -> None:
        if not fates:
            return
        savepoint = connection.savepoint()
        Account.objects.create(name=str(depth))
        self.nest(fates[1:], depth + 1)
        if fates[0]:
            transaction.savepoint_commit(savepoint)
        else:
            transaction.savepoint_rollback(savepoint)

    def test_rolled_back_twice_and_used_again(self) -> None:
        with transaction.atomic():
            savepoint = connection.savepoint()
            for name in ("ada", "bob"):
                Account.objects.create(name=name)
                transaction.savepoint_rollback(savepoint)
            Account.objects.create(name="carl")
            transaction.savepoint_commit(savepoint)
        assert names() == ["carl"]

    def test_releasing_an_outer_one_releases_the_inner(self) -> None:
        with transaction.atomic():
            outer = connection.savepoint()
            Account.objects.create(name="ada")
            connection.savepoint()
            Account.objects.create(name="bob")
            transaction.savepoint_commit(outer)
        assert names() == ["ada", "bob"]

    def test_triggers_made_in_an_undone_savepoint_are_made_again(self) -> None:
        with transaction.atomic():
            savepoint = connection.savepoint()
            Tag.objects.create(slug="first")
            transaction.savepoint_rollback(savepoint)
            with entries() as found:
                Tag.objects.create(slug="second")
        assert list(Tag.objects.values_list("slug", flat=True)) == ["second"]
        assert not found

    def test_failed_statement_leaves_nothing(self) -> None:
        Account.objects.create(name="ada")
        with entries() as found, transaction.atomic():
            Tag.objects.create(slug="x")
            with pytest.raises(IntegrityError), transaction.atomic():
                raw("INSERT INTO backend_account (name, balance) VALUES ('new', 0), ('ada', 0)")
        assert kinds(*found) == ["Insert"] or kinds(*found) == ["BlindInsert"]
        assert names() == ["ada"]


class TestOnCommit(TransactionTestCase):
    def test_hooks_run_after_the_write_is_applied_in_order_and_once(self) -> None:
        seen = []
        with transaction.atomic():
            transaction.on_commit(lambda: seen.append(("first", names())))
            Account.objects.create(name="ada")
            with transaction.atomic():
                transaction.on_commit(lambda: seen.append(("second", elsewhere(names))))
            assert seen == []
        assert seen == [("first", ["ada"]), ("second", ["ada"])]

    def test_hooks_of_a_lost_block_never_run(self) -> None:
        Account.objects.create(name="ada")
        seen = []
        with pytest.raises(TransactionConflict), transaction.atomic():
            transaction.on_commit(lambda: seen.append(1))
            assert Account.objects.get(name="ada").balance == 0
            change_elsewhere(balance=5)
            Account.objects.create(name="bob")
        with transaction.atomic():
            Account.objects.create(name="carl")
        assert seen == []
