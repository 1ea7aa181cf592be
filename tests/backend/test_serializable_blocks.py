"""`serializable()`: how reads are taken down, and the block as a block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection, connections, transaction
from django.db.models import Exists, F, OuterRef

from raftdjango.backends.sqlite3 import chunks
from raftdjango.backends.sqlite3.reads import recorder
from raftdjango.backends.sqlite3.statements import facts
from raftdjango.exceptions import TransactionConflict
from raftdjango.transaction import serializable
from raftdjango.writeset import Reads
from tests.backend.block_support import given_way_at, refreshing
from tests.backend.helpers import applied_index, elsewhere, entries, raw
from tests.backend.models import Account, Booking, Tag
from tests.backend.serial_support import (
    Entry,
    ada,
    add,
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


# How reads are taken down -----------------------------------------------------------------------


def reads_of(read: Callable[[], Any]) -> Any:
    entry = made_after(read)
    assert entry.is_applied()
    return entry.write_set.reads


def test_a_statement_that_the_driver_has_compiled_before():
    count = Account.objects.filter(balance=1).count
    for _ in range(3):
        count()
        (query,) = reads_of(count).queries
        assert query.tables == ("backend_account",)


def test_a_statement_about_which_something_was_known(monkeypatch):
    monkeypatch.setattr(facts, "KEPT_MAX", 0)
    for _ in range(3):
        assert reads_of(Account.objects.filter(balance=1).count).queries


@pytest.mark.parametrize("order", [["pk"], ["-pk"], ["-balance", "pk"], ["name", "balance", "-pk"]])
def test_in_an_order_without_ties_the_first_rows_are_certain(order):
    ordered = Account.objects.filter(balance__gte=1).order_by(*order)
    for read in (ordered.first, lambda: list(ordered[:1])):
        assert reads_of(read).tables == ()
        entry = made_after(read)
        ordered.exclude(pk=ordered.first().pk).delete()
        assert entry.is_applied()
        entry = made_after(read)
        ordered.delete()
        assert not entry.is_applied()
        Account.objects.create(name="ada", balance=1)
        Account.objects.create(name="bob", balance=2)


def test_in_an_order_with_ties_they_are_not():
    booked = Booking.objects.order_by("amount", "account__pk")
    Booking.objects.bulk_create(Booking(account=ada().get()) for _ in range(2))
    assert "backend_booking" in reads_of(booked.first).tables
    tags = Tag.objects.order_by("slug")
    Tag.objects.create(slug="a")
    assert reads_of(tags.first).tables == ("backend_tag",), "SQLite lets such keys be NULL"
    joined = Booking.objects.order_by("account__name", "pk")
    assert "backend_booking" in reads_of(joined.first).tables
    devious = (
        'SELECT b.id FROM\n"backend_booking" b JOIN "backend_account" ON (account_id > 0) WHERE'
        ' EXISTS (SELECT 1 FROM "backend_account" WHERE 1 = 1)'
        ' ORDER BY "backend_account"."id" ASC LIMIT 1'
    )
    assert "backend_booking" in reads_of(lambda: raw(devious)).tables


def test_queries_of_several_tables_are_not_repeated_however_quick_they_were():
    """With the next bulk load they could take the product of two sizes, on every node."""
    for query in (
        Booking.objects.filter(account__balance=1),
        Booking.objects.select_related("account"),
        Account.objects.filter(pk__in=Booking.objects.values("account")),
        Account.objects.filter(~Exists(Booking.objects.filter(amount__lt=OuterRef("balance")))),
    ):
        reads = reads_of(lambda query=query: list(query))
        assert set(reads.tables) == {"backend_account", "backend_booking"}
        assert not reads.queries


def test_which_row_is_the_first_is_not_for_a_query_to_say():
    first = Account.objects.order_by("balance").first
    assert reads_of(first) == Reads(reads_of(first).log_index - 1, ("backend_account",), ())


def test_what_is_known_of_a_statement_is_forgotten_with_the_schema():
    raw("CREATE VIEW seen AS SELECT name FROM backend_account")
    try:
        read = lambda: raw("SELECT count(*) FROM seen")  # noqa: E731
        assert "backend_account" in reads_of(read).tables
        elsewhere(
            lambda: (raw("DROP VIEW seen"), raw("CREATE VIEW seen AS SELECT * FROM backend_tag"))
        )
        assert "backend_tag" in reads_of(read).tables
    finally:
        raw("DROP VIEW seen")


def test_a_schema_that_was_undone_is_forgotten():
    def read() -> None:
        with transaction.atomic():
            raw("CREATE VIEW mine AS SELECT name FROM backend_account")
            raw("SELECT count(*) FROM mine")
            transaction.set_rollback(True)
        raw("CREATE VIEW mine AS SELECT slug FROM backend_tag")
        raw("SELECT count(*) FROM mine")

    try:
        assert reads_of(read).tables == ("",)
    finally:
        raw("DROP VIEW mine")


def test_reads_after_own_writes_are_of_tables():
    def read() -> None:
        Account.objects.filter(balance=1).count()
        Booking.objects.create(account=ada().get())
        Account.objects.filter(balance=2).count()
        Booking.objects.filter(amount=1).count()

    reads = reads_of(read)
    assert reads.tables == ("backend_booking",)
    assert {query.tables for query in reads.queries} == {("backend_account",)}
    assert len(reads.queries) == 3


def test_no_more_queries_travel_than_are_useful(monkeypatch):
    monkeypatch.setattr(recorder, "QUERIES_MAX", 2)

    def read() -> None:
        for balance in (1, 2, 1, 2):
            Account.objects.filter(balance=balance).count()
        Tag.objects.filter(slug="x").count()

    reads = reads_of(read)
    assert len(reads.queries) == 2
    assert reads.tables == ("backend_tag",)
    monkeypatch.setattr(recorder, "QUERY_BYTES_MAX", 10)
    assert reads_of(read).queries == ()


def test_large_and_slow_results_are_not_repeated(monkeypatch):
    monkeypatch.setattr(recorder, "ROWS_MAX", 1)
    assert reads_of(lambda: list(Account.objects.all())).tables == ("backend_account",)
    assert reads_of(lambda: list(ada())).tables == ()
    monkeypatch.setattr(recorder, "REPEAT_S_MAX", 0.0)
    assert reads_of(lambda: list(ada())).tables == ("backend_account",)


def test_results_that_went_to_a_file(monkeypatch):
    monkeypatch.setattr(chunks, "ROWS_IN_MEMORY_MAX", 1)
    assert reads_of(lambda: list(Account.objects.iterator())).tables == ("backend_account",)


def test_functions_of_the_users_own_are_not_repeated():
    count = Account.objects.filter(balance=1).count
    assert reads_of(count).tables == ()
    connection.connection.create_function("count", 1, lambda x: 7)
    try:
        raw("CREATE TABLE anew (id integer PRIMARY KEY)")
        assert reads_of(count).tables == ("backend_account",)
    finally:
        connection.close()
        raw("DROP TABLE anew")


# Blocks -----------------------------------------------------------------------------------------


def test_a_block_that_wrote_nothing_needs_no_entry():
    with entries() as made, serializable():
        Account.objects.count()
        list(ada().select_for_update())
    assert made == []


def test_its_reads_move_on_with_its_snapshot():
    """Others commit between its first read and its first write, elsewhere."""
    booked = []

    def book() -> None:
        Booking.objects.create(account=ada().get())
        booked.append(applied_index())

    def read() -> None:
        Account.objects.filter(balance=1).count()
        elsewhere(book)

    entry = made_after(read)
    reads = entry.write_set.reads
    assert reads is not None
    assert reads.log_index == booked[0]
    assert entry.is_applied()


def test_what_cannot_be_read_again_cannot_move_on():
    def read() -> None:
        connection.check_constraints()
        elsewhere(lambda: Booking.objects.create(account=ada().get()))

    with pytest.raises(TransactionConflict):
        made_after(read)


def test_a_block_that_takes_the_lock_at_once_does_not_move_on():
    def read() -> None:
        assert Account.objects.filter(balance=1).count() == 1
        assert keyed("eve").update(balance=1) == 0

    for _ in range(2):
        connection.replication.begin_immediate_once()
        with refreshing(add) as refreshed:
            reads = reads_of(read)
        assert reads.tables == ("backend_account",)
        assert refreshed == []


def test_what_it_reads_under_the_lock_is_read_again_when_it_moves_on():
    connection.replication.begin_immediate_once()

    def read() -> None:
        assert Account.objects.filter(balance=1).count() == 1
        with pytest.raises(TransactionConflict):
            connection.replication.speculation.renew(lambda: elsewhere(add))

    with pytest.raises(TransactionConflict):
        made_after(read)


def test_a_block_that_gave_way():
    with pytest.raises(TransactionConflict, match="for too long"), serializable():
        Account.objects.count()
        Tag.objects.create(slug="x")
        with given_way_at("backend_booking"), pytest.raises(TransactionConflict):
            Booking.objects.count()
    assert made_after(Account.objects.count).is_applied()


def test_it_is_rolled_back_as_any_block_is():
    with pytest.raises(ZeroDivisionError), serializable():
        Tag.objects.create(slug="x")
        raise ZeroDivisionError
    assert Tag.objects.count() == 0
    with entries() as made, transaction.atomic():
        Account.objects.count()
        Tag.objects.create(slug="y")
    assert [each.reads for each in made] == [None]


def test_its_hooks_are_not_part_of_it():
    with entries() as made:
        with serializable():
            Account.objects.filter(balance=1).count()
            Tag.objects.create(slug="x")
            transaction.on_commit(in_hook)
    assert [each.reads is None for each in made] == [False, True]


def in_hook() -> None:
    with transaction.atomic():
        Account.objects.count()
        ada().update(balance=F("balance") + 1)


def test_only_the_outermost_block_can_be_one():
    with (
        transaction.atomic(),
        pytest.raises(
            transaction.TransactionManagementError, match="inside an atomic block of 'default'"
        ),
    ):
        with serializable():
            pass
    with (
        serializable(durable=True),
        transaction.atomic(),
        pytest.raises(transaction.TransactionManagementError, match="inside an atomic block"),
    ):
        with serializable():
            pass
    transaction.set_autocommit(False)
    try:
        with pytest.raises(transaction.TransactionManagementError, match="autocommit is off"):
            serializable().__enter__()
    finally:
        transaction.set_autocommit(True)


def test_as_a_decorator():
    @serializable
    def one(slug: str) -> str:
        Tag.objects.create(slug=slug)
        return f"{slug} {Account.objects.count()}"

    @serializable(using="default", durable=True)
    def other(depth: int) -> int:
        Tag.objects.create(slug=f"{depth}")
        assert len(connection.atomic_blocks) == 1
        return depth

    with entries() as made:
        assert one("x") == "x 2"
        assert other(1) == 1
        assert other(2) == 2
    assert len(made) == 3
    assert all(each.reads is not None for each in made)


def test_functions_whose_body_would_run_outside_are_refused():
    async def asynchronous() -> None: ...

    def generator() -> Any:
        yield 1

    for function in (asynchronous, generator):
        with pytest.raises(TypeError, match="outside of the block"):
            serializable(function)


@pytest.mark.django_db(transaction=True, databases=["default"])
def test_a_database_that_is_not_replicated(monkeypatch):
    monkeypatch.delattr(type(connections["default"]), "replication", raising=False)
    monkeypatch.delattr(connections["default"], "replication")
    with pytest.raises(Exception, match="is for replicated databases, and 'default' is none"):
        serializable().__enter__()


@pytest.mark.django_db
def test_inside_a_testcase():
    made = []
    original = connection.replication.client.propose_nested

    def noting(raw_connection: Any, command: bytes) -> Any:
        made.append(Entry(command, None).write_set)
        return original(raw_connection, command)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection.replication.client, "propose_nested", noting)
        with serializable():
            assert Account.objects.filter(balance=1).count() == 1
            with transaction.atomic():
                ada().update(balance=5)
            taken("bob")
    (write_set,) = made
    assert write_set.reads is not None
    assert "backend_account" in write_set.reads.tables
    assert ada().get().balance == 5
    assert connection.replication.speculation.recorder is None
