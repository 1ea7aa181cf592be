"""Snapshots that come in to one machine: kept piece by piece, checked, made durable, handed over."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from raftcore.messages import Snapshot
from tests.sim.plan import ELECTION_TIMEOUT_MS, MS
from tests.sim.sending import Piece, Receipt
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

    def on_piece(self, piece: Piece, now_ms: int) -> None:
        """Some of a snapshot has come in."""
        machine, message = self.machine, piece.message
        if machine.witness:
            raise Violation(f"{machine.id} keeps no data and is sent {message}")
        if self.keeping is not None:
            return
        if machine.core.commit_index >= message.meta.index:
            self.world.coverage["snapshot refused as stale"] += 1
            self._hand_over(message, now_ms)
            return
        unfinished = self._unfinished(piece)
        if unfinished is None:
            return
        if piece.offset == len(unfinished.content) and not unfinished.complete:
            if not self._write(unfinished, piece.data):
                self._drop(unfinished)
                return
            machine.come_through("a piece had come in")
            if unfinished.complete:
                self._finish(unfinished)
                return
        self._answer(message, len(unfinished.content))

    def _unfinished(self, piece: Piece) -> Unfinished | None:
        """The file that this belongs to; None if another one comes in."""
        machine, shelf = self.machine, self.machine.shelf
        known, name = shelf.unfinished, name_of(piece.message, piece.checksum)
        if known is None or known.name != name:
            if known is not None:
                idle = self.world.now_us - known.touched_us > IDLE_US
                if not idle and known.message.meta.index >= piece.message.meta.index:
                    return None
                self.world.coverage["unfinished snapshot dropped for another"] += 1
            known = shelf.unfinished = Unfinished(
                piece.message, piece.checksum, machine.boots, self.world.now_us
            )
        elif known.boot != machine.boots:
            self.world.coverage["snapshot resumed after a crash"] += bool(known.content)
        elif known.message != piece.message:
            self.world.coverage["snapshot resumed by another transfer"] += 1
        known.message, known.boot = piece.message, machine.boots
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
        unfinished.content += data
        if self.world.rng.random() < 0.3:
            unfinished.synced = len(unfinished.content)
        return True

    def _drop(self, unfinished: Unfinished) -> None:
        self.machine.shelf.unfinished = None
        self._answer(unfinished.message, 0, over=True)

    def _finish(self, unfinished: Unfinished) -> None:
        if zlib.crc32(unfinished.content) != unfinished.checksum:
            self.world.coverage["damaged transfer noticed"] += 1
            self._drop(unfinished)
            return
        self.keeping = unfinished.message
        self.machine.on_disk(self._keep)

    def _keep(self, now_ms: int) -> None:
        """It is durable; or it cannot be."""
        machine, message = self.machine, self.keeping
        unfinished = machine.shelf.unfinished
        assert message is not None
        assert unfinished is not None
        if machine.disk.error is not None:
            self.world.coverage["snapshot could not be received for want of a disk"] += 1
            self.keeping = None
            self._drop(unfinished)
            return
        machine.shelf.unfinished = None
        machine.shelf.put(message.meta, bytes(unfinished.content), unfinished.checksum)
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
        self._answer(message, message.meta.size, over=True, ok=True)
        return wanted

    def _answer(
        self, message: Snapshot, received: int, *, over: bool = False, ok: bool = False
    ) -> None:
        machine = self.machine
        receipt = Receipt(machine.id, message.term, message.session, received, over, ok)
        self.world.send(machine.id, message.leader, receipt)
