"""SQL of which only SQLite can tell how many keys it takes is executed to be counted."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction

from tests.backend.blind_models import Place
from tests.backend.blind_support import both_ways, committed
from tests.backend.raw_support import MINE, ONE, QUERY, TABLE, execute, fresh_block, keys

if TYPE_CHECKING:
    from tests.backend.raw_support import Leases


ABOVE = {
    "executions": [("a", 10**7), ("b", None)],
    "one below": [("a", 500), ("b", None), ("c", 10**7), ("d", None)],
}


@both_ways
@pytest.mark.parametrize("rows", ABOVE.values(), ids=ABOVE)
def test_a_row_with_a_key_of_its_own_above_all(
    lend: Leases, proposed: list[list[str]], rows: list[Any], _database: None
) -> None:
    """SQLite counts on from it: nobody may have been given those keys, and no lease is in vain."""
    asked = lend(fresh_block(MINE.start))
    proposed.clear()
    sql = f"INSERT INTO {TABLE} (name, id) VALUES (%s, %s)"
    with connection.cursor() as cursor:
        cursor.executemany(sql, rows)
    assert keys()[-1] == 10**7 + 1
    assert asked == []
    assert proposed == [["ValidatedRead", *["Insert"] * len(rows)]]


@both_ways
def test_rows_that_all_have_keys_take_none(
    lend: Leases, proposed: list[list[str]], _database: None
) -> None:
    """As when rows are copied; though only SQLite can tell."""
    asked = lend(fresh_block(MINE.start))
    Place.objects.create(pk=70, name="before")
    asked.clear()
    proposed.clear()
    execute(f"INSERT INTO {TABLE} (id, name) SELECT id + 10, 'copy' FROM {TABLE}")
    execute(f"INSERT INTO {TABLE} (id, name) VALUES (10 + 10, 'computed')")
    assert keys() == [20, 70, 80]
    assert asked == []
    assert proposed == [["Insert"]] * 2
    execute(ONE, "next")
    assert [above for _, above in asked] == [80], "the counter is where it was"


@committed
def test_a_failure_in_the_midst_of_counting(lend: Leases) -> None:
    lend(fresh_block(MINE.start))
    with transaction.atomic():
        with pytest.raises(OperationalError), transaction.atomic():
            execute(f"INSERT INTO {TABLE} (name) SELECT abs(-9223372036854775808)")
        with pytest.raises(OperationalError):
            execute(f"INSERT INTO {TABLE} (name) SELECT abs(-9223372036854775808)")
        execute(ONE, "a")
    assert keys() == [MINE.start]


@committed
def test_a_check_of_the_key(lend: Leases, proposed: list[list[str]]) -> None:
    execute("CREATE TABLE few (id integer PRIMARY KEY AUTOINCREMENT CHECK (id < 9000), v)")
    try:
        lend(fresh_block(MINE.start))
        execute("INSERT INTO few (v) SELECT 1 UNION ALL SELECT 2")
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM few")
            assert cursor.fetchone() == (2,)
        assert proposed[-1] == ["ValidatedRead", "Insert", "Insert"]
    finally:
        execute("DROP TABLE few")


@committed
@pytest.mark.parametrize("in_a_block", [False, True])
def test_rows_that_an_or_fail_leaves(lend: Leases, *, in_a_block: bool) -> None:
    Place.objects.create(pk=1, name="q40")
    asked = lend(fresh_block(MINE.start))
    sql = QUERY.replace("INSERT", "INSERT OR FAIL")
    with transaction.atomic() if in_a_block else nullcontext():
        with pytest.raises(IntegrityError):
            execute(sql, 50, "q")
    assert len(keys()) == 40
    assert keys()[1:] == list(range(keys()[1], keys()[1] + 39))
    assert keys()[1] == MINE.start
    assert asked[0][0] >= 39


@committed
def test_a_query_whose_rows_chance_decides(lend: Leases, proposed: list[list[str]]) -> None:
    wanted = iter([20, 200, 2000])
    connection.ensure_connection()
    connection.connection.create_function("how_many", 0, lambda: next(wanted))
    asked = lend(fresh_block(MINE.start))
    execute(QUERY.replace("%s)", "(SELECT how_many()))", 1), "q")
    assert [count for count, _ in asked] == [20]
    assert len(keys()) == 2000
    assert proposed[-1][0] == "ValidatedRead", "of the allocator"
