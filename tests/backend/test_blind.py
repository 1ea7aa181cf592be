"""Statements that go to the applier without local execution write what executing them would have."""

from __future__ import annotations

import datetime as dt
import sqlite3
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import django
import pytest
from django.db import connection
from django.db.models import F, Value
from django.db.models.functions import Upper
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raftdjango.backends.sqlite3.compiler import as_driver_returns
from raftdjango.backends.sqlite3.statements import blind
from raftdjango.writeset import Table
from tests.backend.blind_models import (
    Colour,
    Dated,
    Everything,
    Level,
    NamedKey,
    PairKey,
    Place,
    RandomKey,
    Restaurant,
)
from tests.backend.blind_support import both_ways, committed, never_blind, stored

if TYPE_CHECKING:
    from collections.abc import Callable

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
examples = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


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
    shape = blind.InsertShape(table, (0, 1), (0,))
    operation = blind.insert_operation(shape, [1, "x"], asked)
    assert operation
    answered = [
        *(table.columns[place] for place in operation.returning),
        *operation.returning_names,
    ]
    assert [answered[place] for place in blind.returned_order(table, asked)] == asked


def test_a_row_whose_key_is_not_known_is_executed() -> None:
    table = Table("t", ("id", "a"), (0,))
    raw = sqlite3.connect(":memory:")
    assert blind.insert_shape(raw, table, ["a"]) is None
    shape = blind.insert_shape(raw, table, ["a", "id"])
    raw.close()
    assert shape == (table, (1, 0), (1,))
    assert blind.insert_operation(shape, ["x", None], []) is None
    assert blind.insert_operation(shape, ["x", 1], []) is not None


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
