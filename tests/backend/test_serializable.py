"""`serializable()`: what another transaction must not have changed, and what it may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection, transaction
from django.db.models import F, Max, Sum

from raftdjango.exceptions import TransactionConflict
from raftdjango.transaction import atomic_retry, serializable
from raftdjango.writeset import VerdictKind
from tests.backend.blind_support import overtake
from tests.backend.helpers import far_key, raw
from tests.backend.models import Account, Booking, Tag
from tests.backend.serial_support import (
    KEYS,
    Entry,
    ada,
    add,
    by_key,
    hold_back,
    in_vain,
    keyed,
    made_after,
    taken,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("accounts", "however_slow"),
]


NOT_SERIALIZABLE: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "a row": (lambda: ada().get(), lambda: ada().update(balance=9)),
    "a row that is gone": (lambda: ada().get(), lambda: ada().delete()),
    "a row that was not there": (lambda: Account.objects.filter(name="eve").first(), add),
    "a count": (lambda: Account.objects.filter(balance=1).count(), add),
    "whether there is one": (
        lambda: Account.objects.filter(balance=2).exists(),
        lambda: Account.objects.filter(balance=2).delete(),
    ),
    "a list": (
        lambda: list(Account.objects.filter(balance__gt=1)),
        lambda: ada().update(balance=5),
    ),
    "a join": (
        lambda: Booking.objects.filter(account__balance=1).count(),
        lambda: Booking.objects.create(account=ada().get()),
    ),
    "a subquery": (
        lambda: list(Account.objects.filter(pk__in=Booking.objects.values("account"))),
        lambda: Booking.objects.all().delete(),
    ),
    "an order by what the rows do not hold": (
        lambda: list(Account.objects.order_by("balance").values_list("name")),
        lambda: ada().update(balance=3),
    ),
    "such an order, as far as it was asked for": (
        lambda: list(Account.objects.order_by("balance", "pk").values_list("name")[:2]),
        lambda: ada().update(balance=3),
    ),
    "the first": (
        lambda: Account.objects.order_by("balance").first(),
        lambda: ada().update(balance=5),
    ),
    "a sum": (lambda: Account.objects.aggregate(Sum("balance")), add),
    "the highest": (
        lambda: Account.objects.aggregate(Max("balance")),
        lambda: ada().update(balance=7),
    ),
    "names with a pattern": (lambda: list(Account.objects.filter(name__contains="e")), add),
    "distinct values": (lambda: list(Account.objects.values_list("balance").distinct()), add),
    "an iterator": (lambda: list(Account.objects.iterator()), add),
    "raw SQL": (lambda: raw("SELECT count(*) FROM backend_account"), add),
    "raw SQL with names": (
        lambda: raw("SELECT name FROM backend_account WHERE balance = %(b)s", {"b": 1}),
        add,
    ),
    "rows selected by an update": (
        lambda: Account.objects.filter(balance=1).update(balance=1),
        add,
    ),
    "an update that found nothing": (
        lambda: Account.objects.filter(balance=8).update(balance=0),
        lambda: ada().update(balance=8),
    ),
    "a key that nobody had": (lambda: keyed("eve").update(balance=0), add),
    "a key to delete that nobody had": (lambda: keyed("eve").delete(), add),
    "an update by what another table holds": (
        lambda: raw(
            "UPDATE backend_booking SET amount = (SELECT count(*) FROM backend_account)"
            " WHERE id = 1"
        ),
        add,
    ),
    "an update from another table": (
        lambda: raw(
            'UPDATE "backend_booking" SET amount = a.balance FROM backend_account AS a'
            ' WHERE "backend_booking"."id" = %s',
            [1],
        ),
        add,
    ),
    "rows selected by a delete": (
        lambda: Booking.objects.filter(amount=0).delete(),
        lambda: Booking.objects.create(account=ada().get()),
    ),
    "a name that is taken": (lambda: taken("ada"), lambda: ada().delete()),
    "a name that was taken and ignored": (
        lambda: Account.objects.bulk_create([Account(name="ada")], ignore_conflicts=True),
        lambda: ada().delete(),
    ),
    "an insert in vain": (lambda: in_vain(lambda: Account.objects.create(name="eve")), add),
    "a read in vain": (lambda: in_vain(lambda: Account.objects.count()), add),
    "rows copied": (
        lambda: raw(
            "INSERT INTO backend_tag (slug) SELECT hex(randomblob(9)) FROM backend_account"
            " WHERE balance = 1"
        ),
        add,
    ),
    "constraints": (lambda: connection.check_constraints(), add),
    "constraints, as a table": (lambda: raw("SELECT count(*) FROM pragma_foreign_key_check"), add),
    "the keys given so far": (lambda: raw("SELECT seq FROM sqlite_sequence"), add),
    "a row for update": (
        lambda: list(ada().select_for_update()),
        lambda: ada().update(balance=4),
    ),
}


@pytest.mark.parametrize("name", NOT_SERIALIZABLE)
def test_what_was_read_must_still_be_so(name):
    read, write = NOT_SERIALIZABLE[name]
    Booking.objects.create(pk=1, account=ada().get())
    undisturbed = made_after(read)
    assert undisturbed.is_applied()
    Account.objects.exclude(name__in=["ada", "bob"]).delete()
    entry = made_after(read)
    write()
    verdict = entry.apply()
    assert verdict.kind is VerdictKind.CONFLICT


SERIALIZABLE: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "a row": (lambda: ada().get(), add),
    "a row by key": (lambda: Account.objects.get(pk=ada().get().pk), add),
    "a row that is not there": (lambda: Account.objects.filter(name="zoe").first(), add),
    "a count": (lambda: Account.objects.filter(balance=2).count(), add),
    "whether there is one": (lambda: Account.objects.filter(balance=1).exists(), add),
    "an order": (lambda: list(Account.objects.filter(balance__gt=1).order_by("name")), add),
    "one row, whatever it is ordered by": (
        lambda: list(ada().order_by("balance").values_list("name")),
        add,
    ),
    "an order by what was read": (
        lambda: list(Account.objects.filter(balance__gt=1).order_by("balance")),
        add,
    ),
    "a time": (lambda: raw("SELECT id FROM backend_reading WHERE at IS NULL"), add),
    "another table": (lambda: Booking.objects.aggregate(Sum("amount")), add),
    "get_or_create": (lambda: Account.objects.get_or_create(name="zoe"), add),
    "an insert": (lambda: Account.objects.create(name="zoe"), add),
    "several inserts": (
        lambda: Account.objects.bulk_create([Account(name="zoe"), Account(name="max")]),
        add,
    ),
    "a save": (lambda: ada().get().save(), add),
    "an update by key": (lambda: by_key("ada").update(balance=F("balance") + 1), add),
    "a delete by key": (lambda: Booking.objects.filter(pk=1).delete(), add),
    "a child of a parent that changes": (
        lambda: Booking.objects.create(account_id=ada().get().pk),
        lambda: Account.objects.filter(name="bob").update(balance=9),
    ),
    "a row for update": (lambda: list(ada().select_for_update()), add),
    "nothing": (lambda: raw("SELECT 1"), add),
    "JSON": (lambda: raw("SELECT value FROM json_each('[1, 2]')"), add),
    "the schema": (lambda: raw("SELECT count(*) FROM sqlite_master"), add),
    "a plan": (lambda: Account.objects.all().explain(), add),
}


@pytest.mark.parametrize("name", SERIALIZABLE)
def test_what_others_may_change(name):
    read, write = SERIALIZABLE[name]
    Booking.objects.create(pk=1, account=ada().get())
    entry = made_after(read)
    write()
    assert entry.is_applied()


def test_booleans_and_times_are_compared_as_they_are_stored():
    """Converters make Python's of them: what travels is what SQLite has."""
    raw("CREATE TABLE kept (id integer PRIMARY KEY, done bool, at datetime, amount decimal)")
    try:
        raw("INSERT INTO kept VALUES (1, 1, '2026-01-02 03:04:05', '1.50')")
        entry = made_after(lambda: raw("SELECT done, at, amount FROM kept WHERE id = 1"))
        raw("INSERT INTO kept (id) VALUES (2)")
        assert entry.is_applied()
        entry = made_after(lambda: raw("SELECT done FROM kept WHERE id = 1"))
        raw("UPDATE kept SET done = 2 WHERE id = 1")
        assert not entry.is_applied()
    finally:
        raw("DROP TABLE kept")


# Anomalies --------------------------------------------------------------------------------------


def on_call_leaves(name: str) -> None:
    """Of those with a balance one has to stay."""
    if Account.objects.filter(balance__gt=0).count() > 1:
        account = Account.objects.get(name=name)
        account.balance = 0
        account.save()


def skewed(isolation: Any) -> list[bool]:
    """Two blocks on one view, one after the other in the log; which were applied."""

    def leave(name: str) -> Entry | None:
        def block() -> None:
            with isolation():
                on_call_leaves(name)

        return hold_back(block)

    return [entry is not None and entry.is_applied() for entry in [leave("ada"), leave("bob")]]


def test_write_skew():
    assert skewed(transaction.atomic) == [True, True]
    assert Account.objects.filter(balance__gt=0).count() == 0, "the anomaly"
    Account.objects.update(balance=1)
    assert skewed(serializable) == [True, False]
    assert Account.objects.filter(balance__gt=0).count() == 1


@pytest.mark.parametrize("isolation", [transaction.atomic, serializable])
def test_phantoms(isolation):
    def reserve(key: int) -> Entry | None:
        def block() -> None:
            with isolation():
                if not Booking.objects.filter(amount=7).exists():
                    Booking.objects.create(pk=key, account=ada().get(), amount=7)

        return hold_back(block)

    first, second = reserve(far_key()), reserve(far_key())
    assert first is not None
    assert second is not None
    assert first.is_applied()
    assert second.is_applied() is (isolation is transaction.atomic)


def test_the_error_names_the_table_and_atomic_retry_runs_it_again():
    runs = []

    @atomic_retry(serializable=True)
    def block() -> None:
        runs.append(Account.objects.filter(balance=1).count())
        Tag.objects.create(slug="t")

    overtake(add)
    block()
    assert runs == [1, 2]
    overtake(lambda: Account.objects.filter(pk=KEYS["eve"]).delete())
    with pytest.raises(TransactionConflict, match=r"(?i)had read in backend.account was") as caught:
        with serializable():
            Account.objects.count()
            Tag.objects.create(slug="u")
    assert caught.value.table == "backend_account"
    assert caught.value.log_index
