"""What only snapshots on disk have: damage, crashes, a full disk."""

from __future__ import annotations

import errno
import random
from contextlib import closing, suppress
from pathlib import Path

import pytest

from raftcore.storage import (
    DiskSnapshots,
    MemoryLog,
    SnapshotDamaged,
    SnapshotFailed,
    SnapshotMissing,
    disk_snapshots,
    starting_point,
)
from tests.storage.disks import FailingDisk, PowerCut, PowerCutDisk, QuickDisk
from tests.storage.logs import files, run, snapshot
from tests.storage.test_snapshots import meta, put, taken


def open_store(folder: Path, disk: QuickDisk | None = None) -> DiskSnapshots:
    return DiskSnapshots(folder, disk=disk or QuickDisk())


@pytest.fixture
def store(tmp_path: Path) -> DiskSnapshots:
    store = open_store(tmp_path)
    put(store, meta(5), b"the older state")
    put(store, meta(8, 2), b"the newer state")
    return store


class TestDamage:
    @pytest.mark.parametrize("flip", [0x01, 0x80])
    def test_a_flipped_bit_anywhere_is_told_with_the_name(
        self, tmp_path: Path, store: DiskSnapshots, flip: int
    ) -> None:
        path = store.path(meta(8, 2))
        whole = path.read_bytes()
        for position in range(len(whole)):
            changed = bytearray(whole)
            changed[position] ^= flip
            path.write_bytes(changed)
            with pytest.raises(SnapshotDamaged) as caught:
                open_store(tmp_path).open(meta(8, 2))
            assert str(path) in str(caught.value)
            assert path.read_bytes() == changed

    def test_a_file_cut_anywhere_is_told(self, tmp_path: Path, store: DiskSnapshots) -> None:
        path = store.path(meta(8, 2))
        whole = path.read_bytes()
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            with pytest.raises(SnapshotDamaged):
                open_store(tmp_path).open(meta(8, 2))
            # Which one it was cannot be told any more, but that there was one.
            with pytest.raises(SnapshotDamaged):
                open_store(tmp_path).latest()
            assert open_store(tmp_path).snapshots() == [meta(5, size=15)]

    def test_content_moved_within_the_file_is_told(self, tmp_path: Path, store) -> None:
        path = store.path(meta(8, 2))
        path.write_bytes(b"inserted" + path.read_bytes())
        with pytest.raises(SnapshotDamaged, match="23 bytes instead of 15"):
            open_store(tmp_path).open(meta(8, 2))

    def test_another_one_under_its_name_is_told(self, tmp_path: Path, store) -> None:
        store.path(meta(5)).replace(store.path(meta(8, 2)))
        with pytest.raises(SnapshotDamaged, match="the one up to 5"):
            open_store(tmp_path).latest()

    def test_another_format_version_is_told(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.setattr(disk_snapshots, "_VERSION", 9)
        put(open_store(tmp_path), meta(5), b"state")
        monkeypatch.undo()
        with pytest.raises(SnapshotDamaged, match="version 9"):
            open_store(tmp_path).latest()

    def test_an_end_that_no_program_of_ours_wrote_is_told(self, tmp_path, monkeypatch) -> None:
        monkeypatch.setattr(disk_snapshots, "encode_snapshot_meta", lambda _: b"\xff")
        put(open_store(tmp_path), meta(5), b"state")
        with pytest.raises(SnapshotDamaged, match="cannot be read"):
            open_store(tmp_path).latest()

    def test_it_is_noticed_while_the_store_is_open(self, store: DiskSnapshots) -> None:
        assert taken(store, meta(8, 2)) == b"the newer state"
        path = store.path(meta(8, 2))
        path.write_bytes(path.read_bytes().replace(b"newer", b"nEwer"))
        with pytest.raises(SnapshotDamaged, match="content"):
            store.open(meta(8, 2))

    def test_a_file_that_shrinks_while_it_is_read_is_told(self, store: DiskSnapshots) -> None:
        with closing(store.open(meta(8, 2))) as reader:
            assert reader.read(3) == b"the"
            store.path(meta(8, 2)).write_bytes(b"the n")
            with pytest.raises(SnapshotDamaged, match="shorter"):
                reader.read(100)

    def test_it_is_replaced_by_a_good_one_of_the_same_entry(self, tmp_path: Path, store) -> None:
        store.path(meta(8, 2)).write_bytes(b"?")
        store = open_store(tmp_path)
        put(store, meta(8, 2), b"sent again")
        assert taken(store, meta(8, 2)) == b"sent again"
        assert store.latest() == meta(8, 2, 10)

    def test_it_goes_when_there_are_enough_newer_ones(self, tmp_path: Path, store) -> None:
        store.path(meta(8, 2)).write_bytes(b"?")
        store = open_store(tmp_path)
        for index in (9, 10, 11):
            assert store.path(meta(8, 2)).exists()
            put(store, meta(index), b"newer")
        assert not store.path(meta(8, 2)).exists()

    @pytest.mark.parametrize("ruin", [b"?", None])
    def test_an_older_one_is_taken_only_if_the_log_goes_on_from_it(
        self, tmp_path: Path, store: DiskSnapshots, ruin: bytes | None
    ) -> None:
        path = store.path(meta(8, 2))
        path.write_bytes(ruin or path.read_bytes().replace(b"newer", b"nEwer"))
        store = open_store(tmp_path)
        log = MemoryLog()
        log.append(None, run(1, 10))
        log.compact(snapshot(8), 5)
        point, damaged = starting_point(store, log)
        assert point == meta(5, size=15)
        assert [str(path)] == [one.name for one in damaged]
        log.compact(snapshot(8), 6)
        with pytest.raises(SnapshotDamaged, match="000008-"):
            starting_point(store, log)

    def test_without_any_the_log_alone_will_do_if_it_is_whole(self, tmp_path, store) -> None:
        for one in (meta(5), meta(8, 2)):
            store.path(one).write_bytes(b"?")
        point, damaged = starting_point(open_store(tmp_path), MemoryLog())
        assert point is None
        assert damaged


def test_files_of_others_are_left_alone(tmp_path: Path, store: DiskSnapshots) -> None:
    (tmp_path / "mine.snapshot").write_bytes(b"?")
    (tmp_path / "notes").write_bytes(b"?")
    assert open_store(tmp_path).latest() == meta(8, 2, 15)
    assert (tmp_path / "notes").exists()


def test_the_content_stands_at_the_front_of_the_file(store: DiskSnapshots) -> None:
    assert store.path(meta(5)).read_bytes().startswith(b"the older state")


class TestAdopting:
    def test_a_file_becomes_a_snapshot_without_copying(self, tmp_path, store) -> None:
        made = tmp_path / "made.unfinished"
        content = random.Random(1).randbytes(3 << 20)
        made.write_bytes(content)
        inode = made.stat().st_ino
        kept = store.adopt(meta(9), made)
        assert kept == meta(9, size=len(content))
        assert not made.exists()
        assert store.path(kept).stat().st_ino == inode
        with closing(store.open(kept)) as reader:
            assert reader.read(4 << 20) == content

    def test_one_that_is_not_there_cannot(self, tmp_path: Path, store: DiskSnapshots) -> None:
        with pytest.raises(SnapshotFailed, match="Adopting"):
            store.adopt(meta(9), tmp_path / "nothing")

    def test_one_of_another_size_is_refused_and_gone(self, tmp_path, store) -> None:
        made = tmp_path / "made"
        made.write_bytes(b"state")
        with pytest.raises(SnapshotFailed, match="instead of 6"):
            store.adopt(meta(9, size=6), made)
        assert not made.exists()
        assert store.latest() == meta(8, 2, 15)

    def test_one_that_cannot_be_read_is_told(self, tmp_path, store, monkeypatch) -> None:
        made = tmp_path / "made"
        made.write_bytes(b"state")
        monkeypatch.setattr(disk_snapshots, "_read_all", broken)
        with pytest.raises(SnapshotFailed, match="Input/output error"):
            store.adopt(meta(9), made)
        assert not made.exists()


def broken(*_: object) -> bytes:
    raise OSError(errno.EIO, "Input/output error")


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("operation", ["write", "settle", "rename", "sync_folder"])
def test_a_full_disk_is_told_and_nothing_half_is_left(tmp_path: Path, operation: str) -> None:
    disk = FailingDisk(operation, FULL)
    store = open_store(tmp_path, disk)
    put(store, meta(5), b"older")
    before = files(tmp_path)
    disk.arm()
    writer = store.begin(meta(9))
    with pytest.raises(SnapshotFailed, match="make room") as caught:
        writer.write(b"newer")
        writer.commit()
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(SnapshotFailed, match="not being written"):
        writer.write(b"more")
    assert store.latest() == meta(5, size=5)
    if operation != "sync_folder":  # then it has its name, whole, but perhaps not for long
        assert files(tmp_path) == before
    # There is room again.
    put(store, meta(9), b"newer")
    assert taken(open_store(tmp_path), meta(9)) == b"newer"


def test_the_end_may_find_no_room_either(tmp_path: Path) -> None:
    disk = FailingDisk("write", FULL)
    store = open_store(tmp_path, disk)
    writer = store.begin(meta(9))
    writer.write(b"newer")
    disk.arm()
    with pytest.raises(SnapshotFailed, match="make room"):
        writer.commit()
    assert files(tmp_path) == {}


def test_an_old_one_that_cannot_be_removed_harms_nobody(tmp_path: Path) -> None:
    disk = FailingDisk("remove", OSError(errno.EACCES, "not now"))
    store = open_store(tmp_path, disk)
    for index in (1, 2, 3):
        put(store, meta(index), b"state")
    disk.arm()
    put(store, meta(4), b"state")
    assert len(files(tmp_path)) == 4
    assert [one.index for one in store.snapshots()] == [4, 3, 2]
    put(open_store(tmp_path), meta(5), b"state")
    assert len(files(tmp_path)) == 3


def test_what_an_aborted_one_could_not_remove_goes_at_the_next_start(tmp_path: Path) -> None:
    disk = FailingDisk("remove", OSError(errno.EACCES, "not now"))
    writer = open_store(tmp_path, disk).begin(meta(4))
    disk.arm()
    writer.abort()
    assert len(files(tmp_path)) == 1
    open_store(tmp_path)
    assert files(tmp_path) == {}


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SnapshotFailed, match="file"):
        open_store(tmp_path / "file" / "snapshots")
    store = open_store(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(SnapshotFailed, match="Beginning"):
        store.begin(meta(4))


def test_a_disk_that_cannot_read_is_told(store: DiskSnapshots, monkeypatch) -> None:
    with closing(store.open(meta(5))) as reader:
        monkeypatch.setattr(disk_snapshots, "_read_all", broken)
        with pytest.raises(SnapshotFailed, match="Check the disk"):
            reader.read(3)
    with pytest.raises(SnapshotFailed, match="Input/output error"):
        store.open(meta(8, 2))
    monkeypatch.setattr(disk_snapshots.io, "FileIO", broken)
    with pytest.raises(SnapshotFailed, match="Opening"):
        store.open(meta(8, 2))


def write_until_the_cut(folder: Path, disk: PowerCutDisk) -> list[int]:
    """Commit one snapshot after another; which were acknowledged."""
    done: list[int] = []
    with suppress(PowerCut):
        store = DiskSnapshots(folder, keep=2, disk=disk)
        for index in range(1, 5):
            writer = store.begin(meta(index))
            try:
                writer.write(b"%d" % index * 700)
                writer.write(b"rest")
                writer.commit()
            finally:
                with suppress(PowerCut):
                    writer.abort()
            done.append(index)
    return done


@pytest.mark.parametrize("killed", [False, True])
def test_a_power_cut_at_any_moment_leaves_whole_snapshots(tmp_path: Path, *, killed: bool) -> None:
    done: list[int] = []
    for operations in range(200):
        folder = tmp_path / str(operations)
        folder.mkdir()
        disk = PowerCutDisk(operations)
        done = write_until_the_cut(folder, disk)
        rng = random.Random(operations)
        if not killed:
            disk.lose(rng)
        disk.operations = 1 << 30
        store = DiskSnapshots(folder, keep=2, disk=disk)
        assert not list(folder.glob("*.unfinished"))
        found = [one.index for one in store.snapshots()]
        newest = done[-1] if done else 0
        assert max(found, default=0) in {newest, newest + 1}
        if killed:
            # What a start has found is there for good.
            disk.lose(rng)
            store = DiskSnapshots(folder, keep=2, disk=disk)
            assert [one.index for one in store.snapshots()] == found
        for one in store.snapshots():
            assert taken(store, one) == b"%d" % one.index * 700 + b"rest"
        with pytest.raises(SnapshotMissing):
            store.open(meta(77))
        if done == [1, 2, 3, 4]:
            break
    assert done == [1, 2, 3, 4]
