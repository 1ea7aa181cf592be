"""What workers do with keys, and which ones they were given where in the log."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

from django.db import IntegrityError, connection, transaction

from raftdjango.exceptions import TransactionConflict
from raftdjango.transaction import atomic_retry
from tests.cluster.project.models import Item

SEQUENCE = "project_item"
INSERT = "INSERT INTO project_item (name, value) VALUES (%s, 0)"
QUERY = (
    "INSERT INTO project_item (name, value) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1"
    " FROM n WHERE i < %s) SELECT %s || ':' || i, 0 FROM n"
)
UPSERT = (
    "INSERT INTO project_item (name, value) VALUES (%s, 0), (%s, 0), (%s, 0)"
    " ON CONFLICT (name) DO UPDATE SET value = value + 1"
)
WITH_KEYS = "INSERT INTO project_item (id, name, value) VALUES (%s, %s, 0)"
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


def execute_with(sql: str, *params: Any) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return int(cursor.lastrowid)


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
        doings += [self.beside_chosen, self.upsert, self.undone, self.forget_all, self.rebuild]
        weights = [6, 6, 4, 3, 3, 2, 2, 2, 2, 3, 0.7, 2, 2, 2, 1, 0.3]
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
        self.note(execute_with(INSERT, self.name()))

    def raw_in_a_block(self) -> None:
        @retrying
        def insert() -> list[int]:
            return [execute_with(INSERT, self.name()) for _ in range(2)]

        self.note(*insert())

    def raw_query(self) -> None:
        self.note(*raw(self.name(), self.random.randrange(1, 60)))

    def beside_chosen(self) -> None:
        """SQLite counts on from a key that a row before has chosen."""
        names = [self.name() for _ in range(4)]
        chosen = max(highest_key() + self.random.randrange(-5, 50), 1)
        keys = [chosen, None, None, chosen + self.random.randrange(1, 90)]
        rows = [[key, name] for key, name in zip(keys, names, strict=True)]
        with suppress(IntegrityError), connection.cursor() as cursor:
            if self.random.random() < 0.5:
                cursor.executemany(WITH_KEYS, rows)
            else:
                cursor.execute(WITH_KEYS + ", (%s, %s, 0)" * 3, [v for row in rows for v in row])
            index = connection.replication.last_index
            mine = Item.objects.filter(name__in=names[1:3]).values_list("pk", flat=True)
            self.given.extend((index, key) for key in mine)

    def upsert(self) -> None:
        """Rows that are there already use keys up as well."""
        old = Item.objects.order_by("?").values_list("name", flat=True).first()
        names = [self.name(), old or self.name(), self.name()]

        @retrying
        def insert() -> list[int]:
            with connection.cursor() as cursor:
                cursor.execute(UPSERT, names)
            new = Item.objects.filter(name__in=[names[0], names[2]])
            return list(new.values_list("pk", flat=True))

        self.note(*insert())

    def undone(self) -> None:
        """Rows of a savepoint that is rolled back."""

        @retrying
        def insert() -> list[int]:
            keys = [Item.objects.create(name=self.name()).pk]
            with suppress(ZeroDivisionError), transaction.atomic():
                execute_with(INSERT, self.name())
                Item.objects.create(name=self.name())
                raise ZeroDivisionError
            keys.append(execute_with(INSERT, self.name()))
            return [*keys, Item.objects.create(name=self.name()).pk]

        self.note(*insert())

    def forget_all(self) -> None:
        retrying(delete_items)()

    def rebuild(self) -> None:
        """As a migration would: SQLite's counter begins anew with the rows that are left."""
        for _ in range(50):
            with suppress(TransactionConflict), connection.schema_editor() as editor:
                editor._remake_table(Item)
                return

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
