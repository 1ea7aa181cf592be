"""What only the log on disk has when its beginning goes: files, threads, failures."""

from __future__ import annotations

import errno
import threading
from contextlib import closing
from pathlib import Path

import pytest

from raftcore.storage import (
    LogDamaged,
    LogFailed,
    LogNotCompacted,
    LogVersionUnknown,
    WriteAheadLog,
)
from raftcore.storage import log_base as base_module
from raftcore.storage.disk import Disk
from raftcore.storage.log_base import Base, read_base
from raftcore.types import HardState
from tests.storage.disks import FailingDisk, QuickDisk
from tests.storage.logs import content, entry, files, open_log, run, snapshot, write


def segments(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in folder.glob("*.wal"))


@pytest.fixture
def log(tmp_path: Path):
    """Entries 1 to 20, two to a segment."""
    log = open_log(tmp_path)
    log.append(HardState(1, "n1"), [])
    for index in range(1, 21):
        write(log, [entry(index, data=bytes(1700))])
    assert segments(tmp_path) == list(range(1, 11))
    yield log
    log.close()


def test_segments_that_hold_nothing_else_are_removed(tmp_path: Path, log: WriteAheadLog) -> None:
    before = log.content_bytes
    log.compact(snapshot(12), 10)
    assert segments(tmp_path) == [6, 7, 8, 9, 10]
    assert log.size_bytes == 5 * 4096
    assert log.content_bytes == pytest.approx(before / 2, rel=0.01)
    log.compact(snapshot(12), 11)  # the first half of a segment
    assert segments(tmp_path) == [6, 7, 8, 9, 10]
    log.compact(snapshot(20), 20)  # the one that is written to stays
    assert segments(tmp_path) == [10]
    write(log, run(21, 22))
    assert content(log) == run(21, 22)


def test_what_a_power_cut_tore_off_goes_with_its_segment(
    tmp_path: Path, log: WriteAheadLog
) -> None:
    torn = tmp_path / f"{3:016d}.torn-at-512"
    torn.write_bytes(b"torn")
    other = tmp_path / f"{9:016d}.torn-at-512"
    other.write_bytes(b"torn")
    log.compact(snapshot(10), 10)
    assert not torn.exists()
    assert other.exists()


def test_no_segment_goes_before_the_base_is_durable(tmp_path: Path) -> None:
    class Recording(QuickDisk):
        def __init__(self) -> None:
            self.calls: list[str] = []

        def settle(self, file) -> None:  # type: ignore[no-untyped-def]
            self.calls.append(f"settle {Path(str(file.name)).name}")

        def rename(self, path: Path, to: Path) -> None:
            self.calls.append(f"rename {to.name}")
            super().rename(path, to)

        def remove(self, path: Path) -> None:
            self.calls.append("remove")
            super().remove(path)

        def sync_folder(self, folder: Path) -> None:
            self.calls.append("sync_folder")

    disk = Recording()
    with closing(open_log(tmp_path, disk)) as log:
        for index in range(1, 7):
            write(log, [entry(index, data=bytes(1700))])
        expected = ["settle base.unfinished", "rename base", "sync_folder"]
        disk.calls.clear()
        log.compact(snapshot(5), 4)
        assert disk.calls == [*expected, "remove", "remove", "sync_folder"]
        disk.calls.clear()
        log.compact(snapshot(5), 4)  # nothing to remove
        assert disk.calls == expected
        disk.calls.clear()
        log.reset(snapshot(9))
        create = [
            "settle 0000000000000004.unfinished",
            "rename 0000000000000004.wal",
            "sync_folder",
        ]
        assert disk.calls == [*create, *expected, "remove", "sync_folder"]


def test_what_is_replaced_counts_until_what_replaces_it_is_durable(
    tmp_path: Path, log: WriteAheadLog
) -> None:
    before = content(log)
    log.append(None, run(9, 9, term=2))
    log.append(None, run(7, 8, term=3))
    log.compact(snapshot(6), 6)
    assert content(log) == run(7, 8, term=3)
    log.close()
    with closing(open_log(tmp_path)) as again:
        assert content(again) == before[6:]
        again.append(None, run(7, 8, term=3))
        again.sync()
        again.compact(snapshot(6), 6)
    assert segments(tmp_path) == [10]
    with closing(open_log(tmp_path)) as again:
        assert content(again) == run(7, 8, term=3)


def test_a_base_may_stand_before_what_was_replaced(tmp_path: Path) -> None:
    # The oldest segment then begins with entries that continue others that are gone.
    log = open_log(tmp_path)
    write(log, run(1, 5), HardState(1, "n1"))
    write(log, [entry(6, data=bytes(3600))])  # fills the segment
    write(log, run(7, 9), HardState(2, "n2"))
    write(log, run(4, 5, term=3))
    log.compact(snapshot(3), 3)
    assert segments(tmp_path) == [3]
    log.close()
    with closing(open_log(tmp_path)) as again:
        assert again.hard_state == HardState(2, "n2")
        assert content(again) == run(4, 5, term=3)


def test_a_vote_survives_although_all_that_held_it_is_gone(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    write(log, run(1, 3), HardState(8, "n2"))
    log.reset(snapshot(9, 7))
    log.close()
    assert b"n2" not in (tmp_path / f"{2:016d}.wal").read_bytes()
    for _ in range(2):
        with closing(open_log(tmp_path)) as again:
            assert again.hard_state == HardState(8, "n2")
            again.compact(snapshot(9, 7), 9)


def test_a_segment_made_ahead_is_taken_after_a_reset(tmp_path: Path) -> None:
    log = WriteAheadLog.open(tmp_path, segment_bytes=4096, disk=QuickDisk())
    write(log, run(1, 3))
    log.reset(snapshot(9))
    write(log, run(10, 12))
    log.close()
    assert segments(tmp_path) == [2, 3]
    with closing(open_log(tmp_path)) as again:
        assert content(again) == run(10, 12)


class TestLeftovers:
    """What a crash leaves beside the log."""

    def test_segments_before_the_base_do_not_count(self, tmp_path: Path, log) -> None:
        old = files(tmp_path)
        log.compact(snapshot(12), 10)
        log.close()
        for name, whole in old.items():
            if name < f"{6:016d}":
                # Whatever stands in them.
                (tmp_path / name).write_bytes(whole[:700])
        with closing(open_log(tmp_path)) as again:
            assert again.first_index == 11
            assert content(again)[-1] == entry(20, data=bytes(1700))
        assert segments(tmp_path) == [6, 7, 8, 9, 10]

    def test_a_base_that_was_not_finished_is_none(self, tmp_path: Path, log) -> None:
        log.compact(snapshot(4), 4)
        log.close()
        (tmp_path / "base.unfinished").write_bytes(b"half a ba")
        with closing(open_log(tmp_path)) as again:
            assert again.snapshot == snapshot(4)
        assert not (tmp_path / "base.unfinished").exists()

    def test_a_segment_that_could_not_be_removed_is_tried_again(self, tmp_path: Path) -> None:
        disk = FailingDisk("remove", OSError(errno.EACCES, "not now"))
        with closing(open_log(tmp_path, disk)) as log:
            for index in range(1, 7):
                write(log, [entry(index, data=bytes(1700))])
            disk.arm()
            log.compact(snapshot(4), 4)
            assert segments(tmp_path) == [1, 2, 3]
            write(log, run(7, 8))
            log.compact(snapshot(5), 4)
            assert 1 not in segments(tmp_path)


class TestDamage:
    @pytest.fixture
    def folder(self, tmp_path: Path, log: WriteAheadLog) -> Path:
        log.compact(snapshot(12), 10)
        log.close()
        return tmp_path

    def refused(self, folder: Path) -> LogDamaged:
        before = files(folder)
        with pytest.raises(LogDamaged) as caught:
            open_log(folder)
        assert files(folder) == before
        return caught.value

    @pytest.mark.parametrize("flip", [0x01, 0x80])
    def test_a_flipped_bit_anywhere_in_the_base_is_refused(self, folder: Path, flip: int) -> None:
        path = folder / "base"
        whole = path.read_bytes()
        for position in range(len(whole)):
            changed = bytearray(whole)
            changed[position] ^= flip
            path.write_bytes(changed)
            assert self.refused(folder).path == path

    def test_a_base_cut_anywhere_is_refused(self, folder: Path) -> None:
        path = folder / "base"
        whole = path.read_bytes()
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            assert self.refused(folder).path == path

    def test_a_base_that_is_missing_is_noticed(self, folder: Path) -> None:
        (folder / "base").unlink()
        assert "missing" in self.refused(folder).what

    @pytest.mark.parametrize("sequence", [6, 8])
    def test_a_missing_segment_is_refused(self, folder: Path, sequence: int) -> None:
        path = folder / f"{sequence:016d}.wal"
        path.unlink()
        assert self.refused(folder).path == path

    def test_a_base_newer_than_all_segments_is_refused(self, folder: Path) -> None:
        for path in folder.glob("*.wal"):
            path.unlink()
        assert self.refused(folder).path == folder / f"{6:016d}.wal"

    def test_the_chain_goes_on_from_segments_that_are_gone(self, folder: Path) -> None:
        disk = Disk()
        base = read_base(folder / "base", disk)
        assert base is not None
        other = Base(base.snapshot, base.first_index, base.segment, base.chain ^ 1, HardState())
        (folder / "base").write_bytes(other.encode())
        assert self.refused(folder).path == folder / f"{6:016d}.wal"

    @pytest.mark.parametrize(("first_index", "segment"), [(0, 6), (14, 6), (11, 0)])
    def test_a_base_that_no_program_of_ours_wrote_is_refused(
        self, folder: Path, first_index: int, segment: int
    ) -> None:
        (folder / "base").write_bytes(
            Base(snapshot(12), first_index, segment, 0, HardState()).encode()
        )
        assert "contradicts" in self.refused(folder).what

    def test_a_base_without_a_snapshot_is_refused(self, folder: Path, monkeypatch) -> None:
        monkeypatch.setattr(base_module, "encode_snapshot_meta", lambda _: b"")
        (folder / "base").write_bytes(Base(snapshot(12), 1, 1, 0, HardState()).encode())
        assert "cannot be read" in self.refused(folder).what

    def test_another_format_version_is_named(self, folder: Path, monkeypatch) -> None:
        monkeypatch.setattr(base_module, "_VERSION", 9)
        (folder / "base").write_bytes(Base(snapshot(12), 1, 1, 0, HardState()).encode())
        monkeypatch.undo()
        with pytest.raises(LogVersionUnknown, match="version 9"):
            open_log(folder)


def failing_log(folder: Path, operation: str, number: int) -> tuple[WriteAheadLog, FailingDisk]:
    disk = FailingDisk(operation, OSError(number, "so it is"))
    log = open_log(folder, disk)
    for index in range(1, 7):
        write(log, [entry(index, data=bytes(1700))])
    disk.arm()
    return log, disk


@pytest.mark.parametrize("operation", ["write", "settle"])
def test_a_compaction_that_finds_no_room_changes_nothing(tmp_path: Path, operation: str) -> None:
    log, _disk = failing_log(tmp_path, operation, errno.ENOSPC)
    with closing(log):
        with pytest.raises(LogNotCompacted, match="make room"):
            log.compact(snapshot(5), 4)
        assert (log.first_index, log.snapshot) == (1, None)
        assert not list(tmp_path.glob("*.unfinished"))
        write(log, run(7, 8))
        log.compact(snapshot(5), 4)
        assert log.first_index == 5


@pytest.mark.parametrize("operation", ["rename", "sync_folder"])
def test_a_base_that_may_be_there_or_not_is_final(tmp_path: Path, operation: str) -> None:
    log, _disk = failing_log(tmp_path, operation, errno.EIO)
    with pytest.raises(LogFailed, match="Check the disk"):
        log.compact(snapshot(5), 4)
    with pytest.raises(LogFailed, match="compacting it failed"):
        log.append(None, run(7, 7))
    assert segments(tmp_path) == [1, 2, 3]
    log.close()
    with closing(open_log(tmp_path)) as again:
        assert again.first_index in {1, 5}
        assert again.last_index == 6


@pytest.mark.parametrize(
    "operation", ["create", "write", "settle", "rename", "sync_folder", "sync"]
)
def test_a_reset_that_fails_is_final_and_loses_nothing(tmp_path: Path, operation: str) -> None:
    log, _disk = failing_log(tmp_path, operation, errno.ENOSPC)
    log.append(HardState(9, "n3"), [])
    with pytest.raises(LogFailed, match="make room"):
        log.reset(snapshot(30))
    with pytest.raises(LogFailed, match="a snapshot in its place failed"):
        log.sync()
    log.close()
    with closing(open_log(tmp_path)) as again:
        assert (again.first_index, again.last_index) in {(1, 6), (31, 30)}
        write(again, run(again.last_index + 1, again.last_index + 2))


def test_a_compaction_is_in_nobodys_way(tmp_path: Path) -> None:
    """While it waits for the disk, the log is written and read, and a segment begun."""

    class Slow(QuickDisk):
        def __init__(self) -> None:
            self.reached, self.go = threading.Event(), threading.Event()

        def put(self, path: Path, content: bytes) -> None:
            self.reached.set()
            assert self.go.wait(60)
            super().put(path, content)

    disk = Slow()
    with closing(open_log(tmp_path, disk)) as log:
        for index in range(1, 7):
            write(log, [entry(index, data=bytes(1700))])
        thread = threading.Thread(target=log.compact, args=(snapshot(5), 4))
        thread.start()
        assert disk.reached.wait(60)
        write(log, run(7, 9), HardState(3, "n1"))
        write(log, [entry(8, 3, data=bytes(1700)), entry(9, 3, data=bytes(1700))])
        assert log.entries(2, 2, 1)[0].index == 2
        disk.go.set()
        thread.join()
        expected = [entry(5, data=bytes(1700)), entry(6, data=bytes(1700)), *run(7, 7)]
        expected += [entry(8, 3, data=bytes(1700)), entry(9, 3, data=bytes(1700))]
        assert content(log) == expected
    with closing(open_log(tmp_path)) as again:
        assert content(again) == expected
        assert again.hard_state == HardState(3, "n1")


def test_a_read_that_was_overtaken_is_an_index_error(tmp_path: Path) -> None:
    class Overtaking(QuickDisk):
        log: WriteAheadLog | None = None

        def read(self, path: Path, offset: int = 0, length: int = -1) -> bytes:
            if self.log is not None:
                log, self.log = self.log, None
                log.compact(snapshot(5), 4)
            return super().read(path, offset, length)

    disk = Overtaking()
    with closing(open_log(tmp_path, disk)) as log:
        for index in range(1, 7):
            write(log, [entry(index, data=bytes(1700))])
        disk.log = log
        with pytest.raises(IndexError, match="holds 5 to 6"):
            log.entries(2, 3, 10_000)


def test_a_segment_removed_by_somebody_else_is_told(tmp_path: Path, log: WriteAheadLog) -> None:
    path = tmp_path / f"{1:016d}.wal"
    path.unlink()
    with pytest.raises(LogDamaged, match="missing") as caught:
        log.entries(1, 1, 1)
    assert caught.value.path == path


def test_size_may_be_asked_while_segments_go(tmp_path: Path, monkeypatch) -> None:
    with closing(open_log(tmp_path)) as log:
        write(log, run(1, 2))
        (tmp_path / "0000000000000009.wal").symlink_to(tmp_path / "gone")
        assert log.size_bytes == 4096
        (tmp_path / "0000000000000009.wal").unlink()
