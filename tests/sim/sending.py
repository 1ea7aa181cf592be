"""Snapshots on their way from one machine to others: in chunks, over the same bad network.

This is a driver that takes liberties: several chunks ahead, and what came in before a crash is gone
on with.  `streams` is the library's own way.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from raftcore import SendSnapshot
from raftcore.snapshot_stream import Chunk, Receipt, Verdict
from raftcore.storage import SnapshotDamaged
from tests.sim.plan import MS
from tests.sim.violation import Violation

if TYPE_CHECKING:
    from tests.sim.machine import Machine


@dataclass(slots=True)
class Transfer:
    """One to one follower."""

    effect: SendSnapshot
    content: bytes
    sha256: bytes
    moved_us: int
    received: int = 0
    left_office: bool = False


class Sending:
    """Of one boot of one machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.world = machine.world
        self.transfers: dict[str, Transfer] = {}
        """By follower."""
        self._opened: deque[tuple[SendSnapshot, bytes | None]] = deque()
        """To be sent, with the content; None where that is damaged."""

    def open(self, effect: SendSnapshot) -> None:
        """Get hold of the snapshot, which may be gone when it can be sent."""
        machine, meta = self.machine, effect.message.meta
        self.world.before_sending(machine)
        stored, newest = machine.shelf.find(meta), machine.shelf.newest
        if stored is None and newest is not None and newest.index > meta.index:
            # Newer ones pushed it out, of which no crash let the core be told.
            self.world.coverage["snapshot that newer ones had replaced"] += 1
            machine.shelf.lost = True
        if stored is None and not machine.shelf.lost:
            raise Violation(f"{machine.id} is to send {meta} and has not kept it")
        content = None
        try:
            content = stored.read() if stored is not None else None
        except SnapshotDamaged:
            self.world.coverage["damaged snapshot noticed by its sender"] += 1
            machine.shelf.remove(meta)
            machine.shelf.lost = True
        self._opened.append((effect, content))

    def begin(self, effect: SendSnapshot) -> None:
        """Send it; its turn has come."""
        self.world.oracle.snapshots.on_send(self.machine, effect)
        opened, content = self._opened.popleft()
        assert opened is effect
        if content is None:
            # Another one has to be taken.
            self.machine.later(0, lambda now_ms: self._report(effect, now_ms, ok=False))
            self.machine.snapshots.take_soon()
            return
        self.world.coverage["snapshot sent"] += 1
        transfer = Transfer(effect, content, sha256(content).digest(), self.world.now_us)
        self.transfers[effect.to] = transfer
        self._start(transfer)

    def _start(self, transfer: Transfer) -> None:
        self._push(transfer)
        self._watch(transfer)

    def _report(self, effect: SendSnapshot, now_ms: int, *, ok: bool) -> None:
        self.machine.core.snapshot_sent(effect.to, effect.message, now_ms, ok=ok)

    def _push(self, transfer: Transfer) -> None:
        plan = self.world.plan
        offset = transfer.received
        for _ in range(plan.chunks_ahead):
            data = transfer.content[offset : offset + plan.chunk_bytes]
            if data:
                chunk = Chunk(transfer.effect.message, transfer.sha256, offset, data)
                self.world.send(self.machine.id, transfer.effect.to, chunk)
            offset += len(data)

    def _watch(self, transfer: Transfer) -> None:
        rng, delay_us = self.world.rng, self.world.plan.delay_max_us
        self.machine.later(
            2 * delay_us + rng.randrange(20 * MS), lambda now_ms: self._look(transfer, now_ms)
        )

    def _look(self, transfer: Transfer, now_ms: int) -> None:
        """Send again what got lost, or give up."""
        if self.transfers.get(transfer.effect.to) is not transfer:
            return
        silent_us = self.world.now_us - transfer.moved_us
        if silent_us > self.world.plan.gives_up_us or self._stops(transfer):
            self._end(transfer, now_ms, ok=False)
            return
        self._push(transfer)
        self._watch(transfer)

    def _stops(self, transfer: Transfer) -> bool:
        """Whether this is nobody's business any more, and such transfers are not gone on with."""
        effect, core = transfer.effect, self.machine.core
        left_office = transfer.left_office
        if core.current_term != effect.message.term or not self.machine.leads:
            if not left_office:
                self.world.coverage["leader changed while it sent a snapshot"] += 1
            transfer.left_office = True
        elif effect.to not in core.membership.members:
            if not left_office:
                self.world.coverage["member removed while it was sent a snapshot"] += 1
            transfer.left_office = True
        return transfer.left_office and not self.world.plan.sends_on

    def _end(self, transfer: Transfer, now_ms: int, *, ok: bool) -> None:
        if not ok:
            self.world.coverage["snapshot given up by its sender"] += 1
        del self.transfers[transfer.effect.to]
        self._report(transfer.effect, now_ms, ok=ok)

    def on_receipt(self, receipt: Receipt, now_ms: int) -> None:
        """The receiver has told how far it is."""
        transfer = self.transfers.get(receipt.follower)
        if transfer is None:
            return
        message = transfer.effect.message
        if (receipt.term, receipt.session) != (message.term, message.session):
            return
        if receipt.verdict is not Verdict.MORE:
            self._end(transfer, now_ms, ok=receipt.verdict is Verdict.DONE)
        elif receipt.offset != transfer.received:
            transfer.received = receipt.offset
            transfer.moved_us = self.world.now_us
            self._push(transfer)
