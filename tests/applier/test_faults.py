"""What is no verdict: the node stops applying, and nothing of the entry stays."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from raftdjango.applier import (
    Applier,
    EnvironmentFault,
    Locked,
    LogEntry,
    OutOfOrder,
    VerificationFailed,
    expected_digest,
    foreign_tables,
    open_database,
    read_state,
)
from raftdjango.writeset import Insert, Table, VerdictKind, WriteSet
from tests.applier.replica import Replica, sql

T = Table("t", ("id", "v"), (0,))
SCHEMA = "CREATE TABLE t (id integer PRIMARY KEY, v)"


def test_a_full_disk_is_the_environments_fault(replica, tmp_path):
    node = replica(SCHEMA, path=tmp_path / "db.sqlite3")
    pages = node.select("PRAGMA page_count")[0][0]
    node.connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    before = node.dump()
    entries = node.entries(
        [node.command(Insert(T, (1, 1))), node.command(Insert(T, (2, b"x" * 100_000)))]
    )
    with pytest.raises(EnvironmentFault, match="SQLITE_FULL") as caught:
        node.applier.apply_batch(entries)
    assert caught.value.applied == []
    assert node.dump() == before
    assert node.applier.state.applied_index == 1
    node.connection.execute("PRAGMA max_page_count = 100000")
    kinds = [applied.verdict.kind for applied in node.applier.apply_batch(entries)]
    assert kinds == [VerdictKind.APPLIED] * 2, "the same entries, once there is room"


def test_what_was_committed_before_the_fault_is_told(replica, tmp_path):
    node = replica(SCHEMA, path=tmp_path / "db.sqlite3")
    node.connection.execute(f"PRAGMA max_page_count = {node.select('PRAGMA page_count')[0][0] + 3}")
    entries = node.entries(
        [
            node.command(Insert(T, (1, 1))),
            node.command(sql("CREATE TABLE more (x)")),
            node.command(sql("INSERT INTO t VALUES (2, zeroblob(100000))")),
        ]
    )
    with pytest.raises(EnvironmentFault) as caught:
        node.applier.apply_batch(entries)
    assert [applied.index for applied in caught.value.applied] == [2, 3]
    assert node.applier.state.applied_index == 3
    assert read_state(node.connection) == node.applier.state


def test_a_damaged_file_is_the_environments_fault(tmp_path):
    path = tmp_path / "db.sqlite3"
    node = Replica(SCHEMA, path=path)
    node.apply(*(Insert(T, (n, "x" * 1000)) for n in range(100)))
    node.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    node.connection.close()
    content = bytearray(path.read_bytes())
    content[8192 : len(content)] = b"\xff" * (len(content) - 8192)
    path.write_bytes(content)
    connection = open_database(path)
    try:
        applier = Applier(connection)
        with pytest.raises((EnvironmentFault, sqlite3.DatabaseError)):
            applier.prepare()
            node.applier = applier
            applier.apply_batch(node.entries([node.command(Insert(T, (50, 0)))]))
    finally:
        connection.close()


def test_a_lock_held_by_another_process_is_waited_for(replica, tmp_path):
    node = replica(SCHEMA, path=tmp_path / "db.sqlite3")
    other = sqlite3.connect(tmp_path / "db.sqlite3", isolation_level=None)
    waited = []
    since = []

    @contextmanager
    def waiting(since_ns):
        since.append(since_ns)
        waited.append("begin")
        if len(waited) == 2:
            other.execute("ROLLBACK")
        yield
        waited.append("end")

    node.applier = Applier(node.connection, waiting=waiting, patience_s=0.01)
    node.applier.prepare()
    entries = node.entries([node.command(Insert(T, (1, 1)))])
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Locked, match="write lock"):
        node.applier.apply_batch(entries)
    assert waited == ["begin"]
    assert node.applier.apply_batch(entries)[0].verdict.kind == VerdictKind.APPLIED
    assert waited == ["begin", "begin", "end"]
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Locked):
        node.applier.apply_batch(node.entries([node.command(Insert(T, (2, 1)))]))
    assert since[0] == since[1], "a further try: the holder's time does not begin anew"
    assert since[1] < since[2], "another wait, another holder"
    other.close()


def test_nobody_is_told_of_waiting_when_the_lock_is_free(replica):
    node = replica(SCHEMA)
    node.applier = Applier(node.connection, waiting=lambda since_ns: pytest.fail("no need to wait"))
    node.applier.prepare()
    node.apply(Insert(T, (1, 1)))


@pytest.mark.parametrize("index", [1, 3, 4])
def test_entries_must_follow_the_applied_index(replica, index):
    node = replica(SCHEMA)
    with pytest.raises(OutOfOrder, match=rf"Entry {index} .* entry 2"):
        node.applier.apply_batch([LogEntry(index, 1, 1, None)])
    assert node.applier.state.applied_index == 1


def test_what_this_version_cannot_read_stops_the_node(replica):
    node = replica(SCHEMA)
    entries = node.entries([node.command(Insert(T, (1, 1))), b"\xff\xff"])
    with pytest.raises(EnvironmentFault, match="Entry 3 cannot be applied") as caught:
        node.applier.apply_batch(entries)
    assert [applied.index for applied in caught.value.applied] == [2]


def test_tables_of_another_format_are_refused(replica):
    node = replica()
    node.connection.execute("UPDATE raftdjango_state SET format = 3")
    with pytest.raises(EnvironmentFault, match=r"format 3.*Upgrade this node"):
        Applier(node.connection).prepare()
    node.connection.execute("UPDATE raftdjango_state SET format = 1")
    with pytest.raises(EnvironmentFault, match=r"format 1.*Begin with a new database"):
        Applier(node.connection).prepare()


def test_a_database_without_the_products_tables(tmp_path):
    connection = sqlite3.connect(tmp_path / "db.sqlite3", isolation_level=None)
    assert read_state(connection) is None
    assert foreign_tables(connection) == []
    connection.execute("CREATE TABLE somebodys (x INTEGER PRIMARY KEY AUTOINCREMENT)")
    connection.execute("CREATE VIEW seen AS SELECT 1")
    assert foreign_tables(connection) == ["seen", "somebodys"]
    Applier(connection).prepare()
    assert foreign_tables(connection) == ["seen", "somebodys"]
    assert read_state(connection).applied_index == 0
    connection.close()


def test_verify_mode_finds_a_lost_change(replica):
    node = replica(SCHEMA)
    write_set = WriteSet(1, (Insert(T, (1, 1)), Insert(T, (2, 2))))
    node.connection.execute("BEGIN")
    node.connection.execute("INSERT INTO t VALUES (1, 1), (2, 2)")
    expected = expected_digest(node.connection, write_set)
    node.connection.execute("ROLLBACK")
    lost = node.command(*write_set.operations[:1], expected_digest=expected)
    with pytest.raises(VerificationFailed):
        node.submit(lost)
    assert node.select("SELECT * FROM t") == []
    whole = node.command(*write_set.operations, expected_digest=expected)
    assert node.submit(whole).kind == VerdictKind.APPLIED


def test_the_connection_for_reading_cannot_write(tmp_path):
    Replica(SCHEMA, path=tmp_path / "db.sqlite3").connection.close()
    connection = open_database(tmp_path / "db.sqlite3", for_applier=False)
    assert read_state(connection).applied_index == 1
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("INSERT INTO t VALUES (1, 1)")
    connection.close()


def _empty(node: Replica, path: Path, copy: Path) -> None:
    with closing(sqlite3.connect(":memory:")) as other, closing(sqlite3.connect(path)) as worker:
        other.backup(worker)


def _older_copy(node: Replica, path: Path, copy: Path) -> None:
    with closing(sqlite3.connect(copy)) as other, closing(sqlite3.connect(path)) as worker:
        other.backup(worker)


def _another_cluster(node: Replica, path: Path, copy: Path) -> None:
    """That has come just as far."""
    with closing(sqlite3.connect(path)) as worker, worker:
        worker.execute("UPDATE raftdjango_state SET cluster_id = x'07'")


def _removed(node: Replica, path: Path, copy: Path) -> None:
    path.unlink()


def _another_file(node: Replica, path: Path, copy: Path) -> None:
    copy.replace(path)


REPLACED = {
    _empty: "it shows none",
    _older_copy: "applied entry 3 last, and it shows entry 2",
    _another_cluster: "another cluster",
    _removed: "was removed",
    _another_file: "another was put in its place",
}


@pytest.mark.parametrize("way", ["apply_batch", "apply_at_once"])
@pytest.mark.parametrize("replace", REPLACED)
def test_another_database_in_its_place_is_not_written(replica, tmp_path, replace, way):
    path, copy = tmp_path / "db.sqlite3", tmp_path / "copy.sqlite3"
    node = replica(SCHEMA, path=path)
    node.apply(Insert(T, (1, 1)))
    with closing(sqlite3.connect(copy)) as other:
        node.connection.backup(other)
    node.apply(Insert(T, (2, 2)))
    entries = node.entries([node.command(Insert(T, (3, 3)))])
    replace(node, path, copy)
    before = node.dump()
    with pytest.raises(EnvironmentFault, match=REPLACED[replace]) as caught:
        getattr(node.applier, way)(entries)
    assert caught.value.applied == []
    assert "Restart the raftnode" in str(caught.value)
    assert node.dump() == before
    assert not node.connection.in_transaction
