"""Reading the log back at start: replay, repair of a torn tail, refusal of damage."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from raftcore.storage.disk import Disk
from raftcore.storage.errors import LogDamaged
from raftcore.storage.log_base import Base, read_base
from raftcore.storage.log_index import LogIndex
from raftcore.storage.record import decode_record, record_hard_state
from raftcore.storage.segment import (
    FRAME_OVERHEAD_BYTES,
    HEADER_BYTES,
    Header,
    decode_header,
    frame_follows,
    is_zero,
    looks_torn,
    read_frame,
    written_bytes,
)
from raftcore.storage.segment_folder import FIRST_SEQUENCE, SegmentFolder
from raftcore.types import HardState, SnapshotMeta


@dataclass(slots=True)
class Segment:
    """One that was begun."""

    header: Header
    content_bytes: int = 0
    """Of its frames."""


@dataclass(slots=True)
class Recovered:
    """What the segments hold, and where writing goes on."""

    index: LogIndex = field(default_factory=LogIndex)
    hard_state: HardState = field(default_factory=HardState)
    chain: int = 0
    """The crc of the last frame."""
    sequence: int = FIRST_SEQUENCE - 1
    """The segment written last; one less than the first if none was begun."""
    offset: int = HEADER_BYTES
    """Where its next frame goes."""
    last_frame: int = 0
    """Where its last frame begins; 0 while it has none but its header."""
    size: int = 0
    """Size of that segment's file."""
    segments: dict[int, Segment] = field(default_factory=dict)
    """Those that count, in order."""
    snapshot: SnapshotMeta | None = None
    anchored: bool = True
    """Whether the frames read so far reach back to the log's first entry.

    The first ones behind a base may continue entries that were replaced later, when these stood in
    segments that are gone.
    """

    @classmethod
    def behind(cls, base: Base | None) -> Recovered:
        """Before anything was read but where the log begins."""
        if base is None:
            return cls()
        return cls(
            index=LogIndex(base.first_index),
            hard_state=base.hard_state,
            chain=base.chain,
            sequence=base.segment - 1,
            snapshot=base.snapshot,
            anchored=False,
        )


def recover(folder: SegmentFolder, disk: Disk) -> Recovered:
    """Replay all segments.  Raises `LogDamaged`; then no file was changed."""
    base = read_base(folder.base, disk)
    state = Recovered.behind(base)
    sequences = _that_count(folder, base)
    not_begun = _not_begun(folder.segment(sequences[-1]), disk) if sequences else None
    if not_begun is not None:
        sequences.pop()
    content = b""
    for sequence in sequences:
        content = disk.read(folder.segment(sequence))
        header = _check_header(folder, sequence, content, state)
        state.segments[sequence] = Segment(header)
        state.sequence = sequence
        _replay(folder.segment(sequence), content, state)
    # Nothing may be changed before all has been read: what is damaged is left as it is.
    # That a file can be read does not say that its name is on the disk; see _make_durable.  Of the
    # segment made ahead, too: nobody syncs its name again when it is begun.
    disk.sync_folder(folder.path)
    if base is not None:
        folder.remove_before(base.segment)
    if sequences:
        state.size = len(content)
        path = folder.segment(sequences[-1])
        _settle_tail(path, content, state, disk)
        _make_durable(path, content[: state.offset], state.last_frame, disk)
    if not_begun:
        _wipe(folder.segment(state.sequence + 1), not_begun, 0, disk)
    return state


def _that_count(folder: SegmentFolder, base: Base | None) -> list[int]:
    """The segments to read: without gaps, and from the base's on, whose file is always there."""
    sequences = folder.sequences()
    first = FIRST_SEQUENCE
    if base is not None:
        first = base.segment
        sequences = [sequence for sequence in sequences if sequence >= first] or [first + 1]
    for expected, sequence in enumerate(sequences, first):
        if sequence != expected:
            raise LogDamaged(folder.segment(expected), 0, "this segment is missing")
    return sequences


def _make_durable(path: Path, content: bytes, start: int, disk: Disk) -> None:
    """Write the last frame again as it is, and sync it.

    That it can be read does not say that it is on the disk: the process may have ended before its
    sync, or the sync have failed, after which many kernels take the pages for written.  From now on
    this node counts on it, so it has to be there even if the power goes.
    """
    with disk.open(path) as file:
        disk.write(file, content[start:], start)
        disk.sync(file)


def _not_begun(path: Path, disk: Disk) -> bytes | None:
    """What stands in the newest segment if it is one made ahead: nothing, or a header cut short.

    A header is durable before the first frame is written, so without frames nothing is lost.
    """
    content = disk.read(path)
    if decode_header(content) is not None:
        return None
    if not is_zero(content, HEADER_BYTES):
        raise LogDamaged(path, 0, "the segment's header is not what was written")
    return content[: written_bytes(content)]


def _check_header(folder: SegmentFolder, sequence: int, content: bytes, state: Recovered) -> Header:
    path = folder.segment(sequence)
    header = decode_header(content)
    if header is None:
        raise LogDamaged(path, 0, "the segment's header is not what was written")
    if header.sequence != sequence:
        raise LogDamaged(path, 0, f"this is segment {header.sequence}")
    gap = state.anchored and header.first_index > state.index.last_index + 1
    if header.chain != state.chain or gap:
        # The segment before ends too early: that is where the trouble is, if there is one.
        if state.segments:
            path, offset = folder.segment(state.sequence), state.offset
            raise LogDamaged(path, offset, "a record that was written here is damaged or missing")
        raise LogDamaged(path, 0, "earlier segments are missing")
    return header


def _replay(path: Path, content: bytes, state: Recovered) -> None:
    """Take in every whole frame of a segment; stop at the first that is none."""
    index, segment = state.index, state.segments[state.sequence]
    offset = HEADER_BYTES
    state.last_frame = 0
    while (frame := read_frame(content, offset, segment.header.seal)) is not None:
        payload, previous, crc = frame
        if previous != state.chain:
            raise LogDamaged(path, offset, "a record is missing before this one")
        length = FRAME_OVERHEAD_BYTES + len(payload)
        try:
            record = decode_record(payload)
            first = record.first_index
            state.anchored = state.anchored or bool(record.terms and first <= index.first_index)
            if record.terms and state.anchored:
                index.replace_from(first, record.terms, record.kinds)
                index.add_frame(first, state.sequence, offset, length)
        except (ValueError, IndexError) as error:
            raise LogDamaged(path, offset, f"a record that cannot be read ({error})") from error
        if (hard_state := record_hard_state(record)) is not None:
            state.hard_state = hard_state
        state.chain = crc
        state.last_frame = offset
        offset += length
        segment.content_bytes += length
    state.offset = offset


def _settle_tail(path: Path, content: bytes, state: Recovered, disk: Disk) -> None:
    """Make sure that nothing stands behind the last whole frame, or refuse."""
    offset, seal = state.offset, state.segments[state.sequence].header.seal
    if is_zero(content, offset):
        return
    follower = frame_follows(content, offset, seal)
    if follower is not None:
        what = f"the record here is not what was written, and a later one stands at {follower}"
        raise LogDamaged(path, offset, what)
    if not looks_torn(content, offset, seal):
        raise LogDamaged(path, offset, "the last record was complete and is not what was written")
    _wipe(path, content, offset, disk)


def _wipe(path: Path, content: bytes, offset: int, disk: Disk) -> None:
    """Overwrite a write that was cut short with zeros; it is kept in a file beside.

    Otherwise what is left of it might one day stand right behind a shorter new frame.
    """
    torn = content[offset : written_bytes(content)]
    kept = path.with_name(f"{path.stem}.torn-at-{offset}")
    disk.create(kept, len(torn))
    for target, at, data in ((kept, 0, torn), (path, offset, bytes(len(torn)))):
        with disk.open(target) as file:
            disk.write(file, data, at)
            disk.sync(file)
