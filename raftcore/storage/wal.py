"""The write-ahead log: segments on disk behind the `LogStore` protocol.

What was appended since the last sync is written as one frame with one write and one sync.  Nothing
durable is ever overwritten: a conflicting suffix is dropped by appending what replaces it, so a
crash at any moment leaves either the old end of the log or the new one.

What a snapshot covers goes by whole segments.  A small file, the base, says where the log begins;
once that is durable the segments before it do not count, and are removed.

Which thread may do what is said at `LogStore`.  While a compaction waits for the disk it is in
nobody's way.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from raftcore.storage.disk import Disk
from raftcore.storage.entry_runs import check_compaction, check_contiguous, within_bytes
from raftcore.storage.errors import (
    LogDamaged,
    LogFailed,
    LogNotCompacted,
    advice,
    log_failed,
)
from raftcore.storage.log_base import Base
from raftcore.storage.log_index import LogIndex, Span, check_range
from raftcore.storage.record import decode_record, encode_record, record_entries
from raftcore.storage.recovery import Recovered, Segment, recover
from raftcore.storage.segment import (
    FRAME_OVERHEAD_BYTES,
    HEADER_BYTES,
    SEAL_BYTES,
    Header,
    Seal,
    encode_frame,
    read_frame,
)
from raftcore.storage.segment_folder import SegmentFolder
from raftcore.types import Entry, HardState, SnapshotMeta

SEGMENT_BYTES = 16 << 20
FRAME_DATA_BYTES_MAX = 4 << 20
"""A batch with more data than this is written as several frames, each synced before the next; an
entry is never divided.  It bounds what must be read from disk to get at one entry."""

FRAME_ROOM_BYTES = 4 * 1024
"""What a frame of few entries takes beyond their data, generously."""


class WriteAheadLog:
    """A `LogStore` on disk."""

    def __init__(self, folder: SegmentFolder, disk: Disk, state: Recovered) -> None:
        """Use `open`."""
        self._folder = folder
        self._disk = disk
        self._lock = threading.Lock()
        """Guards the index and what is pending between the writer, readers and a compaction."""
        self._beginning = threading.Lock()
        """Held while the log's beginning changes: by a compaction, a reset, or the end."""
        self._snapshot = state.snapshot
        self._index = state.index
        self._hard_state = state.hard_state
        self._hard_state_pending = False
        self._pending: list[Entry] = []
        self._replacing: int | None = None
        """Where the oldest entry stands that what is pending replaces: until then it counts."""
        self._failure: str | None = None
        self._chain = state.chain
        self._sequence = state.sequence
        self._segments = state.segments
        self._offset = state.offset
        self._size = state.size
        self._file: io.FileIO | None = None

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        *,
        segment_bytes: int = SEGMENT_BYTES,
        disk: Disk | None = None,
        prepare_ahead: bool = True,
    ) -> WriteAheadLog:
        """Open the log in `folder`, or begin one.

        Raises `LogDamaged`, `LogLocked`, `LogVersionUnknown`, and `LogFailed`.
        """
        folder = Path(folder)
        disk = Disk() if disk is None else disk
        segments = SegmentFolder(folder, disk, segment_bytes, prepare_ahead=prepare_ahead)
        try:
            segments.take()
            log = cls(segments, disk, recover(segments, disk))
            log._start()
        except OSError as error:
            segments.close()
            raise log_failed(folder, "opening it", error) from error
        except BaseException:
            segments.close()
            raise
        return log

    def _start(self) -> None:
        """Open the segment to go on with; a new log gets its first one."""
        if self._size:
            self._file = self._disk.open(self._folder.segment(self._sequence))
            self._folder.prepare(self._sequence + 1)
        else:
            self._begin_segment(HEADER_BYTES)

    @property
    def snapshot(self) -> SnapshotMeta | None:
        return self._snapshot

    @property
    def first_index(self) -> int:
        return self._index.first_index

    @property
    def last_index(self) -> int:
        return self._index.last_index

    @property
    def hard_state(self) -> HardState:
        return self._hard_state

    @property
    def size_bytes(self) -> int:
        """What the log takes on the disk, the segment made ahead included."""
        return self._folder.size_bytes

    @property
    def content_bytes(self) -> int:
        """What has been written to it; `size_bytes` also has what is kept free for what will be."""
        with self._lock:
            return sum(segment.content_bytes for segment in self._segments.values())

    def term(self, index: int) -> int:
        """Term of the entry at `index`, 0 for index 0."""
        with self._lock:
            return self._index.term(index)

    def membership_indexes(self) -> list[int]:
        """Where MEMBERSHIP entries are, in order."""
        with self._lock:
            return self._index.membership_indexes()

    def entries(self, first: int, last: int, bytes_max: int) -> tuple[Entry, ...]:
        """Entries from `first` to `last`: at least one, then as many as fit `bytes_max`."""
        with self._lock:
            check_range(first, last, self._index.first_index, self._index.last_index)
            pending = [entry for entry in self._pending if first <= entry.index <= last]
            last_framed = pending[0].index - 1 if pending else last
            spans = self._index.spans(first, last_framed, bytes_max)
            seals = {span.segment: self._segments[span.segment].header.seal for span in spans}
        # Frames are never overwritten, so reading them needs no lock.
        try:
            entries = [
                entry
                for run in _adjacent(spans)
                for entry in self._read(run, seals[run[0].segment])
            ]
        except FileNotFoundError as error:
            # Compacted meanwhile; or else somebody has removed it.
            check_range(first, last, self.first_index, self.last_index)
            raise LogDamaged(Path(error.filename), 0, "this segment is missing") from error
        if not entries or entries[-1].index == last_framed:
            entries += pending
        return within_bytes(entries, bytes_max)

    def bytes_after(self, index: int) -> int:
        """Bytes of the frames that hold the entries behind `index`."""
        with self._lock:
            index = max(index, self._index.first_index - 1)
            pending = sum(len(entry.data) for entry in self._pending if entry.index > index)
            return pending + self._index.bytes_after(index, self._last_framed)

    @property
    def _last_framed(self) -> int:
        """The last entry that is not pending."""
        return self._pending[0].index - 1 if self._pending else self._index.last_index

    def _read(self, run: Sequence[Span], seal: Seal) -> Iterator[Entry]:
        """Read spans that lie behind one another, at once."""
        start = run[0].offset
        path = self._folder.segment(run[0].segment)
        content = self._disk.read(path, start, run[-1].offset + run[-1].length - start)
        for span in run:
            frame = read_frame(content, span.offset - start, seal)
            if frame is None:
                raise LogDamaged(path, span.offset, "a record has changed since it was written")
            yield from record_entries(decode_record(frame[0]), span.skip, span.count)

    def append(self, hard_state: HardState | None, entries: Sequence[Entry]) -> None:
        """Take hard state and entries; see `LogStore`.  They reach the disk with `sync`."""
        self._check_alive()
        with self._lock:
            if entries:
                first = check_contiguous(entries, self._index.first_index, self._index.last_index)
                if first <= self._last_framed:
                    self._replacing = self._index.first_segment(first, self._last_framed)
                self._index.replace_from(
                    first,
                    [entry.term for entry in entries],
                    bytes([entry.kind for entry in entries]),
                )
                if self._pending and first <= self._pending[-1].index:
                    self._pending = [entry for entry in self._pending if entry.index < first]
                self._pending.extend(entries)
            if hard_state is not None:
                self._hard_state = hard_state
                self._hard_state_pending = True

    def sync(self) -> None:
        """Make all that was appended durable; `LogFailed` is final."""
        self._check_alive()
        if not self._pending and not self._hard_state_pending:
            return
        with self._final("writing"):
            while self._pending or self._hard_state_pending:
                self._write_frame(_head_within(self._pending, FRAME_DATA_BYTES_MAX))

    def has_room(self, data_bytes: int) -> bool:
        """Whether the segment holds so much more data; asked by whoever writes."""
        return self._offset + data_bytes + FRAME_ROOM_BYTES <= self._size

    def _write_frame(self, entries: Sequence[Entry]) -> None:
        """Write and sync one frame with the first of the pending entries."""
        hard_state = self._hard_state if self._hard_state_pending else None
        payload = encode_record(hard_state, entries)
        if self._offset + FRAME_OVERHEAD_BYTES + sum(map(len, payload)) > self._size:
            # Each segment begins with the hard state, so that it does not need the ones before.
            payload = encode_record(self._hard_state, entries)
            self._begin_segment(HEADER_BYTES + FRAME_OVERHEAD_BYTES + sum(map(len, payload)))
        file = self._open_file()
        segment = self._segments[self._sequence]
        frame, crc = encode_frame(payload, self._chain, segment.header.seal, self._offset)
        self._disk.write(file, frame, self._offset)
        self._disk.sync(file)
        with self._lock:
            if entries:
                self._index.add_frame(entries[0].index, self._sequence, self._offset, len(frame))
                del self._pending[: len(entries)]
                self._replacing = None
            self._hard_state_pending = False
            segment.content_bytes += len(frame)
        self._chain = crc
        self._offset += len(frame)

    def _begin_segment(self, bytes_min: int) -> None:
        first = self._pending[0].index if self._pending else self._index.last_index + 1
        seal = Seal.drawn(self._disk.noise(SEAL_BYTES))
        header = Header(self._sequence + 1, first, self._chain, seal)
        file, size = self._folder.begin(header, bytes_min)
        if self._file is not None:
            self._file.close()
        self._file = file
        with self._lock:
            self._sequence = header.sequence
            self._segments[header.sequence] = Segment(header)
        self._offset = HEADER_BYTES
        self._size = size

    def compact(self, meta: SnapshotMeta, through: int) -> None:
        """Let entries up to `through` go; see `LogStore`.

        What it makes durable is durable when it returns.  Where it raises `LogNotCompacted` it can
        be tried again.
        """
        with self._beginning:
            self._check_alive()
            check_compaction(self, meta, through)
            with self._lock:
                first_index = max(through + 1, self._index.first_index)
                segment = self._index.first_segment(first_index, self._last_framed)
                if segment is None:
                    segment = self._replacing or self._sequence
                header = self._segments[segment].header
                base = Base(meta, first_index, segment, header.chain, self._hard_state)
            unfinished = self._folder.base.with_suffix(".unfinished")
            try:
                self._disk.put(unfinished, base.encode())
            except OSError as error:
                raise LogNotCompacted(
                    f"The Raft log in {self._folder.path} could not be compacted and goes on as it "
                    f"was ({error}). {advice(error)}"
                ) from error
            with self._final("compacting it"):
                self._disk.rename(unfinished, self._folder.base)
                self._disk.sync_folder(self._folder.path)
            with self._lock:
                self._index.compact(first_index, self._last_framed)
                self._begin_at(base)
            self._remove_before(segment)

    def reset(self, meta: SnapshotMeta) -> None:
        """Begin anew behind a snapshot; see `LogStore`.  Durable when it returns."""
        with self._beginning, self._final("putting a snapshot in its place"):
            self._check_alive()
            following = self._sequence + 1
            # The base names a segment whose file is there, so that one that is lost is missed.
            self._folder.make(following)
            base = Base(meta, meta.index + 1, following, self._chain, self._hard_state)
            unfinished = self._folder.base.with_suffix(".unfinished")
            self._disk.put(unfinished, base.encode())
            self._disk.rename(unfinished, self._folder.base)
            self._disk.sync_folder(self._folder.path)
            with self._lock:
                self._index = LogIndex(base.first_index)
                self._pending.clear()
                self._replacing = None
                self._hard_state_pending = False
                self._begin_at(base)
            self._begin_segment(HEADER_BYTES)
            self._remove_before(following)

    def _begin_at(self, base: Base) -> None:
        self._snapshot = base.snapshot
        for sequence in [old for old in self._segments if old < base.segment]:
            del self._segments[sequence]

    def _remove_before(self, sequence: int) -> None:
        # They do not count any more, and the next compaction or start tries again.
        with suppress(OSError):
            self._folder.remove_before(sequence)

    @contextmanager
    def _final(self, doing: str) -> Iterator[None]:
        """A failure in here is final: what is on the disk is only known at the next start."""
        try:
            yield
        except OSError as error:
            failure = log_failed(self._folder.path, doing, error)
            self._failure = str(failure)
            raise failure from error

    def _open_file(self) -> io.FileIO:
        if self._file is None:
            raise LogFailed("The log was closed.")
        return self._file

    def _check_alive(self) -> None:
        if self._failure is not None:
            raise LogFailed(self._failure)
        self._open_file()

    def close(self) -> None:
        """Release files.  What was appended and not synced is dropped."""
        with self._beginning:
            if self._file is not None:
                self._file.close()
                self._file = None
            self._folder.close()


def _adjacent(spans: Sequence[Span]) -> Iterator[list[Span]]:
    """Group spans that follow each other in one segment."""
    run: list[Span] = []
    for span in spans:
        if run and (run[-1].segment, run[-1].offset + run[-1].length) != (
            span.segment,
            span.offset,
        ):
            yield run
            run = []
        run.append(span)
    if run:
        yield run


def _head_within(entries: Sequence[Entry], bytes_max: int) -> Sequence[Entry]:
    taken = within_bytes(entries, bytes_max)
    return entries if len(taken) == len(entries) else taken
