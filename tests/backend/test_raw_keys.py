"""SQL that leaves keys to SQLite is given keys of a lease, as many as it needs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from django.db import IntegrityError, connection, transaction

from raftdjango.backends.sqlite3.statements.raw_keys import RAW_BLOCK_MIN, Keyless, keyless
from raftdjango.exceptions import ClusterUnavailable
from tests.backend.blind_models import Place
from tests.backend.blind_support import both_ways, committed

if TYPE_CHECKING:
    from collections.abc import Callable

    Leases = Callable[[Callable[[int, int], range]], list[tuple[int, int]]]

TABLE = "backend_place"
ONE = f"INSERT INTO {TABLE} (name) VALUES (%s)"
QUERY = (
    f"INSERT INTO {TABLE} (name) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
    " WHERE i < %s) SELECT %s || i FROM n"
)


@pytest.fixture
def lend(monkeypatch: pytest.MonkeyPatch) -> Leases:
    """Has a node lease as the test says; what it was asked for: (count, above)."""

    def stand_in(lease: Callable[[int, int], range]) -> list[tuple[int, int]]:
        if not connection.in_atomic_block:
            execute(f"DELETE FROM sqlite_sequence WHERE name = '{TABLE}'")
        asked: list[tuple[int, int]] = []

        def lease_keys(
            self: Any, table: str, count: int, *, timeout_s: float, after: int = 0, above: int = 0
        ) -> range:
            assert table == TABLE
            asked.append((count, above))
            return lease(count, above)

        monkeypatch.setattr(type(connection.replication.client), "lease_keys", lease_keys)
        return asked

    return stand_in


def execute(sql: str, *params: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.lastrowid


def keys() -> list[int]:
    return list(Place.objects.order_by("pk").values_list("pk", flat=True))


def fresh_block(at: int, gap: int = 1000) -> Callable[[int, int], range]:
    """Each lease lies a gap behind the one before."""
    state = {"next": at}

    def lease(count: int, above: int) -> range:
        first = max(state["next"], above + 1)
        state["next"] = first + count + gap
        return range(first, first + count)

    return lease


RAW = {
    "plain": ONE,
    "quoted": f'insert or ignore into "{TABLE}" ("name") VALUES (%s)',
    "schema": f"INSERT INTO main.{TABLE}(name) SELECT %s",
    "quoted schema": f'INSERT INTO "main"."{TABLE}"(name) SELECT %s',
    "brackets": f"INSERT INTO [{TABLE}] ([name]) VALUES (%s)",
    "backticks": f"INSERT INTO `{TABLE}` (`name`) VALUES (%s)",
    "other case": f"INSERT INTO {TABLE.upper()} (NAME) VALUES (%s)",
    "comment": f"INSERT /* here */ INTO {TABLE} -- there\n (name) VALUES (%s)",
    "with": f"WITH w AS (SELECT %s AS n) INSERT INTO {TABLE} (name) SELECT n FROM w",
    "replace": f"REPLACE INTO {TABLE} (name) VALUES (%s)",
    "all columns": f"INSERT INTO {TABLE} VALUES (NULL, %s)",
    "null": f"INSERT INTO {TABLE} (id, name) VALUES (NULL, %s)",
    "upsert": f"{ONE} ON CONFLICT (name) DO UPDATE SET name = excluded.name",
    "returning": f"{ONE} RETURNING id, name",
}


@both_ways
@pytest.mark.parametrize("sql", RAW.values(), ids=RAW)
def test_keys_are_those_of_a_lease(sql: str, lend: Leases, _database: None) -> None:
    first = Place.objects.create(name="before").pk + 1000
    Place.objects.all().delete()
    lend(fresh_block(first))
    execute(sql, "a")
    assert keys() == [first]
    with transaction.atomic():
        execute(sql, "b")
        execute(f"INSERT INTO {TABLE} (id, name) VALUES (5, 'c')")
    assert Place.objects.get(name="c").pk == 5
    assert Place.objects.get(name="b").pk > first


@both_ways
def test_a_key_given_as_none_is_one_of_a_lease(lend: Leases, _database: None) -> None:
    lend(fresh_block(5000))
    execute(f"INSERT INTO {TABLE} (name, id) VALUES (%s, %s)", "a", None)
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {TABLE} (name, id) VALUES (%s, %s)", [("b", 7), ("c", None)]
        )
    assert set(Place.objects.values_list("name", "pk")) == {("a", 5000), ("b", 7), ("c", 6016)}


@both_ways
def test_keys_lie_above_those_of_others(lend: Leases, _database: None) -> None:
    """Of what the node has at hand it gives what is larger than all that is in use here."""
    last = Place.objects.create(pk=9000, name="another's").pk
    asked = lend(fresh_block(100))
    execute(ONE, "a")
    assert asked == [(RAW_BLOCK_MIN, last)]
    assert keys() == [last, last + 1]


@committed
def test_where_the_node_has_none_above_they_lie_behind_all_leased(lend: Leases) -> None:
    """It does not know of a key that is not committed."""
    lend(lambda count, above: range(100, 100 + count))
    with transaction.atomic():
        Place.objects.create(pk=9000, name="mine")
        execute(ONE, "a")
    assert keys() == [9000, 9001]


@committed
def test_a_transaction_uses_a_block_up_and_asks_for_larger_ones(lend: Leases) -> None:
    asked = lend(fresh_block(100))
    with transaction.atomic():
        for number in range(50):
            execute(ONE, f"{number}")
    assert [count for count, _ in asked] == [16, 32, 64]
    assert keys() == [*range(100, 116), *range(1116, 1148), *range(2148, 2150)]


@both_ways
def test_many_rows_are_counted_beforehand(lend: Leases, _database: None) -> None:
    asked = lend(fresh_block(100, gap=0))
    with connection.cursor() as cursor:
        cursor.executemany(ONE, [(f"{number}",) for number in range(300)])
        cursor.execute(
            f"INSERT INTO {TABLE} (name) VALUES {', '.join(['(%s)'] * 200)}",
            [f"listed {number}" for number in range(200)],
        )
    assert [count for count, _ in asked] == [300, 200]
    assert keys() == list(range(100, 600))


@both_ways
def test_a_query_that_gives_more_rows_than_the_block_has_keys(
    lend: Leases, proposed: list[list[str]], _database: None
) -> None:
    Place.objects.create(pk=1, name="before")
    asked = lend(fresh_block(100))
    proposed.clear()
    execute(QUERY, 500, "q")
    assert [count for count, _ in asked] == [RAW_BLOCK_MIN, 500]
    assert keys() == [1, *range(1116, 1616)]
    assert [set(each) for each in proposed] == [{"Insert"}]
    assert len(proposed[0]) == 500, "what ran out of its block was undone"


@committed
def test_in_a_block_what_came_before_such_a_query_stays(lend: Leases) -> None:
    lend(fresh_block(100))
    with transaction.atomic():
        execute(ONE, "first")
        with transaction.atomic():
            execute(QUERY, 40, "q")
            assert Place.objects.count() == 41
        execute(QUERY, 3, "r")
    assert Place.objects.get(name="first").pk == 100
    assert keys() == [100, *range(1116, 1156), *range(2157, 2160)]


@both_ways
def test_a_query_that_fails_leaves_nothing(lend: Leases, _database: None) -> None:
    lend(fresh_block(100))
    Place.objects.create(pk=1, name="q40")
    with transaction.atomic():
        with pytest.raises(IntegrityError), transaction.atomic():
            execute(QUERY, 50, "q")
        execute(ONE, "after")
    assert Place.objects.count() == 2


@committed
def test_without_a_lease_a_query_gets_keys_behind_all_leased(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lease_keys(*args: Any, **kwargs: Any) -> range:
        raise ClusterUnavailable("no majority")

    monkeypatch.setattr(type(connection.replication.client), "lease_keys", lease_keys)
    execute(f"DELETE FROM sqlite_sequence WHERE name = '{TABLE}'")
    consensus = connection.replication.client.consensus
    consensus.connection.execute(f"REPLACE INTO raftdjango_key VALUES ('{TABLE}', 700)")
    execute(QUERY, 50, "q")
    assert keys() == list(range(700, 750))


def spec_of(name: str) -> Any:
    if name.lower() != "t":
        return None
    return SimpleNamespace(name="t", rowid_key="id", autoincrement=True)


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        ("INSERT INTO t (id, name) VALUES (1, 'x')", None),
        ("INSERT INTO t (id, name) VALUES (%s, %s)", (1, None)),
        ("INSERT INTO t (name, id) VALUES (%s, %s), (%s, %s)", (None, 1, None, 2)),
        ('INSERT INTO "t" ("name", "ID") VALUES (1, 2)', ()),
        ("INSERT INTO unknown (name) VALUES (1)", None),
        ("UPDATE t SET name = 'x'", None),
        ("DELETE FROM t", None),
    ],
)
def test_other_sql_needs_no_keys(sql: str, params: Any) -> None:
    assert keyless(sql, params, many=False, spec_of=spec_of) is None


@pytest.mark.parametrize(
    ("sql", "params", "rows"),
    [
        ("INSERT INTO T (name) VALUES (%s)", ("x",), 1),
        ("INSERT INTO t (name) VALUES (lower(%s)), ('(')", ("x",), 4),
        ("INSERT INTO t DEFAULT VALUES", None, 1),
        ("INSERT INTO t (id, name) VALUES (%s, %s)", (None, 1), 1),
        ("INSERT INTO t (id, name) VALUES (%(id)s, %(name)s)", {"id": None, "name": 1}, 3),
        ("INSERT INTO t (name) SELECT name FROM u", None, None),
        ("INSERT INTO t SELECT * FROM u", None, None),
        ("INSERT INTO t (name) VALUES (1) UNION ALL SELECT name FROM u", None, None),
    ],
)
def test_how_many_keys_a_statement_needs(sql: str, params: Any, rows: int | None) -> None:
    assert keyless(sql, params, many=False, spec_of=spec_of) == Keyless("t", rows)
