"""Blocks that began by reading, when others have committed before their first write."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import TransactionTestCase

from raftdjango.backends.sqlite3.reads import repeated as reads
from raftdjango.backends.sqlite3.transactions.speculation import State
from raftdjango.exceptions import ConstraintConflict, TransactionConflict
from tests.backend.block_support import (
    change_elsewhere,
    names,
)
from tests.backend.helpers import applied_index, elsewhere, entries, far_key, raw
from tests.backend.models import Account, Tag

if TYPE_CHECKING:
    pass


class TestUpgrade(TransactionTestCase):
    """The first write finds that others have committed since the block began."""

    def setUp(self) -> None:
        Account.objects.create(name="ada", balance=1)
        Account.objects.create(name="bob", balance=1)

    def test_equal_reads_and_the_block_goes_on(self) -> None:
        with transaction.atomic():
            assert Account.objects.get(name="bob").balance == 1
            change_elsewhere(balance=5)
            Account.objects.filter(name="bob").update(balance=2)
            # On the new snapshot, as if it had begun just now.
            assert Account.objects.get(name="ada").balance == 5
        assert Account.objects.get(name="bob").balance == 2

    def test_different_reads_and_the_block_is_lost(self) -> None:
        with pytest.raises(TransactionConflict) as caught, transaction.atomic():
            ada = Account.objects.get(name="ada")
            change_elsewhere(balance=5)
            ada.balance += 1
            ada.save()
        assert caught.value.stale_read
        assert caught.value.log_index == applied_index()
        assert Account.objects.get(name="ada").balance == 5

    def test_after_a_stale_read_the_next_block_can_begin_with_the_lock(self) -> None:
        connection.replication.begin_immediate_once()
        with transaction.atomic():
            assert connection.replication.speculation.state is State.WRITING
        with transaction.atomic():
            assert connection.replication.speculation.state is State.READING

    def test_a_lock_that_is_not_to_be_had_loses_the_block(self) -> None:
        """It has left its snapshot, and there is no other to go on with."""
        holding, finished = threading.Event(), threading.Event()

        def hold() -> None:
            with transaction.atomic():
                Account.objects.filter(name="ada").update(balance=7)
                Account.objects.filter(name="ada").update(balance=8)
                holding.set()
                assert finished.wait(60)
                transaction.set_rollback(True)

        holder = threading.Thread(target=elsewhere, args=(hold,))
        with pytest.raises(TransactionConflict, match="write lock") as caught, transaction.atomic():
            assert Account.objects.count() == 2
            holder.start()
            assert holding.wait(60)
            connection.connection.execute("PRAGMA busy_timeout = 10")
            for _ in range(2):
                try:
                    raw("UPDATE backend_account SET balance = 9")
                except TransactionConflict:
                    finished.set()
                    holder.join(60)
        assert not caught.value.stale_read
        connection.close()
        assert Account.objects.get(name="ada").balance == 1

    def test_schema_changed_between_looking_and_locking(self) -> None:
        write_lock = connection.replication.speculation.write_lock
        acquire = write_lock._acquire

        def late() -> None:
            del write_lock._acquire
            elsewhere(lambda: raw("ALTER TABLE backend_tag ADD COLUMN late DEFAULT 5"))
            acquire()

        with transaction.atomic():
            Tag.objects.create(slug="first")
        write_lock._acquire = late
        with entries() as found:
            raw("INSERT INTO backend_tag (slug, late) VALUES ('x', 6)")
        assert found[-1].operations[-1].row == ("x", 6)
        raw("ALTER TABLE backend_tag DROP COLUMN late")

    def test_savepoints_are_opened_again(self) -> None:
        with transaction.atomic():
            outer = connection.savepoint()
            assert Account.objects.filter(name="bob").exists()
            inner = connection.savepoint()
            change_elsewhere(balance=5)
            Account.objects.create(name="carl")
            transaction.savepoint_rollback(inner)
            Account.objects.create(name="dora")
            transaction.savepoint_commit(inner)
            transaction.savepoint_commit(outer)
        assert names() == ["ada", "bob", "dora"]

    def test_too_many_reads_to_prove_anything(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reads, "READS_MAX", 3)
            with pytest.raises(TransactionConflict), transaction.atomic():
                for _ in range(4):
                    assert Account.objects.filter(name="bob").exists()
                change_elsewhere(balance=5)
                Account.objects.create(name="carl")
            with transaction.atomic():
                for _ in range(3):
                    assert Account.objects.filter(name="bob").exists()
                change_elsewhere(balance=6)
                Account.objects.create(name="carl")
        assert "carl" in names()

    def test_too_many_bytes_read_to_prove_anything(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reads, "BYTES_MAX", 50)
            with pytest.raises(TransactionConflict), transaction.atomic():
                assert names()
                change_elsewhere(balance=5)
                Account.objects.create(name="carl")

    def test_a_lock_held_by_another_speculation_is_no_change(self) -> None:
        """Waiting for the lock is not losing: the reads are not even run again."""
        order = []

        def hold() -> None:
            with transaction.atomic():
                Account.objects.filter(name="ada").update(balance=7)
                order.append("held")
                transaction.set_rollback(True)

        with transaction.atomic():
            assert Account.objects.get(name="ada").balance == 1
            elsewhere(hold)
            Account.objects.filter(name="ada").update(balance=2)
        assert order == ["held"]
        assert Account.objects.get(name="ada").balance == 2

    def test_conflict_at_apply_names_table_and_key(self) -> None:
        ada = Account.objects.get(name="ada")
        client = connection.replication.client
        propose = client.propose

        def late(*args: object, **kwargs: object) -> object:
            client.propose = propose
            change_elsewhere(balance=5)
            return propose(*args, **kwargs)

        with pytest.raises(TransactionConflict) as caught, transaction.atomic():
            assert Account.objects.filter(pk=ada.pk).exists()
            Account.objects.filter(pk=ada.pk).update(balance=2)
            client.propose = late
        assert (caught.value.table, caught.value.key) == ("backend_account", (ada.pk,))
        assert Account.objects.get(pk=ada.pk).balance == 5

    def test_constraint_that_no_longer_holds_at_apply(self) -> None:
        client = connection.replication.client
        propose = client.propose

        def late(*args: object, **kwargs: object) -> object:
            client.propose = propose
            elsewhere(lambda: Account.objects.create(name="carl"))
            return propose(*args, **kwargs)

        with pytest.raises(ConstraintConflict) as caught, transaction.atomic():
            Tag.objects.create(slug="x")
            Account.objects.create(pk=far_key(), name="carl")
            client.propose = late
        assert isinstance(caught.value, IntegrityError)
        # The winner is seen by whoever asks next, as get_or_create() does.
        assert Account.objects.filter(name="carl").exists()
