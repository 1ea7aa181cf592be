"""The log's folder: names of files, the segment made ahead, the segments that may go, the lock."""

from __future__ import annotations

import io
import threading
from contextlib import suppress
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
        self._not_prepared = False
        """That thread failed.  What it left, if anything, may not be durable."""
        self._lock: io.FileIO | None = None

    def take(self) -> None:
        """Make the folder if need be and take it for this process; raises `LogLocked`."""
        self._disk.make_folder(self.path)
        self._lock = io.FileIO(self.path / "lock", "a")
        if not self._disk.lock(self._lock):
            self._lock.close()
            raise LogLocked(self.path)
        for unfinished in self.path.glob("*.unfinished"):
            unfinished.unlink()

    def segment(self, sequence: int) -> Path:
        return self.path / f"{sequence:016d}{_SUFFIX}"

    @property
    def base(self) -> Path:
        """Says where the log begins, once it was compacted."""
        return self.path / "base"

    def sequences(self) -> list[int]:
        """Sequence numbers of the segments there are, in order."""
        names = (path.stem for path in self.path.glob(f"*{_SUFFIX}"))
        return sorted(int(name) for name in names if name.isdecimal())

    @property
    def size_bytes(self) -> int:
        """What the segments take on the disk."""
        size = 0
        for path in self.path.glob(f"*{_SUFFIX}"):
            with suppress(FileNotFoundError):  # it was just removed
                size += path.stat().st_size
        return size

    def begin(self, header: Header, bytes_min: int) -> tuple[io.FileIO, int]:
        """Begin a segment with room for `bytes_min` in all; the file and its size.

        The header is durable before any frame can be written.
        """
        path = self.make(header.sequence, bytes_min)
        if path.stat().st_size < bytes_min:
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

    def make(self, sequence: int, bytes_min: int = 0) -> Path:
        """See that a segment's file is there; a new one holds nothing but zeros."""
        self._wait()
        path = self.segment(sequence)
        if self._not_prepared or not path.exists():
            # Not only its name is synced again: after a sync that failed, many kernels take what it
            # was to write for written.
            self._disk.create(path, max(bytes_min, self._segment_bytes))
            self._not_prepared = False
        return path

    def remove_before(self, sequence: int) -> None:
        """Remove the segments before this one, and what was torn off them; may be slow."""
        stems = [f"{old:016d}" for old in self.sequences() if old < sequence]
        for stem in stems:
            for torn in sorted(self.path.glob(f"{stem}.torn-at-*")):
                self._disk.remove(torn)
            self._disk.remove(self.path / f"{stem}{_SUFFIX}")
        if stems:
            self._disk.sync_folder(self.path)

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
            self._not_prepared = True

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
