"""Where snapshots are kept: the newest few, each whole or not there at all.

A store may be used by several threads, and be written to and read from at the same time; a writer
or a reader belongs to one of them at a time.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from hashlib import sha256
from typing import Protocol

from raftcore.storage.errors import SnapshotDamaged, SnapshotFailed, SnapshotMissing
from raftcore.storage.protocol import LogReader
from raftcore.types import SnapshotMeta

KEEP = 3
"""Snapshots kept: the one that the log goes on from, and one that was taken and one that came in
since, of which it has not been told."""

Key = tuple[int, int]
"""Index and term; newer is greater, by number."""


class SnapshotWriter(Protocol):
    """A snapshot in the making; nobody sees it before it is committed."""

    @property
    def offset(self) -> int:
        """Bytes written so far."""

    def write(self, chunk: bytes) -> None:
        """Add bytes.  Where it raises `SnapshotFailed` nothing is left of the snapshot."""

    def commit(self) -> SnapshotMeta:
        """Make it durable; what it stands for, with its size.

        Where a size was told beforehand, it has to be that one.  Raises `SnapshotFailed`.
        """

    def abort(self) -> None:
        """Let nothing be left of it; does nothing once it was committed or has failed."""


class SnapshotReader(Protocol):
    """The content of one snapshot; it stays readable when the store lets the snapshot go."""

    @property
    def meta(self) -> SnapshotMeta:
        """What it stands for."""

    @property
    def sha256(self) -> bytes:
        """The digest of all of its content."""

    def read(self, length: int) -> bytes:
        """The next bytes: as many as that, fewer at the end, none behind it."""

    def close(self) -> None:
        """Release files."""


class SnapshotStore(Protocol):
    """Snapshots of one node."""

    def begin(self, meta: SnapshotMeta) -> SnapshotWriter:
        """Begin to write one; several may be written at once.

        A second one of the same entry takes the place of the first when it is committed.
        """

    def open(self, meta: SnapshotMeta, offset: int = 0) -> SnapshotReader:
        """Read the snapshot of this index and term, from `offset` on.

        Raises `SnapshotMissing`, and `SnapshotDamaged` before a byte of it is given out: what it
        holds was checked against its digest since the store was opened.
        """

    def latest(self) -> SnapshotMeta | None:
        """The newest; `SnapshotDamaged` where it can be seen that there is one, but not which."""

    def snapshots(self) -> list[SnapshotMeta]:
        """All that can be told, newest first."""


def starting_point(
    store: SnapshotStore, log: LogReader, *, witness: bool = False
) -> tuple[SnapshotMeta | None, list[SnapshotDamaged]]:
    """The snapshot that a state machine starts from, and damaged ones that were passed over.

    It is the newest one that is whole.  An older one does where the log holds all that follows it,
    and none where the log goes back to the first entry.  Raises `SnapshotDamaged`, or
    `SnapshotMissing`, where there would be a gap.  What it gives is then for `starting.align`.
    Of the damaged ones an operator wants to know: the disk is to be checked.

    A witness has no state and keeps no snapshots: where its log begins, that is all there is.
    """
    if witness:
        return log.snapshot, []
    damaged = []
    try:
        store.latest()
    except SnapshotDamaged as damage:
        damaged.append(damage)
    for meta in store.snapshots():
        if meta.index < log.first_index - 1:
            break
        try:
            store.open(meta).close()
        except SnapshotDamaged as damage:
            damaged.append(damage)
        else:
            return meta, damaged
    if log.first_index == 1:
        return None, damaged
    if damaged:
        raise damaged[0]
    raise SnapshotMissing(
        f"The log begins at {log.first_index}, and no snapshot reaches that far: one of the two "
        "was lost or restored. Bring it back, or let this node come back as a new member, with a "
        "new node id and empty files."
    )


def key_of(meta: SnapshotMeta) -> Key:
    return meta.index, meta.term


def check_keep(keep: int) -> int:
    if keep < 1:
        raise ValueError(f"keep ({keep}) must be positive")
    return keep


def finished(meta: SnapshotMeta, size: int) -> SnapshotMeta:
    """What a snapshot of `size` bytes stands for; `SnapshotFailed` if it was to have another."""
    if meta.size not in (0, size):
        raise SnapshotFailed(
            f"The snapshot up to {meta.index} has {size} bytes instead of {meta.size}."
        )
    return replace(meta, size=size)


class MemorySnapshots:
    """A `SnapshotStore` for tests and simulations."""

    def __init__(self, keep: int = KEEP) -> None:
        self._keep = check_keep(keep)
        self._held: dict[Key, tuple[SnapshotMeta, bytes]] = {}
        self._lock = threading.Lock()

    def begin(self, meta: SnapshotMeta) -> SnapshotWriter:
        return _MemoryWriter(self, meta)

    def open(self, meta: SnapshotMeta, offset: int = 0) -> SnapshotReader:
        found = self._held.get(key_of(meta))
        if found is None:
            raise SnapshotMissing(f"There is no snapshot up to {meta.index}, term {meta.term}.")
        check_offset(offset, found[0])
        return _MemoryReader(*found, offset)

    def latest(self) -> SnapshotMeta | None:
        return next(iter(self.snapshots()), None)

    def snapshots(self) -> list[SnapshotMeta]:
        with self._lock:
            return [self._held[key][0] for key in sorted(self._held, reverse=True)]

    def _put(self, meta: SnapshotMeta, content: bytes) -> None:
        with self._lock:
            self._held[key_of(meta)] = meta, content
            for key in sorted(self._held, reverse=True)[self._keep :]:
                del self._held[key]


def check_offset(offset: int, meta: SnapshotMeta) -> None:
    if not 0 <= offset <= meta.size:
        raise ValueError(f"offset {offset} of a snapshot of {meta.size} bytes")


class _MemoryWriter:
    def __init__(self, store: MemorySnapshots, meta: SnapshotMeta) -> None:
        self._store = store
        self._meta = meta
        self._content: bytearray | None = bytearray()
        self.offset = 0

    def write(self, chunk: bytes) -> None:
        self._open().extend(chunk)
        self.offset += len(chunk)

    def commit(self) -> SnapshotMeta:
        content = bytes(self._open())
        self._content = None
        meta = finished(self._meta, len(content))
        self._store._put(meta, content)
        return meta

    def abort(self) -> None:
        self._content = None

    def _open(self) -> bytearray:
        if self._content is None:
            raise SnapshotFailed("This snapshot is not being written any more.")
        return self._content


class _MemoryReader:
    def __init__(self, meta: SnapshotMeta, content: bytes, offset: int) -> None:
        self.meta = meta
        self._content = content
        self._offset = offset

    @property
    def sha256(self) -> bytes:
        return sha256(self._content).digest()

    def read(self, length: int) -> bytes:
        chunk = self._content[self._offset : self._offset + length]
        self._offset += len(chunk)
        return chunk

    def close(self) -> None:
        """Nothing to release."""
