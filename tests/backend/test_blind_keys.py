"""Keys are assigned before rows are written, and one that is taken harms nobody."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from django.db import IntegrityError, connection, connections, transaction

from raftdjango.backends.sqlite3.statements import key_source
from raftdjango.conf import get_settings
from raftdjango.exceptions import ClusterUnavailable, TransactionConflict
from tests.backend.blind_models import (
    OnlyKey,
    Place,
    Visit,
)
from tests.backend.blind_support import both_ways, committed, overtake

if TYPE_CHECKING:
    from collections.abc import Callable


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
def test_while_the_write_lock_is_held_a_lease_is_not_waited_for_as_long_as_a_commit(
    leased: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def lease_keys(
        self: Any, table: str, count: int, *, timeout_s: float, after: int = 0, above: int = 0
    ) -> range:
        asked.append(timeout_s)
        raise ClusterUnavailable("no majority")

    Place.objects.create(name="a")
    leased(onlykey=range(500, 503))
    with transaction.atomic():
        Place.objects.filter(name="a").update(name="b")
        monkeypatch.setattr(type(connection.replication.client), "lease_keys", lease_keys)
        place = Place.objects.create(name="c")
        guests = OnlyKey.objects.bulk_create([OnlyKey() for _ in range(100)])
    assert max(asked) < get_settings().commit_timeout_s
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
@pytest.mark.parametrize("in_sql", [False, True])
def test_of_two_that_choose_the_same_keys_one_is_a_conflict(
    monkeypatch: pytest.MonkeyPatch, *, in_sql: bool
) -> None:
    """Also when the row of the first is gone by then."""

    def lease_keys(*args: Any, **kwargs: Any) -> range:
        raise ClusterUnavailable("no majority")

    Visit.objects.create()
    Place.objects.create(name="a")
    monkeypatch.setattr(type(connection.replication.client), "lease_keys", lease_keys)
    given: list[int] = []

    def create(name: str) -> None:
        with transaction.atomic():
            Visit.objects.update(place=None)  # which takes the write lock
            if in_sql:
                with connection.cursor() as cursor:
                    cursor.execute("INSERT INTO backend_place (name) VALUES (%s)", [name])
                    given.append(cursor.lastrowid)
            else:
                given.append(Place.objects.create(name=name).pk)

    def others() -> None:
        create("theirs")
        Place.objects.get(name="theirs").delete()

    overtake(others)
    with pytest.raises(TransactionConflict):
        create("mine")
    create("mine, again")
    assert given[0] == given[1] < given[2]


@committed
def test_without_a_lease_the_table_may_be_named_in_any_case(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a model may that Django does not manage."""
    leased = Place.objects.create(name="a").pk + 1000
    consensus = connection.replication.client.consensus
    consensus.connection.execute(
        "REPLACE INTO raftdjango_key VALUES ('backend_place', ?)", [leased]
    )
    with transaction.atomic():
        Place.objects.update(name="b")
        assert key_source.behind_all(connection, "BACKEND_Place", "id") == leased
        key_source.behind_all(connection, "backend_place", "id")
        assert connection.replication.speculation.block.keys_chosen == {"backend_place": leased}


@committed
def test_threads_that_create_at_once_never_lose_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """With blocks as a node gives them no key is drawn twice; nobody is told of a collision."""
    client_type = type(connection.replication.client)
    lock, state = threading.Lock(), {"next": 1}

    def lease_keys(
        self: Any, table: str, count: int, *, timeout_s: float, after: int = 0, above: int = 0
    ) -> range:
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


@committed
def test_a_row_that_is_created_in_the_midst_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys of the outer one are still those of the schema that they were drawn for."""
    versions: list[int | None] = []

    field = Place._meta.get_field("name")

    def get_db_prep_save(value: Any, connection: Any) -> Any:
        OnlyKey.objects.create()
        versions.append(connection.replication.keys_drawn_for)
        return value

    with monkeypatch.context() as patch:
        patch.setattr(field, "get_db_prep_save", get_db_prep_save)
        Place.objects.create(name="a")
        with transaction.atomic():
            Place.objects.create(name="b")
    assert len(versions) >= 2
    assert None not in versions
    assert connection.replication.keys_drawn_for is None
