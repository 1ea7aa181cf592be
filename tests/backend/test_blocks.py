"""Blocks: deferred, upgraded, committed, rolled back, lost."""

from __future__ import annotations

import itertools
import threading

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.transaction import TransactionManagementError
from django.test import TransactionTestCase

from raftdjango.backends.sqlite3 import reads
from raftdjango.backends.sqlite3.speculation import State
from raftdjango.exceptions import ConstraintConflict, TransactionConflict
from tests.backend.helpers import applied_index, elsewhere, entries, kinds, only, raw
from tests.backend.models import Account, Booking, Tag


def names() -> list[str]:
    return list(Account.objects.order_by("name").values_list("name", flat=True))


def change_elsewhere(**values: object) -> None:
    elsewhere(lambda: Account.objects.filter(name="ada").update(**values))


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
            Account.objects.create(pk=1000, name="carl")
            client.propose = late
        assert isinstance(caught.value, IntegrityError)
        # The winner is seen by whoever asks next, as get_or_create() does.
        assert Account.objects.filter(name="carl").exists()


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
