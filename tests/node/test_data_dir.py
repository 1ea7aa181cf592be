"""Whose a data directory is, and what fits together: each mistake is refused before it does harm."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from raftcore.storage import MemoryLog
from raftcore.types import Entry, EntryKind
from raftdjango.applier import AppliedState
from raftdjango.node import data_dir
from raftdjango.node.data_dir import (
    DataDirLock,
    Identity,
    check_socket_path,
    open_identity,
    with_cluster,
    write_identity,
)
from raftdjango.node.database import check_file, check_state
from raftdjango.node.errors import StartRefused

CLUSTER = b"c" * 16


def test_a_new_folder_gets_an_identity_and_keeps_it(tmp_path):
    first = open_identity(tmp_path / "g", group="g", node_id="n1")
    assert len(first.incarnation) == 16
    assert first.cluster_id == b""
    assert open_identity(tmp_path / "g", group="g", node_id="n1") == first
    assert open_identity(tmp_path / "h", group="h", node_id="n1").incarnation != first.incarnation


def test_the_cluster_id_is_kept(tmp_path):
    formed = with_cluster(open_identity(tmp_path, group="g", node_id="n1"), CLUSTER)
    write_identity(tmp_path, formed)
    assert open_identity(tmp_path, group="g", node_id="n1") == formed


def test_only_the_owner_may_look_in(tmp_path):
    open_identity(tmp_path / "g", group="g", node_id="n1")
    assert stat.S_IMODE((tmp_path / "g").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"group": "g", "node_id": "n2"}, "belongs to node 'n1', and this is node 'n2'.*NODE_ID"),
        ({"group": "h", "node_id": "n1"}, "belongs to group 'g', not to 'h'"),
    ],
)
def test_a_folder_of_somebody_else_is_refused(tmp_path, asked, words):
    open_identity(tmp_path, group="g", node_id="n1")
    with pytest.raises(StartRefused, match=words):
        open_identity(tmp_path, **asked)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1}', '{"format": 1, "group": 2}'])
def test_a_damaged_identity_is_refused(tmp_path, content):
    (tmp_path / "identity.json").write_text(content)
    with pytest.raises(StartRefused, match="cannot be read"):
        open_identity(tmp_path, group="g", node_id="n1")


def test_an_identity_of_a_later_release_is_refused(tmp_path):
    (tmp_path / "identity.json").write_text('{"format": 2}')
    with pytest.raises(StartRefused, match="format 2; this release knows 1"):
        open_identity(tmp_path, group="g", node_id="n1")


def test_a_log_without_an_identity_is_refused(tmp_path):
    """A new incarnation over an old log could vote twice."""
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "segment").touch()
    with pytest.raises(StartRefused, match="missing beside a log"):
        open_identity(tmp_path, group="g", node_id="n1")


def test_an_interrupted_write_leaves_the_former_identity(tmp_path, monkeypatch):
    first = open_identity(tmp_path, group="g", node_id="n1")
    monkeypatch.setattr(data_dir.os, "fsync", lambda fd: (_ for _ in ()).throw(OSError("power")))
    with pytest.raises(OSError, match="power"):
        write_identity(tmp_path, with_cluster(first, CLUSTER))
    monkeypatch.undo()
    assert open_identity(tmp_path, group="g", node_id="n1") == first


def test_an_identity_that_is_found_is_made_durable(tmp_path, monkeypatch):
    """Who wrote it may have been killed before the folder was synced: a power cut would take it."""
    open_identity(tmp_path / "g", group="g", node_id="n1")
    synced: list[Path] = []
    monkeypatch.setattr(data_dir, "sync_folder", synced.append)
    open_identity(tmp_path / "g", group="g", node_id="n1")
    assert synced == [tmp_path / "g", tmp_path]


def test_one_lock_at_a_time_and_the_holder_is_named(tmp_path):
    first, second = DataDirLock(tmp_path / "d"), DataDirLock(tmp_path / "d")
    first.acquire()
    with pytest.raises(StartRefused, match=f"Another raftnode .process {os.getpid()}. runs on"):
        second.acquire()
    first.release()
    second.acquire()
    second.release()


def test_a_path_too_long_for_a_socket_names_the_setting(tmp_path):
    check_socket_path(Path("/") / ("x" * (data_dir.SOCKET_PATH_BYTES_MAX - 1)))
    with pytest.raises(StartRefused, match="DATA_DIR"):
        check_socket_path(Path("/") / ("x" * data_dir.SOCKET_PATH_BYTES_MAX))


def test_a_file_with_somebody_elses_tables_is_refused_and_unchanged(tmp_path):
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE precious (id INTEGER PRIMARY KEY)")
    before = path.read_bytes()
    with pytest.raises(StartRefused, match=r"precious.*loaddata"):
        check_file(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_or_empty_file_is_fine_and_a_missing_folder_is_not(tmp_path):
    check_file(tmp_path / "new.db")
    (tmp_path / "empty.db").touch()
    check_file(tmp_path / "empty.db")
    with pytest.raises(StartRefused, match="folder"):
        check_file(tmp_path / "nowhere" / "new.db")


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "text.db").write_text("This is no database, but long enough to be looked at." * 20)
    with pytest.raises(StartRefused, match="cannot be read"):
        check_file(tmp_path / "text.db")


def log_of(*terms: int) -> MemoryLog:
    log = MemoryLog()
    log.append(
        None,
        [Entry(index, term, EntryKind.NOOP, 0, b"") for index, term in enumerate(terms, start=1)],
    )
    return log


def state(index: int = 0, term: int = 0, cluster: bytes | None = None, group: str | None = None):
    return AppliedState(index, term, 0, 0, cluster, group)


IDENTITY = Identity("g", "n1", b"i" * 16, CLUSTER)


@pytest.mark.parametrize(
    ("found", "log", "words"),
    [
        (state(3, 1, CLUSTER, "g"), log_of(), "is new, so the log was lost"),
        (state(3, 1, CLUSTER, "g"), log_of(1, 1), "restored from an older copy, or lost its end"),
        (state(2, 1, CLUSTER, "g"), log_of(1, 2), "in term 1, where the log has term 2"),
        (state(1, 1, b"d" * 16, "g"), log_of(1), "belongs to cluster 6464"),
        (state(1, 1, CLUSTER, "h"), log_of(1), "belongs to group 'h'"),
    ],
)
def test_a_database_that_does_not_fit_is_refused(tmp_path, found, log, words):
    with pytest.raises(StartRefused, match=words):
        check_state(tmp_path / "db", found, IDENTITY, log, tmp_path)


@pytest.mark.parametrize("found", [state(), state(1, 1, CLUSTER, "g"), state(2, 1, CLUSTER, "g")])
def test_a_database_behind_the_log_is_fine(tmp_path, found):
    check_state(tmp_path / "db", found, IDENTITY, log_of(1, 1), tmp_path)
