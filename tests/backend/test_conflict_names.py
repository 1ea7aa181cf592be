"""A conflict says which row, by model and key, and which entry won."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.db import transaction
from django.db.models import F
from django.test import TransactionTestCase

from raftdjango.applier.winners import ENTRIES_MAX, Winners
from raftdjango.backends.sqlite3.transactions import commit
from raftdjango.exceptions import ConstraintConflict, TransactionConflict
from raftdjango.naming import model_label, row_name
from raftdjango.writeset import (
    Barrier,
    BlindDelete,
    BlindUpdate,
    Command,
    Delete,
    Insert,
    Operation,
    Table,
    Update,
    ValidatedRead,
    Verdict,
    VerdictKind,
    WriteSet,
    encode_command,
)
from tests.backend.block_support import given_way_at
from tests.backend.helpers import applied_index, elsewhere, raw
from tests.backend.models import Account, Booking, Tag

if TYPE_CHECKING:
    from collections.abc import Callable

NOTES = Table("note", ("text", "id"), (1,))
APPLIED = Verdict(VerdictKind.APPLIED)
LOST = Verdict(VerdictKind.CONFLICT, table="note", key=(7,))


class TestNames(TransactionTestCase):
    def test_a_row_read_for_update(self) -> None:
        account = Account.objects.create(name="ada")
        with pytest.raises(TransactionConflict) as caught, transaction.atomic():
            mine = Account.objects.select_for_update().get(name="ada")
            elsewhere(lambda: Account.objects.filter(name="ada").update(balance=5))
            mine.save()
        conflict = caught.value
        assert conflict.model == "backend.Account"
        assert (conflict.table, conflict.key) == ("backend_account", (account.pk,))
        assert f"was changed meanwhile: backend.Account {account.pk}." in str(conflict)

    def lost(
        self, read: Callable[[], object], meanwhile: Callable[[], object]
    ) -> TransactionConflict:
        """What is raised where something was read that another one changes before the first write."""
        with pytest.raises(TransactionConflict) as caught, transaction.atomic():
            read()
            elsewhere(meanwhile)
            Tag.objects.create(slug="mine")
        assert caught.value.log_index == elsewhere(applied_index)
        return caught.value

    def test_a_row_that_was_read(self) -> None:
        ada = Account.objects.create(name="ada")
        bob = Account.objects.create(name="bob")
        accounts = Account.objects.order_by("name")
        for number, read in enumerate(
            (
                lambda: Account.objects.get(pk=ada.pk),
                lambda: list(accounts),
                lambda: list(accounts.values_list("balance", "id")),
                lambda: list(Account.objects.raw("SELECT * FROM backend_account")),
            )
        ):
            change = Account.objects.filter(name="ada")
            lost = self.lost(read, lambda n=number, change=change: change.update(balance=n + 1))
            assert (lost.model, lost.table) == ("backend.Account", "backend_account")
            assert lost.key == (ada.pk,)
            assert str(lost).startswith(
                f"backend.Account {ada.pk} that the transaction had read was"
            )
        gone = Account.objects.filter(pk=bob.pk)
        lost = self.lost(lambda: Account.objects.get(name="bob"), gone.delete)
        assert lost.key == (bob.pk,)

    def test_rows_that_were_read(self) -> None:
        """Of which table, where it cannot be told which one."""
        Account.objects.create(name="ada")
        Account.objects.create(name="bob")
        for number, read in enumerate(
            (
                Account.objects.count,
                lambda: list(Account.objects.values_list("balance")),
                lambda: list(Account.objects.all()),
                lambda: [raw("SELECT balance, %s FROM backend_account", ["x" * 2_000])],
            )
        ):
            lost = self.lost(
                read,
                lambda n=number: [
                    Account.objects.update(balance=n + 1),
                    Account.objects.create(name=f"new{n}"),
                ],
            )
            assert (lost.model, lost.key) == ("backend.Account", ())
            assert str(lost).startswith("Rows of backend.Account that the transaction had read")

    def test_rows_of_several_tables(self) -> None:
        booking = Booking.objects.create(account=Account.objects.create(name="ada"))
        query = Booking.objects.select_related("account")
        lost = self.lost(lambda: list(query), lambda: Booking.objects.update(amount=7))
        assert (lost.model, lost.key) == (None, ())
        assert Booking.objects.get() == booking

    def test_lock_that_was_held_for_too_long(self) -> None:
        Account.objects.create(name="ada")
        before = applied_index()
        with pytest.raises(TransactionConflict) as caught, transaction.atomic():
            Tag.objects.create(slug="mine")
            with given_way_at("UPDATE"):
                Account.objects.update(balance=F("balance") + 1)
        assert caught.value.log_index == before + 1, "the entry that has waited"

    def test_a_row_that_was_changed_while_the_entry_was_on_its_way(self) -> None:
        account = Account.objects.create(name="ada")
        won: list[int] = []
        propose = commit.propose

        def late(*arguments: object) -> object:
            commit.propose = propose
            elsewhere(lambda: Account.objects.filter(name="ada").update(balance=5))
            won.append(applied_index())
            elsewhere(lambda: Tag.objects.create(slug="later"))
            return propose(*arguments)  # type: ignore[arg-type]

        commit.propose = late  # type: ignore[assignment]
        try:
            with pytest.raises(TransactionConflict) as caught, transaction.atomic():
                account.balance += 1
                account.save()
                Tag.objects.create(slug="mine")
        finally:
            commit.propose = propose
        conflict = caught.value
        assert (conflict.model, conflict.key) == ("backend.Account", (account.pk,))
        assert conflict.log_index == won[0], "not the later one"
        assert str(conflict) == (
            f"Another transaction changed backend.Account {account.pk} first. "
            "Nothing was written; run it again."
        )


def test_what_has_no_model_has_no_name() -> None:
    assert TransactionConflict("lost").model is None
    assert ConstraintConflict("lost", table="gone").model is None
    assert model_label("backend_tag_accounts") == "backend.Tag_accounts"
    assert row_name("gone", (1, "a")) == "gone (1, 'a')"
    assert row_name("backend_tag", ("news",)) == "backend.Tag 'news'"
    assert row_name("backend_tag", ()) == "backend.Tag"


def command(*operations: Operation) -> bytes:
    return encode_command(Command(b"p", 0, WriteSet(1, operations)))


@pytest.mark.parametrize(
    "operation",
    [
        Insert(NOTES, ("x", 7)),
        Update(NOTES, (7,), b"d" * 16, ((0, "y"),)),
        Delete(NOTES, (7,), b"d" * 16),
        BlindUpdate(NOTES, ((6,), (7,)), ((0, "y"),)),
        BlindDelete(NOTES, ((7,),)),
    ],
)
def test_any_change_of_the_row_may_have_won(operation: Operation) -> None:
    winners = Winners()
    winners.note(3, command(operation), APPLIED)
    winners.note(4, command(BlindDelete(NOTES, ((8,),))), APPLIED)
    assert winners.find(5, LOST) == 3


@pytest.mark.parametrize(
    "operation",
    [
        Update(NOTES, (7,), b"d" * 16, ()),
        ValidatedRead(NOTES, (7,), b"d" * 16),
        BlindDelete(Table("other", ("id",), (0,)), ((7,),)),
        Insert(NOTES, ("7", 8)),
    ],
)
def test_what_did_not_change_it_has_not(operation: Operation) -> None:
    winners = Winners()
    winners.note(3, command(operation), APPLIED)
    winners.note(4, encode_command(Command(b"p", 0, Barrier())), APPLIED)
    assert winners.find(5, LOST) == 0


def test_losers_and_later_entries_have_not_won() -> None:
    change = command(BlindDelete(NOTES, ((7,),)))
    winners = Winners()
    winners.note(2, change, APPLIED)
    winners.note(3, change, LOST)
    winners.note(4, b"", None)
    winners.note(9, change, APPLIED)
    assert winners.find(5, LOST) == 2
    assert winners.find(10, LOST) == 9, "the last one"
    constraint = Verdict(VerdictKind.CONSTRAINT_CONFLICT, table="note", key=(7,))
    assert winners.find(5, constraint) == 0, "its key is the loser's own"


def test_memory_is_bounded() -> None:
    winners = Winners()
    winners.note(1, command(BlindDelete(NOTES, ((7,),))), APPLIED)
    large = Insert(NOTES, ("x" * 20_000, 7))
    winners.note(2, command(large), APPLIED)
    assert winners.find(99, LOST) == 1, "large ones are not kept"
    for index in range(3, 3 + ENTRIES_MAX):
        winners.note(index, command(BlindDelete(NOTES, ((8,),))), APPLIED)
    assert winners.find(9999, LOST) == 0
