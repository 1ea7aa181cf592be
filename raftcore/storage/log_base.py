"""Where a log begins that was compacted, or replaced by a snapshot: a file beside the segments.

It is written whole under another name and renamed, so there is the old one or the new one.  The
segments before the one that it names do not count any more, whether they are still there or not:
nothing is removed before the folder is synced with it.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError

from raftcore.codec import decode_snapshot_meta, encode_snapshot_meta
from raftcore.errors import Malformed
from raftcore.storage import record_pb2
from raftcore.storage.disk import Disk
from raftcore.storage.errors import LogDamaged, LogVersionUnknown
from raftcore.storage.record import hard_state_in, hard_state_out
from raftcore.types import HardState, SnapshotMeta

_VERSION = 1
_HEAD = struct.Struct("<8sII")
"""Magic, version, and the crc of these and of the rest of the file."""
_MAGIC = b"RaftBAS\n"


@dataclass(frozen=True, slots=True)
class Base:
    """What stands before the first segment."""

    snapshot: SnapshotMeta
    first_index: int
    """Entries before this one do not count, whatever the segments hold."""
    segment: int
    """The oldest that counts.  Its file is there, though it may not have been begun."""
    chain: int
    """The crc of the last frame before that segment."""
    hard_state: HardState
    """In force where that segment has no frame yet; where it has, the first of them tells."""

    def encode(self) -> bytes:
        payload = record_pb2.Base(
            snapshot=encode_snapshot_meta(self.snapshot),
            first_index=self.first_index,
            segment=self.segment,
            chain=self.chain,
            hard_state=hard_state_out(self.hard_state),
        ).SerializeToString()
        return _HEAD.pack(_MAGIC, _VERSION, _crc(_VERSION, payload)) + payload


def _crc(version: int, payload: bytes) -> int:
    return zlib.crc32(payload, version)


def read_base(path: Path, disk: Disk) -> Base | None:
    """The base in this file; None without one.  Raises `LogDamaged`, `LogVersionUnknown`."""
    try:
        content = disk.read(path)
    except FileNotFoundError:
        return None
    if len(content) < _HEAD.size:
        raise LogDamaged(path, 0, "the file is cut short")
    magic, version, crc = _HEAD.unpack_from(content)
    payload = content[_HEAD.size :]
    if magic != _MAGIC or _crc(version, payload) != crc:
        raise LogDamaged(path, 0, "the file is not what was written")
    if version != _VERSION:
        raise LogVersionUnknown(version, _VERSION)
    try:
        stored = record_pb2.Base.FromString(payload)
        snapshot = decode_snapshot_meta(stored.snapshot)
    except (DecodeError, Malformed) as error:
        raise LogDamaged(path, 0, f"the file cannot be read ({error})") from error
    if stored.segment < 1 or not 1 <= stored.first_index <= snapshot.index + 1:
        raise LogDamaged(path, 0, "the file contradicts itself")
    return Base(
        snapshot,
        stored.first_index,
        stored.segment,
        stored.chain,
        hard_state_in(stored.hard_state),
    )
