"""The bytes of a segment: its header, its frames, and what a damaged one tells.

    segment = header, zeros up to 512, frame, frame, ..., zeros
    header  = magic, version, sequence, first index, chain
              the chain is the crc of the last frame of the segment before
    frame   = magic, length, previous, crc, check | payload (a `Record`) | end

`crc` covers length, `previous` (the crc of the frame before, through all segments) and payload, so
no frame can be lost, moved or replaced unseen.  `check` covers the frame's head alone, so that a
length can be believed before anything is read by it.

A frame is what was made durable by one sync, and the next is written only after that sync returned.
So a bad frame with a good one behind it was durable once: damage.  A bad frame at the very end may
be a write that the power cut short: then some sector of it still holds the zeros from before, or its
end is missing.  A bad last frame without any such trace was complete and has been altered since:
damage again, for what it held may have been acknowledged.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from raftcore.storage.errors import LogVersionUnknown

VERSION = 1
SECTOR_BYTES = 512
"""The least that any disk writes as a whole."""
HEADER_BYTES = SECTOR_BYTES

_SEGMENT_MAGIC = b"RaftWAL\n"
_SEGMENT = struct.Struct("<8sIQQI")
_CHECK = struct.Struct("<I")
_FRAME_MAGIC = b"\xf5WAL"
_FRAME = struct.Struct("<4sIIII")
_COVERED = struct.Struct("<4sII")
_CHECKED = struct.Struct("<4sIII")
_CHECK_MARK = 0x01000000
"""Keeps the last byte of a frame's head from being zero: a head cut short is then seen."""
_END = b"\xa5"

FRAME_OVERHEAD_BYTES = _FRAME.size + len(_END)


@dataclass(frozen=True, slots=True)
class Header:
    """The head of a segment."""

    sequence: int
    first_index: int
    """Index of the first entry written to it, or the one that would have come next."""
    chain: int
    """The crc of the last frame before this segment."""

    def encode(self) -> bytes:
        packed = _SEGMENT.pack(_SEGMENT_MAGIC, VERSION, self.sequence, self.first_index, self.chain)
        return (packed + _CHECK.pack(zlib.crc32(packed))).ljust(HEADER_BYTES, b"\0")


def decode_header(content: bytes) -> Header | None:
    """Read a segment's header; None if it is none.  Raises `LogVersionUnknown`."""
    if len(content) < HEADER_BYTES:
        return None
    magic, version, sequence, first_index, chain = _SEGMENT.unpack_from(content)
    (check,) = _CHECK.unpack_from(content, _SEGMENT.size)
    if magic != _SEGMENT_MAGIC or zlib.crc32(content[: _SEGMENT.size]) != check:
        return None
    if version != VERSION:
        raise LogVersionUnknown(version, VERSION)
    return Header(sequence, first_index, chain)


def encode_frame(payload: Sequence[bytes], previous: int) -> tuple[bytes, int]:
    """The frame of `payload`, which comes in pieces, and its crc, which the next frame needs."""
    covered = _COVERED.pack(_FRAME_MAGIC, sum(map(len, payload)), previous)
    crc = zlib.crc32(covered)
    for piece in payload:
        crc = zlib.crc32(piece, crc)
    checked = covered + _CHECK.pack(crc)
    check = _CHECK.pack(zlib.crc32(checked) | _CHECK_MARK)
    return b"".join((checked, check, *payload, _END)), crc


def read_frame(content: bytes, offset: int = 0) -> tuple[bytes, int, int] | None:
    """The frame at `offset`: payload, `previous` and crc; None if there is no whole frame."""
    if offset + FRAME_OVERHEAD_BYTES > len(content):
        return None
    magic, length, previous, crc, _check = _FRAME.unpack_from(content, offset)
    start = offset + _FRAME.size
    end = start + length
    # The length is held against the file before anything is taken by it.
    if magic != _FRAME_MAGIC or end >= len(content) or content[end] != _END[0]:
        return None
    payload = content[start:end]
    if zlib.crc32(payload, zlib.crc32(content[offset : offset + _COVERED.size])) != crc:
        return None
    return payload, previous, crc


def _check_holds(content: bytes, offset: int, check: int) -> bool:
    return zlib.crc32(content[offset : offset + _CHECKED.size]) | _CHECK_MARK == check


def frame_follows(content: bytes, offset: int) -> int | None:
    """Where behind `offset` there is a whole frame, if there is one."""
    while (offset := content.find(_FRAME_MAGIC, offset + 1)) >= 0:
        if read_frame(content, offset) is not None:
            return offset
    return None


def looks_torn(content: bytes, offset: int) -> bool:
    """Whether what stands at `offset`, no whole frame, can be a write that was cut short."""
    head_end = offset + _FRAME.size
    if head_end > len(content):
        return True
    magic, length, _previous, _crc, check = _FRAME.unpack_from(content, offset)
    if magic == _FRAME_MAGIC and _check_holds(content, offset, check):
        end = head_end + length + len(_END)
    else:
        end = head_end
    if end > len(content) or content[end - 1] == 0:
        return True
    start = offset
    while start < end:
        stop = min(end, (start // SECTOR_BYTES + 1) * SECTOR_BYTES)
        if is_zero(content, start, stop):
            return True
        start = stop
    return False


def is_zero(content: bytes, start: int, stop: int | None = None) -> bool:
    """Whether a stretch holds nothing but zeros."""
    part = content[start:stop]
    return part == bytes(len(part))


def written_bytes(content: bytes) -> int:
    """Up to where anything but zeros was written."""
    return len(content.rstrip(b"\0"))
