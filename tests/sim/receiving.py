"""Snapshots that come in to one machine: kept chunk by chunk, checked, made durable, handed over."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from raftcore.messages import Snapshot
from raftcore.snapshot_stream import Chunk, Receipt, Verdict
from raftcore.storage import SnapshotFailed
from tests.sim.plan import ELECTION_TIMEOUT_MS, MS
from tests.sim.shelf import Unfinished, name_of
from tests.sim.violation import Violation

if TYPE_CHECKING:
    from tests.sim.machine import Machine

IDLE_US = 2 * ELECTION_TIMEOUT_MS * MS
"""After which an unfinished one makes room for any other."""


class Receiving:
    """Of one boot of one machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.world = machine.world
        self.keeping: Snapshot | None = None
        """All of it is here, and the core has not been told of it."""

    def on_chunk(self, chunk: Chunk, now_ms: int) -> None:
        """Some of a snapshot has come in."""
        if self.machine.witness:
            raise Violation(f"{self.machine.id} keeps no data and is sent {chunk}")
        if self.keeping is None:
            self._take(chunk, now_ms)

    def _take(self, chunk: Chunk, now_ms: int) -> None:
        message = chunk.message
        if self.machine.core.commit_index >= message.meta.index:
            self.world.coverage["snapshot refused as stale"] += 1
            self._hand_over(message, now_ms)
            return
        unfinished = self._unfinished(chunk)
        if unfinished is None:
            return
        if chunk.offset == len(unfinished.content) and not unfinished.complete:
            if not self._write(unfinished, chunk.data):
                self._drop(unfinished)
                return
            if unfinished.complete:
                self._finish(unfinished)
                return
        self._answer(message, Verdict.MORE, len(unfinished.content))

    def _unfinished(self, chunk: Chunk) -> Unfinished | None:
        """The file that this belongs to; None if another one comes in."""
        machine, shelf = self.machine, self.machine.shelf
        known, name = shelf.unfinished, name_of(chunk.message, chunk.sha256)
        if known is None or known.name != name:
            if known is not None:
                idle = self.world.now_us - known.touched_us > IDLE_US
                if not idle and known.message.meta.index >= chunk.message.meta.index:
                    return None
                self.world.coverage["unfinished snapshot dropped for another"] += 1
            known = shelf.unfinished = Unfinished(
                chunk.message, chunk.sha256, machine.boots, self.world.now_us
            )
        elif known.boot != machine.boots:
            self.world.coverage["snapshot resumed after a crash"] += bool(known.content)
        elif known.message != chunk.message:
            self.world.coverage["snapshot resumed by another transfer"] += 1
        known.message, known.boot = chunk.message, machine.boots
        known.touched_us = self.world.now_us
        if known.complete:
            # All of it was written before a crash, though it was not put in its place.
            self._finish(known)
            return None
        return known

    def _write(self, unfinished: Unfinished, data: bytes) -> bool:
        if self.machine.disk.error is not None:
            self.world.coverage["snapshot could not be received for want of a disk"] += 1
            return False
        unfinished.add(data)
        self.machine.come_through("a chunk had come in", 0.05)
        if self.world.rng.random() < 0.3:
            unfinished.synced = len(unfinished.content)
        return True

    def _drop(self, unfinished: Unfinished) -> None:
        self.machine.shelf.unfinished = None
        self._answer(unfinished.message, Verdict.FAILED, 0)

    def _finish(self, unfinished: Unfinished) -> None:
        if sha256(unfinished.content).digest() != unfinished.sha256:
            self.world.coverage["damaged transfer noticed"] += 1
            self._drop(unfinished)
            return
        self._keep(unfinished)

    def _keep(self, unfinished: Unfinished) -> None:
        """Make it durable."""
        self.keeping = unfinished.message
        self.machine.on_disk(self._kept)

    def _kept(self, _now_ms: int) -> None:
        """It is durable; or it cannot be."""
        machine, message = self.machine, self.keeping
        unfinished = machine.shelf.unfinished
        assert message is not None
        assert unfinished is not None
        try:
            machine.shelf.put(message.meta, bytes(unfinished.good))
        except SnapshotFailed:
            self.world.coverage["snapshot could not be received for want of a disk"] += 1
            self.keeping = None
            self._drop(unfinished)
            return
        machine.shelf.unfinished = None
        if unfinished.content != unfinished.good:
            # A bit has flipped since it was written.
            machine.shelf.flip_bit_in(message.meta, self.world.rng)
        machine.come_through("a snapshot had come in")
        machine.later(self.world.rng.randrange(2 * MS), lambda now_ms: self._tell(message, now_ms))

    def _tell(self, message: Snapshot, now_ms: int) -> None:
        self.keeping = None
        if not self._hand_over(message, now_ms):
            self.world.coverage["snapshot that had come in was not wanted"] += 1
            covered = self.machine.core.status(now_ms).snapshot_index
            if message.meta.index > covered and self.world.rng.random() < 0.5:
                self.machine.shelf.remove(message.meta)

    def _hand_over(self, message: Snapshot, now_ms: int) -> bool:
        core = self.machine.core
        before = core.commit_index
        wanted = core.snapshot_arrived(message, now_ms)
        if not wanted and before < message.meta.index <= core.commit_index:
            self.world.coverage["log kept behind a snapshot that came in"] += 1
        self._answer(message, Verdict.DONE, message.meta.size)
        return wanted

    def _answer(self, message: Snapshot, verdict: Verdict, received: int) -> None:
        machine, index = self.machine, message.meta.index
        receipt = Receipt(machine.id, message.term, message.session, index, verdict, received)
        self.world.send(machine.id, message.leader, receipt)
