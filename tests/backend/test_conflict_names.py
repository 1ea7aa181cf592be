"""A conflict says which row, by model and key, and which entry won."""

from __future__ import annotations

import pytest
from django.db import transaction
from django.test import TransactionTestCase

from raftdjango.applier.winners import ENTRIES_MAX, Winners
from raftdjango.backends.sqlite3 import commit
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
from tests.backend.helpers import applied_index, elsewhere
from tests.backend.models import Account, Tag

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
