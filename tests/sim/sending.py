"""Snapshots on their way from one machine to others: in pieces, over the same bad network.

The receiver says how much it has, and the sender goes on from there: after a loss, a crash of either,
or with another sender that has the same snapshot.
"""

from __future__ import annotations

import zlib
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from raftcore import SendSnapshot
from raftcore.messages import Snapshot
from tests.sim.plan import MS
from tests.sim.shelf import SnapshotDamaged
from tests.sim.violation import Violation

if TYPE_CHECKING:
    from tests.sim.machine import Machine


@dataclass(frozen=True, slots=True)
class Piece:
    """Some of a snapshot."""

    message: Snapshot
    checksum: int
    """Of the whole."""
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """How much the receiver has, or that it is over."""

    follower: str
    term: int
    session: int
    received: int
    over: bool = False
    ok: bool = False


@dataclass(slots=True)
class Transfer:
    """One to one follower."""

    effect: SendSnapshot
    content: bytes
    checksum: int
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
        stored = machine.shelf.find(meta)
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
        transfer = Transfer(effect, content, zlib.crc32(content), self.world.now_us)
        self.transfers[effect.to] = transfer
        self._push(transfer)
        self._watch(transfer)

    def _report(self, effect: SendSnapshot, now_ms: int, *, ok: bool) -> None:
        self.machine.core.snapshot_sent(effect.to, effect.message, now_ms, ok=ok)

    def _push(self, transfer: Transfer) -> None:
        plan, to = self.world.plan, transfer.effect.to
        offset = transfer.received
        for _ in range(plan.pieces_ahead):
            data = transfer.content[offset : offset + plan.piece_bytes]
            if data:
                piece = Piece(transfer.effect.message, transfer.checksum, offset, data)
                self.world.send(self.machine.id, to, piece)
            offset += len(data)

    def _watch(self, transfer: Transfer) -> None:
        rng, delay_us = self.world.rng, self.world.plan.delay_max_us
        self.machine.later(
            2 * delay_us + rng.randrange(20 * MS), lambda now_ms: self._look(transfer, now_ms)
        )

    def _look(self, transfer: Transfer, now_ms: int) -> None:
        """Send again what got lost, or give up."""
        effect, core = transfer.effect, self.machine.core
        if self.transfers.get(effect.to) is not transfer:
            return
        if core.current_term != effect.message.term or not self.machine.leads:
            if not transfer.left_office:
                self.world.coverage["leader changed while it sent a snapshot"] += 1
            transfer.left_office = True
        elif effect.to not in core.membership.members:
            self.world.coverage["member removed while it was sent a snapshot"] += 1
            transfer.left_office = True
        silent_us = self.world.now_us - transfer.moved_us
        if silent_us > self.world.plan.gives_up_us or (
            transfer.left_office and not self.world.plan.sends_on
        ):
            self.world.coverage["snapshot given up by its sender"] += 1
            self._end(transfer, now_ms, ok=False)
            return
        self._push(transfer)
        self._watch(transfer)

    def _end(self, transfer: Transfer, now_ms: int, *, ok: bool) -> None:
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
        if receipt.over:
            self._end(transfer, now_ms, ok=receipt.ok)
        elif receipt.received != transfer.received:
            transfer.received = receipt.received
            transfer.moved_us = self.world.now_us
            self._push(transfer)
