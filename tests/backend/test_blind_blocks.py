"""Blocks of one statement by key, and rows read with `select_for_update()`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import django
import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from raftdjango.backends.sqlite3.replication import Replication
from raftdjango.exceptions import ClusterUnavailable, TransactionConflict
from tests.backend.blind_models import (
    NamedKey,
    PairKey,
    Place,
    RandomKey,
    Restaurant,
    Visit,
)
from tests.backend.blind_support import both_ways, committed, overtake

if TYPE_CHECKING:
    from collections.abc import Callable

# -- a block of one statement -------------------------------------------------------------------


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
    assert rows(places.filter(visit=visit)) == {("place", (names[0],)), ("visit", (visit,))}
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
    of_a = Visit.objects.filter(place__name="a")
    assert rows(of_a.select_for_update()) == {("visit", (visit,)), ("place", (names[0],))}
    assert rows(of_a.select_for_update(of=("self",))) == {("visit", (visit,))}
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
def test_rows_that_others_lock_cannot_be_skipped(_database: None) -> None:
    with pytest.raises(django.db.NotSupportedError, match="ever locked"), transaction.atomic():
        list(Place.objects.select_for_update(skip_locked=True))


@committed
def test_for_update_does_not_count_as_two_queries() -> None:
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        list(Place.objects.select_for_update())
    assert len(queries) == 1
