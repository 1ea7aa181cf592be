"""What is read in the text of an INSERT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from raftdjango.backends.sqlite3.capture.tables import TableSpec
from raftdjango.backends.sqlite3.statements.inserts import REMEMBERED_LENGTH_MAX, read_insert
from raftdjango.backends.sqlite3.statements.raw_keys import keyless
from raftdjango.exceptions import NotReplicable
from raftdjango.writeset import Table

if TYPE_CHECKING:
    from raftdjango.backends.sqlite3.statements.raw_keys import Keyless

TABLES = {"t": ("id", "name"), "t$1": ("id",), "a.b": ("id", "x)y", "p,id,q"), "тест": ("id",)}


def spec_of(name: str) -> TableSpec:
    if name.lower() not in TABLES:
        raise NotReplicable(name)
    table = Table(name.lower(), TABLES[name.lower()], (0,))
    return TableSpec(table, True, "id", ("INTEGER",), "", False)


def read(sql: str, params: Any = None, *, many: bool = False) -> Keyless | None:
    found = keyless(sql, params, many=many, spec_of=spec_of)
    # However long it is.
    longer = keyless(sql + " " * REMEMBERED_LENGTH_MAX, params, many=many, spec_of=spec_of)
    assert found == longer
    return found


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        ("INSERT INTO t (id, name) VALUES (1, 'x')", None),
        ("INSERT INTO t (id, name) VALUES (1, NULL)", None),
        ("INSERT INTO t (id, name) VALUES (1, (SELECT 'x'))", None),
        ("INSERT INTO t VALUES (1, 'x')", None),
        ("INSERT INTO t (rowid, name) VALUES (1, 'x')", None),
        ("INSERT INTO t (id, name) VALUES (%s, %s)", (1, None)),
        ("INSERT INTO t (name, id) VALUES (%s, %s), (%s, %s)", (None, 1, None, 2)),
        ("INSERT INTO t (name, id) VALUES (lower(%s), %s), (%s || %s, %s);", ("", 1, "", "", "2")),
        ("WITH w AS (SELECT %s) INSERT INTO t (name, id) VALUES (NULL, %s)", (None, 2)),
        ("INSERT INTO t (id, name) VALUES (%(id)s, %(name)s)", {"id": 5, "name": None}),
        ('INSERT INTO "t" ("name", "ID") VALUES (1, 2)', ()),
        (
            "INSERT INTO t (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET name = NULL",
            None,
        ),
        ("INSERT INTO unknown (name) VALUES (1)", None),
        ("UPDATE t SET name = 'INSERT INTO t (name)'", None),
        ("DELETE FROM t", None),
        ("WITH w AS (SELECT 1) UPDATE t SET name = 'x'", None),
        ("WITH replace AS (SELECT 1) SELECT * FROM replace", None),
        ("WITH w(into_) AS (SELECT ')INSERT INTO t') DELETE FROM t", None),
    ],
)
def test_needs_no_keys(sql: str, params: Any) -> None:
    assert read(sql, params) is None


@pytest.mark.parametrize(
    ("sql", "params", "rows"),
    [
        ("INSERT INTO T (name) VALUES (%s)", ("x",), 1),
        ("INSERT INTO t (name) VALUES (%s), (%s), (%s)", ("x",) * 3, 3),
        ("INSERT INTO t (name) VALUES (lower(%s)), ('(')", ("x",), 2),
        ("INSERT INTO t (name) VALUES (%s) RETURNING (id)", ("x",), 1),
        ("INSERT INTO t (name) VALUES (%s) -- UNION", ("x",), 1),
        ("INSERT INTO t(name)VALUES(%s),(%s);", ("x", "y"), 2),
        ("INSERT INTO t DEFAULT VALUES", None, 1),
        ("INSERT INTO t VALUES (NULL, 'x')", None, 1),
        ("INSERT INTO t VALUES (%s, %s), (NULL, 'x')", (None, "x"), 2),
        ("INSERT INTO t (id, name) VALUES (%s, %s)", (None, 1), 1),
        ("INSERT INTO t (id, name) VALUES (%(id)s, %(name)s)", {"id": None, "name": 1}, 1),
        ("insert or replace into main . [t] as x (name) values (1)", None, 1),
        ('INSERT INTO "main"."t" (name) VALUES (1)', None, 1),
        ("INSERT/**/INTO/* ( */t/**/(name)VALUES(1)", None, 1),
        ("REPLACE INTO `t` (`name`) VALUES (')'), ('''),(')", None, 2),
        ("INSERT INTO t$1 DEFAULT VALUES", None, 1),
        ("INSERT INTO тест DEFAULT VALUES", None, 1),
        ('INSERT INTO "A.b" ("x)y", "p,id,q") VALUES (1, 2)', None, 1),
        (
            "WITH replace AS (SELECT 1), w(x) AS (SELECT '(') INSERT INTO t (name) VALUES (1)",
            None,
            1,
        ),
    ],
)
def test_rows_without_keys_are_counted(sql: str, params: Any, rows: int) -> None:
    found = read(sql, params)
    assert found is not None
    assert found.rows == rows


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        ("INSERT INTO t (name) SELECT name FROM u", None),
        ("INSERT INTO t (name) VALUES (1) UNION ALL SELECT name FROM u", None),
        ("INSERT INTO t (name) VALUES (%s) UNION ALL SELECT name FROM u", ("x",)),
        ("INSERT INTO t (name) WITH w AS (VALUES (1)) SELECT * FROM w", None),
        ("INSERT INTO t SELECT * FROM u", None),
        ("INSERT INTO t (id, name) VALUES (-1, 'x')", None),
        ("INSERT INTO t (id, name) VALUES (ifnull(%s, 2), 'x')", (1,)),
        ("INSERT INTO t (id, name) VALUES (%s, %s), (%s, %s)", (1, 2, None, 4)),
        ("INSERT INTO t (id, name) VALUES (%s, %s)", (1.5, 2)),
        ("INSERT INTO t (id, name) VALUES (?5, :name)", (1, 2)),
        ("INSERT INTO t (id, name) VALUES (%s, 1), (%s, 2)", (1,)),
    ],
)
def test_what_only_sqlite_could_tell(sql: str, params: Any) -> None:
    found = read(sql, params)
    assert found is not None
    assert found.rows is None


def test_executions_are_counted() -> None:
    sql = "INSERT INTO t (id, name) VALUES (%s, %s)"
    assert read(sql, [(1, 2), (3, 4)], many=True) is None
    assert read(sql, [], many=True) is None
    every, some = (read(sql, rows, many=True) for rows in ([(None, 1)] * 3, [(None, 1), (2, 3)]))
    assert every is not None
    assert every.rows == 3
    assert some is not None
    assert some.rows is None


@pytest.mark.parametrize(
    "sql", ["", "INTO", "INSERT INTO", "INSERT INTO t (", "INSERT INTO t AS", "/*"]
)
def test_texts_that_end_too_soon(sql: str) -> None:
    insert = read_insert(sql)
    assert insert is None or insert.table in {"", "t"}
    read(sql + "t (id) VALUES (" if sql.endswith("INTO ") else sql)
