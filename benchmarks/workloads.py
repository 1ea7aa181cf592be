"""What a writer does, again and again; each returns the rows that it wrote.

Blocks are run again when they are lost to others', as they should be in a site; only the replicated
backend ever asks for it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.project.models import Item

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
BULK_ROWS = 1000


def _item(owner: int, n: int) -> Item:
    from benchmarks.project.models import Item

    return Item(
        owner=owner, name=f"item {n}", note="x" * 150, price=Decimal("12.50"), created=NOW, count=n
    )


def create(owner: int) -> Callable[[int], int]:
    """One `save()` of a new row."""

    def run(n: int) -> int:
        _item(owner, n).save(force_insert=True)
        return 1

    return run


def update(owner: int) -> Callable[[int], int]:
    """One `filter(pk=...).update(...)` of a row of its own."""
    from benchmarks.project.models import Item

    item = _item(owner, 0)
    item.save()

    def run(n: int) -> int:
        Item.objects.filter(pk=item.pk).update(count=n, name=f"item {n}")
        return 1

    return run


def atomic(owner: int) -> Callable[[int], int]:
    """A block of three writes: two new rows and an `F()` update."""
    from django.db.models import F

    from benchmarks.project.models import Item
    from raftdjango.transaction import atomic_retry

    item = _item(owner, 0)
    item.save()

    @atomic_retry
    def block(n: int) -> None:
        _item(owner, n).save(force_insert=True)
        _item(owner, n).save(force_insert=True)
        Item.objects.filter(pk=item.pk).update(count=F("count") + 1)

    def run(n: int) -> int:
        block(n)
        return 3

    return run


def bulk(owner: int) -> Callable[[int], int]:
    """`bulk_create()` of a thousand rows."""
    from benchmarks.project.models import Item
    from raftdjango.transaction import atomic_retry

    @atomic_retry
    def block(n: int) -> None:
        Item.objects.bulk_create([_item(owner, n) for _ in range(BULK_ROWS)])

    def run(n: int) -> int:
        block(n)
        return BULK_ROWS

    return run


WORKLOADS: dict[str, Callable[[int], Callable[[int], int]]] = {
    "create": create,
    "update": update,
    "atomic": atomic,
    "bulk": bulk,
}
