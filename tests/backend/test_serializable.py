"""`serializable()`: what another transaction must not have changed, and what it may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import IntegrityError, connection, connections, transaction
from django.db.models import F, Max, Sum

from raftdjango.backends.sqlite3 import chunks, facts, recorder
from raftdjango.exceptions import TransactionConflict
from raftdjango.transaction import atomic_retry, serializable
from raftdjango.writeset import Reads, VerdictKind
from tests.backend.blind_support import overtake
from tests.backend.block_support import given_way_at, refreshing
from tests.backend.helpers import applied_index, elsewhere, entries, far_key, raw
from tests.backend.models import Account, Booking, Tag
from tests.backend.serial_support import Entry, hold_back

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _however_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "REPEAT_S_MAX", float("inf"))


@pytest.fixture(autouse=True)
def accounts() -> tuple[Account, Account]:
    """Two of them, with 1 and 2."""
    ada = Account.objects.create(name="ada", balance=1)
    return ada, Account.objects.create(name="bob", balance=2)


def made_after(read: Callable[[], Any]) -> Entry:
    """The entry of a serializable block that read, and wrote where nobody looks."""

    def block() -> None:
        with serializable():
            read()
            Tag.objects.create(slug=str(far_key()))

    entry = hold_back(block)
    assert entry is not None
    return entry


def ada() -> Any:
    return Account.objects.filter(name="ada")


def by_key(name: str) -> Any:
    return Account.objects.filter(pk=Account.objects.get(name=name).pk)


def in_vain(do: Callable[[], Any]) -> None:
    """In a savepoint that is undone."""
    with transaction.atomic():
        do()
        transaction.set_rollback(True)


def taken(name: str) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Account.objects.create(name=name)


PHANTOM = {"name": "eve", "balance": 1}
KEYS = {name: far_key() for name in ("eve", "ada", "bob")}


def add() -> None:
    Account.objects.create(pk=KEYS["eve"], **PHANTOM)


def keyed(name: str) -> Any:
    """A queryset by a literal key: nothing is read to make it."""
    return Account.objects.filter(pk=KEYS[name])


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
    "a subquery": (
        lambda: list(Account.objects.filter(pk__in=Booking.objects.values("account"))),
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
