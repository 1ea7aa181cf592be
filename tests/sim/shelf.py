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

from raftcore import SnapshotMeta
from raftcore.messages import Snapshot

KEPT = 3
"""The newest that the core was told of, and one taken and one that came in of which it was not."""


class SnapshotDamaged(Exception):
    """The content is not what was written."""


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
            raise SnapshotDamaged(self.meta)
        return self.content


@dataclass(slots=True)
class Unfinished:
    """The one that comes in."""

    message: Snapshot
    """By which it is sent at present."""
    checksum: int
    boot: int
    """Of the receiver, when it was last written to."""
    touched_us: int
    content: bytearray = field(default_factory=bytearray)
    synced: int = 0

    @property
    def name(self) -> tuple[int, int, int]:
        return name_of(self.message, self.checksum)

    @property
    def complete(self) -> bool:
        return len(self.content) == self.message.meta.size


def name_of(message: Snapshot, checksum: int) -> tuple[int, int, int]:
    """What makes two transfers transfers of the same bytes, whoever sends them."""
    return message.meta.index, message.meta.term, checksum


class Shelf:
    """In memory."""

    def __init__(self, coverage: Counter[str]) -> None:
        self.coverage = coverage
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
        return any(one.damaged for one in self.stored)

    def find(self, meta: SnapshotMeta) -> Stored | None:
        """The one that stands for this."""
        found = [one for one in self.stored if one.meta.index == meta.index]
        return found[0] if found else None

    def put(self, meta: SnapshotMeta, content: bytes, checksum: int) -> None:
        """Keep one, durably, in place of the oldest; the checksum is of what it should be."""
        self.remove(meta)
        self.stored.append(Stored(meta, content, checksum))
        self.stored.sort(key=lambda one: one.meta.index)
        del self.stored[:-KEPT]
        self.lost = False

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
        for at in range(unfinished.synced, len(content)):
            if rng.random() < 0.1:
                content[at] = 0

    def boot(self, rng: random.Random) -> SnapshotMeta | None:
        """Look through all of it after a start; the newest that is whole."""
        whole = [one for one in self.stored if not one.damaged]
        if len(whole) < len(self.stored):
            self.coverage["damaged snapshot noticed at a start"] += 1
            self.lost = True
            self.stored = whole
        if rng.random() < 0.3:
            self.unfinished = None
        return self.newest

    def flip_bit(self, rng: random.Random) -> bool:
        """Damage what is there; whether there was anything."""
        if self.unfinished is not None and self.unfinished.content and rng.random() < 0.5:
            content = self.unfinished.content
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            return True
        if not self.stored or self.damaged:
            return False
        stored = rng.choice((self.stored[-1], *self.stored))
        content = bytearray(stored.content)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        stored.content = bytes(content)
        return True
