"""Row operations: what a captured or blind operation does to the database, and its verdict."""

from __future__ import annotations

import math

import pytest

from raftdjango.writeset import (
    BlindDelete,
    BlindInsert,
    BlindUpdate,
    Insert,
    Table,
    Update,
    Verdict,
    VerdictKind,
    row_digest,
)
from tests.applier.replica import sql

THING = Table("thing", ("id", "name", "value"), (0,))
SCHEMA = "CREATE TABLE thing (id integer PRIMARY KEY AUTOINCREMENT, name text UNIQUE, value)"
APPLIED = Verdict(VerdictKind.APPLIED)


@pytest.fixture
def node(replica):
    return replica(SCHEMA)


def test_insert_update_delete(node):
    assert node.apply(node.insert(THING, 1, "a", 1), node.insert(THING, 2, "b", 2)) == APPLIED
    assert node.apply(node.update(THING, 1, value=10)) == APPLIED
    assert node.apply(node.delete(THING, 2)) == APPLIED
    assert node.select("SELECT * FROM thing") == [(1, "a", 10)]


@pytest.mark.parametrize(
    "value",
    [
        0,
        -1,
        2**63 - 1,
        -(2**63),
        0.1,
        -0.0,
        math.inf,
        -math.inf,
        "",
        "ü\x00x",
        b"",
        b"\xff\x00",
        None,
        '{"a": [1, null]}',
        "null",
        1e308,
        5e-324,
    ],
)
def test_storage_values_come_through_exactly(node, value):
    node.apply(node.insert(THING, 1, "a", value))
    ((stored, kind),) = node.select("SELECT value, typeof(value) FROM thing")
    assert repr(stored) == repr(value)
    assert kind == {int: "integer", float: "real", str: "text", bytes: "blob"}.get(
        type(value), "null"
    )
    assert node.apply(node.update(THING, 1, value="next")) == APPLIED


def test_an_update_of_a_row_that_somebody_else_changed_is_a_conflict(node):
    node.apply(node.insert(THING, 1, "a", 1), node.insert(THING, 2, "b", 2))
    mine = [node.insert(THING, 3, "c", 3), node.update(THING, 1, value=10)]
    node.apply(node.update(THING, 1, value=11))
    assert node.apply(*mine) == Verdict(
        VerdictKind.CONFLICT, table="thing", key=(1,), message="changed"
    )
    assert node.select("SELECT id, value FROM thing") == [(1, 11), (2, 2)]


def test_a_delete_of_a_row_that_somebody_else_changed_is_a_conflict(node):
    node.apply(node.insert(THING, 1, "a", 1))
    mine = node.delete(THING, 1)
    node.apply(node.update(THING, 1, name="b"))
    assert node.apply(mine).kind == VerdictKind.CONFLICT


def test_a_row_that_is_gone_is_a_conflict(node):
    node.apply(node.insert(THING, 1, "a", 1))
    mine = node.update(THING, 1, value=2)
    node.apply(node.delete(THING, 1))
    assert node.apply(mine) == Verdict(
        VerdictKind.CONFLICT, table="thing", key=(1,), message="gone"
    )


def test_a_change_of_storage_class_alone_is_a_change(node):
    node.apply(node.insert(THING, 1, "a", 1))
    mine = node.update(THING, 1, value=2)
    node.apply(node.update(THING, 1, value=1.0))
    assert node.apply(mine).kind == VerdictKind.CONFLICT


def test_an_update_without_changes_is_a_read_that_must_hold(node):
    node.apply(node.insert(THING, 1, "a", 1))
    mine = node.update(THING, 1)
    assert node.apply(mine) == APPLIED
    node.apply(node.update(THING, 1, value=2))
    assert node.apply(mine).kind == VerdictKind.CONFLICT


def test_a_validated_read_must_hold(node):
    node.apply(node.insert(THING, 1, "a", 1))
    read, absent = node.read(THING, 1), node.read(THING, 2)
    assert node.apply(read, absent) == APPLIED
    node.apply(node.insert(THING, 2, "b", 1))
    assert node.apply(absent) == Verdict(
        VerdictKind.CONFLICT, table="thing", key=(2,), message="present"
    )
    node.apply(node.delete(THING, 1))
    assert node.apply(read).kind == VerdictKind.CONFLICT


def test_rows_are_certified_step_by_step(node):
    """A row's second change is checked against what the first one left."""
    node.apply(node.insert(THING, 1, "a", 1))
    first = node.update(THING, 1, value=2)
    second = Update(THING, (1,), row_digest((1, "a", 2)), ((2, 3),))
    assert node.apply(first, second) == APPLIED
    wrong = Update(THING, (1,), row_digest((1, "a", 3)), ((2, 4),))
    also_wrong = Update(THING, (1,), row_digest((1, "a", 3)), ((2, 5),))
    assert node.apply(wrong, also_wrong).kind == VerdictKind.CONFLICT
    assert node.row(THING, 1) == (1, "a", 3)


def test_unique_values_can_be_swapped_by_way_of_a_third(node):
    node.apply(node.insert(THING, 1, "a", 1), node.insert(THING, 2, "b", 2))
    verdict = node.apply(
        Update(THING, (1,), row_digest((1, "a", 1)), ((1, "tmp"),)),
        Update(THING, (2,), row_digest((2, "b", 2)), ((1, "a"),)),
        Update(THING, (1,), row_digest((1, "tmp", 1)), ((1, "b"),)),
    )
    assert verdict == APPLIED
    assert node.select("SELECT id, name FROM thing ORDER BY id") == [(1, "b"), (2, "a")]


def test_a_constraint_that_held_locally_is_a_constraint_conflict(node):
    node.apply(node.insert(THING, 1, "a", 1))
    verdict = node.apply(node.insert(THING, 2, "b", 1), node.insert(THING, 3, "a", 1))
    assert verdict.kind == VerdictKind.CONSTRAINT_CONFLICT
    assert verdict.message == "UNIQUE constraint failed: thing.name"
    assert node.select("SELECT id FROM thing") == [(1,)], "an entry is all or nothing"


def test_a_constraint_met_by_a_blind_operation_is_the_users_integrity_error(node):
    node.apply(node.insert(THING, 1, "a", 1), node.insert(THING, 2, "b", 1))
    message = "UNIQUE constraint failed: thing.name"
    error = Verdict(VerdictKind.INTEGRITY_ERROR, table="thing", message=message)
    assert node.apply(BlindInsert(THING, (0, 1), (3, "a"))) == error
    assert node.apply(BlindUpdate(THING, ((2,),), ((1, "a"),))) == error


def test_a_blind_update_of_several_rows_is_all_or_nothing(node):
    node.apply(node.insert(THING, 1, "a", 1), node.insert(THING, 2, "b", 1))
    verdict = node.apply(BlindUpdate(THING, ((1,), (2,)), ((1, "same"),)))
    assert verdict.kind == VerdictKind.INTEGRITY_ERROR
    assert node.row(THING, 1) == (1, "a", 1)


def test_a_primary_key_can_change(node):
    node.apply(node.insert(THING, 1, "a", 1))
    assert node.apply(node.update(THING, 1, id=7, value=2)) == APPLIED
    assert node.apply(BlindUpdate(THING, ((7,),), ((0, 8),))).row_count == 1
    assert node.select("SELECT * FROM thing") == [(8, "a", 2)]


def test_blind_operations_tell_how_many_rows_they_changed(node):
    node.apply(*(node.insert(THING, n, f"n{n}", 0) for n in range(1, 5)))
    assert node.apply(BlindUpdate(THING, ((1,), (2,), (9,)), ((2, 5),))).row_count == 2
    assert node.apply(BlindUpdate(THING, ((9,),), ((2, 5),))) == APPLIED
    assert node.apply(BlindDelete(THING, ((1,), (9,)))).row_count == 1
    assert node.apply(BlindDelete(THING, ())) == APPLIED
    assert node.select("SELECT id, value FROM thing") == [(2, 5), (3, 0), (4, 0)]


@pytest.mark.parametrize(
    "operation",
    [
        BlindUpdate(THING, ((1,), (2,)), ((2, 5),), expected_rows=2),
        BlindDelete(THING, ((1,), (2,)), expected_rows=2),
        BlindInsert(THING, (0,), (2,), expected_rows=0),
    ],
)
def test_another_row_count_than_user_code_was_told_is_a_conflict(node, operation):
    node.apply(node.insert(THING, 1, "a", 1))
    verdict = node.apply(operation)
    assert (verdict.kind, verdict.message) == (VerdictKind.CONFLICT, "rows")
    assert node.select("SELECT * FROM thing") == [(1, "a", 1)]


def test_the_expected_row_count_is_no_conflict(node):
    node.apply(node.insert(THING, 1, "a", 1))
    assert node.apply(BlindDelete(THING, ((1,), (2,)), expected_rows=1)).row_count == 1


def test_a_blind_insert_returns_columns_that_travel_and_columns_that_do_not(replica):
    node = replica(
        "CREATE TABLE box (id integer PRIMARY KEY, w int, d int DEFAULT 7,"
        ' "the area" AS (w * w), stored AS (w + 1) STORED)'
    )
    box = Table("box", ("id", "w", "d"), (0,))
    verdict = node.apply(
        BlindInsert(box, (1,), (3,), (0, 2), ("the area", "stored")),
        BlindInsert(box, (1,), (4,), (0, 2), ("the area", "stored")),
    )
    assert verdict.rows == ((1, 7, 9, 4), (2, 7, 16, 5))
    assert verdict.row_count == 1
    assert node.apply(BlindInsert(box, (), (), (0,))).rows == ((3,),)
    assert node.apply(node.update(box, 1, w=5)) == APPLIED, "digests leave generated columns out"


def test_a_table_without_rowid_and_with_a_composite_key(replica):
    node = replica("CREATE TABLE pair (b int, a text, v, PRIMARY KEY (a, b)) WITHOUT ROWID")
    pair = Table("pair", ("b", "a", "v"), (1, 0))
    node.apply(node.insert(pair, 1, "x", 0), node.insert(pair, 2, "x", 0))
    assert pair.key_of((1, "x", 0)) == ("x", 1)
    assert node.apply(node.update(pair, "x", 2, v=5, b=3)) == APPLIED
    assert node.apply(BlindUpdate(pair, (("x", 1), ("x", 2)), ((2, 6),))).row_count == 1
    assert node.select("SELECT * FROM pair ORDER BY b") == [(1, "x", 6), (3, "x", 5)]
    assert node.apply(node.delete(pair, "x", 3)) == APPLIED


def test_a_null_in_a_key_is_matched(replica):
    node = replica("CREATE TABLE odd (a text, b text, PRIMARY KEY (a, b))")
    odd = Table("odd", ("a", "b"), (0, 1))
    node.apply(node.insert(odd, None, "x"), node.insert(odd, "y", "x"))
    assert node.apply(node.delete(odd, None, "x")) == APPLIED
    assert node.select("SELECT * FROM odd") == [("y", "x")]


def test_a_key_that_several_rows_share_is_refused(replica):
    """SQLite allows that where a part of the key is NULL; which row is meant cannot be told."""
    node = replica("CREATE TABLE odd (a text, b int, PRIMARY KEY (a))")
    odd = Table("odd", ("a", "b"), (0,))
    node.apply(node.insert(odd, None, 1), node.insert(odd, None, 2))
    for operation in (node.update(odd, None, b=3), node.delete(odd, None)):
        verdict = node.apply(operation)
        assert verdict.kind == VerdictKind.OPERATIONAL_ERROR
        assert verdict.message == "the key is not unique in table odd"
    assert node.select("SELECT b FROM odd ORDER BY b") == [(1,), (2,)]


def test_odd_names_are_quoted(replica):
    node = replica('CREATE TABLE "select ""x"" [y]" ("from ""a""" text PRIMARY KEY, "group;" int)')
    odd = Table('select "x" [y]', ('from "a"', "group;"), (0,))
    node.apply(Insert(odd, ("k", 1)))
    assert node.apply(BlindUpdate(odd, (("k",),), ((1, 2),))).row_count == 1
    assert node.apply(Update(odd, ("k",), row_digest(("k", 2)), ((1, 3),))) == APPLIED
    assert node.apply(BlindInsert(odd, (0,), ("l",), (1, 0))).rows == ((None, "l"),)
    assert node.apply(BlindDelete(odd, (("k",),))).row_count == 1


def test_a_conflict_clause_of_the_table_undoes_no_more_than_its_statement(replica):
    """ON CONFLICT ROLLBACK would take the other entries of the batch with it."""
    node = replica("CREATE TABLE hard (id integer PRIMARY KEY, v UNIQUE ON CONFLICT ROLLBACK)")
    hard = Table("hard", ("id", "v"), (0,))
    kinds = [
        applied.verdict.kind.name
        for applied in node.batch(
            [
                node.command(node.insert(hard, 1, "a")),
                node.command(node.insert(hard, 2, "a")),
                node.command(BlindInsert(hard, (0, 1), (3, "a"))),
                node.command(node.insert(hard, 4, "b")),
            ]
        )
    ]
    assert kinds == ["APPLIED", "CONSTRAINT_CONFLICT", "INTEGRITY_ERROR", "APPLIED"]
    assert node.select("SELECT id FROM hard ORDER BY id") == [(1,), (4,)]


def test_an_explicit_key_raises_sqlites_own_sequence(node):
    node.apply(node.insert(THING, 41, "a", 1))
    assert node.select("SELECT * FROM sqlite_sequence") == [("thing", 41)]


@pytest.mark.parametrize("declared", ["integer PRIMARY KEY AUTOINCREMENT", "integer PRIMARY KEY"])
def test_sqlite_is_not_asked_for_a_key_behind_the_highest(replica, declared):
    """It would draw one at random, or call the disk full."""
    node = replica(f"CREATE TABLE last (id {declared}, v)")
    last = Table("last", ("id", "v"), (0,))
    node.apply(node.insert(last, 2**63 - 1, 0))
    verdict = node.apply(BlindInsert(last, (1,), (0,), (0,)))
    assert verdict.kind == VerdictKind.OPERATIONAL_ERROR
    assert verdict.message == "table last has no keys left"


def test_a_default_that_asks_the_machine_is_refused(replica):
    """The compiler leaves such columns to the general path; here it must not diverge."""
    node = replica("CREATE TABLE log (id integer PRIMARY KEY, at text DEFAULT CURRENT_TIMESTAMP)")
    log = Table("log", ("id", "at"), (0,))
    assert node.apply(BlindInsert(log, (0,), (1,))).kind == VerdictKind.OPERATIONAL_ERROR
    assert node.select("SELECT * FROM log") == []


@pytest.mark.parametrize("name", ["raftdjango_state", "RAFTDJANGO_outcome"])
def test_rows_of_the_products_own_tables_cannot_be_written(node, name):
    verdict = node.apply(BlindInsert(Table(name, ("id",), (0,)), (0,), (2,)))
    assert verdict.kind == VerdictKind.OPERATIONAL_ERROR
    assert verdict.message == f"table {name} may not be modified"


def test_a_missing_table_or_column_is_the_same_error_everywhere(node):
    missing = Table("missing", ("id",), (0,))
    assert node.apply(node.insert(missing, 1)) == Verdict(
        VerdictKind.OPERATIONAL_ERROR, table="missing", message="no such table: main.missing"
    )
    wrong = Table("thing", ("id", "nope"), (0,))
    assert node.apply(BlindUpdate(wrong, ((1,),), ((1, 0),))).message == "no such column: nope"


def test_a_schema_that_changed_since_the_capture_is_a_conflict(node):
    before = node.applier.state.schema_version
    captured = node.command(node.insert(THING, 1, "a", 1))
    blind = node.command(BlindInsert(THING, (0,), (2,)))
    node.apply(sql("CREATE TABLE other (x)"))
    assert node.applier.state.schema_version > before
    conflict = Verdict(VerdictKind.CONFLICT, message="schema")
    assert node.submit(captured) == conflict
    assert node.submit(blind) == conflict


def test_many_rows_in_one_entry(node):
    rows = [node.insert(THING, n, f"n{n}", n) for n in range(1, 3001)]
    assert node.apply(*rows) == APPLIED
    assert node.select("SELECT count(*), sum(value) FROM thing") == [(3000, 4501500)]
    again = node.insert(THING, 5000, "n3", 0)
    more = [node.insert(THING, n, f"n{n}", n) for n in range(4000, 4010)]
    assert node.apply(*more, again).kind == VerdictKind.CONSTRAINT_CONFLICT
    assert node.select("SELECT count(*) FROM thing") == [(3000,)]
