"""The bytes of a segment: its header, its frames, and what a damaged one tells.

    segment = header, zeros up to 512, frame, frame, ..., zeros
    header  = magic, version, sequence, first index, chain, seal
              the chain is the crc of the last frame of the segment before
    frame   = mark, length, previous, crc, check | payload (a `Record`) | end

`crc` covers length, `previous` (the crc of the frame before, through all segments) and payload, so
no frame can be lost, moved or replaced unseen.  `check` covers the frame's head alone, so that a
length can be believed before anything is read by it.

A frame is what was made durable by one sync, and the next is written only after that sync returned.
So a bad frame with another one behind it was durable once: damage.  A bad frame at the very end may
be a write that the power cut short: then some sector of it still holds the zeros from before, or
its end is missing.  A bad last frame without any such trace was complete and has been altered
since: damage again, for what it held may have been acknowledged.

So no frame may have a sector of zeros of its own.  A payload with that many zeros in a row is
written *veiled*, combined with bytes that come of the segment's random ones, and its end says so.

What an entry holds must never pass for a frame behind a torn one, or a node would refuse to start
for a power cut.  So frames begin with a mark that is drawn at random for each segment, and their
check also takes in more random bytes and the place in the file: whoever does not read the file
cannot make one, and one that was copied from it stands in the wrong place.

Version 1 had a fixed mark and nothing random, versions 1 and 2 veiled nothing.  They are still
read, and a segment of them continued.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from raftcore.storage.errors import LogVersionUnknown

VERSION = 3
SECTOR_BYTES = 512
"""The least that any disk writes as a whole."""
HEADER_BYTES = SECTOR_BYTES

_SEGMENT_MAGIC = b"RaftWAL\n"
_SEGMENT = struct.Struct("<8sIQQI")
_CHECK = struct.Struct("<I")
_FRAME = struct.Struct("<4sIIII")
_COVERED = struct.Struct("<4sII")
_CHECKED = struct.Struct("<4sIII")
_CHECK_MARK = 0x01000000
"""Keeps the last byte of a frame's head from being zero: a head cut short is then seen."""
_END = b"\xa5"
_VEILED_END = b"\x5a"
_ZERO_SECTOR = bytes(SECTOR_BYTES)
_VEIL_STEP_BYTES = 1 << 18
"""A multiple of the veil's length; more at once would keep the interpreter from everybody else."""

FRAME_OVERHEAD_BYTES = _FRAME.size + len(_END)


@dataclass(frozen=True, slots=True)
class Seal:
    """What tells the frames of one segment from everything else."""

    mark: bytes
    """Four bytes that they begin with; none is zero, so that one cut short is seen."""
    salt: bytes
    """Eight more that go into their checks; none in version 1."""
    veils: bool = True
    """Not in versions 1 and 2."""

    @classmethod
    def drawn(cls, noise: bytes) -> Seal:
        """The seal of a new segment, from `SEAL_BYTES` random bytes."""
        return cls(bytes([byte or 0xF5 for byte in noise[:4]]), noise[4:])

    def check(self, checked: bytes, offset: int) -> int:
        """The check of a frame's head that stands at `offset`."""
        if self.salt:
            checked += self.salt + offset.to_bytes(8, "little")
        return zlib.crc32(checked) | _CHECK_MARK

    def veiled(self, payload: bytes) -> bytes:
        """The payload combined with bytes that nobody can know; a second time brings it back.

        That one without a sector of zeros is given one by this is as likely as to guess 512 bytes.
        """
        veil = hashlib.shake_128(self.salt).digest(SECTOR_BYTES)
        veil *= _VEIL_STEP_BYTES // SECTOR_BYTES
        parts = []
        for start in range(0, len(payload), _VEIL_STEP_BYTES):
            part = payload[start : start + _VEIL_STEP_BYTES]
            mixed = int.from_bytes(part, "little") ^ int.from_bytes(veil[: len(part)], "little")
            parts.append(mixed.to_bytes(len(part), "little"))
        return b"".join(parts)


SEAL_BYTES = 12
_VERSION_1_SEAL = Seal(b"\xf5WAL", b"", veils=False)


@dataclass(frozen=True, slots=True)
class Header:
    """The head of a segment."""

    sequence: int
    first_index: int
    """Index of the first entry written to it, or the one that would have come next."""
    chain: int
    """The crc of the last frame before this segment."""
    seal: Seal

    def encode(self) -> bytes:
        packed = _SEGMENT.pack(_SEGMENT_MAGIC, VERSION, self.sequence, self.first_index, self.chain)
        packed += self.seal.mark + self.seal.salt
        return (packed + _CHECK.pack(zlib.crc32(packed))).ljust(HEADER_BYTES, b"\0")


def decode_header(content: bytes) -> Header | None:
    """Read a segment's header; None if it is none.  Raises `LogVersionUnknown`."""
    if len(content) < HEADER_BYTES:
        return None
    magic, version, sequence, first_index, chain = _SEGMENT.unpack_from(content)
    # Another version may be longer, but not than this: it can be told from a damaged header.
    size = _SEGMENT.size + (0 if version == 1 else SEAL_BYTES)
    (check,) = _CHECK.unpack_from(content, size)
    if magic != _SEGMENT_MAGIC or zlib.crc32(content[:size]) != check:
        return None
    if version == 1:
        return Header(sequence, first_index, chain, _VERSION_1_SEAL)
    if version not in (2, VERSION):
        raise LogVersionUnknown(version, VERSION)
    noise = content[_SEGMENT.size : size]
    return Header(sequence, first_index, chain, Seal(noise[:4], noise[4:], veils=version > 2))


def encode_frame(
    payload: Sequence[bytes], previous: int, seal: Seal, offset: int
) -> tuple[bytes, int]:
    """The frame to be written at `offset`, and its crc, which the next one needs.

    `payload` comes in pieces.
    """
    covered = _COVERED.pack(seal.mark, sum(map(len, payload)), previous)
    crc = zlib.crc32(covered)
    for piece in payload:
        crc = zlib.crc32(piece, crc)
    checked = covered + _CHECK.pack(crc)
    check = _CHECK.pack(seal.check(checked, offset))
    frame = b"".join((checked, check, *payload, _END))
    if seal.veils and _ZERO_SECTOR in frame:
        frame = b"".join((checked, check, seal.veiled(b"".join(payload)), _VEILED_END))
    return frame, crc


def read_frame(content: bytes, offset: int, seal: Seal) -> tuple[bytes, int, int] | None:
    """The frame at `offset`: payload, `previous` and crc; None if there is no whole frame."""
    if offset + FRAME_OVERHEAD_BYTES > len(content):
        return None
    mark, length, previous, crc, _check = _FRAME.unpack_from(content, offset)
    start = offset + _FRAME.size
    end = start + length
    # The length is held against the file before anything is taken by it.
    if mark != seal.mark or end >= len(content):
        return None
    payload = content[start:end]
    if seal.veils and content[end] == _VEILED_END[0]:
        payload = seal.veiled(payload)
    elif content[end] != _END[0]:
        return None
    if zlib.crc32(payload, zlib.crc32(content[offset : offset + _COVERED.size])) != crc:
        return None
    return payload, previous, crc


def _frame_end(content: bytes, offset: int, seal: Seal) -> int | None:
    """Where the frame that was begun at `offset` ends or should; None if none was begun."""
    if offset + _FRAME.size > len(content):
        return None
    mark, length, _previous, _crc, check = _FRAME.unpack_from(content, offset)
    checked = content[offset : offset + _CHECKED.size]
    if mark != seal.mark or seal.check(checked, offset) != check:
        return None
    return offset + FRAME_OVERHEAD_BYTES + int(length)


def frame_follows(content: bytes, offset: int, seal: Seal) -> int | None:
    """Where behind what stands at `offset`, no whole frame, a later one was begun, if one was.

    `content` is the whole segment.  The later one need not be whole: that it was begun says that
    the one before it was durable.
    """
    end = _frame_end(content, offset, seal)
    if end is not None:
        # Its own length can be believed.
        return end if end < len(content) and not is_zero(content, end) else None
    while (offset := content.find(seal.mark, offset + 1)) >= 0:
        if _frame_end(content, offset, seal) is not None:
            return offset
    return None


def looks_torn(content: bytes, offset: int, seal: Seal) -> bool:
    """Whether what stands at `offset`, no whole frame, can be a write that was cut short."""
    head_end = offset + _FRAME.size
    if head_end > len(content):
        return True
    end = _frame_end(content, offset, seal) or head_end
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
