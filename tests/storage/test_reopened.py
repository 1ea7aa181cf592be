"""What a log gives back after a start is counted on, so a start makes it durable."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from raftcore.storage import DiskSnapshots, LogFailed
from raftcore.types import HardState
from tests.storage.disks import PowerCut, PowerCutDisk, QuickDisk
from tests.storage.logs import content, open_log, run, write


class ForgetfulDisk(PowerCutDisk):
    """After a sync that failed, what it was to write is taken for written and is not on the disk."""

    def __init__(self, operations: int = 1 << 30) -> None:
        super().__init__(operations)
        self.failing = False
        self.forgotten: list[tuple[Path, int, bytes]] = []

    def write(self, file: io.FileIO, data: bytes, offset: int) -> None:
        super().write(file, data, offset)
        again = [old for old in self.forgotten if offset <= old[1] < offset + len(data)]
        self.forgotten = [old for old in self.forgotten if old not in again]
        self._unsynced += again

    def sync(self, file: io.FileIO) -> None:
        if self.failing:
            self.forgotten, self._unsynced = self._unsynced, []
            raise OSError(5, "the sync failed")
        super().sync(file)

    def cut(self) -> None:
        """The power goes, and takes all that it can."""
        for path, offset, before in reversed(self.forgotten + self._unsynced):
            with io.FileIO(path, "r+") as file:
                file.seek(offset)
                file.write(before)


def test_what_a_killed_process_had_not_synced_is_durable_once_it_was_read_back(tmp_path: Path):
    disk = ForgetfulDisk()
    log = open_log(tmp_path, disk)
    write(log, run(1, 3), HardState(1, "n1"))
    disk.operations = 1  # The write, and not the sync.
    with pytest.raises(PowerCut):
        write(log, run(4, 5), HardState(2, "n2"))
    disk.operations = 1 << 30
    log.close()
    log = open_log(tmp_path, disk)
    assert content(log) == run(1, 5)
    log.close()
    disk.cut()
    log = open_log(tmp_path, disk)
    assert content(log) == run(1, 5)
    assert log.hard_state == HardState(2, "n2")
    log.close()


def test_so_is_what_a_failed_sync_had_left(tmp_path: Path):
    disk = ForgetfulDisk()
    log = open_log(tmp_path, disk)
    write(log, run(1, 3))
    disk.failing = True
    with pytest.raises(LogFailed):
        write(log, run(4, 5))
    log.close()
    disk.failing = False
    log = open_log(tmp_path, disk)
    found = content(log)
    log.close()
    disk.cut()
    log = open_log(tmp_path, disk)
    assert content(log) == found
    log.close()


def test_a_sync_that_fails_at_a_start_fails_the_start(tmp_path: Path):
    disk = ForgetfulDisk()
    log = open_log(tmp_path, disk)
    write(log, run(1, 3))
    log.close()
    disk.failing = True
    with pytest.raises(LogFailed):
        open_log(tmp_path, disk)


class Folders(QuickDisk):
    """Remembers which names are durable; the process is killed before the n-th sync of a folder."""

    def __init__(self) -> None:
        self.durable: set[Path] = set()
        self.syncs = 1 << 30

    def sync_folder(self, folder: Path) -> None:
        if self.syncs == 0:
            raise PowerCut
        self.syncs -= 1
        self.durable |= set(folder.iterdir())


def open_snapshots(folder: Path, disk: Folders) -> None:
    DiskSnapshots(folder, disk=disk)


def open_and_close(folder: Path, disk: Folders) -> None:
    open_log(folder, disk).close()


@pytest.mark.parametrize("begin", [open_and_close, open_snapshots])
@pytest.mark.parametrize("kills", range(5))
def test_the_names_of_all_folders_that_were_made_are_durable(
    tmp_path: Path, begin: Callable[[Path, Folders], None], kills: int
) -> None:
    levels = [tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b" / "c"]
    disk = Folders()
    disk.syncs = kills
    with suppress(PowerCut):
        begin(levels[-1], disk)
    disk.syncs = 1 << 30
    begin(levels[-1], disk)
    assert disk.durable.issuperset(levels)


def test_a_folder_above_that_may_not_be_read_was_made_by_somebody_else(tmp_path: Path) -> None:
    class Unreadable(QuickDisk):
        def sync_folder(self, folder: Path) -> None:
            if folder == tmp_path:
                raise PermissionError(13, "Permission denied")

    (tmp_path / "log").mkdir()
    open_log(tmp_path / "log", Unreadable()).close()
    with pytest.raises(LogFailed, match="Permission denied"):
        open_log(tmp_path / "new", Unreadable())
