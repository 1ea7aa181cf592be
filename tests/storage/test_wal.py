"""What only the log on disk has: segments, failures, the lock, readers on other threads."""

from __future__ import annotations

import errno
import shutil
import threading
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from raftcore.storage import LogFailed, LogLocked, WriteAheadLog
from raftcore.storage import wal as wal_module
from raftcore.storage.disk import Disk
from raftcore.types import HardState
from tests.storage.disks import FailingDisk, QuickDisk
from tests.storage.logs import SMALL_SEGMENT, content, entry, open_log, run, write

FIXTURES = Path(__file__).parent / "fixtures"


class CountingDisk(Disk):
    """Counts what a batch costs."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def write(self, file, data, offset) -> None:  # type: ignore[no-untyped-def]
        self.calls.append("write")
        super().write(file, data, offset)

    def sync(self, file) -> None:  # type: ignore[no-untyped-def]
        self.calls.append("sync")
        super().sync(file)


def test_a_batch_costs_one_write_and_one_sync(tmp_path: Path) -> None:
    disk = CountingDisk()
    log = open_log(tmp_path, disk, segment_bytes=1 << 20)
    disk.calls.clear()
    for index in range(1, 50):
        log.append(HardState(index), run(index, index))
    log.sync()
    assert disk.calls == ["write", "sync"]
    log.sync()
    assert disk.calls == ["write", "sync"]
    log.close()


def test_writing_never_changes_the_size_of_a_segment(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    for index in range(1, 100):
        write(log, [entry(index, data=bytes(200))])
        assert {path.stat().st_size for path in tmp_path.glob("*.wal")} == {SMALL_SEGMENT}
    assert len(list(tmp_path.glob("*.wal"))) > 3
    assert log.size_bytes == SMALL_SEGMENT * len(list(tmp_path.glob("*.wal")))
    log.close()


def test_what_is_in_it_is_told_apart_from_what_is_kept_free(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    assert log.content_bytes == 0
    sizes = []
    for index in range(1, 60):  # several segments
        write(log, [entry(index, data=bytes(200))])
        sizes.append(log.content_bytes)
    assert all(200 < after - before < 300 for before, after in pairwise(sizes))
    log.close()
    with closing(open_log(tmp_path)) as again:
        assert again.content_bytes == sizes[-1]
        assert again.size_bytes > again.content_bytes


def test_a_segment_is_made_ahead_and_taken_when_the_first_is_full(tmp_path: Path) -> None:
    log = WriteAheadLog.open(tmp_path, segment_bytes=SMALL_SEGMENT)
    log.close()  # waits for the one in the making
    ahead = tmp_path / "0000000000000002.wal"
    assert ahead.read_bytes() == bytes(SMALL_SEGMENT)
    log = WriteAheadLog.open(tmp_path, segment_bytes=SMALL_SEGMENT)
    for index in range(1, 6):
        write(log, [entry(index, data=bytes(900))])
    assert ahead.read_bytes() != bytes(SMALL_SEGMENT)
    log.close()
    assert (tmp_path / "0000000000000003.wal").exists()
    log = open_log(tmp_path)
    assert [one.index for one in content(log)] == [1, 2, 3, 4, 5]
    log.close()


def test_without_room_a_segment_is_begun_and_only_then(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", segment_bytes=1 << 16)
    begun = 1
    roomy = 0
    for index in range(1, 200):
        data = b"x" * (index * 37 % 7000)
        had_room = log.has_room(len(data))
        write(log, [entry(index, data=data)], HardState(index, "n" * 200))
        files_now = len(list((tmp_path / "log").glob("*.wal")))
        assert files_now == begun or not had_room
        begun, roomy = files_now, roomy + had_room
    assert (begun > 5, roomy > 100) == (True, True)
    log.close()


def test_an_entry_larger_than_a_segment_gets_one_that_is_large_enough(tmp_path: Path) -> None:
    large = entry(2, data=bytes(range(256)) * 100)
    log = WriteAheadLog.open(tmp_path, segment_bytes=SMALL_SEGMENT)
    write(log, [entry(1), large, entry(3)])
    write(log, [entry(4)])
    assert log.entries(2, 2, 0) == (large,)
    log.close()
    log = open_log(tmp_path)
    assert content(log) == [entry(1), large, entry(3), entry(4)]
    log.close()


def test_a_large_batch_is_divided_so_that_one_entry_is_cheap_to_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wal_module, "FRAME_DATA_BYTES_MAX", 1000)
    disk = CountingDisk()
    log = open_log(tmp_path, disk, segment_bytes=1 << 16)
    disk.calls.clear()
    entries = [entry(index, data=bytes(300)) for index in range(1, 11)]
    write(log, entries, HardState(3, "n1"))
    assert disk.calls == ["write", "sync"] * 4
    log.close()
    log = open_log(tmp_path)
    assert content(log) == entries
    assert log.hard_state == HardState(3, "n1")
    log.close()


def test_each_segment_knows_the_hard_state(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    write(log, run(1, 1), HardState(7, "n3"))
    for index in range(2, 8):
        write(log, [entry(index, data=b"\x01" * 1500)])
    log.close()
    for path in tmp_path.glob("*.wal"):
        assert b"n3" in path.read_bytes()


@pytest.mark.parametrize("operation", ["write", "sync"])
def test_a_failed_write_or_sync_is_final(tmp_path: Path, operation: str) -> None:
    disk = FailingDisk(operation, OSError(errno.EIO, "Input/output error"))
    log = open_log(tmp_path, disk)
    write(log, run(1, 3))
    disk.arm()
    log.append(None, run(4, 5))
    with pytest.raises(LogFailed, match="Input/output error"):
        log.sync()
    # The disk works again, but nobody knows what it holds.
    with pytest.raises(LogFailed, match="Input/output error"):
        log.sync()
    with pytest.raises(LogFailed, match="Input/output error"):
        log.append(None, run(4, 5))
    log.close()
    log = open_log(tmp_path)
    assert content(log)[:3] == run(1, 3)
    log.close()


def test_a_full_disk_is_told_with_folder_and_remedy(tmp_path: Path) -> None:
    disk = FailingDisk("create", OSError(errno.ENOSPC, "No space left on device"))
    log = open_log(tmp_path, disk)
    write(log, [entry(1, data=bytes(2000))])
    disk.arm()
    log.append(None, [entry(2, data=bytes(2000))])
    with pytest.raises(LogFailed, match="make room") as caught:
        log.sync()
    assert str(tmp_path) in str(caught.value)
    log.close()
    log = open_log(tmp_path)
    assert [one.index for one in content(log)] == [1]
    log.close()


def test_a_full_disk_at_the_first_start_is_told(tmp_path: Path) -> None:
    disk = FailingDisk("create", OSError(errno.ENOSPC, "No space left on device"))
    disk.arm()
    with pytest.raises(LogFailed, match="make room"):
        open_log(tmp_path / "new", disk)
    open_log(tmp_path / "new").close()


def test_no_room_to_make_a_segment_ahead_harms_nobody_yet(tmp_path: Path) -> None:
    disk = FailingDisk("create", OSError(errno.ENOSPC, "No space left on device"))
    open_log(tmp_path, disk).close()
    disk.arm()
    log = WriteAheadLog.open(tmp_path, segment_bytes=SMALL_SEGMENT, disk=disk)
    for index in range(1, 9):
        write(log, [entry(index, data=bytes(1000))])
    log.close()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LogFailed, match="file"):
        open_log(tmp_path / "file" / "log")


def test_two_logs_on_one_folder_are_refused(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    with pytest.raises(LogLocked, match="in use"):
        open_log(tmp_path)
    write(log, run(1, 2))
    log.close()
    open_log(tmp_path).close()


def test_a_segment_left_unfinished_is_removed(tmp_path: Path) -> None:
    open_log(tmp_path).close()
    (tmp_path / "0000000000000002.unfinished").write_bytes(bytes(100))
    open_log(tmp_path).close()
    assert not list(tmp_path.glob("*.unfinished"))


def test_reading_is_safe_while_another_thread_writes(tmp_path: Path) -> None:
    """Entries of rising terms replace each other; a reader never sees a mixture."""
    log = open_log(tmp_path, segment_bytes=1 << 16)
    write(log, run(1, 20))
    done = threading.Event()
    troubles: list[BaseException] = []

    def read() -> None:
        try:
            while not done.is_set():
                entries = log.entries(1, 10, 1 << 20)
                assert [one.index for one in entries] == list(range(1, 11))
                terms = [one.term for one in entries]
                assert terms == sorted(terms)
                assert log.term(1) == 1
        except BaseException as error:
            troubles.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for term in range(2, 400):
            write(log, run(2 + term % 9, 20, term))
    finally:
        done.set()
        reader.join()
        log.close()
    assert not troubles


class CertainDisk(QuickDisk):
    """Nothing about its files is random."""

    def noise(self, length: int) -> bytes:
        return bytes(range(length))


OF_EACH_VERSION = [entry(1), entry(2, 3, bytes(range(40))), entry(3, 3, b"")]


@pytest.mark.parametrize("version", ["version1", "version2", "version3"])
def test_every_version_of_the_format_is_read_and_gone_on_with(tmp_path: Path, version: str) -> None:
    shutil.copytree(FIXTURES / version, tmp_path / "old")
    more = [entry(index, 4, bytes(300)) for index in range(4, 9)]
    with closing(open_log(tmp_path / "old", segment_bytes=1024)) as old:
        assert content(old) == OF_EACH_VERSION
        assert old.hard_state == HardState(3, "n2")
        for one in more:
            write(old, [one])
    with closing(open_log(tmp_path / "old", segment_bytes=1024)) as again:
        assert content(again) == OF_EACH_VERSION + more


def test_version_3_of_the_format_is_written(tmp_path: Path) -> None:
    log = open_log(tmp_path, CertainDisk(), segment_bytes=1024)
    write(log, OF_EACH_VERSION[:1], HardState(1, None))
    write(log, OF_EACH_VERSION[1:], HardState(3, "n2"))
    log.close()
    name = "0000000000000001.wal"
    assert (tmp_path / name).read_bytes() == (FIXTURES / "version3" / name).read_bytes()
