"""Commands that are no write-set."""

from __future__ import annotations

import pytest

from raftdjango.applier import read_state
from raftdjango.writeset import (
    Barrier,
    BindIncarnation,
    BlindInsert,
    FormCluster,
    Insert,
    KeyLease,
    MigrationLock,
    Table,
    Verdict,
    VerdictKind,
)
from tests.applier.replica import sql

AUTO = "CREATE TABLE auto (id integer PRIMARY KEY AUTOINCREMENT, v)"
PLAIN = "CREATE TABLE Plain (id INTEGER PRIMARY KEY, v)"
A, P = Table("auto", ("id", "v"), (0,)), Table("Plain", ("id", "v"), (0,))
APPLIED = Verdict(VerdictKind.APPLIED)


def test_a_barrier_changes_nothing_but_the_place(replica):
    node = replica(AUTO)
    assert node.do(Barrier()) == APPLIED
    assert node.applier.state.applied_index == 2


@pytest.mark.parametrize(("table", "name"), [(A, "AUTO"), (P, "plain")])
def test_leases_lie_behind_every_key_there_is_or_was(replica, table, name):
    node = replica(AUTO, PLAIN)
    assert node.do(KeyLease(name, 10)).first_key == 1
    assert node.do(KeyLease(table.name, 5)).first_key == 11
    node.apply(Insert(table, (100, 0)))
    assert node.do(KeyLease(name, 5)).first_key == 101
    node.apply(node.delete(table, 100))
    assert node.do(KeyLease(name, 5)).first_key == 106
    assert len(node.select("SELECT * FROM raftdjango_key")) == 1


def test_a_key_that_was_used_and_deleted_is_not_leased_again(replica):
    node = replica(AUTO)
    node.apply(Insert(A, (100, 0)))
    node.apply(node.delete(A, 100))
    assert node.do(KeyLease("auto", 1)).first_key == 101


@pytest.mark.parametrize(
    ("table", "count", "message"),
    [
        ("missing", 1, "no such table: missing"),
        ("words", 1, "table words has no integer primary key"),
        ("pairs", 1, "table pairs has no integer primary key"),
        ("flat", 1, "table flat has no integer primary key"),
        ("auto", 2**63 - 1, "table auto has no keys left"),
    ],
)
def test_a_lease_that_cannot_be(replica, table, count, message):
    node = replica(
        AUTO,
        "CREATE TABLE words (id text PRIMARY KEY)",
        "CREATE TABLE pairs (a integer, b integer, PRIMARY KEY (a, b))",
        "CREATE TABLE flat (id integer PRIMARY KEY) WITHOUT ROWID",
    )
    assert node.do(KeyLease(table, count)) == Verdict(
        VerdictKind.OPERATIONAL_ERROR, table=table, message=message
    )


def test_resetting_the_sequence_resets_the_allocator(replica):
    node = replica(AUTO, PLAIN)
    node.apply(Insert(A, (50, 0)))
    node.do(KeyLease("auto", 10))
    node.do(KeyLease("plain", 10))
    node.apply(sql("DELETE FROM auto"), sql("UPDATE sqlite_sequence SET seq = 0"))
    assert node.do(KeyLease("auto", 10)).first_key == 1
    assert node.do(KeyLease("plain", 10)).first_key == 11


def test_a_remade_table_keeps_its_leases(replica):
    """Django's schema editor copies into a new table, drops the old one and renames."""
    node = replica(AUTO)
    node.apply(Insert(A, (50, 0)), Insert(A, (3, 0)))
    node.do(KeyLease("auto", 10))
    node.apply(node.delete(A, 50))
    node.apply(
        sql("CREATE TABLE new__auto (id integer PRIMARY KEY AUTOINCREMENT, v, w)"),
        sql("INSERT INTO new__auto SELECT id, v, 0 FROM auto"),
        sql("DROP TABLE auto"),
        sql("ALTER TABLE new__auto RENAME TO auto"),
        foreign_keys_off=True,
    )
    assert node.do(KeyLease("auto", 10)).first_key == 61


def test_a_dropped_table_needs_no_keys(replica):
    node = replica(AUTO)
    node.do(KeyLease("auto", 10))
    node.apply(sql("DROP TABLE auto"))
    assert node.select("SELECT * FROM raftdjango_key") == []


def test_the_first_forming_names_the_cluster(replica):
    node = replica()
    assert node.do(FormCluster(b"one", "default", (("n1", "u1"), ("n2", "u2")))) == APPLIED
    assert node.do(FormCluster(b"two", "other", (("n3", "u3"),))) == APPLIED
    state = node.applier.state
    assert (state.cluster_id, state.group_name) == (b"one", "default")
    assert read_state(node.connection) == state
    assert node.select("SELECT * FROM raftdjango_member") == [
        ("n1", "u1", None),
        ("n2", "u2", None),
    ]


def test_an_incarnation_is_bound_once(replica):
    node = replica()
    node.do(FormCluster(b"one", "default", (("n1", "u1"),)))
    assert node.do(BindIncarnation("n1", b"x")) == APPLIED
    assert node.do(BindIncarnation("n1", b"x")) == APPLIED
    assert node.do(BindIncarnation("n1", b"y")) == Verdict(
        VerdictKind.CONFLICT, table="raftdjango_member", key=("n1",), message="bound"
    )
    assert node.do(BindIncarnation("n9", b"z")) == APPLIED
    assert node.select("SELECT * FROM raftdjango_member") == [("n1", "u1", b"x"), ("n9", "", b"z")]


def test_the_migration_lock(replica):
    node = replica()
    until_ms = node.time_ms + 1000
    assert node.do(MigrationLock(b"me", until_ms)).granted
    assert not node.do(MigrationLock(b"you", until_ms)).granted
    assert node.do(MigrationLock(b"me", until_ms + 500)).granted, "held longer"
    assert not node.do(MigrationLock(b"you", 0, release=True)).granted, "not his to release"
    assert node.do(MigrationLock(b"me", 0, release=True)).granted
    assert node.do(MigrationLock(b"you", until_ms)).granted
    node.time_ms = until_ms + 1
    assert node.do(MigrationLock(b"me", until_ms + 5000)).granted, "its holder's time was over"


def test_a_lock_is_renewed_by_its_last_holder_alone(replica):
    """Who stood still while another had it and gave it back must not hold it again unawares."""
    node = replica()
    renewal = MigrationLock(b"me", node.time_ms + 1000, renew=True)
    assert not node.do(renewal).granted, "nobody has it"
    assert node.do(MigrationLock(b"me", node.time_ms)).granted
    node.time_ms += 5000
    assert node.do(renewal).granted, "its time was over, but nobody else took it"
    node.time_ms += 5000
    assert node.do(MigrationLock(b"you", node.time_ms)).granted
    assert not node.do(renewal).granted
    assert node.do(MigrationLock(b"you", 0, release=True)).granted
    assert not node.do(renewal).granted


FENCED = {
    "rows": lambda: (Insert(P, (1, "a")),),
    "a blind row": lambda: (BlindInsert(P, (0, 1), (1, "a")),),
    "a statement": lambda: (sql("CREATE TABLE another (id INTEGER PRIMARY KEY)"),),
    "statements and rows": lambda: (sql("ALTER TABLE plain ADD w"), Insert(A, (1, "a"))),
}


@pytest.mark.parametrize("kind", FENCED)
def test_what_is_fenced_is_void_without_the_lock(replica, kind):
    node = replica(AUTO, PLAIN)

    def do():
        return node.apply(*FENCED[kind](), fence=b"me")

    refused = Verdict(VerdictKind.CONFLICT, message="fence")
    before = node.select("SELECT sql FROM sqlite_master")
    assert do() == refused, "nobody has it"
    node.do(MigrationLock(b"you", node.time_ms))
    assert do() == refused
    node.do(MigrationLock(b"you", 0, release=True))
    assert do() == refused
    assert node.select("SELECT sql FROM sqlite_master") == before
    assert node.select("SELECT * FROM plain UNION SELECT * FROM auto") == []
    node.do(MigrationLock(b"me", node.time_ms))
    node.time_ms += 5000
    assert do().kind is VerdictKind.APPLIED, "its time is over, but nobody took it"


def test_the_fence_comes_before_whatever_else_may_be_wrong(replica):
    """To make it anew for another schema, or other rows, would be in vain."""
    node = replica(PLAIN)
    node.apply(Insert(P, (1, "a")))
    lost = node.apply(Insert(P, (1, "a")), fence=b"me", schema_version=0)
    assert lost == Verdict(VerdictKind.CONFLICT, message="fence")
