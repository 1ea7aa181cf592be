"""Statements that go to the applier without local execution write what executing them would have."""

from __future__ import annotations

import datetime as dt
import sqlite3
import threading
import uuid
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import django
import pytest
from django.db import IntegrityError, connection, connections, transaction
from django.db.models import Count, F, Value
from django.db.models.functions import Upper
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raftdjango.backends.sqlite3 import blind, commit
from raftdjango.backends.sqlite3.compiler import as_driver_returns
from raftdjango.backends.sqlite3.key_source import table_inserted_without
from raftdjango.backends.sqlite3.replication import Replication
from raftdjango.conf import get_settings
from raftdjango.exceptions import ClusterUnavailable, TransactionConflict
from raftdjango.writeset import Table
from tests.backend.blind_models import (
    Colour,
    Dated,
    Defaulted,
    Everything,
    Level,
    NamedKey,
    OnlyKey,
    PairKey,
    Place,
    RandomKey,
    Restaurant,
    Stamped,
    Visit,
    Wrapped,
    WrappedKey,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

both_ways = pytest.mark.parametrize(
    "_database",
    [
        pytest.param(None, marks=pytest.mark.django_db(transaction=True), id="committed"),
        pytest.param(None, marks=pytest.mark.django_db, id="in a TestCase"),
    ],
)
committed = pytest.mark.django_db(transaction=True)


@pytest.fixture
def proposed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Kinds of operations of each write-set proposed."""
    seen: list[list[str]] = []
    original = commit.propose_body

    def propose_body(replication: Any, body: Any) -> Any:
        seen.append([type(operation).__name__ for operation in body.operations])
        return original(replication, body)

    monkeypatch.setattr(commit, "propose_body", propose_body)
    return seen


@contextmanager
def never_blind() -> Iterator[None]:
    """Everything is executed locally and captured."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Replication, "in_true_autocommit", lambda self: False)
        patch.setattr(Replication, "note_blind_candidate", lambda self, operation: None)
        yield


def stored(table: str, key: Any) -> list[Any]:
    """The row as SQLite stores it: value and storage class of every column but the key."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT name FROM pragma_table_xinfo('{table}') WHERE NOT pk")
        columns = [name for (name,) in cursor.fetchall()]
        terms = ", ".join(f'typeof("{name}"), quote("{name}")' for name in columns)
        cursor.execute(f'SELECT {terms} FROM "{table}" WHERE rowid = %s', [key])
        (row,) = cursor.fetchall()
    return list(row)


# -- the same rows ------------------------------------------------------------------------------

int64 = st.integers(-(2**63), 2**63 - 1)
text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=50)
aware = st.datetimes(timezones=st.just(dt.UTC))
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)
everything = st.fixed_dictionaries(
    {},
    optional={
        "char": text | st.just(Colour.RED) | int64.map(str),
        "text": text,
        # Doubled by a generated column.
        "integer": st.integers(-(2**62), 2**62 - 1) | st.booleans(),
        "big": int64,
        "level": st.sampled_from(Level),
        "positive": st.integers(0, 2**63 - 1),
        "flag": st.none() | st.booleans(),
        "number": st.floats(),
        "amount": st.decimals(-(10**9), 10**9, places=5),
        "day": st.dates(),
        "at": aware,
        "clock": st.times(),
        "took": st.timedeltas(dt.timedelta(days=-100_000), dt.timedelta(days=100_000)),
        "uuid": st.uuids(),
        "data": st.binary(max_size=50) | st.binary(max_size=5).map(memoryview),
        "extra": json_values,
        "address": st.ip_addresses().map(str),
        "file": st.just("a/b.txt"),
        "raw_day": st.dates(),
    },
)
examples = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@committed
@examples
@given(everything, everything)
def test_a_blind_row_is_the_row_that_execution_writes(
    proposed: list[list[str]], values: dict[str, Any], changes: dict[str, Any]
) -> None:
    proposed.clear()
    one = Everything.objects.create(**values)
    assert proposed == [["BlindInsert"]]
    with never_blind():
        other = Everything.objects.create(**values)
    assert proposed[1:] == [["Insert"]]
    assert stored("backend_everything", one.pk) == stored("backend_everything", other.pk)
    assert one.doubled == other.doubled
    if not changes:
        return
    proposed.clear()
    assert Everything.objects.filter(pk=one.pk).update(**changes) == 1
    assert proposed == [["BlindUpdate"]]
    with never_blind():
        assert Everything.objects.filter(pk=other.pk).update(**changes) == 1
    assert proposed[1:] == [["Update"]]
    assert stored("backend_everything", one.pk) == stored("backend_everything", other.pk)


@committed
@examples
@given(st.lists(st.one_of(int64, st.floats(), text, st.binary(max_size=20), st.none()), max_size=8))
def test_storage_classes_are_what_the_driver_binds(values: list[Any]) -> None:
    kinds = [value for given in values for value in (given, *_relatives(given))]
    raw = connection.connection or connection.cursor().connection
    for value in kinds:
        bound = raw.execute("SELECT typeof(?1), quote(?1)", (value,)).fetchall()
        (mine,) = blind.storage_row([value])
        assert raw.execute("SELECT typeof(?1), quote(?1)", (mine,)).fetchall() == bound
        assert type(mine) in {int, float, str, bytes, type(None)}


def _relatives(value: Any) -> list[Any]:
    """The value in a type of its own, as enumerations and safe strings have."""
    kind = type(value)
    if kind in {int, float, str}:
        return [type("Sub", (kind,), {})(value)]
    return [bytearray(value), memoryview(value)] if kind is bytes else []


@pytest.mark.parametrize(
    ("value", "declared", "read"),
    [
        ("2024-05-06", "date", dt.date(2024, 5, 6)),
        (1, "bool", True),
        (0, "bool", False),
        ("x", "varchar(20)", "x"),
        (None, "date", None),
        (b"\0", "BLOB", b"\0"),
        (3, None, 3),
    ],
)
def test_what_comes_back_is_what_the_driver_would_give(
    value: Any, declared: Any, read: Any
) -> None:
    assert as_driver_returns(value, declared) == read


def test_columns_come_back_in_the_order_asked_for() -> None:
    table = Table("t", ("id", "a", "b"), (0,))
    asked = ["computed", "b", "a"]
    operation = blind.insert_operation(table, (0, 1), [1, "x"], asked)
    assert operation
    answered = [
        *(table.columns[place] for place in operation.returning),
        *operation.returning_names,
    ]
    assert [answered[place] for place in blind.returned_order(table, asked)] == asked


def test_a_row_whose_key_is_not_known_is_executed() -> None:
    table = Table("t", ("id", "a"), (0,))
    assert blind.insert_operation(table, (1,), ["x"], []) is None
    assert blind.insert_operation(table, (0, 1), [None, "x"], []) is None


@pytest.mark.parametrize(
    ("default", "constant"),
    [
        ("", True),
        ("DEFAULT NULL", True),
        ("DEFAULT 5", True),
        ("DEFAULT -1.5e3", True),
        ("DEFAULT ('it''s')", True),
        ("DEFAULT x'00ff'", True),
        ("DEFAULT true", True),
        ("DEFAULT CURRENT_TIMESTAMP", False),
        ("DEFAULT (random())", False),
        ("DEFAULT (datetime('now'))", False),
        ("DEFAULT ('a' || random() || 'b')", False),
    ],
)
def test_only_columns_with_constant_defaults_may_be_left_out(default: str, constant: bool) -> None:
    raw = sqlite3.connect(":memory:")
    raw.execute(f"CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b {default})")
    table = Table("t", ("id", "a", "b"), (0,))
    assert blind.constant_defaults(raw, table, (0, 1)) is constant
    assert blind.constant_defaults(raw, table, (0, 1, 2))
    raw.close()


def test_adapters_of_the_driver_are_used() -> None:
    row = blind.storage_row([True, Decimal("1.50"), dt.date(2024, 5, 6), float("nan"), Level.HIGH])
    assert row == (1, "1.50", "2024-05-06", None, 2)
    assert [type(value) for value in row] == [int, str, str, type(None), int]


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, object(), [1], 1j])
def test_what_the_driver_refuses_is_left_to_it(value: Any) -> None:
    with pytest.raises(blind.NotLiteral):
        blind.storage_row([value])


@committed
@pytest.mark.parametrize("value", [2**63, [1]])
def test_a_refused_value_raises_what_it_raises_in_stock_django(value: Any) -> None:
    # FloatField has no range of its own to check first.
    with pytest.raises((OverflowError, TypeError, django.db.Error)):
        Everything.objects.create(raw_day=value)
    assert not Everything.objects.exists()


# -- what goes blind, and what does not ---------------------------------------------------------


@both_ways
def test_creates_saves_updates_and_deletes_by_key_go_blind(
    proposed: list[list[str]], _database: None
) -> None:
    place = Place.objects.create(name="a")
    place.name = "b"
    place.save()
    place.save(update_fields=["name"])
    assert Place.objects.filter(pk=place.pk).update(name="c") == 1
    assert Place.objects.filter(pk__in=[place.pk, 99]).update(name="d") == 1
    assert Place.objects.get().name == "d"
    named = NamedKey.objects.create(name="k", value="v")
    named.value = "w"
    named.save()
    assert NamedKey.objects.get(pk="k").value == "w"
    assert named.delete() == (1, {"backend.NamedKey": 1})
    assert not NamedKey.objects.exists()
    blind_kinds = {"BlindInsert", "BlindUpdate", "BlindDelete"}
    assert {kind for kinds in proposed for kind in kinds} == blind_kinds
    assert len(proposed) == 8


EXECUTED: dict[str, Callable[[], Any]] = {
    "expression": lambda: NamedKey.objects.filter(pk="k").update(value=Upper("value")),
    "F": lambda: RandomKey.objects.update(value=F("value") + 1),
    "filter": lambda: NamedKey.objects.filter(value="v").update(value="x"),
    "filter and key": lambda: NamedKey.objects.filter(pk="k", value="v").update(value="x"),
    "exclude": lambda: NamedKey.objects.exclude(pk="l").update(value="x"),
    "subquery": lambda: NamedKey.objects.filter(pk__in=NamedKey.objects.values("pk")).update(
        value="x"
    ),
    "all": lambda: NamedKey.objects.update(value="x"),
    "comparison": lambda: NamedKey.objects.filter(pk__lte="k").delete(),
    "key changed": lambda: NamedKey.objects.filter(pk="k").update(name="x"),
    "upsert": lambda: NamedKey.objects.bulk_create(
        [NamedKey(name="k", value="x")],
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["value"],
    ),
    "ignored": lambda: Place.objects.bulk_create([Place(name="y")], ignore_conflicts=True),
    "default that is no constant": lambda: Dated.objects.create(name="x"),
    "two tables": lambda: Restaurant.objects.create(name="x"),
    "expression in a create": lambda: Place.objects.create(name=Upper(Value("x"))),
    "composite key": lambda: PairKey.objects.filter(pk=(1, "r")).update(value=5),
}


@committed
@pytest.mark.parametrize("write", EXECUTED.values(), ids=EXECUTED)
def test_everything_else_is_executed(proposed: list[list[str]], write: Callable[[], Any]) -> None:
    NamedKey.objects.create(name="k", value="v")
    PairKey.objects.create(left=1, right="r")
    RandomKey.objects.create()
    proposed.clear()
    write()
    assert len(proposed) == 1
    assert not any(kind.startswith("Blind") for kind in proposed[0])


@committed
def test_wrappers_and_the_query_log_see_every_statement(proposed: list[list[str]]) -> None:
    named = NamedKey.objects.create(name="a")
    seen: list[str] = []

    def wrapper(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append(sql.split()[0])
        return execute(sql, params, many, context)

    proposed.clear()
    with connection.execute_wrapper(wrapper):
        NamedKey.objects.create(name="b")
        named.save()
        named.delete()
    assert seen == ["INSERT", "UPDATE", "DELETE"]
    with CaptureQueriesContext(connection) as queries:
        Place.objects.create(name="c")
    assert len(queries) == 1
    assert not any(kind.startswith("Blind") for kinds in proposed for kind in kinds)


# -- keys and values that come back -------------------------------------------------------------


@committed
def test_the_key_reaches_the_object_and_only_when_it_is_stored() -> None:
    place = Place.objects.create(name="a")
    assert Place.objects.get(pk=place.pk) == place
    twin = Place(name="a")
    with pytest.raises(IntegrityError, match=r"UNIQUE.*backend_place\.name"):
        twin.save()
    assert twin.pk is None
    twin.name = "b"
    twin.save()
    assert twin.pk not in {None, place.pk}


@both_ways
def test_columns_that_the_database_fills_come_back(
    proposed: list[list[str]], _database: None
) -> None:
    made = Defaulted.objects.create(name="a")
    assert (made.size, made.word) == (7, "it's")
    assert Defaulted.objects.create(name="b", size=9).size == 9
    if django.VERSION >= (6, 1):
        assert proposed == [["BlindInsert"], ["BlindInsert"]]
    row = Everything.objects.create(integer=4, raw_day=dt.date(2024, 5, 6))
    assert row.doubled == 8
    row.refresh_from_db()
    assert (row.doubled, row.raw_day) == (8, dt.date(2024, 5, 6))


@both_ways
def test_saving_a_row_with_a_computed_column(_database: None) -> None:
    """Django 6 asks an UPDATE for such columns."""
    row = Everything.objects.create(integer=4)
    row.integer = 5
    row.save()
    if django.VERSION >= (6, 0):
        assert row.doubled == 10
    assert Everything.objects.get().doubled == 10


@both_ways
def test_the_time_of_the_database_is_the_same_everywhere(_database: None) -> None:
    assert Dated.objects.create(name="a").at == Dated.objects.get().at


@both_ways
def test_auto_now_is_what_was_stored(proposed: list[list[str]], _database: None) -> None:
    stamped = Stamped.objects.create(name="a")
    assert proposed == [["BlindInsert"]]
    read = Stamped.objects.get()
    assert (read.changed, read.made) == (stamped.changed, stamped.made)
    stamped.save()
    assert Stamped.objects.get().changed == stamped.changed > read.changed


@both_ways
def test_fields_convert_the_keys_assigned_to_them(
    proposed: list[list[str]], _database: None
) -> None:
    made = WrappedKey.objects.create(name="a")
    assert isinstance(made.pk, Wrapped)
    assert WrappedKey.objects.get(pk=made.pk) == made
    assert proposed == [["BlindInsert"]]


@both_ways
def test_a_model_of_nothing_but_a_key(proposed: list[list[str]], _database: None) -> None:
    first, second = OnlyKey.objects.create(), OnlyKey.objects.create()
    assert first.pk != second.pk
    assert set(OnlyKey.objects.all()) == {first, second}
    assert proposed == [["BlindInsert"], ["BlindInsert"]]


@both_ways
def test_keys_of_other_kinds(_database: None) -> None:
    assert RandomKey.objects.get(pk=RandomKey.objects.create().pk).value == 0
    assert Place.objects.create(pk=4711, name="a").pk == 4711
    assert Place.objects.create(pk="4712", name="b").pk in {4712, "4712"}
    PairKey.objects.create(left=1, right="r")
    assert PairKey.objects.get(pk=(1, "r")).value == 0
    restaurant = Restaurant.objects.create(name="c", stars=3)
    assert Restaurant.objects.get(pk=restaurant.pk).stars == 3
    restaurant.stars = 4
    restaurant.save()
    assert Restaurant.objects.get(name="c").stars == 4


@both_ways
def test_bulk_create_and_many_to_many_get_one_key_for_each_row(
    proposed: list[list[str]], _database: None
) -> None:
    guests = OnlyKey.objects.bulk_create([OnlyKey() for _ in range(1500)])
    assert len({guest.pk for guest in guests}) == 1500
    assert set(OnlyKey.objects.all()) == set(guests)
    proposed.clear()
    places = Place.objects.bulk_create([Place(name=str(number)) for number in range(3)])
    assert [Place.objects.get(pk=place.pk).name for place in places] == ["0", "1", "2"]
    if django.VERSION >= (6, 1):
        assert proposed == [["BlindInsert"] * 3]
    visit = Visit.objects.create(place=places[0])
    visit.guests.set(guests[:20])
    assert visit.guests.count() == 20
    through = Visit.guests.through.objects.values_list("pk", flat=True)
    assert len(set(through)) == 20


@both_ways
def test_mixed_bulk_create_leaves_given_keys_alone(_database: None) -> None:
    made = Place.objects.bulk_create([Place(pk=70, name="a"), Place(name="b"), Place(name="c")])
    assert made[0].pk == 70
    assert len({place.pk for place in made}) == 3
    assert {place.pk for place in Place.objects.all()} == {place.pk for place in made}


@committed
def test_a_batch_leaves_room_for_keys() -> None:
    Place.objects.count()
    limit = connection.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 100)
    try:
        assert connection.ops.bulk_batch_size([Place._meta.get_field("name")], [None] * 1000) == 50
        assert (
            len(Place.objects.bulk_create([Place(name=str(number)) for number in range(120)]))
            == 120
        )
    finally:
        connection.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, limit)
    assert Place.objects.count() == 120


# -- keys that are taken ------------------------------------------------------------------------


@pytest.fixture
def leased(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Gives this process blocks of keys, as answers of a node would."""
    allocator = connection.replication.allocator
    allocator.reset()
    yield lambda **blocks: allocator.feed(
        {f"backend_{name}": keys for name, keys in blocks.items()}
    )
    allocator.reset()


@both_ways
def test_keys_come_from_the_blocks_leased(leased: Callable[..., None], _database: None) -> None:
    leased(place=range(500, 503))
    keys = [Place.objects.create(name=str(number)).pk for number in range(2)]
    with transaction.atomic():
        keys.append(Place.objects.create(name="2").pk)
        keys.append(Place.objects.create(name="3").pk)
    assert keys[:3] == [500, 501, 502]
    assert keys[3] > 502


@both_ways
def test_a_collision_with_a_chosen_key_is_drawn_again(
    leased: Callable[..., None], proposed: list[list[str]], _database: None
) -> None:
    Place.objects.create(pk=501, name="chosen")
    leased(place=range(500, 510))
    keys = [Place.objects.create(name=str(number)).pk for number in range(3)]
    assert keys == [500, 502, 503]


@both_ways
def test_inside_a_block_chosen_keys_are_skipped(
    leased: Callable[..., None], proposed: list[list[str]], _database: None
) -> None:
    leased(place=range(500, 510))
    with transaction.atomic():
        Place.objects.create(pk=501, name="chosen")
        keys = [Place.objects.create(name=str(number)).pk for number in range(3)]
    assert keys == [500, 502, 503]
    assert len(proposed) == 1


@both_ways
def test_no_row_is_ignored_because_of_a_key_that_was_drawn_for_it(
    leased: Callable[..., None], _database: None
) -> None:
    """INSERT OR IGNORE would not even tell of the collision."""
    Place.objects.create(pk=501, name="chosen")
    leased(place=range(500, 510))
    Place.objects.bulk_create([Place(name=name) for name in "abc"], ignore_conflicts=True)
    assert Place.objects.count() == 4


@both_ways
def test_a_unique_field_that_collides_is_not_drawn_again(
    leased: Callable[..., None], proposed: list[list[str]], _database: None
) -> None:
    Place.objects.create(name="a")
    leased(place=range(500, 510))
    proposed.clear()
    with pytest.raises(IntegrityError, match="name"):
        Place.objects.create(name="a")
    assert len(proposed) == 1


@committed
def test_while_the_write_lock_is_held_nobody_waits_for_a_lease(
    leased: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def lease_keys(self: Any, table: str, count: int, *, timeout_s: float) -> range:
        asked.append(timeout_s)
        raise ClusterUnavailable("a new lease is applied here too, and waits for this very lock")

    Place.objects.create(name="a")
    leased(onlykey=range(500, 503))
    with transaction.atomic():
        Place.objects.filter(name="a").update(name="b")
        monkeypatch.setattr(type(connection.replication.client), "lease_keys", lease_keys)
        place = Place.objects.create(name="c")
        guests = OnlyKey.objects.bulk_create([OnlyKey() for _ in range(100)])
    assert max(asked) * 1000 < get_settings().lock_yield_ms
    assert Place.objects.get(name="c").pk == place.pk
    assert [guest.pk for guest in guests[:3]] == [500, 501, 502]
    assert len({guest.pk for guest in guests}) == 100


@committed
def test_without_the_lock_a_lease_that_is_not_to_be_had_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lease_keys(*args: Any, **kwargs: Any) -> range:
        raise ClusterUnavailable("no majority")

    monkeypatch.setattr(type(connection.replication.client), "lease_keys", lease_keys)
    with pytest.raises(ClusterUnavailable):
        Place.objects.create(name="a")


@committed
def test_keys_chosen_under_the_lock_lie_behind_all_leased_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lease_keys(*args: Any, **kwargs: Any) -> range:
        raise ClusterUnavailable("no majority")

    leased = Place.objects.create(name="a").pk + 1000
    consensus = connection.replication.client.consensus
    monkeypatch.setattr(type(connection.replication.client), "lease_keys", lease_keys)
    consensus.connection.execute(
        "REPLACE INTO raftdjango_key VALUES ('backend_place', ?)", [leased]
    )
    with transaction.atomic():
        Place.objects.filter(name="a").update(name="b")
        assert Place.objects.create(name="c").pk == leased
        assert Place.objects.create(name="d").pk == leased + 1


@committed
def test_threads_that_create_at_once_never_lose_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """With blocks as a node gives them no key is drawn twice; nobody is told of a collision."""
    client_type = type(connection.replication.client)
    lock, state = threading.Lock(), {"next": 1}

    def lease_keys(self: Any, table: str, count: int, *, timeout_s: float) -> range:
        with lock:
            first = state["next"]
            state["next"] += count + 3
        return range(first, first + count + 3)

    monkeypatch.setattr(client_type, "lease_keys", lease_keys)
    made: list[int] = []
    errors: list[BaseException] = []

    def create(worker: int) -> None:
        try:
            for number in range(10):
                key = Place.objects.create(name=f"{worker}-{number}").pk
                made.append(key)
                with transaction.atomic():
                    Place.objects.filter(pk=key).update(name=f"{worker}+{number}")
                    Visit.objects.create(place_id=key)
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=create, args=(worker,)) for worker in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    connection.replication.allocator.reset()
    assert errors == []
    assert len(set(made)) == 60
    assert set(Place.objects.values_list("pk", flat=True)) == set(made)
    assert Visit.objects.count() == 60


# -- answers ------------------------------------------------------------------------------------


@both_ways
def test_row_counts_are_those_of_the_rows_there_were(_database: None) -> None:
    places = [Place.objects.create(name=str(number)) for number in range(3)]
    keys = [place.pk for place in places]
    assert Place.objects.filter(pk=keys[0]).update(name="x") == 1
    assert Place.objects.filter(pk=99).update(name="y") == 0
    assert Place.objects.filter(pk__in=[*keys, *keys, 99]).count() == 3
    assert RandomKey.objects.filter(pk=uuid.uuid4()).delete() == (0, {})
    assert Place.objects.filter(pk__in=[]).update(name="x") == 0
    assert places[0].delete() == (1, {"backend.Place": 1})
    assert Place.objects.count() == 2


@committed
def test_save_with_a_key_updates_or_inserts() -> None:
    NamedKey(name="k", value="1").save()
    NamedKey(name="k", value="2").save()
    assert NamedKey.objects.get().value == "2"
    with pytest.raises(django.db.DatabaseError, match="did not affect"):
        NamedKey(name="other").save(force_update=True)
    with pytest.raises(django.db.DatabaseError, match="did not affect"):
        NamedKey(name="other", value="x").save(update_fields=["value"])


@committed
def test_constraints_are_checked_where_the_row_is_written(proposed: list[list[str]]) -> None:
    with pytest.raises(IntegrityError, match="FOREIGN KEY"):
        Visit.objects.create(place_id=12345)
    with pytest.raises(IntegrityError, match="NOT NULL"):
        NamedKey.objects.create(name="k", value=None)
    place = Place.objects.create(name="a")
    Visit.objects.create(place=place)
    with pytest.raises(IntegrityError, match="FOREIGN KEY"):
        Place.objects.filter(pk=place.pk)._raw_delete("default")
    assert Place.objects.exists()
    assert not NamedKey.objects.exists()
    assert Visit.objects.count() == 1


# -- a block of one statement -------------------------------------------------------------------


def elsewhere(work: Callable[[], Any]) -> None:
    """Have another connection do something and wait until it is done."""

    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


@committed
def test_a_block_of_one_statement_goes_as_that_statement(proposed: list[list[str]]) -> None:
    with transaction.atomic():
        NamedKey.objects.create(name="k", value="1")
    with transaction.atomic():
        NamedKey(name="k", value="2").save(force_update=True)
    with transaction.atomic():
        NamedKey.objects.filter(pk="k").delete()
    assert proposed == [["BlindInsert"], ["BlindUpdate"], ["BlindDelete"]]
    assert not NamedKey.objects.exists()


@committed
def test_a_block_of_more_goes_as_rows(proposed: list[list[str]]) -> None:
    NamedKey.objects.create(name="k")
    proposed.clear()
    with transaction.atomic():
        NamedKey.objects.get(name="k")
        NamedKey(name="k", value="2").save(force_update=True)
    with transaction.atomic():
        NamedKey(name="k", value="3").save(force_update=True)
        NamedKey.objects.create(name="l")
    assert proposed == [["Update"], ["Update", "Insert"]]


@committed
def test_of_two_blocks_of_one_statement_the_last_one_wins() -> None:
    NamedKey.objects.create(name="k")
    with transaction.atomic():
        NamedKey.objects.filter(pk="k").update(value="mine")
        transaction.on_commit(lambda: None)
        # The lock is held, so the other one has to come between capture and commit.
        overtake(lambda: NamedKey.objects.filter(pk="k").update(value="theirs"))
    assert NamedKey.objects.get().value == "mine"


@committed
def test_a_row_count_that_no_longer_holds_is_a_conflict() -> None:
    NamedKey.objects.create(name="k")
    with pytest.raises(TransactionConflict), transaction.atomic():
        assert NamedKey.objects.filter(pk="k").update(value="mine") == 1
        overtake(lambda: NamedKey.objects.filter(pk="k").delete())
    assert not NamedKey.objects.exists()


def overtake(work: Callable[[], Any]) -> None:
    """Have somebody else commit after this block gave its lock back, before its entry is proposed."""
    original = commit.propose

    def propose(replication: Any, unit: Any) -> Any:
        patch.undo()
        elsewhere(work)
        return original(replication, unit)

    patch = pytest.MonkeyPatch()
    patch.setattr(commit, "propose", propose)


@pytest.fixture
def lagging(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Lets this node see something that others did only once it asks for a fresh view."""

    def lag(work: Callable[[], Any]) -> None:
        client_type = type(connection.replication.client)
        original = client_type.refresh

        def refresh(self: Any, *, timeout_s: float) -> int:
            monkeypatch.setattr(client_type, "refresh", original)
            elsewhere(work)
            return original(self, timeout_s=timeout_s)

        monkeypatch.setattr(client_type, "refresh", refresh)

    return lag


@committed
def test_a_session_made_elsewhere_can_be_saved_at_once(
    lagging: Callable[..., None], proposed: list[list[str]]
) -> None:
    """Django saves it in a block, with an UPDATE that must find the row."""
    lagging(lambda: NamedKey.objects.create(name="session", value="1"))
    with transaction.atomic():
        NamedKey(name="session", value="2").save(force_update=True)
    assert NamedKey.objects.get().value == "2"
    assert proposed == [["BlindInsert"], ["BlindUpdate"]]


@committed
def test_a_block_that_found_no_row_goes_on_with_what_it_had(
    lagging: Callable[..., None], proposed: list[list[str]]
) -> None:
    NamedKey.objects.create(name="k")
    lagging(lambda: None)
    proposed.clear()
    with transaction.atomic():
        assert list(RandomKey.objects.all()) == []
        with transaction.atomic():
            assert NamedKey.objects.filter(pk="other").update(value="1") == 0
            NamedKey.objects.create(name="other")
        assert NamedKey.objects.filter(pk="k").delete() == (1, {"backend.NamedKey": 1})
        assert NamedKey.objects.filter(pk="none").delete() == (0, {})
    assert [named.pk for named in NamedKey.objects.all()] == ["other"]
    assert proposed == [["Insert", "Delete"]]


@committed
def test_reads_before_a_write_that_found_no_row_must_still_hold(
    lagging: Callable[..., None],
) -> None:
    lagging(lambda: NamedKey.objects.create(name="k"))
    with pytest.raises(TransactionConflict), transaction.atomic():
        assert not NamedKey.objects.exists()
        NamedKey.objects.filter(pk="k").update(value="1")


@committed
def test_what_a_block_wrote_is_kept_when_a_later_write_finds_no_row(
    lagging: Callable[..., None],
) -> None:
    NamedKey.objects.create(name="k")
    RandomKey.objects.create()
    lagging(lambda: NamedKey.objects.create(name="l"))
    with transaction.atomic():
        RandomKey.objects.select_for_update().get()
        NamedKey.objects.filter(pk="k").update(value="1")
        assert NamedKey.objects.filter(pk="l").update(value="1") == 0
    assert NamedKey.objects.get(pk="k").value == "1"


@committed
def test_a_block_that_changed_no_row_proposes_nothing(proposed: list[list[str]]) -> None:
    with transaction.atomic():
        assert NamedKey.objects.filter(pk="k").update(value="1") == 0
    assert proposed == []


@committed
def test_without_a_majority_a_block_is_not_told_that_a_row_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refresh(*args: Any, **kwargs: Any) -> int:
        raise ClusterUnavailable("no majority")

    monkeypatch.setattr(type(connection.replication.client), "refresh", refresh)
    with transaction.atomic():
        with pytest.raises(ClusterUnavailable), transaction.atomic():
            NamedKey.objects.filter(pk="k").update(value="1")
        NamedKey.objects.create(name="k", value="2")
    assert NamedKey.objects.get().value == "2"


# -- raw SQL that leaves the key to the database -------------------------------------------------


RAW = {
    "plain": "INSERT INTO backend_place (name) VALUES (%s)",
    "quoted": 'insert or ignore into "backend_place" ("name") VALUES (%s)',
    "schema": "INSERT INTO main.backend_place(name) SELECT %s",
    "with": "WITH w AS (SELECT %s AS n) INSERT INTO backend_place (name) SELECT n FROM w",
    "replace": "REPLACE INTO backend_place (name) VALUES (%s)",
    "all columns": "INSERT INTO backend_place VALUES (NULL, %s)",
}


@both_ways
@pytest.mark.parametrize("sql", RAW.values(), ids=RAW)
def test_raw_sql_that_leaves_the_key_out_gets_keys_of_a_lease(
    sql: str, monkeypatch: pytest.MonkeyPatch, _database: None
) -> None:
    first = Place.objects.create(name="before").pk + 1000
    Place.objects.all().delete()

    def lease_keys(self: Any, table: str, count: int, *, timeout_s: float) -> range:
        assert table == "backend_place"
        return range(first, first + count)

    monkeypatch.setattr(type(connection.replication.client), "lease_keys", lease_keys)
    with connection.cursor() as cursor:
        cursor.execute(sql, ["a"])
    assert Place.objects.get().pk == first
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql, ["b"])
        cursor.execute("INSERT INTO backend_place (id, name) VALUES (5, 'c')")
    assert Place.objects.get(name="c").pk == 5
    assert Place.objects.get(name="b").pk > first


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t (id, name) VALUES (1, 'x')",
        'INSERT INTO "t" ("name", "ID") VALUES (1, 2)',
        "INSERT INTO unknown (name) VALUES (1)",
        "UPDATE t SET name = 'INSERT INTO'",
        "DELETE FROM t",
    ],
)
def test_other_sql_needs_no_keys(sql: str) -> None:
    assert table_inserted_without(sql, lambda name: "id" if name == "t" else None) is None


# -- select_for_update --------------------------------------------------------------------------


def locked(proposals: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, Any]]:
    """(table, key) of the rows that a block has validated."""
    seen: set[tuple[str, Any]] = set()
    original = Replication.lock_for_update

    def lock_for_update(self: Replication, table: str, keys: Any) -> None:
        seen.update((table.removeprefix("backend_"), key) for key in keys)
        original(self, table, keys)

    monkeypatch.setattr(Replication, "lock_for_update", lock_for_update)
    with transaction.atomic():
        proposals()
    return seen


@both_ways
def test_rows_read_for_update_are_those_that_the_query_reads(
    monkeypatch: pytest.MonkeyPatch, _database: None
) -> None:
    names = [Place.objects.create(name=name).pk for name in "abcd"]
    PairKey.objects.create(left=1, right="r")
    restaurant = Restaurant.objects.create(name="e").pk
    visit = Visit.objects.create(place_id=names[0]).pk
    lonely = Visit.objects.create(place=None).pk
    places = Place.objects.select_for_update()

    def rows(query: Any) -> set[tuple[str, Any]]:
        return locked(lambda: list(query), monkeypatch)

    assert rows(places.filter(name__in="ab")) == {("place", (key,)) for key in names[:2]}
    assert rows(places.order_by("-name")[1:3]) == {("place", (key,)) for key in names[2:]}
    assert rows(places.filter(name="a").values_list("name")) == {("place", (names[0],))}
    assert rows(places.filter(name="a").iterator()) == {("place", (names[0],))}
    assert rows(places.none()) == set()
    assert locked(lambda: places.filter(name="a").exists(), monkeypatch) == {("place", (names[0],))}
    assert rows(places.filter(visit=visit).annotate(visits=Count("visit"))) == {
        ("place", (names[0],))
    }
    assert locked(lambda: places.count(), monkeypatch) == set()
    assert locked(lambda: places.get(name="c"), monkeypatch) == {("place", (names[2],))}
    assert rows(PairKey.objects.select_for_update()) == {("pairkey", (1, "r"))}
    assert rows(Restaurant.objects.select_for_update()) == {
        ("restaurant", (restaurant,)),
        ("place", (restaurant,)),
    }
    assert rows(Visit.objects.select_for_update().select_related("place")) == {
        ("visit", (visit,)),
        ("visit", (lonely,)),
        ("place", (names[0],)),
    }
    assert rows(Visit.objects.select_for_update().filter(place__name="a")) == {("visit", (visit,))}
    assert rows(Place.objects.filter(name="a")) == set()


@committed
def test_a_row_read_for_update_that_was_changed_is_a_conflict(proposed: list[list[str]]) -> None:
    Place.objects.create(name="a")
    other = Place.objects.create(name="b")
    with pytest.raises(TransactionConflict), transaction.atomic():
        Place.objects.select_for_update().get(name="a")
        Place.objects.filter(name="b").update(name="c")
        overtake(lambda: Place.objects.filter(name="a").update(name="z"))
    assert Place.objects.get(pk=other.pk).name == "b"
    assert ["ValidatedRead", "Update"] in proposed


@committed
def test_for_update_outside_a_block_is_refused_as_ever() -> None:
    with pytest.raises(transaction.TransactionManagementError):
        list(Place.objects.select_for_update())


@both_ways
def test_for_update_of_a_combined_query_is_refused(_database: None) -> None:
    query = Place.objects.select_for_update()
    with pytest.raises(django.db.NotSupportedError, match="combined"), transaction.atomic():
        list(query.filter(name="a").union(query.filter(name="b")))


@both_ways
@pytest.mark.parametrize("option", [{"nowait": True}, {"skip_locked": True}, {"of": ("self",)}])
def test_options_that_need_real_locks_are_refused(option: dict[str, Any], _database: None) -> None:
    with pytest.raises(django.db.NotSupportedError), transaction.atomic():
        list(Place.objects.select_for_update(**option))


@committed
def test_for_update_does_not_count_as_two_queries() -> None:
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        list(Place.objects.select_for_update())
    assert len(queries) == 1
