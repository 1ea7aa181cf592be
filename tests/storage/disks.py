"""Disks that misbehave, on real files."""

from __future__ import annotations

import io
import itertools
import random
from pathlib import Path

from raftcore.storage.disk import Disk
from raftcore.storage.segment import SECTOR_BYTES


class QuickDisk(Disk):
    """A disk that syncs nothing: for tests in which nobody cuts the power."""

    def sync(self, file: io.FileIO) -> None:
        pass

    def settle(self, file: io.FileIO) -> None:
        pass

    def sync_folder(self, folder: Path) -> None:
        pass


class PowerCut(BaseException):
    """The machine is off; not an error that the log could handle."""


class PowerCutDisk(QuickDisk):
    """Goes off at the n-th operation; then each sector not yet synced is old or new, as it likes.

    So is each name in a folder not yet synced, and a file that got its name before it was settled
    may turn out to hold nothing.
    """

    def __init__(self, operations: int) -> None:
        self.operations = operations
        self._unsynced: list[tuple[Path, int, bytes]] = []
        self._names: list[tuple[Path, bytes | None]] = []
        """What stood under a name before it was given away or removed."""
        self._unsettled: set[Path] = set()
        self._hollow: list[Path] = []

    def _operation(self) -> None:
        if self.operations == 0:
            raise PowerCut
        self.operations -= 1

    def write(self, file: io.FileIO, data: bytes, offset: int) -> None:
        path = Path(str(file.name))
        if path.suffix == ".unfinished":
            self._unsettled.add(path)
            super().write(file, data, offset)
            return
        before = self.read(path, offset, len(data)).ljust(len(data), b"\0")
        self._unsynced.append((path, offset, before))
        super().write(file, data, offset)
        self._operation()

    def sync(self, file: io.FileIO) -> None:
        self._operation()
        path = Path(str(file.name))
        self._unsynced = [write for write in self._unsynced if write[0] != path]

    def settle(self, file: io.FileIO) -> None:
        self._operation()
        self._unsettled.discard(Path(str(file.name)))

    def rename(self, path: Path, to: Path) -> None:
        self._operation()
        self._names.append((to, to.read_bytes() if to.exists() else None))
        if path in self._unsettled:
            self._unsettled.discard(path)
            self._hollow.append(to)
        super().rename(path, to)

    def remove(self, path: Path) -> None:
        self._operation()
        if path.exists():
            self._names.append((path, path.read_bytes()))
        super().remove(path)

    def sync_folder(self, folder: Path) -> None:
        self._operation()
        self._names = [name for name in self._names if name[0].parent != folder]

    def lose(self, rng: random.Random) -> None:
        """Take back what the power cut took."""
        loses = rng.choice((0.0, 0.3, 0.7, 1.0))
        for path in self._hollow:
            if rng.random() < loses:
                path.write_bytes(bytes(path.stat().st_size))
        for path, content in reversed(self._names):
            if rng.random() >= loses:
                continue
            if content is None:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(content)
        self._hollow.clear()
        self._names.clear()
        self._unsettled.clear()
        for path, offset, before in reversed(self._unsynced):
            with io.FileIO(path, "r+") as file:
                for start, stop in sectors(offset, len(before)):
                    if rng.random() < loses:
                        super().write(file, before[start - offset : stop - offset], start)
        self._unsynced.clear()


def sectors(offset: int, length: int) -> list[tuple[int, int]]:
    """The parts of sectors that a write covers."""
    end = offset + length
    borders = [offset, *range((offset // SECTOR_BYTES + 1) * SECTOR_BYTES, end, SECTOR_BYTES), end]
    return list(itertools.pairwise(borders))


class FailingDisk(QuickDisk):
    """Raises the given error once in the named operation, then works again."""

    def __init__(self, operation: str, error: OSError) -> None:
        self.operation: str | None = None
        self._armed = operation
        self._error = error

    def arm(self) -> None:
        self.operation = self._armed

    def _fail(self, operation: str) -> None:
        if operation == self.operation:
            self.operation = None
            raise self._error

    def write(self, file: io.FileIO, data: bytes, offset: int) -> None:
        self._fail("write")
        super().write(file, data, offset)

    def sync(self, file: io.FileIO) -> None:
        self._fail("sync")
        super().sync(file)

    def settle(self, file: io.FileIO) -> None:
        self._fail("settle")
        super().settle(file)

    def rename(self, path: Path, to: Path) -> None:
        self._fail("rename")
        super().rename(path, to)

    def remove(self, path: Path) -> None:
        self._fail("remove")
        super().remove(path)

    def sync_folder(self, folder: Path) -> None:
        self._fail("sync_folder")
        super().sync_folder(folder)

    def create(self, path: Path, size: int) -> None:
        self._fail("create")
        super().create(path, size)
