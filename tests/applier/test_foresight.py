"""What is foretold of leases and of the migration lock is what applying them comes to."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftdjango.applier import LogEntry
from raftdjango.applier.foresight import LOOK_AHEAD_BYTES_MAX
from raftdjango.writeset import (
    Barrier,
    BlindDelete,
    BlindInsert,
    BlindUpdate,
    Delete,
    Insert,
    KeyLease,
    MigrationLock,
    Table,
    Update,
    VerdictKind,
    row_digest,
)
from tests.applier import test_batches as logs
from tests.applier.replica import Replica, sql

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[..., Replica]

P, C = logs.P, logs.C
leases = st.tuples(
    st.builds(KeyLease, st.sampled_from("pc"), st.integers(1, 3)),
    st.sampled_from(["new"] * 4 + ["again"]),
    st.sampled_from(["fresh"] * 8 + ["late"]),
    st.sampled_from([1, 1, 5000, 200_000]),
)


locks = st.tuples(
    st.builds(
        MigrationLock, st.sampled_from([b"", b"h", b"k"]), st.integers(0, 300_000), st.booleans()
    ),
    st.sampled_from(["new"] * 4 + ["again"]),
    st.sampled_from(["fresh"] * 8 + ["late"]),
    st.sampled_from([1, 1, 5000, 200_000]),
)


@settings(max_examples=300)
@given(
    st.lists(st.one_of(logs.envelopes, leases, locks), min_size=5, max_size=30),
    st.lists(st.integers(0, 30), min_size=1, max_size=4),
)
def test_what_is_foretold_comes_true(plan, looks):
    first, second = (Replica(*logs.SCHEMA, *logs.ROWS) for _ in range(2))
    try:
        log, applied = logs._play(first, plan)
        done = 0
        for look in sorted({look for look in looks if look < len(log)}):
            second.applier.apply_batch(log[done:look])
            done = look
            truth = {each.index: each for each in applied}
            for foretold in second.applier.foresee(log[look:]):
                assert foretold == truth[foretold.index]
    finally:
        for node in (first, second):
            node.connection.close()


def first_keys(node: Replica, *commands: bytes | None) -> list[int]:
    """What is foretold; it must come true."""
    entries = node.entries(commands)
    foretold = node.applier.foresee(entries)
    applied = node.applier.apply_batch(entries)
    assert all(each in applied for each in foretold)
    return [each.verdict.first_key for each in foretold if each.verdict]


def lease(node: Replica, table: str, count: int = 10) -> bytes:
    return node.wrap(KeyLease(table, count))


@pytest.fixture
def node(replica: Make) -> Replica:
    return replica(*logs.SCHEMA, *logs.ROWS)


def test_several_leases_in_a_row(node: Replica) -> None:
    commands = [lease(node, "p"), lease(node, "c", 5), lease(node, "P"), lease(node, "c")]
    assert first_keys(node, *commands) == [4, 3, 14, 8]
    assert first_keys(node, lease(node, "p")) == [24]


def test_a_lease_that_comes_twice_has_one_answer(node: Replica) -> None:
    once = lease(node, "p")
    assert first_keys(node, once, once, lease(node, "p")) == [4, 4, 14]
    assert first_keys(node, once, lease(node, "p")) == [4, 24]


def test_while_another_connection_has_the_write_lock(tmp_path, replica: Make) -> None:
    path = tmp_path / "db.sqlite3"
    node = replica(*logs.SCHEMA, *logs.ROWS, path=path)
    with closing(sqlite3.connect(path, isolation_level=None)) as worker:
        worker.execute("BEGIN IMMEDIATE")
        worker.execute("INSERT INTO p VALUES (50, 'not committed')")
        entries = node.entries([lease(node, "p"), lease(node, "c")])
        foretold = node.applier.foresee(entries)
        assert [each.verdict.first_key for each in foretold if each.verdict] == [4, 3]
    assert node.applier.apply_batch(entries) == foretold


def granted(node: Replica, *commands: bytes | None) -> list[bool]:
    """What is foretold; it must come true."""
    entries = node.entries(commands)
    foretold = node.applier.foresee(entries)
    applied = node.applier.apply_batch(entries)
    assert all(each in applied for each in foretold)
    return [each.verdict.granted for each in foretold if each.verdict]


def test_the_migration_lock_behind_anything(node: Replica) -> None:
    later = node.time_ms + 1_000_000

    def take(holder: bytes) -> bytes:
        return node.wrap(MigrationLock(holder, later))

    release = node.wrap(MigrationLock(b"mine", 0, release=True))
    row = node.command(BlindDelete(P, ((3,),)))
    assert granted(node, row, take(b"mine"), take(b"theirs"), take(b"mine")) == [True, False, True]
    assert granted(node, take(b"mine"), release, take(b"theirs")) == [True, True, True]


def test_a_renewal_behind_anything(node: Replica) -> None:
    later = node.time_ms + 1_000_000

    def renew(holder: bytes) -> bytes:
        return node.wrap(MigrationLock(holder, later, renew=True))

    def take(holder: bytes, until_ms: int) -> bytes:
        return node.wrap(MigrationLock(holder, until_ms))

    assert granted(node, renew(b"mine"), take(b"mine", 0), renew(b"mine")) == [False, True, True]
    release = node.wrap(MigrationLock(b"mine", 0, release=True))
    commands = [take(b"theirs", later), release, renew(b"mine"), renew(b"theirs")]
    assert granted(node, *commands) == [False, True, False, False]


def test_the_migration_lock_is_held_up_to_its_last_millisecond(node: Replica) -> None:
    then = node.time_ms + 1  # The entries' times follow each other.
    commands = [node.wrap(MigrationLock(holder, then)) for holder in (b"mine", b"theirs")]
    assert granted(node, *commands) == [True, False]
    assert granted(node, node.wrap(MigrationLock(b"theirs", then))) == [True]


HARMLESS = [
    Insert(C, (50, 1)),
    Insert(P, (3, "in the way")),
    BlindInsert(P, (0, 1), (13, "with a leased key")),
    BlindUpdate(P, ((1,),), ((1, "renamed"),)),
    Update(P, (1,), row_digest((1, "a")), ((1, "renamed"),)),
    Delete(P, (3,), row_digest((3, "x"))),
    BlindDelete(P, ((3,),)),
]


@pytest.mark.parametrize("operation", HARMLESS, ids=lambda each: type(each).__name__)
def test_behind_what_does_not_move_the_allocator(node: Replica, operation) -> None:
    node.do(KeyLease("p", 10))
    commands = [node.wrap(Barrier()), node.command(operation), None, lease(node, "p")]
    assert first_keys(node, *commands) == [14]


MOVING = [
    Insert(P, (14, "chosen by somebody")),
    Insert(P, ("99", "text that SQLite makes a number")),
    BlindInsert(P, (1,), ("a key that SQLite chooses",)),
    BlindInsert(P, (0, 1), (99, "chosen")),
    BlindUpdate(P, ((1,),), ((0, 99),)),
    Update(P, (1,), row_digest((1, "a")), ((0, 99),)),
    sql("DELETE FROM sqlite_sequence"),
    sql("DROP TABLE c"),
]


@pytest.mark.parametrize("operation", MOVING, ids=lambda each: type(each).__name__)
def test_not_behind_what_may_move_it(node: Replica, operation) -> None:
    node.do(KeyLease("p", 10))
    commands = [lease(node, "p", 1), node.command(operation), lease(node, "p")]
    entries = node.entries(commands)
    moved = isinstance(operation, Insert) and operation.row[0] == 14
    # The first lease has taken key 14 itself.
    assert len(node.applier.foresee(entries)) == (2 if moved else 1)
    assert len(node.applier.foresee(entries[1:])) == 0


def test_rows_that_may_go_are_not_counted_on(replica: Make) -> None:
    """Without AUTOINCREMENT the highest row alone says where keys go on."""
    node = replica("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    table = Table("t", ("id",), (0,))
    node.apply(Insert(table, (7,)))
    commands = [node.command(BlindDelete(table, ((7,),))), lease(node, "t")]
    assert first_keys(node, *commands) == []


def test_not_where_a_foreign_key_may_change_other_tables(replica: Make) -> None:
    node = replica(
        "CREATE TABLE a (id INTEGER PRIMARY KEY AUTOINCREMENT)",
        "CREATE TABLE b (id INTEGER PRIMARY KEY REFERENCES a (id) ON UPDATE CASCADE)",
    )
    table = Table("a", ("id",), (0,))
    node.apply(BlindInsert(table, (0,), (1,)))
    commands = [node.command(BlindUpdate(table, ((1,),), ((0, 9),))), lease(node, "b")]
    assert first_keys(node, *commands) == []


@pytest.mark.parametrize("table", ["none", "w"])
def test_refusals_are_left_to_the_applier(replica: Make, table: str) -> None:
    node = replica("CREATE TABLE w (id TEXT PRIMARY KEY)")
    entries = node.entries([lease(node, table)])
    assert node.applier.foresee(entries) == []
    (applied,) = node.applier.apply_batch(entries)
    assert applied.verdict
    assert applied.verdict.kind is VerdictKind.OPERATIONAL_ERROR


def test_nothing_behind_an_entry_that_cannot_be_read_or_is_very_long(node: Replica) -> None:
    behind = lease(node, "p")
    long = node.command(Insert(P, (1, "x" * LOOK_AHEAD_BYTES_MAX)))
    for command in (b"nonsense", long):
        entries = [LogEntry(50, 1, 1, command), LogEntry(51, 1, 1, behind)]
        assert node.applier.foresee(entries) == []
