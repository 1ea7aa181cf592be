"""Snapshots on disk: a file each, the content first, and at the end what it is.

    file = content | end (a `SnapshotEnd`) | magic, version, length of the end, crc of all these

It is written under another name, settled, renamed, and the folder synced: so a name stands for a
whole snapshot, and what a crash leaves of others is removed at the next start.  The content stands
alone at the front, so that a file that a state machine made can become a snapshot without copying.

A folder belongs to one process.  It may stand beside the log, whose lock then guards both.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import struct
import threading
import zlib
from contextlib import suppress
from pathlib import Path

from google.protobuf.message import DecodeError

from raftcore.codec import decode_snapshot_meta, encode_snapshot_meta
from raftcore.errors import Malformed
from raftcore.storage import record_pb2
from raftcore.storage.disk import Disk
from raftcore.storage.errors import (
    SnapshotDamaged,
    SnapshotFailed,
    SnapshotMissing,
    snapshot_failed,
)
from raftcore.storage.snapshots import (
    KEEP,
    Key,
    SnapshotReader,
    SnapshotWriter,
    check_keep,
    check_offset,
    finished,
    key_of,
)
from raftcore.types import SnapshotMeta

_VERSION = 1
_MAGIC = b"RaftSNP\n"
_TAIL = struct.Struct("<8sIII")
_PIECE_BYTES = 1 << 20
_SUFFIX = ".snapshot"
_END_BYTES_MAX = 1 << 24


class DiskSnapshots:
    """A `SnapshotStore` on disk."""

    def __init__(
        self, folder: str | os.PathLike[str], *, keep: int = KEEP, disk: Disk | None = None
    ) -> None:
        """Open the store in `folder`, or begin one; raises `SnapshotFailed`."""
        self.folder = folder = Path(folder)
        self._keep = check_keep(keep)
        self._disk = Disk() if disk is None else disk
        self._committing = threading.Lock()
        """So that what is known of a name and what stands there are the same."""
        self._lock = threading.Lock()
        """Guards what follows; never held while anything is read or written."""
        self._held: dict[Key, SnapshotMeta] = {}
        self._damaged: dict[Key, SnapshotDamaged] = {}
        """Of those it cannot be told what they are."""
        self._checked: dict[Key, tuple[int, ...]] = {}
        """Which file's content was read and found to be what was written."""
        self._numbers = itertools.count()
        try:
            self._look()
        except OSError as error:
            raise snapshot_failed(folder, "Looking for", error) from error

    def _look(self) -> None:
        self._disk.make_folder(self.folder)
        for unfinished in self.folder.glob("*.unfinished"):
            self._disk.remove(unfinished)
        # That a name can be read does not say that it is on the disk; from now on it is counted on.
        self._disk.sync_folder(self.folder)
        for path in self.folder.glob(f"*{_SUFFIX}"):
            index, _, term = path.stem.partition("-")
            if not (index.isdecimal() and term.isdecimal()):
                continue
            key = int(index), int(term)
            try:
                with io.FileIO(path, "r") as file:
                    self._held[key] = _read_end(path, file, key)[0]
            except SnapshotDamaged as damage:
                self._damaged[key] = damage

    def begin(self, meta: SnapshotMeta) -> SnapshotWriter:
        path = self.path(meta).with_suffix(f".{next(self._numbers)}.unfinished")
        try:
            return _FileWriter(self, meta, path, io.FileIO(path, "x"), self._disk)
        except OSError as error:
            raise snapshot_failed(self.folder, "Beginning", error) from error

    def adopt(self, meta: SnapshotMeta, path: str | os.PathLike[str]) -> SnapshotMeta:
        """Make a snapshot of a file, which must be on the same file system; it is gone afterwards.

        What the state machine writes by its own means need not be copied then.
        """
        try:
            writer = _FileWriter(self, meta, Path(path), io.FileIO(path, "r+"), self._disk)
        except OSError as error:
            raise snapshot_failed(self.folder, "Adopting", error) from error
        writer.take_in()
        return writer.commit()

    def open(self, meta: SnapshotMeta, offset: int = 0) -> SnapshotReader:
        key = key_of(meta)
        path = self.path(meta)
        if key in self._damaged:
            raise SnapshotDamaged(self._damaged[key].name, self._damaged[key].what)
        try:
            file = io.FileIO(path, "r")
        except FileNotFoundError:
            raise SnapshotMissing(f"There is no snapshot {path}.") from None
        except OSError as error:
            raise snapshot_failed(self.folder, "Opening", error) from error
        try:
            # What is read here is of one file, whatever stands under its name by now.
            found, digest = _read_end(path, file, key)
            check_offset(offset, found)
            identity = _identity(file)
            if self._checked.get(key) != identity:
                _check(path, file, found.size, digest)
                self._checked[key] = identity
            file.seek(offset)
        except OSError as error:
            file.close()
            raise snapshot_failed(self.folder, "Reading", error) from error
        except BaseException:
            file.close()
            raise
        return _FileReader(path, file, found, digest, offset)

    def latest(self) -> SnapshotMeta | None:
        with self._lock:
            newest = max([*self._held, *self._damaged], default=None)
            if newest is None:
                return None
            if newest in self._damaged:
                raise SnapshotDamaged(self._damaged[newest].name, self._damaged[newest].what)
            return self._held[newest]

    def snapshots(self) -> list[SnapshotMeta]:
        with self._lock:
            return [self._held[key] for key in sorted(self._held, reverse=True)]

    def path(self, meta: SnapshotMeta) -> Path:
        """Where a snapshot is kept; its content is the first `meta.size` bytes of that file."""
        return self._file(key_of(meta))

    def _file(self, key: Key) -> Path:
        return self.folder / f"{key[0]:016d}-{key[1]:016d}{_SUFFIX}"

    def _put(self, path: Path, meta: SnapshotMeta) -> None:
        """Give a settled file its name, durably, and let the oldest go."""
        with self._committing:
            self._disk.rename(path, self.path(meta))
            self._disk.sync_folder(self.folder)
            with self._lock:
                self._held[key_of(meta)] = meta
                self._damaged.pop(key_of(meta), None)
                gone = self._forget_oldest()
            with suppress(OSError):  # They are not needed, and after the next start go again.
                for key in gone:
                    self._disk.remove(self._file(key))

    def _forget_oldest(self) -> list[Key]:
        held = sorted(self._held, reverse=True)
        oldest = held[: self._keep][-1]
        gone = [*held[self._keep :], *(key for key in self._damaged if key < oldest)]
        for key in gone:
            for known in (self._held, self._damaged, self._checked):
                known.pop(key, None)
        return gone


class _FileWriter:
    def __init__(
        self, store: DiskSnapshots, meta: SnapshotMeta, path: Path, file: io.FileIO, disk: Disk
    ) -> None:
        self._store = store
        self._meta = meta
        self._path = path
        self._file: io.FileIO | None = file
        self._disk = disk
        self._digest = hashlib.sha256()
        self.offset = 0

    def write(self, chunk: bytes) -> None:
        file = self._open()
        try:
            self._disk.write(file, chunk, self.offset)
        except OSError as error:
            self.abort()
            raise snapshot_failed(self._store.folder, "Writing", error) from error
        self._digest.update(chunk)
        self.offset += len(chunk)

    def take_in(self) -> None:
        """Take what the file holds for what was written."""
        try:
            while piece := _read_all(self._open(), _PIECE_BYTES):
                self._digest.update(piece)
                self.offset += len(piece)
        except OSError as error:
            self.abort()
            raise snapshot_failed(self._store.folder, "Adopting", error) from error

    def commit(self) -> SnapshotMeta:
        file, digest = self._open(), self._digest.digest()
        try:
            meta = finished(self._meta, self.offset)
            self._disk.write(file, _encode_end(meta, digest), self.offset)
            self._disk.settle(file)
            file.close()
            self._store._put(self._path, meta)
        except OSError as error:
            self.abort()
            raise snapshot_failed(self._store.folder, "Committing", error) from error
        except SnapshotFailed:
            self.abort()
            raise
        self._file = None
        return meta

    def abort(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            with suppress(OSError):  # A start removes it.
                self._disk.remove(self._path)

    def _open(self) -> io.FileIO:
        if self._file is None:
            raise SnapshotFailed("This snapshot is not being written any more.")
        return self._file


class _FileReader:
    def __init__(
        self, path: Path, file: io.FileIO, meta: SnapshotMeta, digest: bytes, offset: int
    ) -> None:
        self.meta = meta
        self.sha256 = digest
        self._path = path
        self._file = file
        self._left = meta.size - offset

    def read(self, length: int) -> bytes:
        try:
            chunk = _read_all(self._file, min(length, self._left))
        except OSError as error:
            raise snapshot_failed(self._path.parent, "Reading", error) from error
        if len(chunk) < min(length, self._left):
            raise SnapshotDamaged(str(self._path), "it has become shorter")
        self._left -= len(chunk)
        return chunk

    def close(self) -> None:
        self._file.close()


def _read_all(file: io.FileIO, length: int) -> bytes:
    """So many bytes, unless the file ends: one call may give fewer."""
    parts = bytearray()
    while len(parts) < length and (part := file.read(length - len(parts))):
        parts += part
    return bytes(parts)


def _encode_end(meta: SnapshotMeta, digest: bytes) -> bytes:
    end = record_pb2.SnapshotEnd(
        meta=encode_snapshot_meta(meta), size=meta.size, sha256=digest
    ).SerializeToString()
    return end + _TAIL.pack(_MAGIC, _VERSION, len(end), _crc(end, _VERSION))


def _crc(end: bytes, version: int) -> int:
    return zlib.crc32(end, version)


def _read_end(path: Path, file: io.FileIO, key: Key) -> tuple[SnapshotMeta, bytes]:
    """What a file says that it holds, and its digest.  Raises `SnapshotDamaged`."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(size - _TAIL.size, 0))
    tail = _read_all(file, _TAIL.size)
    if len(tail) < _TAIL.size:
        raise SnapshotDamaged(str(path), "the file is cut short")
    magic, version, length, crc = _TAIL.unpack(tail)
    if magic != _MAGIC:
        raise SnapshotDamaged(str(path), "its end is missing")
    if version != _VERSION:
        raise SnapshotDamaged(str(path), f"it has format version {version}, not {_VERSION}")
    start = size - _TAIL.size - length
    # The length is held against the file before anything is read by it.
    if start < 0 or length > _END_BYTES_MAX:
        raise SnapshotDamaged(str(path), "its end is not what was written")
    file.seek(start)
    end = _read_all(file, length)
    if _crc(end, version) != crc:
        raise SnapshotDamaged(str(path), "its end is not what was written")
    try:
        stored = record_pb2.SnapshotEnd.FromString(end)
        meta = decode_snapshot_meta(stored.meta)
    except (DecodeError, Malformed) as error:
        raise SnapshotDamaged(str(path), f"its end cannot be read ({error})") from error
    if not meta.size == stored.size == start:
        raise SnapshotDamaged(str(path), f"it has {start} bytes instead of {stored.size}")
    if key_of(meta) != key:
        raise SnapshotDamaged(str(path), f"it is the one up to {meta.index}, term {meta.term}")
    return meta, stored.sha256


def _identity(file: io.FileIO) -> tuple[int, ...]:
    """Tells a file from another under the same name, and from what it was before it was altered."""
    status = os.fstat(file.fileno())
    return status.st_ino, status.st_mtime_ns, status.st_size


def _check(path: Path, file: io.FileIO, size: int, digest: bytes) -> None:
    """Hold the content against its digest.  Raises `SnapshotDamaged`."""
    file.seek(0)
    found = hashlib.sha256()
    while size and (piece := file.read(min(size, _PIECE_BYTES))):
        found.update(piece)
        size -= len(piece)
    if found.digest() != digest:
        raise SnapshotDamaged(str(path), "its content is not what was written")
