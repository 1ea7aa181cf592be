"""What comes back from blind statements: keys, columns that the database fills, row counts."""

from __future__ import annotations

import datetime as dt
import sqlite3
import uuid
from typing import TYPE_CHECKING

import django
import pytest
from django.db import IntegrityError, connection
from django.db.models import F

from tests.backend.blind_models import (
    Dated,
    Defaulted,
    Everything,
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
from tests.backend.blind_support import both_ways, committed

if TYPE_CHECKING:
    pass

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


@committed
def test_constraints_are_not_checked_while_they_are_disabled(proposed: list[list[str]]) -> None:
    """As on stock SQLite, outside of a block: fixtures and tests use it."""
    place = Place.objects.create(name="a")
    visit = Visit.objects.create(place=place)
    with connection.constraint_checks_disabled():
        Visit.objects.create(place_id=12345)
        Visit.objects.filter(pk=visit.pk).update(place_id=12345)
        Place.objects.filter(pk=place.pk)._raw_delete("default")
        assert proposed[-3:] == [["Insert"], ["Update"], ["Delete"]], "executed here first"
        Visit.objects.filter(place_id__gt=0).update(place_id=F("place_id") + 1)
    assert list(Visit.objects.values_list("place_id", flat=True)) == [12346, 12346]
    with pytest.raises(IntegrityError, match="FOREIGN KEY"):
        Visit.objects.create(place_id=12345)
    with pytest.raises(IntegrityError, match="invalid foreign key"):
        connection.check_constraints()
    Visit.objects.all().delete()
