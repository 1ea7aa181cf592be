"""A machine's disk: in memory, or the real write-ahead log on files whose power can be cut.

`durable` is what the machine may count on: what it was told to be on disk, and after a crash what
was found there.  A disk that gives back less breaks its promise, and the run fails.
"""

from __future__ import annotations

import errno
import io
import random
from collections import Counter, deque
from pathlib import Path

from raftcore import Entry, HardState, Persist
from raftcore.storage import LogDamaged, LogFailed, LogReader, LogStore, MemoryLog, WriteAheadLog
from raftcore.storage.segment import FRAME_OVERHEAD_BYTES, HEADER_BYTES, decode_header, read_frame
from tests.sim.oracle import Violation
from tests.storage.disks import PowerCut, PowerCutDisk

NEVER = 1 << 60
EVERYTHING = 1 << 40
_OWN_CHECK = range(16, 20)
"""The bytes of a frame that nothing depends on while the frame is whole."""


def entries_of(log: LogReader) -> list[Entry]:
    if log.last_index < log.first_index:
        return []
    return list(log.entries(log.first_index, log.last_index, EVERYTHING))


class ReadLog(MemoryLog):
    """What the core reads of the log; counts that it does."""

    def __init__(self, durable: MemoryLog, coverage: Counter[str]) -> None:
        super().__init__()
        self._coverage = coverage
        self.append(durable.hard_state, entries_of(durable))

    def entries(self, first: int, last: int, bytes_max: int) -> tuple[Entry, ...]:
        self._coverage["entries read back from disk"] += 1
        return super().entries(first, last, bytes_max)


class MemoryDisk:
    """Loses what was not synced, or the end of it."""

    def __init__(self, coverage: Counter[str], *, read_early: bool) -> None:
        self.coverage = coverage
        self.read_early = read_early
        self.durable = MemoryLog()
        self.writes: deque[Persist] = deque()
        """Taken, and not yet synced."""
        self.error: OSError | None = None
        """What the next write meets, until somebody repairs the disk."""
        self.damaged = False
        """A bit has flipped: this disk must not be believed any more."""
        self.log: LogStore

    def boot(self) -> LogReader:
        """What the core reads from after a start."""
        self.writes.clear()
        self.log = ReadLog(self.durable, self.coverage)
        return self.log

    def take(self, persist: Persist) -> None:
        self.writes.append(persist)
        if self.read_early:
            self.log.append(persist.hard_state, persist.entries)

    def sync(self, count: int) -> int:
        """Make the oldest writes durable; the last ticket of them.  Raises `LogFailed`."""
        if self.error is not None:
            raise LogFailed(str(self.error))
        persists = [self.writes.popleft() for _ in range(count)]
        for persist in persists:
            self.durable.append(persist.hard_state, persist.entries)
            if not self.read_early:
                self.log.append(persist.hard_state, persist.entries)
        return persists[-1].ticket

    def crash(self, rng: random.Random, *, keeps_unsynced: bool) -> None:
        """The process is gone; a write under way may have got to the disk or not."""
        if keeps_unsynced and self.writes:
            kept = rng.randint(0, len(self.writes))
            for persist in [self.writes.popleft() for _ in range(kept)]:
                self.durable.append(persist.hard_state, persist.entries)
            if kept:
                self.coverage["unsynced write survived a crash"] += 1
            if self.writes and rng.random() < 0.3:
                # A large batch becomes durable from its front.
                persist = self.writes[0]
                some = rng.randint(0, len(persist.entries))
                self.durable.append(persist.hard_state, persist.entries[:some])
        if self.writes:
            self.coverage["write lost by a crash"] += 1

    def close(self) -> None:
        """The run is over."""

    def flip_bit(self, rng: random.Random) -> bool:
        """Damage something that was synced long ago; whether there was anything."""
        return False


class _Files(PowerCutDisk):
    """Fails when told to.  What a failed sync was to write stays unwritten: the kernel has forgotten
    that it is not on the disk, and a later sync succeeds without it."""

    def __init__(self) -> None:
        super().__init__(NEVER)
        self.error: OSError | None = None
        self._forgotten: list[tuple[Path, int, bytes]] = []

    def _fail(self, *numbers: int) -> None:
        if self.error is not None and self.error.errno in numbers:
            raise self.error

    def create(self, path: Path, size: int) -> None:
        self._fail(errno.ENOSPC)
        super().create(path, size)

    def write(self, file: io.FileIO, data: bytes, offset: int) -> None:
        self._fail(errno.ENOSPC)
        super().write(file, data, offset)
        # Written again, it is known again; what stood there before stays the same.
        path = Path(str(file.name))
        for one in [one for one in self._forgotten if one[0] == path]:
            if offset <= one[1] and one[1] + len(one[2]) <= offset + len(data):
                self._forgotten.remove(one)
                self._unsynced.append(one)

    def sync(self, file: io.FileIO) -> None:
        path = Path(str(file.name))
        if self.error is not None and self.error.errno == errno.EIO:
            self._forgotten += [one for one in self._unsynced if one[0] == path]
            self._unsynced = [one for one in self._unsynced if one[0] != path]
        self._fail(errno.EIO)
        super().sync(file)

    def lose(self, rng: random.Random) -> None:
        self._unsynced = self._forgotten + self._unsynced
        self._forgotten = []
        super().lose(rng)


class FileDisk(MemoryDisk):
    """The real log.  A crash of the machine cuts the power at any operation and takes any sectors of
    what was not synced; a crash of the process alone takes nothing, but nothing is synced by it."""

    log: WriteAheadLog

    def __init__(self, coverage: Counter[str], folder: Path, segment_bytes: int) -> None:
        super().__init__(coverage, read_early=False)
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._files = _Files()
        self._possible: list[tuple[HardState, list[Entry]]] = []
        """What may be found at the next start beside `durable`."""
        self._open = False

    def boot(self) -> LogReader:
        self.writes.clear()
        self._files.error = self.error
        log = WriteAheadLog.open(
            self._folder,
            segment_bytes=self._segment_bytes,
            disk=self._files,
            prepare_ahead=False,
        )
        self.log, self._open = log, True
        if self.damaged:
            raise Violation(f"damage in {self._folder.name} goes unnoticed")
        found = (log.hard_state, entries_of(log))
        if found != (self.durable.hard_state, entries_of(self.durable)):
            if found not in self._possible:
                raise Violation(f"{self._folder.name}: the log forgets what was counted on")
            self.coverage["unsynced write survived a crash"] += 1
            self.durable = MemoryLog()
            self.durable.append(*found)
        self._possible = []
        self.coverage["started from files"] += 1
        return log

    def sync(self, count: int) -> int:
        self._files.error = self.error
        persists = [self.writes[i] for i in range(count)]
        for persist in persists:
            self.log.append(persist.hard_state, persist.entries)
        self.log.sync()
        for persist in persists:
            self.durable.append(persist.hard_state, persist.entries)
            self.writes.popleft()
        return persists[-1].ticket

    def crash(self, rng: random.Random, *, keeps_unsynced: bool) -> None:
        if not self._open:
            return
        self._open = False
        failed = self.error is not None
        if self.writes and not failed:
            self._write_some(rng)
        elif self.writes:
            # The failed write itself may have got anywhere.
            self._remember(len(self.writes))
        if self.writes:
            self.coverage["write lost by a crash"] += 1
        self.log.close()
        if rng.random() < 0.6:
            self.coverage["power cut"] += 1
            self._files.lose(rng)

    def close(self) -> None:
        if self._open:
            self.log.close()

    def _write_some(self, rng: random.Random) -> None:
        count = rng.randint(1, len(self.writes))
        self._remember(count)
        self._files.error = None
        self._files.operations = rng.randint(0, 3)
        try:
            for persist in [self.writes[i] for i in range(count)]:
                self.log.append(persist.hard_state, persist.entries)
            self.log.sync()
        except PowerCut:
            self.coverage["power cut during a write"] += 1
        self._files.operations = NEVER

    def _remember(self, count_max: int) -> None:
        """What may be there later: the first of the writes, any number of them."""
        twin = MemoryLog()
        twin.append(self.durable.hard_state, entries_of(self.durable))
        for persist in [self.writes[i] for i in range(count_max)]:
            twin.append(persist.hard_state, persist.entries)
            self._possible.append((twin.hard_state, entries_of(twin)))

    def flip_bit(self, rng: random.Random) -> bool:
        frames = []
        for path in sorted(self._folder.glob("*.wal")):
            content, offset = path.read_bytes(), HEADER_BYTES
            header = decode_header(content)
            while header and (frame := read_frame(content, offset, header.seal)) is not None:
                length = FRAME_OVERHEAD_BYTES + len(frame[0])
                frames.append((path, offset, length))
                offset += length
        # The last one may be torn and is cut off then; damage is what cannot be a torn tail.
        if len(frames) < 3:
            return False
        path, offset, length = rng.choice(frames[:-1])
        at = rng.choice([n for n in range(length) if n not in _OWN_CHECK])
        with io.FileIO(path, "r+") as file:
            file.seek(offset + at)
            byte = file.read(1)[0]
            file.seek(offset + at)
            file.write(bytes([byte ^ 1 << rng.randrange(8)]))
        self.damaged = True
        return True


__all__ = ["FileDisk", "LogDamaged", "LogFailed", "MemoryDisk", "entries_of"]
