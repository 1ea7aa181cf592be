"""What a serializable transaction read is checked at its entry's place in the log."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from raftdjango.applier import Applier, EnvironmentFault
from raftdjango.applier.changes import folded
from raftdjango.writeset import (
    BlindDelete,
    BlindInsert,
    BlindUpdate,
    Delete,
    Insert,
    Operation,
    Query,
    Reads,
    Table,
    Update,
    ValidatedRead,
    Verdict,
    VerdictKind,
    row_digest,
)
from tests.applier.replica import Replica, sql

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEMA = (
    "CREATE TABLE p (id integer PRIMARY KEY AUTOINCREMENT, name text UNIQUE)",
    "CREATE TABLE Child (id integer PRIMARY KEY,"
    " p int REFERENCES p (id) ON DELETE CASCADE ON UPDATE CASCADE)",
    "CREATE TABLE other (id integer PRIMARY KEY, n int)",
)
P = Table("p", ("id", "name"), (0,))
CHILD = Table("Child", ("id", "p"), (0,))
OTHER = Table("other", ("id", "n"), (0,))
APPLIED = VerdictKind.APPLIED


@pytest.fixture
def node(replica: Callable[..., Replica]) -> Replica:
    made = replica(*SCHEMA)
    made.apply(Insert(P, (1, "a")), Insert(P, (2, "b")), Insert(CHILD, (1, 1)))
    return made


def last_changes(node: Replica) -> dict[str, int]:
    return dict(node.select("SELECT name, log_index FROM raftdjango_changes"))


def now(node: Replica) -> int:
    return node.applier.state.applied_index


def commit(node: Replica, reads: Reads, *operations: Operation, **options: Any) -> Verdict:
    return node.apply(*(operations or (Insert(OTHER, (now(node), 0)),)), reads=reads, **options)


def conflict(table: str) -> Verdict:
    return Verdict(VerdictKind.CONFLICT, table=table, message="read")


# The table of last changes ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "changed"),
    [
        (Insert(P, (3, "c")), "p"),
        (Update(P, (2,), row_digest((2, "b")), ((1, "c"),)), "p"),
        (Update(P, (2,), row_digest((2, "b")), ()), ""),
        (ValidatedRead(P, (2,), row_digest((2, "b"))), ""),
        (Delete(CHILD, (1,), row_digest((1, 1))), "child"),
        (BlindInsert(P, (0, 1), (3, "c")), "p"),
        (BlindUpdate(P, ((2,),), ((1, "c"),)), "p"),
        (BlindUpdate(P, ((9,),), ((1, "c"),)), ""),
        (BlindUpdate(P, ((1,),), ((0, 7),)), "p child"),
        (BlindDelete(P, ((2,),)), "p"),
        (BlindDelete(P, ((1,),)), "p child"),
        (BlindDelete(P, ((9,),)), ""),
        (Insert(P, (3, "a")), ""),
        (BlindDelete(P, ((1,),), expected_rows=5), ""),
    ],
    ids=str,
)
def test_which_tables_an_operation_changes(node, operation, changed):
    before = last_changes(node)
    node.apply(operation)
    assert last_changes(node) == before | dict.fromkeys(changed.split(), now(node))


def test_each_change_is_noted_at_its_own_entry_whatever_the_batch(node):
    start = now(node)
    commands = [node.command(Insert(OTHER, (n, 0))) for n in range(3)]
    refused = node.command(Insert(P, (9, "a")))
    node.batch([*commands, node.command(Insert(P, (5, "e"))), refused, None])
    assert last_changes(node) == {"other": start + 3, "p": start + 4, "child": start}


def test_statements_make_it_begin_anew(node):
    node.apply(sql("ALTER TABLE other RENAME TO another"))
    assert last_changes(node) == {}
    reads = Reads(now(node), ("", "p", "another"), ())
    assert commit(node, reads, Insert(P, (5, "e"))).kind is APPLIED


def test_names_are_compared_as_sqlite_does():
    assert folded("Ärger_X") == "Ärger_x" != folded("ärger_x")


# Tables -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["p", "P", "", "child", "CHILD"])
def test_a_table_that_was_changed(node, name):
    reads = Reads(now(node), (name,), ())
    assert commit(node, reads, Insert(OTHER, (1, 1))).kind is APPLIED
    node.apply(Update(P, (2,), row_digest((2, "b")), ((1, "x"),)), Insert(CHILD, (2, 2)))
    assert commit(node, reads) == conflict(name)
    assert node.select("SELECT count(*) FROM other") == [(1,)], "nothing of it stays"
    assert commit(node, replace(reads, log_index=now(node))).kind is APPLIED


def test_a_table_that_nobody_changed(node):
    reads = Reads(now(node), ("other", "none"), ())
    node.apply(Insert(P, (3, "c")))
    assert commit(node, reads).kind is APPLIED


def test_its_own_changes_do_not_count(node):
    reads = Reads(now(node), ("p", "child", "other"), ())
    assert commit(node, reads, Insert(P, (3, "c")), Insert(OTHER, (1, 1))).kind is APPLIED


def test_a_change_in_the_same_batch_counts(node):
    reads = Reads(now(node), ("p",), ())
    write = node.command(Insert(P, (3, "c")))
    late = node.command(Insert(OTHER, (1, 1)), reads=reads)
    assert [each.verdict for each in node.batch([write, late])][1] == conflict("p")


def test_a_refused_change_in_the_same_batch_does_not(node):
    reads = Reads(now(node), ("p",), ())
    refused = node.command(Insert(P, (3, "c")), Insert(P, (4, "c")))
    late = node.command(Insert(OTHER, (1, 1)), reads=reads)
    kinds = [each.verdict.kind for each in node.batch([refused, late])]
    assert kinds == [VerdictKind.CONSTRAINT_CONFLICT, APPLIED]


def test_the_schema_it_was_read_under(node):
    reads = Reads(now(node), ("p",), ())
    version = node.applier.state.schema_version
    node.apply(sql("UPDATE p SET name = 'z' WHERE id = 1"))
    assert commit(node, reads, schema_version=version).message == "schema"
    only_statements = commit(node, reads, sql("DELETE FROM other"), schema_version=version)
    assert only_statements.message == "schema"


# Queries ----------------------------------------------------------------------------------------


@pytest.fixture
def names(node: Replica) -> Query:
    return node.query("SELECT name FROM p WHERE name < ?", ("c",), ("p",))


def check(node: Replica, since: int, *queries: Query) -> Verdict:
    return commit(node, Reads(since, (), queries))


def test_a_query_that_gives_the_same(node, names):
    since = now(node)
    node.apply(Insert(P, (3, "x")))
    assert check(node, since, names).kind is APPLIED


@pytest.mark.parametrize(
    "change",
    [
        Insert(P, (3, "bb")),
        Update(P, (2,), row_digest((2, "b")), ((1, "x"),)),
        Delete(P, (2,), row_digest((2, "b"))),
    ],
    ids=["a phantom", "a changed row", "a row less"],
)
def test_a_query_that_gives_something_else(node, names, change):
    since = now(node)
    node.apply(change)
    assert check(node, since, names) == conflict("p")


def test_the_order_of_rows_is_no_difference(node):
    since = now(node)
    before = node.query("SELECT name FROM p ORDER BY name", (), ("p",))
    node.apply(
        Update(P, (1,), row_digest((1, "a")), ((1, "swap"),)),
        Update(P, (2,), row_digest((2, "b")), ((1, "a"),)),
        Update(P, (1,), row_digest((1, "swap")), ((1, "b"),)),
    )
    assert check(node, since, replace(before, sql="SELECT name FROM p ORDER BY id")).kind is APPLIED


def test_how_often_a_row_comes_is_one(node):
    node.apply(Insert(OTHER, (1, 5)), Insert(OTHER, (2, 5)))
    since = now(node)
    fives = node.query("SELECT n FROM other", (), ("other",))
    node.apply(Delete(OTHER, (2,), row_digest((2, 5))))
    assert check(node, since, fives) == conflict("other")


def test_storage_classes_are_one(node):
    node.apply(sql("CREATE TABLE loose (id integer PRIMARY KEY, x)"))
    loose = Table("loose", ("id", "x"), (0,))
    node.apply(Insert(loose, (1, 1)))
    since = now(node)
    query = node.query("SELECT x FROM loose", (), ("loose",))
    node.apply(Update(loose, (1,), row_digest((1, 1)), ((1, 1.0),)))
    assert check(node, since, query) == conflict("loose")


def test_it_is_not_made_again_where_its_tables_are_unchanged(node, names):
    wrong = replace(names, digest=bytes(16))
    assert check(node, now(node), wrong).kind is APPLIED


def test_one_that_fails_now_is_a_conflict_and_not_a_fault(node):
    since = now(node)
    broken = node.query("SELECT missing FROM p", (), ("p",))
    node.apply(Insert(P, (3, "c")))
    assert check(node, since, broken) == conflict("p")


def test_reads_come_before_the_entrys_own_changes(node, names):
    since = now(node)
    node.apply(Insert(P, (3, "x")))
    reads = Reads(since, (), (names,))
    assert commit(node, reads, Insert(P, (4, "bb"))).kind is APPLIED


def test_an_entry_with_queries_is_not_light(node, names):
    tables, queries = Reads(0, ("other",), ()), Reads(now(node), (), (names,))
    batch = node.entries([node.command(Insert(OTHER, (1, 1)), reads=queries)])
    assert node.applier.apply_at_once(batch) is None
    batch = node.entries([node.command(Insert(OTHER, (1, 1)), reads=tables)])
    assert node.applier.apply_at_once(batch) is not None
    many = Reads(0, tuple(f"t{n}" for n in range(100)), ())
    batch = node.entries([node.command(Insert(OTHER, (2, 1)), reads=many)])
    assert node.applier.apply_at_once(batch) is None


def test_a_fault_in_the_middle_leaves_nothing_to_remember(node):
    start = last_changes(node)
    write = node.command(Insert(P, (3, "c")))
    wrong = node.command(Insert(P, (4, "d")), expected_digest=bytes(16))
    with pytest.raises(EnvironmentFault):
        node.batch([write, wrong])
    late = Reads(now(node), ("p",), ())
    assert last_changes(node) == start
    assert commit(node, late).kind is APPLIED


def test_what_an_applier_knows_is_in_the_database(node, names):
    since = now(node)
    node.apply(Insert(P, (3, "c")))
    node.applier = Applier(node.connection)
    node.applier.prepare()
    assert commit(node, Reads(since, ("p",), ())) == conflict("p")
