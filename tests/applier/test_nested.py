"""Entries applied on a test's own connection, inside its transaction."""

from __future__ import annotations

import sqlite3

import pytest
from django.db.backends.sqlite3._functions import register

from raftdjango.applier import Applier, LogEntry, read_state, stored_outcome
from raftdjango.writeset import (
    BlindDelete,
    BlindInsert,
    Insert,
    Table,
    Update,
    Verdict,
    VerdictKind,
    row_digest,
)
from tests.applier.replica import Replica, sql

SCHEMA = (
    "CREATE TABLE p (id integer PRIMARY KEY, at datetime, price decimal, ok bool, k unique)",
    "CREATE TABLE c (id integer PRIMARY KEY, p int REFERENCES p DEFERRABLE INITIALLY DEFERRED)",
    "CREATE TABLE u (id integer PRIMARY KEY, k REFERENCES p (k) ON UPDATE CASCADE)",
)
P, C = Table("p", ("id", "at", "price", "ok", "k"), (0,)), Table("c", ("id", "p"), (0,))
ROW = (1, "2026-01-01 10:00:00", 1.5, 1, "k")
APPLIED = Verdict(VerdictKind.APPLIED)


class Nested(Replica):
    """As a Django connection in a TestCase: converters, foreign keys on, in a transaction."""

    def __init__(self, path, *schema: str) -> None:
        outer = Replica(*schema, path=path)
        outer.connection.close()
        self.connection = sqlite3.connect(
            path,
            detect_types=sqlite3.PARSE_DECLTYPES | sqlite3.PARSE_COLNAMES,
            isolation_level=None,
        )
        self.connection.row_factory = sqlite3.Row
        register(self.connection)
        self.connection.execute("PRAGMA foreign_keys = ON")
        self.connection.execute("BEGIN")
        self.applier = Applier(self.connection, nested=True)
        self.applier.prepare()
        self.proposals, self.time_ms = 1000, 5000

    def submit(self, command):
        (entry,) = self.entries([command])
        return self.applier.apply_nested(entry)


@pytest.fixture
def node(tmp_path):
    for name in ("datetime", "decimal", "bool"):
        sqlite3.register_converter(name, lambda data: f"converted {data!r}")
    made = Nested(tmp_path / "db.sqlite3", *SCHEMA)
    yield made
    made.connection.close()
    for name in ("datetime", "decimal", "bool"):
        sqlite3.converters.pop(name.upper(), None)


def test_converters_do_not_disturb(node):
    assert node.select("SELECT * FROM p") == []
    assert node.apply(Insert(P, ROW)) == APPLIED
    assert node.select("SELECT price FROM p")[0][0] == "converted b'1.5'", "the test bites"
    assert node.apply(Update(P, (1,), row_digest(ROW), ((2, 2.5),))) == APPLIED
    assert node.apply(Update(P, (1,), row_digest(ROW), ((2, 3.5),))).message == "changed"
    verdict = node.apply(BlindInsert(P, (1, 2), ("2026-01-02", 4), (0, 1, 2)))
    assert verdict.rows == ((2, "2026-01-02", 4),)


def test_the_transaction_stays_the_tests_own(node):
    node.connection.execute("SAVEPOINT test")
    before = read_state(node.connection)
    command = node.command(Insert(P, ROW))
    assert node.submit(command) == APPLIED
    assert node.submit(command) == APPLIED
    assert node.connection.in_transaction
    assert stored_outcome(node.connection, b"%024d" % node.proposals) is not None
    node.connection.execute("ROLLBACK TO test")
    assert node.select("SELECT * FROM p") == []
    assert read_state(node.connection) == before
    assert node.submit(command) == APPLIED
    assert len(node.select("SELECT +id FROM p")) == 1


def test_foreign_keys_are_checked_though_no_commit_comes(node):
    assert node.apply(Insert(C, (1, 9))) == Verdict(
        VerdictKind.CONSTRAINT_CONFLICT, table="c", message="FOREIGN KEY constraint failed"
    )
    node.apply(Insert(P, ROW), Insert(C, (1, 1)))
    assert node.apply(BlindDelete(P, ((1,),))).kind == VerdictKind.INTEGRITY_ERROR
    assert node.select("PRAGMA foreign_keys")[0][0] == 1
    node.connection.execute("COMMIT")


def test_actions_are_applied_in_the_order_of_the_capture(node):
    """A cascaded key comes before the parent's: an immediate foreign key must not refuse it."""
    users = Table("u", ("id", "k"), (0,))
    node.apply(Insert(P, ROW), Insert(users, (1, "k")))
    verdict = node.apply(
        Update(users, (1,), row_digest((1, "k")), ((1, "new"),)),
        Update(P, (1,), row_digest(ROW), ((4, "new"),)),
    )
    assert verdict == APPLIED
    assert node.select("PRAGMA defer_foreign_keys")[0][0] == 0
    assert node.select("SELECT k FROM u")[0][0] == "new"


def test_statements_are_pinned_and_then_the_functions_are_sqlites_again(node):
    assert (
        node.apply(sql("CREATE TABLE s AS SELECT random() AS r, datetime('now') AS n")) == APPLIED
    )
    assert node.select("SELECT n FROM s")[0][0] == "2026-02-03 04:05:06"
    now = node.select("SELECT datetime('now'), CURRENT_TIMESTAMP, date(), random()")[0]
    assert now[0] == now[1] > "2026-02-03 04:05:06"
    assert now[0].startswith(now[2])
    assert now[3] != node.select("SELECT random()")[0][0]
    assert node.select("SELECT datetime('2026-01-01', '+1 day', 'localtime')")[0][0] is not None


def test_a_schema_that_is_rolled_back_is_forgotten(node):
    node.connection.execute("SAVEPOINT test")
    node.apply(sql("CREATE TABLE late (id integer PRIMARY KEY, p REFERENCES p (id))"))
    late = Table("late", ("id", "p"), (0,))
    assert node.apply(Insert(late, (1, 9))).kind == VerdictKind.CONSTRAINT_CONFLICT
    node.connection.execute("ROLLBACK TO test")
    node.apply(sql("CREATE TABLE late (id integer PRIMARY KEY, p)"))
    assert node.apply(Insert(late, (1, 9))) == APPLIED


def test_a_foreign_key_made_by_the_entry_itself_counts(node):
    late = Table("late", ("id", "p"), (0,))
    table = (
        "CREATE TABLE late (id integer PRIMARY KEY, p REFERENCES p DEFERRABLE INITIALLY DEFERRED)"
    )
    verdict = node.apply(Insert(P, ROW), sql(table), Insert(late, (1, 9)))
    assert verdict.kind == VerdictKind.CONSTRAINT_CONFLICT
    assert node.apply(Insert(P, ROW), sql(table), Insert(late, (1, 1))) == APPLIED


def test_only_commands_are_applied(node):
    with pytest.raises(ValueError, match="Only commands"):
        node.applier.apply_nested(LogEntry(9, 1, 1, None))
