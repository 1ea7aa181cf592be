"""`select_for_update()`: which queries protect which rows, and which are refused."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
from django.db import NotSupportedError, connection, models, transaction
from django.db.models import Count, Exists, F, OuterRef, Value, Window
from django.db.models.functions import RowNumber, Upper
from django.test.utils import isolate_apps

from raftdjango.exceptions import TransactionConflict
from raftdjango.writeset import ValidatedRead
from tests.backend.helpers import elsewhere, entries, only, raw
from tests.backend.models import (
    Account,
    Booking,
    NamedKey,
    PairKey,
    Restaurant,
    Tag,
    Visit,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def accounts() -> list[Account]:
    """All alike, and in the reverse order of their names: an index on these finds others first."""
    made = [Account.objects.create(name=f"n{9 - n}", balance=7) for n in range(6)]
    Booking.objects.create(account=made[3], amount=5)
    return made


def protected() -> set[tuple[str, Any]]:
    """Tables and keys of the rows that this block has read for update so far."""
    locked = connection.replication.speculation.block.locked
    return {(each.table.name.removeprefix("backend_"), *each.key) for each in locked}


def all_of(*rows: models.Model) -> set[tuple[str, Any]]:
    return {(row._meta.db_table.removeprefix("backend_"), row.pk) for row in rows}


def for_update(**options: Any) -> Any:
    return Account.objects.select_for_update(**options)


WHICH_COME_IS_THE_PLANS_CHOICE: dict[str, Callable[[], Any]] = {
    "the first": lambda: for_update()[:1],
    "the second": lambda: for_update()[1:2],
    "of equals": lambda: for_update().order_by("balance")[:2],
    "filtered": lambda: for_update().filter(balance=7)[:2],
    "any": lambda: for_update().order_by("?")[:1],
}


@pytest.mark.parametrize("name", WHICH_COME_IS_THE_PLANS_CHOICE)
def test_the_rows_that_were_read_are_protected_and_no_others(name):
    for _ in range(5):
        with transaction.atomic():
            read = list(WHICH_COME_IS_THE_PLANS_CHOICE[name]())
            assert protected() == all_of(*read)


def test_who_takes_a_job_that_another_one_took_is_told():
    with pytest.raises(TransactionConflict), transaction.atomic():
        job = for_update()[0]
        elsewhere(lambda: Account.objects.filter(pk=job.pk).update(balance=0))
        Tag.objects.create(slug=f"working on {job.pk}")
    assert not Tag.objects.exists()


GIVEN: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "values": (lambda q: q.values("name"), {"name": "n9"}),
    "values with the key": (lambda q: q.values("balance", "pk"), None),
    "a list of values": (lambda q: q.values_list("name", "balance"), ("n9", 7)),
    "flat values": (lambda q: q.values_list("balance", flat=True), 7),
    "named values": (lambda q: q.values_list("name", named=True), ("n9",)),
    "an expression": (lambda q: q.values_list(Upper("name")), ("N9",)),
    "a constant": (lambda q: q.values_list(Value(3)), (3,)),
    "only": (lambda q: q.only("balance"), None),
    "deferred": (lambda q: q.defer("name"), None),
    "annotated": (lambda q: q.annotate(more=F("balance") + 1), None),
    "extra columns": (lambda q: q.extra(select={"one": "1"}), None),
    "a row number": (lambda q: q.annotate(n=Window(RowNumber(), order_by="pk")), None),
    "in an order": (lambda q: q.order_by("balance", "-name"), None),
}


@pytest.mark.parametrize("name", GIVEN)
@pytest.mark.parametrize("in_chunks", [False, True])
def test_what_the_query_gives_is_what_it_gives_without(accounts, name, in_chunks):
    shape, expected = GIVEN[name]
    plain = list(shape(Account.objects.all()))
    if expected is not None:
        assert expected in plain
    with transaction.atomic():
        found = shape(for_update())
        assert list(found.iterator(chunk_size=2) if in_chunks else found) == plain
        assert protected() == all_of(*accounts)


def test_instances_are_whole(accounts):
    with transaction.atomic():
        first = for_update().annotate(more=F("balance") + 1).get(pk=accounts[0].pk)
        assert (first.name, first.balance, first.more) == ("n9", 7, 8)
        assert for_update().in_bulk([first.pk]) == {first.pk: first}
        assert protected() == all_of(first)
        booking = Booking.objects.select_for_update().select_related("account").get()
        assert booking.account == accounts[3]
        assert protected() == all_of(first, booking, accounts[3])


def test_one_row_is_looked_at_where_it_is_asked_whether_there_is_any(accounts):
    with transaction.atomic():
        assert for_update().filter(name="n9").exists()
        assert protected() == all_of(accounts[0])
        assert not for_update().filter(name="").exists()
        assert not for_update().none().exists()
        assert list(for_update().none()) == []
        assert protected() == all_of(accounts[0])


def test_the_rows_of_all_tables_in_the_query_are_protected_unless_it_names_some(accounts):
    booking, account = Booking.objects.get(), accounts[3]
    bookings = Booking.objects.select_related("account")
    for query, expected in [
        (Booking.objects.select_for_update(), [booking]),
        (Booking.objects.select_for_update().filter(account__balance=7), [booking, account]),
        (bookings.select_for_update(), [booking, account]),
        (bookings.select_for_update(of=("self",)), [booking]),
        (bookings.select_for_update(of=("account",)), [account]),
        (bookings.select_for_update(of=("self", "account")), [booking, account]),
        (for_update().extra(tables=["backend_booking"])[:1], [booking, accounts[0]]),
    ]:
        with transaction.atomic():
            assert len(query) == 1
            assert protected() == all_of(*expected)


def test_what_an_outer_join_did_not_find_cannot_be_protected():
    visit = Visit.objects.create()
    with transaction.atomic():
        assert Visit.objects.select_related("place").select_for_update().get() == visit
        assert protected() == all_of(visit)


def test_a_row_of_a_parents_table_is_one_of_its_own():
    place = Restaurant.objects.create(name="r")
    both = {("place", place.pk), ("restaurant", place.pk)}
    with transaction.atomic():
        Restaurant.objects.select_for_update().get()
        assert protected() == both
    with transaction.atomic():
        Restaurant.objects.select_for_update(of=("self",)).get()
        assert protected() == {("restaurant", place.pk)}


def test_keys_of_every_kind():
    named, pair = (
        NamedKey.objects.create(name="x"),
        PairKey.objects.create(left=1, right="y", value=3),
    )
    with transaction.atomic():
        assert NamedKey.objects.select_for_update().get() == named
        assert PairKey.objects.select_for_update().get() == pair
        assert list(PairKey.objects.select_for_update().values_list("pk", "value")) == [
            ((1, "y"), 3)
        ]
        assert protected() == {("namedkey", "x"), ("pairkey", 1, "y")}


def test_a_key_that_the_driver_converts():
    with isolate_apps("tests.backend"):

        class Day(models.Model):
            day = models.DateField(primary_key=True)

            class Meta:
                app_label = "backend"
                managed = False

    raw("CREATE TABLE backend_day (day date PRIMARY KEY)")
    try:
        Day.objects.create(day=dt.date(2026, 1, 2))
        with transaction.atomic():
            assert Day.objects.select_for_update().get().day == dt.date(2026, 1, 2)
            assert protected() == {("day", "2026-01-02")}
    finally:
        raw("DROP TABLE backend_day")


def test_a_key_that_another_node_changed_since():
    with isolate_apps("tests.backend"):

        class Odd(models.Model):
            number = models.IntegerField()

            class Meta:
                app_label = "backend"
                managed = False

    def make(columns: str) -> None:
        raw(f"CREATE TABLE backend_odd ({columns})")
        raw("INSERT INTO backend_odd VALUES (1, 7)")

    make("id integer PRIMARY KEY, number integer")
    try:
        with transaction.atomic():
            Odd.objects.select_for_update().get()
        elsewhere(
            lambda: (raw("DROP TABLE backend_odd"), make("id integer, number integer PRIMARY KEY"))
        )
        with entries() as made, transaction.atomic():
            Odd.objects.select_for_update().get()
            Tag.objects.create(slug="x")
        read, _ = only(made)
        assert isinstance(read, ValidatedRead)
        assert read.key == (7,)
        assert read.before
    finally:
        raw("DROP TABLE backend_odd")


def test_nobody_waits_and_nobody_asks_for_less():
    for options in ({"nowait": True}, {"no_key": True}):
        with transaction.atomic():
            account = for_update(**options).get(name="n9")
            assert protected() == all_of(account)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "skip_locked": (lambda: for_update(skip_locked=True), "Nothing is ever locked"),
    "distinct": (lambda: for_update().values("balance").distinct(), r"with distinct\(\)"),
    "groups": (lambda: for_update().values("balance").annotate(Count("pk")), "with aggregates"),
    "a filter by a window function": (
        lambda: for_update().annotate(n=Window(RowNumber(), order_by="pk")).filter(n__lte=2),
        "window function",
    ),
    "a union": (lambda: for_update().union(Account.objects.all()), r"combined query \(union\(\)\)"),
    "part of a union": (
        lambda: Account.objects.union(for_update()),
        r"combined query \(union\(\)\)",
    ),
    "a subquery": (lambda: Account.objects.filter(pk__in=for_update()), "in a subquery"),
    "exists": (
        lambda: Account.objects.filter(Exists(for_update().filter(pk=OuterRef("pk")))),
        "in a subquery",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_where_the_rows_cannot_be_protected_it_is_refused(name):
    query, message = REFUSED[name]
    with pytest.raises(NotSupportedError, match=message), transaction.atomic():
        list(query())


def test_a_view_has_no_rows_of_its_own():
    with isolate_apps("tests.backend"):

        class Seen(models.Model):
            name = models.CharField(max_length=20)

            class Meta:
                app_label = "backend"
                managed = False

    raw("CREATE VIEW backend_seen AS SELECT id, name FROM backend_account")
    try:
        with pytest.raises(NotSupportedError, match='"backend_seen", which is no table'):
            with transaction.atomic():
                list(Seen.objects.select_for_update())
    finally:
        raw("DROP VIEW backend_seen")


def test_a_query_that_is_only_shown_is_not_refused():
    with transaction.atomic():
        assert "IN (SELECT" in str(Account.objects.filter(pk__in=for_update()).query)
        assert Account.objects.count() == 6
        assert "SCAN" in for_update().explain()
        assert protected() == set()


def test_what_is_changed_is_protected_anyway():
    with transaction.atomic():
        assert for_update().filter(booking__amount=5).update(balance=1) == 1
        assert Account.objects.filter(pk__in=for_update().filter(name="n9")).update(balance=2) == 1
        assert for_update().filter(booking__amount=5).delete()[0] == 2
    assert sorted(Account.objects.values_list("balance", flat=True)) == [2, 7, 7, 7, 7]


def test_counts_and_aggregates_protect_nothing():
    with transaction.atomic():
        assert for_update().count() == 6
        assert for_update().aggregate(n=Count("pk")) == {"n": 6}
        assert protected() == set()
