"""What a log gives back after a start is counted on, so a start makes it durable."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from raftcore.storage import LogFailed
from raftcore.types import HardState
from tests.storage.disks import PowerCut, PowerCutDisk
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
