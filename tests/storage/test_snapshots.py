"""What both stores of snapshots promise: one suite, run against each."""

from __future__ import annotations

import hashlib
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from raftcore.storage import (
    DiskSnapshots,
    MemoryLog,
    MemorySnapshots,
    SnapshotFailed,
    SnapshotMissing,
    SnapshotStore,
    starting_point,
)
from raftcore.types import SnapshotMeta
from tests.storage.disks import QuickDisk
from tests.storage.logs import run, snapshot


def meta(index: int, term: int = 1, size: int = 0) -> SnapshotMeta:
    return replace(snapshot(index, term), size=size)


def put(store: SnapshotStore, what: SnapshotMeta, *chunks: bytes) -> SnapshotMeta:
    writer = store.begin(what)
    for chunk in chunks:
        writer.write(chunk)
    return writer.commit()


def taken(store: SnapshotStore, what: SnapshotMeta, offset: int = 0) -> bytes:
    """The content from `offset` on, in small helpings."""
    with closing(store.open(what, offset)) as reader:
        parts = []
        while part := reader.read(7):
            parts.append(part)
        assert reader.read(7) == b""
        return b"".join(parts)


class Reopening:
    """Opens its folder anew for everything that it is asked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getattr__(self, name: str) -> object:
        return getattr(DiskSnapshots(self._folder, disk=QuickDisk()), name)


@pytest.fixture(params=["memory", "disk", "disk opened again"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SnapshotStore:
    if request.param == "memory":
        return MemorySnapshots()
    if request.param == "disk opened again":
        return Reopening(tmp_path / "snapshots")  # type: ignore[return-value]
    return DiskSnapshots(tmp_path / "snapshots", disk=QuickDisk())


def test_a_new_store_is_empty(store: SnapshotStore) -> None:
    assert store.latest() is None
    assert store.snapshots() == []
    with pytest.raises(SnapshotMissing):
        store.open(meta(1))


@pytest.mark.parametrize("chunks", [(), (b"",), (b"state",), (b"x" * 5000, b"", b"y" * 3)])
def test_a_snapshot_comes_back_as_it_was_written(store: SnapshotStore, chunks) -> None:
    whole = b"".join(chunks)
    kept = put(store, meta(12, 3), *chunks)
    assert kept == meta(12, 3, len(whole))
    assert store.latest() == kept
    assert taken(store, kept) == whole
    with closing(store.open(kept)) as reader:
        assert reader.meta == kept
        assert reader.sha256 == hashlib.sha256(whole).digest()


def test_it_is_read_from_any_offset_on(store: SnapshotStore) -> None:
    kept = put(store, meta(1), bytes(range(100)))
    for offset in (0, 1, 50, 99, 100):
        assert taken(store, kept, offset) == bytes(range(offset, 100))
    for offset in (-1, 101):
        with pytest.raises(ValueError, match="offset"):
            store.open(kept, offset)


def test_nobody_sees_it_before_it_is_committed(tmp_path: Path) -> None:
    for store in (MemorySnapshots(), DiskSnapshots(tmp_path, disk=QuickDisk())):
        writer = store.begin(meta(4))
        writer.write(b"state")
        assert writer.offset == 5
        assert store.latest() is None
        with pytest.raises(SnapshotMissing):
            store.open(meta(4))
        writer.abort()
        writer.abort()
        assert store.latest() is None
        for refused in (lambda writer=writer: writer.write(b"x"), writer.commit):
            with pytest.raises(SnapshotFailed, match="not being written"):
                refused()
    assert not list(tmp_path.iterdir())


def test_what_was_committed_is_not_aborted_any_more(store: SnapshotStore) -> None:
    writer = store.begin(meta(4))
    writer.write(b"state")
    kept = writer.commit()
    writer.abort()
    assert taken(store, kept) == b"state"


@pytest.mark.parametrize("size", [4, 6])
def test_one_of_another_size_than_was_told_is_refused(store: SnapshotStore, size: int) -> None:
    with pytest.raises(SnapshotFailed, match="5 bytes instead"):
        put(store, meta(4, size=size), b"state")
    assert store.latest() is None
    assert put(store, meta(4, size=5), b"state") == meta(4, size=5)


def test_the_newest_are_kept_by_number(store: SnapshotStore) -> None:
    # Not by the order of their names, nor by that of writing.
    for index in (9, 10_000_000_000_000_000_000 // 2, 99, 100):
        put(store, meta(index), b"%d" % index)
    assert [one.index for one in store.snapshots()] == [5 * 10**18, 100, 99]
    with pytest.raises(SnapshotMissing):
        store.open(meta(9))
    put(store, meta(50), b"too late")
    assert [one.index for one in store.snapshots()] == [5 * 10**18, 100, 99]
    assert taken(store, meta(99)) == b"99"


def test_the_later_term_is_the_newer_of_two(store: SnapshotStore) -> None:
    put(store, meta(5, 2), b"two")
    put(store, meta(5, 1), b"one")
    assert store.latest() == meta(5, 2, 3)
    assert taken(store, meta(5, 1)) == b"one"


def test_another_one_of_the_same_entry_takes_its_place(tmp_path: Path) -> None:
    for store in (MemorySnapshots(), DiskSnapshots(tmp_path, disk=QuickDisk())):
        first, second = store.begin(meta(5)), store.begin(meta(5))
        other = store.begin(meta(6))
        for writer, chunk in ((first, b"first"), (other, b"other"), (second, b"the second")):
            writer.write(chunk)
        kept = first.commit()
        with closing(store.open(kept)) as reader:
            assert reader.read(2) == b"fi"
            assert second.commit() == meta(5, size=10)
            assert reader.read(99) == b"rst"
        assert taken(store, kept) == b"the second"
        assert [one.index for one in store.snapshots()] == [5]
        other.commit()
        assert [one.index for one in store.snapshots()] == [6, 5]


def test_one_that_is_read_stays_readable_when_it_goes(store: SnapshotStore) -> None:
    kept = put(store, meta(1), bytes(range(200)))
    with closing(store.open(kept, 100)) as reader:
        for index in range(2, 6):
            put(store, meta(index), b"newer")
        with pytest.raises(SnapshotMissing):
            store.open(kept)
        assert reader.read(500) == bytes(range(100, 200))


def test_several_threads_write_at_once(tmp_path: Path) -> None:
    for store in (MemorySnapshots(), DiskSnapshots(tmp_path, disk=QuickDisk())):
        troubles: list[BaseException] = []

        def write(number: int, store=store, troubles=troubles) -> None:
            try:
                for index in range(1, 20):
                    put(store, meta(index), b"%d" % number, b"x" * index)
            except BaseException as error:
                troubles.append(error)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not troubles
        assert [one.index for one in store.snapshots()] == [19, 18, 17]
        assert all(taken(store, one)[1:] == b"x" * one.index for one in store.snapshots())
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("keep", [0, -1])
def test_one_is_kept_at_least(tmp_path: Path, keep: int) -> None:
    for make in (MemorySnapshots, lambda keep: DiskSnapshots(tmp_path, keep=keep)):
        with pytest.raises(ValueError, match="keep"):
            make(keep)


def test_a_start_takes_the_newest_unless_the_log_has_a_gap_behind_it(store: SnapshotStore) -> None:
    log = MemoryLog()
    log.append(None, run(1, 10))
    assert starting_point(store, log) == (None, [])
    log.compact(snapshot(6), 5)
    with pytest.raises(SnapshotMissing, match="begins at 6"):
        starting_point(store, log)
    put(store, meta(4), b"too old")
    with pytest.raises(SnapshotMissing, match="begins at 6"):
        starting_point(store, log)
    put(store, meta(5), b"just fits")
    assert starting_point(store, log) == (meta(5, size=9), [])
    put(store, meta(30, 2), b"has come in, and the log has not been told")
    point, _ = starting_point(store, log)
    assert point is not None
    assert point.index == 30


def test_a_witness_starts_where_its_log_begins(store: SnapshotStore) -> None:
    log = MemoryLog()
    assert starting_point(store, log, witness=True) == (None, [])
    log.append(None, run(1, 10))
    log.compact(snapshot(6), 5)
    assert starting_point(store, log, witness=True) == (snapshot(6), [])
