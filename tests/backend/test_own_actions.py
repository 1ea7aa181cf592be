"""Rows that refer to themselves, and cycles: what foreign keys do amid a change is captured as it was."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import TestCase, TransactionTestCase

from raftdjango.backends.sqlite3.statements import execution as statements
from tests.backend.block_support import refreshing
from tests.backend.helpers import elsewhere, entries, kinds, raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# In verify mode the applier compares the tables with the speculation's.

ACTIONS = ["CASCADE", "SET NULL", "SET DEFAULT"]
TABLES = 3


def make(*ddl: str) -> None:
    for statement in ddl:
        raw(statement)


def drop() -> None:
    with connection.constraint_checks_disabled():
        for number in range(TABLES):
            raw(f"DROP TABLE IF EXISTS own{number}")


@pytest.fixture(autouse=True)
def no_repetition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else writes, so that a conflict is one for ever."""
    monkeypatch.setattr(statements, "ATTEMPTS_MAX", 1)


class TestSelfReference(TransactionTestCase):
    def setUp(self) -> None:
        self.addCleanup(drop)

    def test_it_changes_its_key(self) -> None:
        expected = {"CASCADE": 15, "SET NULL": None, "SET DEFAULT": 7}
        for action, parent in expected.items():
            drop()
            make(
                "CREATE TABLE own0 (id INTEGER PRIMARY KEY,"
                f" p INTEGER DEFAULT 7 REFERENCES own0 (id) ON UPDATE {action})",
                "INSERT INTO own0 VALUES (5, 5), (7, 7), (8, 5)",
            )
            with entries() as found:
                raw("UPDATE own0 SET id = 15 WHERE id = 5")
            assert kinds(*found) == ["Update", "Update"]
            rows = [(7, 7), (8, parent), (15, parent)]
            assert elsewhere(lambda: raw("SELECT * FROM own0")) == rows
            with transaction.atomic():
                raw("UPDATE own0 SET p = 8 WHERE id = 15")
                raw("UPDATE own0 SET p = 15 WHERE id = 15")
                raw("UPDATE own0 SET id = 5 WHERE id = 15")
                raw("UPDATE own0 SET id = 6 WHERE id = 5")
            (own,) = elsewhere(lambda: raw("SELECT p FROM own0 WHERE id = 6"))
            assert own == ({15: 6}.get(parent, parent),)  # type: ignore[arg-type]

    def test_a_row_that_replaces_what_it_refers_to(self) -> None:
        make(
            "CREATE TABLE own0 (id INTEGER PRIMARY KEY, u INTEGER UNIQUE,"
            " p INTEGER REFERENCES own0 (id) ON DELETE SET NULL)",
            "INSERT INTO own0 VALUES (1, 1, NULL), (2, 2, 1)",
        )
        raw("UPDATE OR REPLACE own0 SET id = 1, u = 7, p = 1 WHERE id = 2")
        assert elsewhere(lambda: raw("SELECT * FROM own0")) == [(1, 7, 1)]

    def test_before_a_constraint_that_failed(self) -> None:
        """Confirmed amid the rows that the block had written."""
        make(
            "CREATE TABLE own0 (id INTEGER PRIMARY KEY,"
            " p INTEGER REFERENCES own0 (id) ON UPDATE CASCADE)",
            "CREATE TABLE own1 (id INTEGER PRIMARY KEY)",
            "INSERT INTO own0 VALUES (5, 5)",
            "INSERT INTO own1 VALUES (1)",
        )
        with refreshing(lambda: raw("INSERT INTO own1 VALUES (2)")), transaction.atomic():
            raw("UPDATE own0 SET id = 15 WHERE id = 5")
            with pytest.raises(IntegrityError), transaction.atomic():
                raw("INSERT INTO own1 VALUES (1)")
        assert elsewhere(lambda: raw("SELECT * FROM own0")) == [(15, 15)]


class TestNested(TestCase):
    def test_inside_a_test_case(self) -> None:
        """Where SQLite's own actions are on when it is applied."""
        make(
            "CREATE TABLE own0 (id INTEGER PRIMARY KEY,"
            " p INTEGER REFERENCES own0 (id) ON UPDATE CASCADE)",
            "INSERT INTO own0 VALUES (5, 5)",
        )
        raw("UPDATE own0 SET id = 15 WHERE id = 5")
        with transaction.atomic():
            raw("UPDATE own0 SET id = 25 WHERE id = 15")
        assert raw("SELECT * FROM own0") == [(25, 25)]


def schema(rng: random.Random, count: int) -> Iterator[str]:
    actions = [*ACTIONS, "RESTRICT", "NO ACTION"]
    for table in range(count):
        parts = ["id INTEGER PRIMARY KEY", "u INTEGER UNIQUE"]
        parts += [f"{name} INTEGER DEFAULT {rng.choice(['NULL', '1'])}" for name in ("f", "g")]
        for name in ("f", "g"):
            if rng.random() < 0.75:
                parent = f"own{rng.randrange(count)} ({rng.choice(['id', 'id', 'u'])})"
                parts.append(
                    f"FOREIGN KEY ({name}) REFERENCES {parent} ON DELETE {rng.choice(actions)}"
                    f" ON UPDATE {rng.choice(actions)}"
                    f"{rng.choice(['', ' DEFERRABLE INITIALLY DEFERRED'])}"
                )
        yield f"CREATE TABLE own{table} ({', '.join(parts)}){rng.choice(['', ' WITHOUT ROWID'])}"


def change(rng: random.Random, count: int) -> str:
    table = f"own{rng.randrange(count)}"
    a, b, c = (rng.randrange(1, 7) for _ in range(3))
    f, g = (rng.choice(["NULL", 1, 2, 3, 4]) for _ in range(2))
    insert = f"INSERT INTO {table} VALUES ({a}, {b}, {f}, {g})"
    choices = [
        f"UPDATE {table} SET id = {a} WHERE id = {b}",
        f"UPDATE {table} SET u = {a} WHERE id = {b}",
        f"UPDATE {table} SET f = {f}, g = {g} WHERE id = {a}",
        f"DELETE FROM {table} WHERE id IN ({a}, {b})",
        f"UPDATE {table} SET id = id + 10, u = u + 10",
        f"UPDATE {table} SET id = id - 10 WHERE id > 10",
        f"INSERT INTO {table} (id, u) VALUES ({a}, {b})"
        f" ON CONFLICT (u) DO UPDATE SET id = {c}, f = {f}",
    ]
    return rng.choice([insert, insert, insert, *choices])


def failure(work: Callable[[], Any]) -> type[Exception] | None:
    try:
        work()
    except (IntegrityError, sqlite3.IntegrityError):
        return IntegrityError
    except Exception as error:
        return type(error)
    return None


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("seed", range(12))
def test_as_stock_sqlite(seed: int, request: pytest.FixtureRequest) -> None:
    request.addfinalizer(drop)
    rng = random.Random(seed)
    for _ in range(6):
        drop()
        count = rng.randrange(1, TABLES + 1)
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as stock:
            stock.execute("PRAGMA foreign_keys = ON")
            stock.execute("PRAGMA recursive_triggers = ON")
            for statement in schema(rng, count):
                stock.execute(statement)
                raw(statement)
            for _ in range(25):
                sql = change(rng, count)
                expected = failure(lambda sql=sql: stock.execute(sql))
                if stock.execute("PRAGMA foreign_key_check").fetchall():
                    break  # SQLite's own mistake, at times, where an INSERT becomes an UPDATE.
                assert failure(lambda sql=sql: raw(sql)) == expected, sql
                for table in range(count):
                    query = f"SELECT * FROM own{table} ORDER BY id"
                    assert raw(query) == stock.execute(query).fetchall(), sql
