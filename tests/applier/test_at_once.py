"""What a caller may wait for: light entries, when nobody has the write lock."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from raftdjango.applier import Applier, EnvironmentFault, LogEntry
from raftdjango.applier.groups import LIGHT_ROWS_MAX, LIGHT_VALUE_BYTES_MAX
from raftdjango.applier.outcomes import PRUNE_EVERY
from raftdjango.writeset import (
    Barrier,
    BlindDelete,
    BlindInsert,
    BlindUpdate,
    Insert,
    KeyLease,
    Table,
    VerdictKind,
)
from tests.applier.replica import Replica, sql

SCHEMA = (
    "CREATE TABLE p (id integer PRIMARY KEY, name text, key text UNIQUE)",
    "CREATE TABLE c (id integer PRIMARY KEY, p int REFERENCES p (id) ON DELETE CASCADE,"
    " key text REFERENCES p (key), note text)",
    "CREATE TABLE free (id integer PRIMARY KEY, name text)",
    "CREATE TABLE made (id integer PRIMARY KEY, name text,"
    " key text GENERATED ALWAYS AS (name || '!') STORED UNIQUE)",
    "CREATE TABLE refers (id integer PRIMARY KEY, key text REFERENCES made (key))",
)
P = Table("p", ("id", "name", "key"), (0,))
C = Table("c", ("id", "p", "key", "note"), (0,))
FREE = Table("free", ("id", "name"), (0,))
MADE = Table("made", ("id", "name"), (0,))


def known(*, path: object = ":memory:") -> Replica:
    """A replica whose schema has been read, with one parent and one child."""
    node = Replica(*SCHEMA, path=path)  # type: ignore[arg-type]
    node.apply(Insert(P, (1, "a", "k")), Insert(C, (1, 1, "k", None)))
    return node


LIGHT = {
    "an insert": lambda node: node.command(BlindInsert(P, (0, 1), (2, "b"), (0,))),
    "a captured insert": lambda node: node.command(Insert(C, (2, 1, None, None))),
    "a foreign key that does not hold": lambda node: node.command(Insert(C, (2, 9, None, None))),
    "a conflict": lambda node: node.command(Insert(P, (1, "b", "l"))),
    "another schema": lambda node: node.command(Insert(P, (2, "b", "l")), schema_version=0),
    "an update beside the keys": lambda node: node.command(node.update(P, 1, name="b")),
    "a delete without children": lambda node: node.command(node.delete(C, 1)),
    "what is fenced off": lambda node: node.command(Insert(P, (2, "b", "l")), fence=b"me"),
    "a lease": lambda node: node.wrap(KeyLease("p", 10)),
    "a barrier": lambda node: node.wrap(Barrier()),
    "nothing": lambda node: None,
}
HEAVY = {
    "a statement": lambda node: node.command(sql("INSERT INTO p (id) SELECT id + 1 FROM p")),
    "foreign keys off": lambda node: node.command(node.delete(C, 1), foreign_keys_off=True),
    "a parent's end": lambda node: node.command(BlindDelete(P, ((1,),))),
    "a captured parent's end": lambda node: node.command(node.delete(P, 1)),
    "a parent's other key": lambda node: node.command(BlindUpdate(P, ((1,),), ((2, "l"),))),
    "a parent's key that is made of another column": lambda node: node.command(
        BlindUpdate(MADE, ((1,),), ((1, "b"),))
    ),
    "a digest over tables": lambda node: node.command(node.delete(C, 1), expected_digest=b"x" * 16),
    "a table of the product's own": lambda node: node.command(
        BlindDelete(Table("raftdjango_key", ("table_name",), (0,)), (("p",),))
    ),
    "what this version cannot read": lambda node: b"\xff\xff",
}


@pytest.mark.parametrize("name", LIGHT)
def test_light_entries_are_applied_as_in_any_batch(name):
    first, second = known(), known()
    with closing(first.connection), closing(second.connection):
        commands = [LIGHT[name](first), LIGHT[name](first)]
        done = first.applier.apply_at_once(first.entries(commands))
        assert done is not None
        assert done == second.batch(commands)
        assert first.dump() == second.dump()
        assert first.applier.state == second.applier.state


@pytest.mark.parametrize("name", HEAVY)
def test_what_may_be_much_work_is_left_alone(name):
    with closing((node := known()).connection):
        light = node.command(Insert(P, (7, "b", "m")))
        before = node.dump()
        for commands in ([HEAVY[name](node)], [light, HEAVY[name](node)]):
            assert node.applier.apply_at_once(node.entries(commands)) is None
            assert node.dump() == before
            assert not node.connection.in_transaction


@pytest.mark.parametrize(
    "operation",
    [
        lambda keys: BlindUpdate(C, keys, ((2, None),)),
        lambda keys: BlindDelete(C, keys),
    ],
)
def test_few_rows_are_light_and_many_are_not(operation):
    with closing((node := known()).connection):
        keys = tuple((key,) for key in range(LIGHT_ROWS_MAX))
        few = node.command(operation(keys))
        assert node.applier.apply_at_once(node.entries([few])) is not None
        rest = node.command(operation(keys[1:]))
        two = node.command(operation(keys[:1]), Insert(P, (2, "b", None)))
        assert node.applier.apply_at_once(node.entries([rest, two])) is None
        assert [each.verdict.kind for each in node.batch([rest, two])] == [VerdictKind.APPLIED] * 2


TOUCHED = {
    "updated": lambda node: node.update(P, 9, key="m"),
    "updated blindly": lambda node: BlindUpdate(P, ((9,),), ((1, "b"),)),
    "read": lambda node: node.read(P, 9),
    "deleted": lambda node: node.delete(FREE, 9),
    "deleted blindly": lambda node: BlindDelete(FREE, ((9,),)),
    "of which a foreign key's columns change": lambda node: BlindUpdate(C, ((9,),), ((1, 1),)),
    "made longer than it may be": lambda node: BlindUpdate(FREE, ((1,),), ((1, LONG),)),
}
LONG = "ä" * (LIGHT_VALUE_BYTES_MAX // 2 + 1)


@pytest.mark.parametrize("name", TOUCHED)
def test_a_long_row_is_left_alone_and_all_before_it_undone(name):
    with closing((node := known()).connection):
        node.apply(
            Insert(P, (9, LONG, None)), Insert(C, (9, None, None, None)), Insert(FREE, (9, LONG))
        )
        node.apply(Insert(FREE, (1, "short")))
        node.apply(BlindUpdate(C, ((9,),), ((3, LONG),)))
        commands = [node.command(Insert(P, (7, "b", "l"))), node.command(TOUCHED[name](node))]
        before, state = node.dump(), node.applier.state
        entries = node.entries(commands)
        assert node.applier.apply_at_once(entries) is None
        assert node.dump() == before
        assert node.applier.state == state
        assert not node.connection.in_transaction
        done = node.applier.apply_batch(entries)
        assert [each.verdict.kind for each in done] == [VerdictKind.APPLIED] * 2, "never a verdict"
        short = node.entries([node.command(Insert(P, (8, "b", "n")))])
        assert node.applier.apply_at_once(short) is not None, "the schema is still known"


def test_where_outcomes_are_pruned_is_left_alone():
    with closing((node := known()).connection):
        following = node.applier.state.applied_index + 1
        first = [LogEntry(n, 1, node.time_ms, None) for n in range(following, PRUNE_EVERY)]
        assert node.applier.apply_at_once(first) is not None
        pruning = [LogEntry(PRUNE_EVERY, 1, node.time_ms, None)]
        assert node.applier.apply_at_once(pruning) is None
        assert node.applier.apply_batch(pruning)


def test_a_schema_that_must_be_read_first_is_left_alone():
    with closing((node := known()).connection):
        insert = [node.entries([node.command(Insert(P, (n, "b", None)))]) for n in (2, 3)]
        node.applier = Applier(node.connection)
        node.applier.prepare()
        assert node.applier.apply_at_once(insert[0]) is None
        assert node.applier.apply_batch(insert[0])
        (again,) = node.entries([node.command(Insert(P, (3, "b", None)))])
        assert node.applier.apply_at_once([again]) is not None


def test_a_lock_held_by_another_process_is_not_waited_for(tmp_path):
    path = tmp_path / "db.sqlite3"
    with closing((node := known(path=path)).connection), closing(_connect(path)) as other:
        node.applier._waiting = lambda: pytest.fail("waits")
        entries = node.entries([node.command(Insert(P, (2, "b", None)))])
        before = node.dump()
        other.execute("BEGIN IMMEDIATE")
        assert node.applier.apply_at_once(entries) is None
        assert node.dump() == before
        other.execute("ROLLBACK")
        (applied,) = node.applier.apply_at_once(entries)  # type: ignore[misc]
        assert applied.verdict.kind is VerdictKind.APPLIED
        assert node.row(P, 2) == (2, "b", None)


def test_only_a_full_batch_makes_a_checkpoint(tmp_path):
    path = tmp_path / "db.sqlite3"
    with closing((node := known(path=path)).connection):
        for key in range(2, 82):
            large = node.command(Insert(P, (key, "x" * 60_000, None)))
            assert node.applier.apply_at_once(node.entries([large])) is not None
        assert path.stat().st_size < 1_000_000, "all of it is in SQLite's log"
        node.submit(None)
        assert path.stat().st_size > 4_000_000


def test_a_full_disk_is_the_environments_fault_here_too(tmp_path):
    path = tmp_path / "db.sqlite3"
    with closing((node := known(path=path)).connection):
        pages = node.select("PRAGMA page_count")[0][0]
        node.connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        before = node.dump()
        entries = node.entries([node.command(Insert(P, (2, "x" * 60_000, None)))])
        with pytest.raises(EnvironmentFault, match="SQLITE_FULL") as caught:
            node.applier.apply_at_once(entries)
        assert caught.value.applied == []
        assert node.dump() == before
        assert not node.connection.in_transaction


def _connect(path: object) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)  # type: ignore[arg-type]
