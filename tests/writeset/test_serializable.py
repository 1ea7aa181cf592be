"""Which queries are repeated at their transaction's place in the log, and how results are named."""

from __future__ import annotations

import random
import sqlite3

import pytest

from raftdjango.writeset import (
    Repeatable,
    may_be_parameters,
    repeatable,
    rows_digest,
    storage_sql,
)

DJANGO = [
    ('SELECT "t"."id", "t"."x" FROM "t" WHERE "t"."id" = 3 LIMIT 21', 21),
    ('SELECT 1 AS "a" FROM "t" WHERE "t"."x" = 2 LIMIT 1', None),
    ('SELECT 1 FROM "t" LIMIT 1', None),
    ('SELECT COUNT(*) AS "__count" FROM "t" WHERE "t"."x" > 1', None),
    ('SELECT COUNT("t"."x") AS "n" FROM "t"', None),
    (
        'SELECT "t"."id", "t"."x" FROM "t" WHERE ("t"."x" IN (1, 2) AND NOT ("t"."x" IS NULL))'
        ' ORDER BY "t"."x" ASC',
        None,
    ),
    ('SELECT CASE WHEN "t"."x" = 1 THEN \'one\' ELSE NULL END AS "c" FROM "t"', None),
    ('SELECT COALESCE("y"."x", 0) AS "c" FROM "main"."t" AS "y"', None),
    ("select * from t where x between 1 and 3", None),
    ("SELECT t.*, t.x FROM t WHERE x IS NOT NULL ORDER BY t.id DESC", None),
    ("SELECT y.x FROM t y WHERE y.x <> 1 LIMIT 7", 7),
]


@pytest.mark.parametrize(("sql", "limit"), DJANGO)
def test_what_is_repeated(sql, limit):
    assert repeatable(sql) == Repeatable(limit)


@pytest.mark.parametrize("sql", [sql for sql, _ in DJANGO])
def test_what_is_repeated_does_not_depend_on_how_rows_are_stored(sql):
    found = set()
    for seed in range(8):
        chance = random.Random(seed)
        connection = sqlite3.connect(":memory:")
        connection.execute("CREATE TABLE t (id integer PRIMARY KEY, x)")
        for n in chance.sample(range(12), 12):
            connection.execute("INSERT INTO t VALUES (?, ?)", (n, n % 4 or None))
        for text in ("t (x)", "t (x DESC, id)"):
            if chance.random() < 0.5:
                connection.execute(f"CREATE INDEX i{chance.getrandbits(40)} ON {text}")
        if chance.random() < 0.5:
            connection.execute("ANALYZE")
        cursor = connection.execute(sql)
        columns = len(cursor.description)
        found.add(rows_digest(cursor.fetchall()))
        found.add(rows_digest(connection.execute(storage_sql(sql, columns)).fetchall()))
        connection.close()
    assert len(found) == 1


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "DELETE FROM t",
        "VALUES (1)",
        "PRAGMA user_version = 3",
        "SELECT a FROM t; DELETE FROM t",
        "SELECT a FROM t;",
        "SELECT a FROM t -- comment",
        "SELECT a /* comment */ FROM t",
        "WITH x AS (SELECT 1) SELECT * FROM x",
        # which rows, or which of equal values
        "SELECT DISTINCT a FROM t",
        "SELECT a FROM t GROUP BY a",
        "SELECT a FROM t UNION SELECT a FROM t",
        "SELECT a FROM t LIMIT 5 OFFSET 3",
        "SELECT a FROM t LIMIT 3, 4",
        "SELECT a FROM t LIMIT ?",
        "SELECT a FROM (SELECT a FROM t LIMIT 1)",
        # more than one table, so that repeating it may take the product of their sizes
        'SELECT "t"."a" FROM "t" INNER JOIN "u" ON ("t"."id" = "u"."t_id")',
        'SELECT "t"."a" FROM "t" LEFT OUTER JOIN "u" ON ("t"."id" = "u"."t_id")',
        "SELECT a FROM t CROSS JOIN u",
        "SELECT a FROM t JOIN u USING (id)",
        "SELECT a FROM t, u",
        "SELECT a FROM t x, u",
        "SELECT a FROM t AS x, u",
        "SELECT a FROM main.t, u",
        "SELECT a FROM main.t AS x, u",
        "SELECT a FROM (t)",
        "SELECT a FROM (t, u)",
        "SELECT a FROM t x y",
        'SELECT "a" FROM "t" WHERE EXISTS(SELECT 1 AS "a" FROM "u" LIMIT 1)',
        'SELECT "a" FROM "t" WHERE "a" IN (SELECT U0."a" FROM "u" U0)',
        "SELECT a FROM t WHERE a IN u",
        'SELECT a FROM t WHERE a NOT IN "u"',
        "SELECT a FROM (SELECT a FROM t) s",
        "SELECT COUNT(*) FROM (SELECT a FROM t) s",
        "SELECT COUNT(*) FROM t, u",
        "SELECT 1",
        "SELECT a FROM t WHERE a IN (SELECT a FROM u LIMIT 1)",
        "SELECT (SELECT a FROM t)",
        "SELECT a FROM t WHERE a = (SELECT b FROM u)",
        "SELECT a FROM t, (SELECT 1)",
        "SELECT count(*), a FROM t",
        "SELECT a, COUNT(*) FROM t",
        "SELECT COALESCE(COUNT(*), 0) FROM t",
        "SELECT count(DISTINCT a) FROM t",
        "SELECT max(a) FROM t",
        "SELECT sum(a) FROM t",
        "SELECT group_concat(a) FROM t",
        "SELECT count(*) OVER () FROM t",
        # functions and operators
        "SELECT random()",
        'SELECT "random"()',
        "SELECT current_timestamp",
        "SELECT date('now')",
        "SELECT a FROM t WHERE a LIKE ?",
        "SELECT a FROM t WHERE a COLLATE NOCASE = ?",
        "SELECT CAST(a AS TEXT) FROM t",
        "SELECT a || b FROM t",
        "SELECT a + 1 FROM t",
        "SELECT a * b FROM t",
        "SELECT a -> b FROM t",
        "SELECT a << 2 FROM t",
        # numbers that are not exact
        "SELECT 1.5 FROM t",
        "SELECT .5 FROM t",
        "SELECT 1e3 FROM t",
        "SELECT 0x10 FROM t",
        "SELECT a FROM t WHERE a = '1.5'",
        'SELECT a FROM t WHERE "1.5" = a',
        "SELECT a FROM t WHERE 1234567890123456789 = a",
        # what is not the user's
        "SELECT name FROM sqlite_master",
        'SELECT a FROM "raftdjango_state"',
        "SELECT a FROM pragma_table_list",
        "SELECT a FROM json_each(b)",
        "SELECT rowid FROM t",
        "SELECT a FROM temp.x",
        # not read at all
        "SELECT a FROM t WHERE a = ?1",
        "SELECT a FROM t WHERE a = :a",
        "SELECT [a] FROM t",
        "SELECT `a` FROM t",
        "SELECT ä FROM t",
        "SELECT a FROM t WHERE (a",
        "SELECT a FROM t)",
        "SELECT " + "a, " * 40_000 + "a FROM t",
    ],
)
def test_what_is_not(sql):
    assert repeatable(sql) is None


def test_a_constant_may_be_a_parameter():
    assert repeatable('SELECT ? AS "a" FROM "t" LIMIT 1') == Repeatable(None)
    assert repeatable('SELECT ?, "b" FROM "t" LIMIT 1') == Repeatable(1)


def test_a_result_that_reached_its_limit_may_be_another_one():
    found = repeatable("SELECT a FROM t LIMIT 2")
    assert found is not None
    assert [found.is_whole(rows) for rows in (0, 1, 2)] == [True, True, False]


@pytest.mark.parametrize(
    ("selected", "ordered", "hidden"),
    [
        ("a", "", False),
        ("a", "ORDER BY a", False),
        ("a", "ORDER BY A DESC NULLS LAST LIMIT 5", False),
        ('"t"."a", "t"."b"', 'ORDER BY "t"."b" ASC, "t"."a" DESC', False),
        ("a AS x", "ORDER BY x", False),
        ("a AS b, b AS a", "ORDER BY b, a", False),
        ("COALESCE(b, c), d", "ORDER BY d", False),
        ("COALESCE(b, c)", "ORDER BY 1 DESC", False),
        ("*", "ORDER BY b", False),
        ("t.*, t.a", "ORDER BY t.b", False),
        ("a", "ORDER BY b", True),
        ("a", "ORDER BY a, b", True),
        ('"t"."a"', 'ORDER BY "t"."b" LIMIT 3', True),
        ("a AS x", "ORDER BY b", True),
        ("COALESCE(b, c)", "ORDER BY b", True),
        ("COALESCE(b, c)", "ORDER BY c", True),
        ("a", "ORDER BY (a)", True),
        ("a", "ORDER BY a IS NULL", True),
        ("*", "ORDER BY a = 1", True),
        ("*", "ORDER BY COALESCE(a, 1)", True),
        ("a", "ORDER BY ?", True),
        # Another one, for all the text says.
        ('"a"', "ORDER BY t.a", True),
    ],
)
def test_rows_say_in_which_order_they_come_if_they_hold_what_they_are_ordered_by(
    selected, ordered, hidden
):
    query = repeatable(f"SELECT {selected} FROM t {ordered}")
    assert query is not None
    assert query.order_is_hidden is hidden
    assert query.shows_order(2) is not hidden
    assert query.shows_order(0)
    assert query.shows_order(1)


@pytest.mark.parametrize("text", ["1.5", " 2.", "1e3", "-.5", "12345678901234567890"])
def test_parameters_of_which_sqlite_might_make_an_inexact_number(text):
    assert not may_be_parameters((text,))


def test_parameters():
    assert may_be_parameters((None, 1, "a", "12", "1.5x", b"1.5", "2026-01-02", ""))
    assert not may_be_parameters((1, 1.5))


def test_results_are_named_by_their_rows_in_any_order():
    rows = [(1, "a"), (2, None), (1, "a")]
    assert rows_digest(rows) == rows_digest(rows[::-1])
    others = [rows[:2], [*rows, rows[0]], [(1, "a"), (2, ""), (1, "a")], [(1.0, "a"), *rows[1:]]]
    assert len({rows_digest(rows), *map(rows_digest, others)}) == 5
