"""What workers do with keys, and which ones they were given where in the log."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

from django.db import IntegrityError, connection

from raftdjango.transaction import atomic_retry
from tests.cluster.project.models import Item

SEQUENCE = "project_item"
INSERT = "INSERT INTO project_item (name, value) VALUES (%s, 0)"
QUERY = (
    "INSERT INTO project_item (name, value) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1"
    " FROM n WHERE i < %s) SELECT %s || ':' || i, 0 FROM n"
)
retrying = atomic_retry(attempts=50)


def given(prefix: str, count: int) -> list[int]:
    """Create rows one after another; their keys."""
    return [Item.objects.create(name=f"{prefix}-{n}").pk for n in range(count)]


def raw(name: str, count: int) -> list[int]:
    """Rows of a query, whose keys are left to SQLite."""
    with connection.cursor() as cursor:
        cursor.execute(QUERY, [count, name])
    return list(Item.objects.filter(name__startswith=f"{name}:").values_list("pk", flat=True))


def delete_items() -> None:
    Item.objects.all().delete()


def execute(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def create_with_key(key: int, name: str) -> int:
    return Item.objects.create(pk=key, name=name).pk


def highest_key() -> int:
    return Item.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


def split_at(key: int) -> list[int]:
    """How many rows have keys before this one, and how many from it on."""
    return [Item.objects.filter(pk__lt=key).count(), Item.objects.filter(pk__gte=key).count()]


class Life:
    """One worker's random doings with the keys of one table."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.prefix = str(seed)
        self.names = 0
        self.given: list[tuple[int, int]] = []
        """(log index, key) of the keys that nobody chose."""
        self.resets: list[int] = []

    def live(self, steps: int) -> None:
        doings = [self.one, self.one, self.in_a_block, self.many, self.mixed, self.chosen]
        doings += [self.raw, self.raw_in_a_block, self.raw_query, self.forget, self.reset]
        weights = [6, 6, 4, 3, 3, 2, 2, 2, 2, 3, 0.7]
        for doing in self.random.choices(doings, weights, k=steps):
            doing()

    def name(self) -> str:
        self.names += 1
        return f"{self.prefix}-{self.names}"

    def note(self, *keys: int) -> None:
        index = connection.replication.last_index
        self.given.extend((index, key) for key in keys)

    def one(self) -> None:
        self.note(Item.objects.create(name=self.name()).pk)

    def in_a_block(self) -> None:
        @retrying
        def create() -> list[int]:
            if self.random.random() < 0.5:
                Item.objects.filter(name__startswith=f"{self.prefix}-").update(value=1)
            return [Item.objects.create(name=self.name()).pk for _ in range(3)]

        self.note(*create())

    def many(self) -> None:
        count = self.random.randrange(1, 40)
        self.note(*self.bulk_create(count))

    def mixed(self) -> None:
        """Keys chosen in the middle of what is being given, and others beside them."""
        chosen = highest_key() + self.random.randrange(-20, 20)
        with suppress(IntegrityError):  # Somebody has it.
            self.note(*self.bulk_create(3, max(chosen, 1)))

    def bulk_create(self, count: int, *chosen: int) -> list[int]:
        """The keys given; those chosen are not among them."""

        @retrying
        def create() -> list[int]:
            items = [Item(name=self.name()) for _ in range(count)]
            Item.objects.bulk_create([*items, *(Item(pk=key, name=self.name()) for key in chosen)])
            return [item.pk for item in items]

        return create()  # type: ignore[no-any-return]

    def chosen(self) -> None:
        with suppress(IntegrityError):
            Item.objects.create(pk=highest_key() + self.random.randrange(1, 50), name=self.name())

    def raw(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(INSERT, [self.name()])
            self.note(cursor.lastrowid)

    def raw_in_a_block(self) -> None:
        @retrying
        def insert() -> list[int]:
            keys = []
            with connection.cursor() as cursor:
                for _ in range(2):
                    cursor.execute(INSERT, [self.name()])
                    keys.append(cursor.lastrowid)
            return keys

        self.note(*insert())

    def raw_query(self) -> None:
        self.note(*raw(self.name(), self.random.randrange(1, 60)))

    def forget(self) -> None:
        """A key of a row that is gone must not be given again either."""
        retrying(Item.objects.filter(name__startswith=f"{self.prefix}-").delete)()

    def reset(self) -> None:
        @retrying
        def begin_anew() -> None:
            with connection.cursor() as cursor:
                cursor.execute("DELETE FROM project_item WHERE true")
                cursor.execute("UPDATE sqlite_sequence SET seq = 0 WHERE name = %s", [SEQUENCE])

        begin_anew()
        self.resets.append(connection.replication.last_index)


def live(seed: int, steps: int) -> dict[str, Any]:
    """(log index, key) of keys that nobody chose, and log indexes of resets."""
    life = Life(seed)
    life.live(steps)
    return {"given": life.given, "resets": life.resets}
