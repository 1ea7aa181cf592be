"""Where one machine keeps its snapshots, and the one that is coming in.

A snapshot is there whole and durable, or not at all; the one that comes in may lose, or have
garbage in, whatever of it was not synced.  A bit may flip in either: each is kept with a checksum,
and whoever reads it looks.
"""

from __future__ import annotations

import random
import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from raftcore import SnapshotMeta
from raftcore.messages import Snapshot
from raftcore.storage import LogReader, SnapshotDamaged, SnapshotFailed

if TYPE_CHECKING:
    from tests.sim.disk import MemoryDisk

KEPT = 3
"""The newest that the core was told of, and one taken and one that came in of which it was not."""


@dataclass(slots=True)
class Stored:
    """One that is whole."""

    meta: SnapshotMeta
    content: bytes
    checksum: int

    @property
    def damaged(self) -> bool:
        return zlib.crc32(self.content) != self.checksum

    def read(self) -> bytes:
        """The content; raises `SnapshotDamaged`."""
        if self.damaged:
            raise SnapshotDamaged(str(self.meta.index), "a bit has flipped")
        return self.content


@dataclass(slots=True)
class Unfinished:
    """The one that comes in."""

    message: Snapshot
    """By which it is sent at present."""
    sha256: bytes
    """Of the whole, as it is sent."""
    boot: int
    """Of the receiver, when it was last written to."""
    touched_us: int
    content: bytearray = field(default_factory=bytearray)
    synced: int = 0
    flipped: bool = False
    good: bytearray = field(default_factory=bytearray)
    """What was to be written."""

    @property
    def name(self) -> tuple[SnapshotMeta, bytes]:
        return name_of(self.message, self.sha256)

    @property
    def complete(self) -> bool:
        return len(self.content) == self.message.meta.size

    def add(self, data: bytes) -> None:
        """Write these behind what is there."""
        self.content += data
        self.good += data


def name_of(message: Snapshot, sha256: bytes) -> tuple[SnapshotMeta, bytes]:
    """What makes two transfers transfers of the same bytes, whoever sends them."""
    return message.meta, sha256


class Shelf:
    """In memory."""

    def __init__(self, coverage: Counter[str], disk: MemoryDisk) -> None:
        self.coverage = coverage
        self.disk = disk
        self.stored: list[Stored] = []
        """The oldest first."""
        self.unfinished: Unfinished | None = None
        self.lost = False
        """One was damaged and taken away, and none has come in its place."""

    @property
    def newest(self) -> SnapshotMeta | None:
        return self.stored[-1].meta if self.stored else None

    @property
    def damaged(self) -> bool:
        """Whether something cannot be counted on, or could not and has not been replaced."""
        coming = self.unfinished is not None and self.unfinished.flipped
        return coming or self.lost or any(one.damaged for one in self.stored)

    def find(self, meta: SnapshotMeta) -> Stored | None:
        """The one that stands for this."""
        found = [one for one in self.stored if one.meta.index == meta.index]
        return found[0] if found else None

    def put(self, meta: SnapshotMeta, content: bytes) -> None:
        """Keep one, durably, in place of the oldest.

        Raises `SnapshotFailed`.
        """
        if self.disk.error is not None:
            raise SnapshotFailed(str(self.disk.error))
        self.remove(meta)
        self.stored.append(Stored(meta, content, zlib.crc32(content)))
        self.stored.sort(key=lambda one: one.meta.index)
        del self.stored[:-KEPT]
        self.lost = False

    def put_at_crash(self, rng: random.Random, meta: SnapshotMeta, content: bytes) -> None:
        """The machine crashes while this is written: it is there, or it is not."""
        if self.disk.error is None and rng.random() < 0.5:
            self.put(meta, content)

    def remove(self, meta: SnapshotMeta) -> None:
        self.stored = [one for one in self.stored if one.meta.index != meta.index]

    def crash(self, rng: random.Random) -> None:
        """What came in and was not synced may be gone, or be anything."""
        unfinished = self.unfinished
        if unfinished is None:
            return
        self.coverage["crash while a snapshot came in"] += 1
        content = unfinished.content
        del content[rng.randint(unfinished.synced, len(content)) :]
        del unfinished.good[len(content) :]
        for at in range(unfinished.synced, len(content)):
            if rng.random() < 0.1:
                content[at] = 0

    def check_start(self, log: LogReader) -> None:
        """Whether others see it the same."""

    def boot(self, rng: random.Random, *, resumes: bool) -> SnapshotMeta | None:
        """Look through all of it after a start; the newest that is whole."""
        whole = [one for one in self.stored if not one.damaged]
        if len(whole) < len(self.stored):
            self.coverage["damaged snapshot noticed at a start"] += 1
            self.lost = True
            self.stored = whole
        if not resumes or rng.random() < 0.3:
            self.unfinished = None
        return self.newest

    def flip_bit(self, rng: random.Random) -> bool:
        """Damage what is there; whether there was anything."""
        if self.unfinished is not None and self.unfinished.content and rng.random() < 0.8:
            content = self.unfinished.content
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            self.unfinished.flipped = True
            return True
        if not self.stored or self.damaged:
            return False
        self._flip_stored(rng.choice((self.stored[-1], *self.stored)), rng)
        return True

    def flip_bit_in(self, meta: SnapshotMeta, rng: random.Random) -> None:
        """Damage this one."""
        stored = self.find(meta)
        if stored is not None:
            self._flip_stored(stored, rng)

    def _flip_stored(self, stored: Stored, rng: random.Random) -> None:
        content = bytearray(stored.content)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        stored.content = bytes(content)
