"""The library's own store of snapshots, on files that share a disk with the log: its power cuts take
what the store has not made durable, and its faults are met by both."""

from __future__ import annotations

import io
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from raftcore import SnapshotMeta
from raftcore.storage import (
    DiskSnapshots,
    LogReader,
    SnapshotDamaged,
    SnapshotMissing,
    starting_point,
)
from tests.sim.shelf import KEPT, Shelf, Stored
from tests.sim.violation import Violation
from tests.storage.disks import PowerCut

if TYPE_CHECKING:
    from tests.sim.disk import FileDisk

_WRITE_BYTES = 200


@dataclass(slots=True)
class FileStored(Stored):
    """What is in a file."""

    shelf: FileShelf

    @property
    def damaged(self) -> bool:
        return self.meta.index in self.shelf.flipped

    def read(self) -> bytes:
        content = self.shelf.content(self.meta)
        if self.damaged:
            raise Violation(f"damage in the snapshot {self.meta} goes unnoticed")
        if content != self.content:
            raise Violation(f"the snapshot {self.meta} is not what was written")
        return content


class FileShelf(Shelf):
    """`stored` is what may be counted on."""

    disk: FileDisk

    def __init__(self, coverage: Counter[str], disk: FileDisk) -> None:
        super().__init__(coverage, disk)
        self.flipped: set[int] = set()
        """Indexes of those in which a bit has flipped."""
        self._ever: dict[SnapshotMeta, bytes] = {}
        """All that were ever written, or begun to be."""
        self._store: DiskSnapshots

    def content(self, meta: SnapshotMeta) -> bytes:
        """What the store gives out."""
        reader = self._store.open(meta)
        try:
            return reader.read(meta.size)
        finally:
            reader.close()

    def put(self, meta: SnapshotMeta, content: bytes) -> None:
        self.disk.files.error = self.disk.error
        self._ever[meta] = content
        writer = self._store.begin(meta)
        for start in range(0, len(content), _WRITE_BYTES):
            writer.write(content[start : start + _WRITE_BYTES])
        if writer.commit() != meta or self._store.latest() is None:
            raise Violation(f"{meta} was kept as something else")
        self.flipped.discard(meta.index)
        self.remove(meta)
        self.stored.append(FileStored(meta, content, 0, self))
        self.stored.sort(key=lambda one: one.meta.index)
        # The damaged ones, which nobody counts on, may still take the place of others.
        held = self._store.snapshots()
        self.stored = [one for one in self.stored if one.meta in held]
        self.lost = False

    def put_at_crash(self, rng: random.Random, meta: SnapshotMeta, content: bytes) -> None:
        if self.disk.error is not None or meta.index in self.flipped:
            # In place of a damaged one: then nobody could say whether it still is.
            return
        self.disk.files.error = None
        self._ever[meta] = content
        writer = self._store.begin(meta)
        self.disk.files.operations = rng.randint(0, 4)
        try:
            writer.write(content)
            writer.commit()
        except PowerCut:
            self.coverage["power cut while a snapshot was kept"] += 1
            # There is nobody left who could remove anything: only the file is closed.
            self.disk.files.operations = 0
            with suppress(PowerCut):
                writer.abort()
        self.disk.files.operations = 1 << 60

    def boot(self, rng: random.Random, *, resumes: bool) -> SnapshotMeta | None:
        self.disk.files.error = self.disk.error
        self._store = DiskSnapshots(self.disk.folder / "snapshots", disk=self.disk.files)
        held = self._store.snapshots()
        found: list[Stored] = []
        for meta in reversed(held):
            if meta not in self._ever:
                raise Violation(f"{meta} was never written")
            one = FileStored(meta, self._ever[meta], 0, self)
            try:
                one.read()
            except SnapshotDamaged:
                if not one.damaged:
                    raise
                self.coverage["damaged snapshot noticed at a start"] += 1
                self.lost = True
            else:
                found.append(one)
        for known in self.stored:
            newer = [meta for meta in held if meta.index > known.meta.index]
            if known.meta not in held and not known.damaged and len(newer) < KEPT:
                raise Violation(f"the snapshot {known.meta} is lost")
        self.lost = self.lost or any(one.damaged for one in self.stored)
        self.stored = found
        return super().boot(rng, resumes=resumes)

    def check_start(self, log: LogReader) -> None:
        """The library has the same to say about where to start from."""
        usable = [one.meta for one in self.stored if one.meta.index >= log.first_index - 1]
        expected = usable[-1] if usable else None
        try:
            found, _ = starting_point(self._store, log)
        except (SnapshotDamaged, SnapshotMissing):
            if usable or log.first_index == 1:
                raise
            return
        if found != expected:
            raise Violation(f"a start from {found}, and there is {expected}")

    def _flip_stored(self, stored: Stored, rng: random.Random) -> None:
        path = self._store.path(stored.meta)
        with io.FileIO(path, "r+") as file:
            at = rng.randrange(path.stat().st_size)
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1 << rng.randrange(8)]))
        self.flipped.add(stored.meta.index)
