"""SQL that leaves keys to SQLite is given keys of a lease, as many as it needs."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from django.db import IntegrityError, connection, transaction

from raftdjango.exceptions import ClusterUnavailable
from tests.backend.blind_models import Place
from tests.backend.blind_support import both_ways, committed
from tests.backend.raw_support import MINE, ONE, QUERY, TABLE, execute, fresh_block, keys

if TYPE_CHECKING:
    from tests.backend.raw_support import Leases


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
    given = dict(Place.objects.values_list("name", "pk"))
    assert (given["a"], given["b"]) == (5000, 7)
    assert given["c"] > 6000


@both_ways
def test_keys_lie_above_those_of_others(lend: Leases, _database: None) -> None:
    """Of what the node has at hand it gives what is larger than all that is in use here."""
    last = Place.objects.create(pk=9000, name="another's").pk
    asked = lend(fresh_block(100))
    execute(ONE, "a")
    assert [above for _, above in asked] == [last]
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
    assert asked == [(500, 1)]
    assert keys() == [1, *range(100, 600)]
    assert [set(each) for each in proposed] == [{"Insert"}]
    assert len(proposed[0]) == 500, "what was counted was undone"


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
    assert keys() == [100, *range(1116, 1156), *range(2156, 2159)]


@both_ways
def test_a_query_that_fails_leaves_nothing(lend: Leases, _database: None) -> None:
    lend(fresh_block(100))
    Place.objects.create(pk=1, name="q40")
    with transaction.atomic():
        with pytest.raises(IntegrityError), transaction.atomic():
            execute(QUERY, 50, "q")
        execute(ONE, "after")
    assert Place.objects.count() == 2


OTHERS = {
    "comment first": f"/* INSERT INTO other (id) */ {ONE}",
    "comment with a quote": f"-- it's\n{ONE}",
    "text first": f"WITH w AS (SELECT ' INSERT INTO other (id) ' AS t) INSERT INTO {TABLE} (name)"
    " SELECT t || %s FROM w",
    "quoted as a text": f"INSERT INTO '{TABLE}' ('name') VALUES (%s)",
    "alias": f'INSERT INTO {TABLE} AS "a b" (name) VALUES (%s)',
    "a column named like the key": f'INSERT INTO {TABLE} ("name") VALUES (\'x, "id", y\' || %s)',
    "computed": f"INSERT INTO {TABLE} (id, name) VALUES (nullif(1, 1), %s)",
    "division": f"INSERT INTO {TABLE} (id, name) VALUES (1/0, %s)",
    "subquery": f"INSERT INTO {TABLE} (id, name) VALUES ((SELECT 1 WHERE 0), %s)",
    "its other name": f"INSERT INTO {TABLE} (rowid, name) VALUES (NULL, %s)",
    "own key": f"INSERT INTO {TABLE} (id, name) VALUES (30, 'c'), (NULL, %s)",
    "own key of a query": f"INSERT INTO {TABLE} (id, name) SELECT 30, 'c' UNION ALL SELECT NULL, %s",
    "ignored": f"INSERT OR IGNORE INTO {TABLE} (name) SELECT 'before' UNION ALL SELECT %s",
}


@both_ways
@pytest.mark.parametrize("sql", OTHERS.values(), ids=OTHERS)
def test_keys_of_others_are_not_taken(sql: str, lend: Leases, _database: None) -> None:
    Place.objects.create(pk=999, name="before")
    lend(fresh_block(MINE.start))
    execute(sql, "mine")
    assert Place.objects.get(name__endswith="mine").pk in MINE


@both_ways
def test_one_parameter_among_others_is_no_key(lend: Leases, _database: None) -> None:
    Place.objects.create(pk=999, name="before")
    lend(fresh_block(MINE.start))
    execute(
        f"INSERT INTO {TABLE} (id, name) VALUES (%s, %s), (2 + 3, %s), (%s, %s)",
        *(1, "a", "b", None, "mine"),
    )
    execute(f"INSERT INTO {TABLE} (id, name) VALUES (%s, %s)", float("nan"), "mine, too")
    mine = Place.objects.filter(name__startswith="mine").values_list("pk", flat=True)
    assert all(key in MINE for key in mine)
    assert len(mine) == 2


@both_ways
def test_a_column_that_is_named_like_the_rowid(lend: Leases, _database: None) -> None:
    execute("CREATE TABLE named (id integer PRIMARY KEY AUTOINCREMENT, rowid integer)")
    try:
        execute("INSERT INTO named (id, rowid) VALUES (7, 900)")
        asked = lend(fresh_block(50))
        execute("INSERT INTO named (rowid) VALUES (3)")
        assert asked in ([], [(1, 7)])
        with connection.cursor() as cursor:
            cursor.execute("SELECT max(id) FROM named")
            assert cursor.fetchone()[0] <= 50
    finally:
        execute("DROP TABLE named")


@committed
def test_a_counter_that_somebody_wrote_as_a_text(lend: Leases) -> None:
    asked = lend(fresh_block(100))
    execute(f"INSERT INTO sqlite_sequence (name, seq) VALUES ('{TABLE}', '70')")
    execute(f"INSERT INTO sqlite_sequence (name, seq) VALUES ('{TABLE}', '9')")
    execute(ONE, "a")
    assert [above for _, above in asked] == [70]
    assert keys() == [100]


@committed
def test_keys_at_hand_are_used_where_they_lie_above(lend: Leases, leased: Any) -> None:
    asked = lend(fresh_block(5000))
    Place.objects.create(pk=103, name="another's")
    leased(place=range(100, 110))
    execute(ONE, "a")
    execute(ONE, "b")
    assert asked == []
    assert keys() == [103, 104, 105]
    for name in "cdefgh":
        execute(ONE, name)
    assert [above for _, above in asked] == [109, 5000]
    # What lies below is for rows that name their keys.
    assert {Place.objects.create(name=f"{n}").pk for n in range(3)} == {100, 101, 102}


@committed
def test_keys_that_a_rollback_lost_are_not_chosen_again(lend: Leases) -> None:
    lend(fresh_block(MINE.start))
    with transaction.atomic():
        execute(ONE, "a")
        lost: list[int] = []
        with suppress(ZeroDivisionError), transaction.atomic():
            lost += [execute(ONE, "b"), execute(ONE, "c")]
            raise ZeroDivisionError
        execute(ONE, "d")
    assert set(lost).isdisjoint(keys())


@committed
def test_sql_in_the_middle_of_a_save(lend: Leases, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields prepare their values when the keys of the row have been drawn already."""
    field = Place._meta.get_field("name")
    given: list[int] = []

    def get_db_prep_save(value: Any, connection: Any) -> Any:
        if not given:
            given.append(0)
            given.append(execute(ONE, f"before {value}"))
        return value

    lend(fresh_block(MINE.start))
    Place.objects.create(pk=999, name="highest")
    monkeypatch.setattr(field, "get_db_prep_save", get_db_prep_save)
    with transaction.atomic():
        Place.objects.create(name="a")
    assert given[1] in MINE


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
