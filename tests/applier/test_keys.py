"""The allocator of keys knows of all that were given, leased or not, whatever becomes of rows and tables."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from raftdjango.writeset import (
    BlindInsert,
    Insert,
    KeyLease,
    Table,
    ValidatedRead,
    VerdictKind,
    row_digest,
)
from raftdjango.writeset.chosen_keys import keys_chosen
from tests.applier.replica import Replica, sql

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[..., Replica]

AUTO = "CREATE TABLE auto (id integer PRIMARY KEY AUTOINCREMENT, v)"
PLAIN = "CREATE TABLE Plain (id INTEGER PRIMARY KEY, v)"
TABLES = {"auto": Table("auto", ("id", "v"), (0,)), "Plain": Table("Plain", ("id", "v"), (0,))}
A = TABLES["auto"]
REBUILD = (
    "CREATE TABLE new__auto (id integer PRIMARY KEY AUTOINCREMENT, v, w)",
    "INSERT INTO new__auto SELECT id, v, 0 FROM auto",
    "DROP TABLE auto",
    "ALTER TABLE new__auto RENAME TO auto",
)


def lease(node: Replica, table: str = "auto", count: int = 10) -> int:
    return node.do(KeyLease(table, count)).first_key


def chosen(node: Replica, table: Table, *keys: int) -> bytes:
    """A write-set whose keys were chosen without a lease."""
    rows = [Insert(table, (key, "chosen")) for key in keys]
    return node.command(keys_chosen(table.name, min(keys)), *rows)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("leased", [False, True])
def test_of_two_that_chose_the_same_keys_one_is_a_conflict(
    replica: Make, table: Table, *, leased: bool
) -> None:
    """Also when the rows of the first are gone by then: nothing else would tell."""
    node = replica(AUTO, PLAIN)
    first = lease(node, table.name) + 10 if leased else 1
    one, other = (chosen(node, table, first, first + 1) for _ in range(2))
    assert node.submit(one).kind is VerdictKind.APPLIED
    node.apply(node.delete(table, first), node.delete(table, first + 1))
    verdict = node.submit(other)
    assert (verdict.kind, verdict.table) == (VerdictKind.CONFLICT, table.name)
    assert lease(node, table.name) == first + 2


def test_keys_that_were_chosen_lie_below_what_is_leased_later(replica: Make) -> None:
    node = replica(AUTO)
    node.submit(chosen(node, A, 7, 8))
    assert node.select("SELECT * FROM raftdjango_key") == [("auto", 9)]
    lease(node)
    node.apply(Insert(A, (3, "of an older lease")))
    assert lease(node) == 19


def test_a_conflict_raises_nothing(replica: Make) -> None:
    node = replica(AUTO)
    twice = node.command(keys_chosen("auto", 500), Insert(A, (500, "x")), Insert(A, (500, "y")))
    assert node.submit(twice).kind is VerdictKind.CONSTRAINT_CONFLICT
    assert lease(node) == 1
    stale = node.command(keys_chosen("auto", 5), Insert(A, (600, "x")))
    assert node.submit(stale).kind is VerdictKind.CONFLICT
    assert lease(node) == 11


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_leases_and_rows_below_are_no_conflict(replica: Make, table: Table) -> None:
    """A lease of one's own, for one, that came to nothing because it lay too low."""
    node = replica(AUTO, PLAIN)
    command = chosen(node, table, 21, 22)
    assert lease(node, table.name, 20) == 1
    node.apply(Insert(table, (20, "of a lease")))
    assert node.submit(command).kind is VerdictKind.APPLIED


def test_a_row_above_is_a_conflict(replica: Make) -> None:
    node = replica(AUTO)
    command = chosen(node, A, 21)
    node.apply(Insert(A, (30, "whoever chose it")))
    node.apply(node.delete(A, 30))
    assert node.submit(command).kind is VerdictKind.CONFLICT


def test_behind_statements_leases_are_void(replica: Make) -> None:
    """A migration that gave keys first does not lose to a lease that nobody has used."""
    node = replica(AUTO)
    index = sql("CREATE INDEX i ON auto (v)")
    commands = [
        node.command(keys_chosen("auto", 1), Insert(A, (1, name)), index) for name in ("x", "y")
    ]
    lease(node)
    assert node.submit(commands[0]).kind is VerdictKind.APPLIED
    assert lease(node) == 11


def test_of_a_table_that_is_made_along_with_them(replica: Make) -> None:
    node = replica()
    command = node.command(keys_chosen("auto", 1), sql(AUTO), Insert(A, (1, "x")))
    assert node.submit(command).kind is VerdictKind.APPLIED
    assert lease(node) == 2


@pytest.mark.parametrize("key", [("auto",), ("auto", "x"), (None, 1), ("auto", 1)])
def test_the_allocators_row_itself_cannot_be_read(replica: Make, key: tuple[object, ...]) -> None:
    node = replica(AUTO)
    table = Table("raftdjango_key", ("table_name", "next_key"), tuple(range(len(key))))
    before = row_digest(("auto", 1)) if key == ("auto", 1) else b""
    verdict = node.apply(ValidatedRead(table, key, before), Insert(A, (1, "x")))
    assert verdict.message == "table raftdjango_key may not be modified"


def test_the_largest_key_of_all(replica: Make) -> None:
    node = replica(AUTO, PLAIN)
    for table in TABLES.values():
        assert node.submit(chosen(node, table, 2**63 - 1)).kind is VerdictKind.APPLIED
        assert node.do(KeyLease(table.name, 1)).message == f"table {table.name} has no keys left"


def test_rows_of_a_migration_have_used_their_keys(replica: Make) -> None:
    """It chose them without a lease, and without saying by what."""
    node = replica(AUTO)
    node.apply(
        sql("ALTER TABLE auto ADD COLUMN w"),
        Insert(Table("auto", ("id", "v", "w"), (0,)), (5, 0, 0)),
    )
    node.apply(node.delete(Table("auto", ("id", "v", "w"), (0,)), 5))
    node.apply(*map(sql, REBUILD), foreign_keys_off=True)
    assert node.select("SELECT * FROM sqlite_sequence") == [("auto", 0)]
    assert lease(node) == 6


def test_a_rebuilt_table_keeps_keys_that_were_chosen(replica: Make) -> None:
    node = replica(AUTO)
    node.submit(chosen(node, A, 41))
    node.apply(node.delete(A, 41))
    node.apply(*map(sql, REBUILD), foreign_keys_off=True)
    assert lease(node) == 42


@pytest.mark.parametrize("rebuilt", [(), REBUILD])
def test_a_table_keeps_its_leases_under_another_name(
    replica: Make, rebuilt: tuple[str, ...]
) -> None:
    node = replica(AUTO)
    lease(node)
    node.apply(Insert(A, (4, 0)))
    node.apply(node.delete(A, 4))
    node.apply(*map(sql, rebuilt), sql("ALTER TABLE auto RENAME TO other"))
    assert node.select("SELECT * FROM raftdjango_key") == [("other", 11)]
    assert lease(node, "other") == 11


def test_a_rebuilt_table_keeps_what_its_counter_knew(replica: Make) -> None:
    """Of rows that are gone, whoever chose their keys: on one machine they would come again."""
    node = replica(AUTO)
    node.apply(Insert(A, (70, 0)))
    node.apply(node.delete(A, 70))
    node.apply(*map(sql, REBUILD), foreign_keys_off=True)
    assert lease(node) == 71


def test_a_reset_beside_a_rebuilt_table(replica: Make) -> None:
    node = replica(AUTO, AUTO.replace("auto", "b"))
    b = Table("b", A.columns, A.key)
    for table in (A, b):
        lease(node, table.name)
        node.apply(Insert(table, (4, 0)))
        node.apply(node.delete(table, 4))
    reset = "UPDATE sqlite_sequence SET seq = 0 WHERE name = 'b'"
    node.apply(*map(sql, REBUILD), sql(reset), foreign_keys_off=True)
    assert (lease(node), lease(node, "b")) == (11, 1)


def test_a_reset_of_a_table_that_is_called_so(replica: Make) -> None:
    node = replica(AUTO.replace("auto", "drop_or_rename"))
    lease(node, "drop_or_rename")
    node.apply(Insert(Table("drop_or_rename", A.columns, A.key), (4, 0)))
    node.apply(sql("DELETE FROM drop_or_rename"))
    node.apply(sql("DELETE FROM sqlite_sequence WHERE name = 'drop_or_rename'"))
    assert lease(node, "drop_or_rename") == 1


def test_tables_that_swap_names(replica: Make) -> None:
    node = replica(AUTO, AUTO.replace("auto", "b"))
    for count in (10, 20):
        lease(node, "auto" if count == 10 else "b", count)
    renames = [("auto", "tmp"), ("b", "auto"), ("tmp", "b")]
    node.apply(*(sql(f"ALTER TABLE {old} RENAME TO {new}") for old, new in renames))
    assert (lease(node, "auto"), lease(node, "b")) == (21, 11)


def test_another_column_is_no_other_table(replica: Make) -> None:
    node = replica(AUTO)
    lease(node)
    node.apply(sql("ALTER TABLE auto RENAME COLUMN v TO w"))
    assert lease(node) == 11


def test_a_new_table_of_an_old_name_begins_anew(replica: Make) -> None:
    node = replica(AUTO)
    lease(node)
    node.apply(sql("DROP TABLE auto"))
    node.apply(sql(AUTO))
    assert lease(node) == 1


@pytest.mark.parametrize("value", ["'70'", "70.0", "70"])
def test_counters_that_users_wrote(replica: Make, value: str) -> None:
    """SQLite makes a number of them, and goes by the first of a table."""
    node = replica(AUTO)
    node.apply(sql(f"INSERT INTO sqlite_sequence (name, seq) VALUES ('auto', {value})"))
    node.apply(sql("INSERT INTO sqlite_sequence (name, seq) VALUES ('auto', 5)"))
    node.apply(BlindInsert(A, (1,), ("by SQLite",)))
    assert node.select("SELECT id FROM auto") == [(71,)]
    assert lease(node) == 72


def test_nothing_is_foretold_behind_keys_that_were_chosen(replica: Make) -> None:
    node = replica(AUTO)
    commands = [chosen(node, A, 1, 2), node.wrap(KeyLease("auto", 10))]
    assert node.applier.foresee(node.entries(commands)) == []
    _, leased = node.batch(commands)
    assert leased.verdict is not None
    assert leased.verdict.first_key == 3


def test_a_table_that_auto_vacuum_moves_is_not_renamed(replica: Make, tmp_path: Path) -> None:
    """It may be so on one node alone, since where tables lie is no matter of the log."""
    allocators = []
    for name in ("compact", "plain"):
        path = tmp_path / name
        if name == "compact":
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA auto_vacuum = FULL")
                connection.execute("VACUUM")
        node = replica(
            AUTO, AUTO.replace("auto", "dropped", 1), AUTO.replace("auto", "last", 1), path=path
        )
        lease(node, "dropped", 500)
        lease(node, "last")
        node.apply(sql("DROP TABLE dropped"), sql(AUTO.replace("auto", "dropped", 1)))
        allocators.append(node.select("SELECT * FROM raftdjango_key ORDER BY table_name"))
        moved = node.select("PRAGMA auto_vacuum")
        assert moved == [(1 if name == "compact" else 0,)]
    assert allocators[0] == allocators[1] == [("dropped", 501), ("last", 11)]
