"""The log's folder: names of segments, the one made ahead, the lock."""

from __future__ import annotations

import io
import threading
from pathlib import Path

from raftcore.storage.disk import Disk
from raftcore.storage.errors import LogLocked
from raftcore.storage.segment import Header

FIRST_SEQUENCE = 1
_SUFFIX = ".wal"


class SegmentFolder:
    """Makes and finds segment files.

    The segment after the current one is made ahead, on a thread of its own, since writing its zeros
    takes longer than any commit may wait.
    """

    def __init__(self, path: Path, disk: Disk, segment_bytes: int, *, prepare_ahead: bool) -> None:
        self.path = path
        self._disk = disk
        self._segment_bytes = segment_bytes
        self._prepare_ahead = prepare_ahead
        self._preparing: threading.Thread | None = None
        self._lock: io.FileIO | None = None

    def take(self) -> None:
        """Make the folder if need be and take it for this process; raises `LogLocked`."""
        if not self.path.is_dir():
            self.path.mkdir(parents=True)
            self._disk.sync_folder(self.path.parent)
        self._lock = io.FileIO(self.path / "lock", "a")
        if not self._disk.lock(self._lock):
            self._lock.close()
            raise LogLocked(self.path)
        for unfinished in self.path.glob("*.unfinished"):
            unfinished.unlink()

    def segment(self, sequence: int) -> Path:
        return self.path / f"{sequence:016d}{_SUFFIX}"

    def sequences(self) -> list[int]:
        """Sequence numbers of the segments there are, in order."""
        names = (path.stem for path in self.path.glob(f"*{_SUFFIX}"))
        return sorted(int(name) for name in names if name.isdecimal())

    @property
    def size_bytes(self) -> int:
        """What the segments take on the disk."""
        return sum(path.stat().st_size for path in self.path.glob(f"*{_SUFFIX}"))

    def begin(self, header: Header, bytes_min: int) -> tuple[io.FileIO, int]:
        """Begin a segment with room for `bytes_min` in all; the file and its size.

        The header is durable before any frame can be written.
        """
        self._wait()
        path = self.segment(header.sequence)
        if not path.exists():
            self._disk.create(path, max(bytes_min, self._segment_bytes))
        elif path.stat().st_size < bytes_min:
            self._disk.extend(path, bytes_min)
        file = self._disk.open(path)
        try:
            self._disk.write(file, header.encode(), 0)
            self._disk.sync(file)
        except BaseException:
            file.close()
            raise
        self.prepare(header.sequence + 1)
        return file, path.stat().st_size

    def prepare(self, sequence: int) -> None:
        """Begin to make the segment that will follow, if it is not there."""
        if self._prepare_ahead and not self.segment(sequence).exists():
            self._preparing = threading.Thread(
                target=self._prepare, args=(sequence,), name="raft-log-prepare", daemon=True
            )
            self._preparing.start()

    def _prepare(self, sequence: int) -> None:
        try:
            self._disk.create(self.segment(sequence), self._segment_bytes)
        except OSError:
            # The current segment is not touched by this: `begin` tries again when it is needed, and
            # what is wrong then is told by the write that cannot go on.
            return

    def _wait(self) -> None:
        if self._preparing is not None:
            self._preparing.join()
            self._preparing = None

    def close(self) -> None:
        """Give the folder back."""
        self._wait()
        if self._lock is not None:
            self._lock.close()
            self._lock = None
