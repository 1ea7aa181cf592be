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

from raftcore import (
    Compact,
    Entry,
    HardState,
    InstallSnapshot,
    Membership,
    Persist,
    SnapshotMeta,
)
from raftcore.starting import align
from raftcore.storage import (
    LogDamaged,
    LogFailed,
    LogNotCompacted,
    LogReader,
    LogStore,
    MemoryLog,
    WriteAheadLog,
)
from raftcore.storage.segment import FRAME_OVERHEAD_BYTES, HEADER_BYTES, decode_header, read_frame
from tests.sim.violation import Violation
from tests.storage.disks import PowerCut, PowerCutDisk

LogWrite = Persist | Compact | InstallSnapshot
"""What a log is written by."""
NEVER = 1 << 60
EVERYTHING = 1 << 40
Content = tuple[HardState, SnapshotMeta | None, int, list[Entry]]
"""All there is to a log."""
_OWN_CHECK = range(16, 20)
"""The bytes of a frame that nothing depends on while the frame is whole."""


def entries_of(log: LogReader) -> list[Entry]:
    if log.last_index < log.first_index:
        return []
    return list(log.entries(log.first_index, log.last_index, EVERYTHING))


def content_of(log: LogStore) -> Content:
    return log.hard_state, log.snapshot, log.first_index, entries_of(log)


def apply_to(log: LogStore, write: LogWrite) -> None:
    """Do to a log what an effect asks for."""
    match write:
        case Persist():
            log.append(write.hard_state, write.entries)
        case Compact():
            log.compact(write.meta, write.through)
        case InstallSnapshot():
            log.reset(write.meta)


def fill(twin: MemoryLog, log: LogStore) -> MemoryLog:
    """Make an empty log equal to another one."""
    if log.first_index > 1:
        # Something has to stand before the first entry, whatever it is.
        twin.reset(SnapshotMeta(log.first_index - 1, 0, 0, Membership(frozenset())))
    twin.append(log.hard_state, entries_of(log))
    if log.snapshot is not None:
        twin.compact(log.snapshot, log.first_index - 1)
    return twin


class ReadLog(MemoryLog):
    """What the core reads of the log; counts that it does."""

    def __init__(self, durable: MemoryLog, coverage: Counter[str]) -> None:
        super().__init__()
        self._coverage = coverage
        fill(self, durable)

    def entries(self, first: int, last: int, bytes_max: int) -> tuple[Entry, ...]:
        self._coverage["entries read back from disk"] += 1
        return super().entries(first, last, bytes_max)


class MemoryDisk:
    """Loses what was not synced, or the end of it."""

    def __init__(self, coverage: Counter[str], *, read_early: bool) -> None:
        self.coverage = coverage
        self.read_early = read_early
        self.durable = MemoryLog()
        self.writes: deque[LogWrite] = deque()
        """Taken, and not yet synced."""
        self.error: OSError | None = None
        """What the next write meets, until somebody repairs the disk."""
        self.damaged = False
        """A bit has flipped: this disk must not be believed any more."""
        self.log: LogStore

    def boot(self, newest: SnapshotMeta | None) -> LogReader:
        """What the core reads from after a start; behind the newest snapshot where it must be."""
        self.writes.clear()
        self._align(self.durable, newest)
        self.log = ReadLog(self.durable, self.coverage)
        return self.log

    def _align(self, log: LogStore, newest: SnapshotMeta | None) -> None:
        before = log.snapshot
        align(log, newest)
        if log.snapshot != before:
            self.coverage["log begun anew at a start"] += 1

    def take(self, write: LogWrite) -> None:
        self.writes.append(write)
        if self.read_early:
            apply_to(self.log, write)

    def sync(self, count: int) -> list[LogWrite]:
        """Make the oldest writes durable; which those are.  Raises `LogFailed`."""
        if self.error is not None:
            raise LogFailed(str(self.error))
        writes = [self.writes.popleft() for _ in range(count)]
        for write in writes:
            apply_to(self.durable, write)
            if not self.read_early:
                apply_to(self.log, write)
        return writes

    def crash(self, rng: random.Random, *, keeps_unsynced: bool) -> None:
        """The process is gone; a write under way may have got to the disk or not."""
        if keeps_unsynced and self.writes:
            kept = rng.randint(0, len(self.writes))
            for write in [self.writes.popleft() for _ in range(kept)]:
                apply_to(self.durable, write)
            if kept:
                self.coverage["unsynced write survived a crash"] += 1
            if self.writes and isinstance(self.writes[0], Persist) and rng.random() < 0.3:
                # A large batch becomes durable from its front.
                persist = self.writes[0]
                some = rng.randint(0, len(persist.entries))
                self.durable.append(persist.hard_state, persist.entries[:some])
        if self.writes:
            self.coverage["write lost by a crash"] += 1

    def close(self) -> None:
        """It is not used any more."""

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

    def settle(self, file: io.FileIO) -> None:
        self._fail(errno.EIO)
        super().settle(file)

    def rename(self, path: Path, to: Path) -> None:
        self._fail(errno.EIO)
        super().rename(path, to)

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
        self.folder = folder
        self._segment_bytes = segment_bytes
        self.files = _Files()
        self._possible: list[Content] = []
        """What may be found at the next start beside `durable`."""
        self._open = False
        self._damage: tuple[Path, bytes] | None = None
        """Where a bit has flipped; of the file that is always replaced as a whole, its content."""

    def boot(self, newest: SnapshotMeta | None) -> LogReader:
        self.writes.clear()
        self.files.error = self.error
        log = WriteAheadLog.open(
            self.folder,
            segment_bytes=self._segment_bytes,
            disk=self.files,
            prepare_ahead=False,
        )
        self.log, self._open = log, True
        self._check_damage()
        found = content_of(log)
        if found != content_of(self.durable):
            if found not in self._possible:
                raise Violation(f"{self.folder.name}: the log forgets what was counted on")
            self.coverage["unsynced write survived a crash"] += 1
            self.durable = fill(MemoryLog(), log)
        self._possible = []
        twin = fill(MemoryLog(), self.durable)
        self._align(twin, newest)
        try:
            align(log, newest)
        except LogFailed:
            # It may have got anywhere: both ends, or only the term.
            term = fill(MemoryLog(), self.durable)
            term.append(twin.hard_state, ())
            self._possible = [content_of(term), content_of(twin)]
            self.log.close()
            self._open = False
            raise
        self.durable = twin
        self.coverage["started from files"] += 1
        return log

    def _check_damage(self) -> None:
        """What was damaged is noticed, unless it is not there any more."""
        if self._damage is None:
            return
        path, content = self._damage
        if path.exists() and (not content or path.read_bytes() == content):
            raise Violation(f"damage in {path} goes unnoticed")
        self.coverage["damage compacted away"] += 1
        self.damaged, self._damage = False, None

    def sync(self, count: int) -> list[LogWrite]:
        self.files.error = self.error
        writes = [self.writes[i] for i in range(count)]
        for write in writes:
            try:
                self._write(write)
            except LogNotCompacted:
                # "It goes on as it was."
                self.coverage["log could not be compacted"] += 1
                self.writes.remove(write)
        self.log.sync()
        for write in [write for write in writes if write in self.writes]:
            apply_to(self.durable, write)
            self.writes.popleft()
        return writes

    def _write(self, write: LogWrite) -> None:
        if isinstance(write, Compact):
            # A compaction is durable at once; so is what stands before it, to have an order.
            self.log.sync()
        apply_to(self.log, write)

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
            self.files.lose(rng)

    def close(self) -> None:
        if self._open:
            self._open = False
            self.log.close()

    def _write_some(self, rng: random.Random) -> None:
        count = rng.randint(1, len(self.writes))
        self._remember(count)
        self.files.error = None
        self.files.operations = rng.randint(0, 6)
        try:
            for write in [self.writes[i] for i in range(count)]:
                self._write(write)
            self.log.sync()
        except PowerCut:
            self.coverage["power cut during a write"] += 1
        self.files.operations = NEVER

    def _remember(self, count_max: int) -> None:
        """What may be there later: the first of the writes, any number of them."""
        twin = fill(MemoryLog(), self.durable)
        for write in [self.writes[i] for i in range(count_max)]:
            apply_to(twin, write)
            self._possible.append(content_of(twin))

    def flip_bit(self, rng: random.Random) -> bool:
        frames = []
        for path in sorted(self.folder.glob("*.wal")):
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
        base = self.folder / "base"
        if base.exists() and rng.random() < 0.2:
            path, offset, at = base, 0, rng.randrange(base.stat().st_size)
        with io.FileIO(path, "r+") as file:
            file.seek(offset + at)
            byte = file.read(1)[0]
            file.seek(offset + at)
            file.write(bytes([byte ^ 1 << rng.randrange(8)]))
        self.damaged = True
        self._damage = path, path.read_bytes() if path == base else b""
        return True


__all__ = ["FileDisk", "LogDamaged", "LogFailed", "MemoryDisk", "entries_of"]
