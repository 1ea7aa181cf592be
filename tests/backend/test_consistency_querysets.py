"""A queryset may say itself how fresh it has to be."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.db.models import Prefetch, Sum

from raftdjango.consistency import ConsistentManager, ConsistentQuerySet, linearizable
from tests.backend.consistency_support import Node, balance, clock, node
from tests.backend.helpers import applied_index
from tests.backend.models import Account, Tag

__all__ = ["clock", "node"]
pytestmark = pytest.mark.django_db(transaction=True)


def accounts() -> ConsistentQuerySet[Account]:
    return ConsistentQuerySet(Account)


async def first_async(rows: Any) -> Any:
    async for row in rows:
        return row
    return None


QUERIES = {
    "evaluation": lambda rows: next(iter(rows)).balance,
    "get": lambda rows: rows.get().balance,
    "first": lambda rows: rows.first().balance,
    "latest": lambda rows: rows.latest("pk").balance,
    "slice": lambda rows: rows[0].balance,
    "in_bulk": lambda rows: next(iter(rows.in_bulk().values())).balance,
    "values": lambda rows: rows.filter(name="ada").values_list("balance", flat=True)[0],
    "iterator": lambda rows: next(rows.iterator()).balance,
    "aggregate": lambda rows: rows.aggregate(sum=Sum("balance"))["sum"],
    "count": lambda rows: 7 * rows.filter(balance=7).count(),
    "exists": lambda rows: 7 * rows.filter(balance=7).exists(),
    "contains": lambda rows: 7 * rows.filter(balance=7).contains(Account.objects.get()),
    "update": lambda rows: 7 * rows.filter(balance=7).update(name="eva"),
    "delete": lambda rows: 7 * rows.filter(balance=7).delete()[0],
    "union": lambda rows: next(iter(rows.union(Account.objects.none()))).balance,
    "async evaluation": lambda rows: async_to_sync(first_async)(rows).balance,
    "aget": lambda rows: async_to_sync(rows.aget)().balance,
    "acount": lambda rows: 7 * async_to_sync(rows.filter(balance=7).acount)(),
    "aiterator": lambda rows: async_to_sync(first_async)(rows.aiterator()).balance,
    "explain": lambda rows: rows.explain() and balance(),
}

WRITES = {"update", "delete"}
"""Never say "no row" without asking, as it is."""


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_every_evaluation(node: Node, query: Any) -> None:
    rows = accounts().linearizable()
    assert node.asked == [], "a queryset is lazy"
    assert query(rows) == 7
    asked = len(node.asked)
    list(accounts())
    assert len(node.asked) == asked, "it is that queryset's business alone"


@pytest.mark.parametrize("query", [QUERIES[name] for name in QUERIES if name not in WRITES])
def test_every_evaluation_without_a_level_is_as_ever(node: Node, query: Any) -> None:
    assert query(accounts()) in (0, None, False)
    assert node.asked == []


def test_each_level(node: Node) -> None:
    with linearizable():
        assert accounts().local().get().balance == 0
        assert accounts().bounded(60).get().balance == 0
    assert node.asked == []
    assert accounts().at_least(applied_index() + 1, timeout_s=3).get().balance == 7
    assert accounts().linearizable().local().get().balance == 7
    assert [round(timeout_s) for timeout_s in node.asked] == [3]


def test_what_is_fetched_already_is_not_asked_for_again(node: Node) -> None:
    rows = accounts().linearizable()
    assert [len(rows), len(rows)] == [1, 1]
    assert len(node.asked) == 1


def test_what_is_prefetched_is_as_fresh(node: Node) -> None:
    ada = Account.objects.get()
    node.behind(lambda: Tag.objects.create(slug="one").accounts.add(Account.objects.get()))
    (fetched,) = accounts().linearizable().prefetch_related("tags")
    assert [tag.slug for tag in fetched.tags.all()] == ["one"]
    node.behind(lambda: Tag.objects.create(slug="two").accounts.add(Account.objects.get()))
    tags = Prefetch("tags", queryset=Tag.objects.order_by("slug"))
    rows = accounts().linearizable().prefetch_related(tags).iterator(chunk_size=10)
    assert [tag.slug for tag in next(rows).tags.all()] == ["one", "two"]
    assert ada.balance == 0


def test_between_the_rows_of_an_iterator_others_are_not_concerned(node: Node) -> None:
    Account.objects.create(name="bob")
    rows = accounts().linearizable().order_by("name").iterator()
    next(rows)
    asked = len(node.asked)
    balance()
    assert len(node.asked) == asked
    assert [row.name for row in rows] == ["bob"]


PARTS = {
    "a subquery": lambda part: Tag.objects.filter(accounts__in=part),
    "an annotation": lambda part: Tag.objects.annotate(one=part.values("pk")[:1]),
    "a union": lambda part: accounts().union(part),
    "an intersection of another level": lambda part: accounts().bounded(1).intersection(part),
    "and": lambda part: accounts() & part,
    "or": lambda part: accounts() | part,
    "xor": lambda part: accounts() ^ part,
}


@pytest.mark.parametrize("combine", PARTS.values(), ids=PARTS)
def test_a_part_of_another_query_would_be_forgotten(node: Node, combine: Any) -> None:
    combine(accounts())
    with pytest.raises(ValueError, match="is to be linearizable becomes part of another query"):
        combine(accounts().linearizable())


def test_parts_of_one_level(node: Node) -> None:
    for combined in (
        accounts().linearizable() | accounts().linearizable(),
        accounts().linearizable() & accounts(),
        accounts().linearizable().union(accounts().linearizable()),
    ):
        assert [account.balance for account in combined] == [7]


def test_as_a_manager() -> None:
    class Fresh(models.Model):
        objects = ConsistentManager()
        others = ConsistentQuerySet.as_manager()

        class Meta:
            app_label = "nowhere"
            managed = False

    for manager in (Fresh.objects, Fresh.others):
        rows = manager.linearizable().filter(pk=1)
        assert str(rows._level) == "linearizable"
        assert str(manager.bounded(2)._level) == "bounded by 2 s"
        assert not hasattr(manager, "delete"), "as with any manager"
        assert manager.update.alters_data
    assert str(pickle.loads(pickle.dumps(rows.query and rows._level))) == "linearizable"


@pytest.mark.django_db(transaction=True, databases=["default", "plain"])
def test_another_database_has_no_levels() -> None:
    with pytest.raises(ImproperlyConfigured, match="not a replicated database"):
        accounts().using("plain").linearizable().count()
