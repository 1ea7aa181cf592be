"""Snapshots on their way by the library's own means, `raftcore.snapshot_stream`."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from raftcore.snapshot_stream import Chunk, Receipt, SnapshotReceiver, SnapshotSender
from tests.sim.plan import MS
from tests.sim.receiving import IDLE_US, Receiving
from tests.sim.sending import Sending, Transfer
from tests.sim.shelf import Unfinished
from tests.sim.violation import Violation

if TYPE_CHECKING:
    from tests.sim.machine import Machine


class StreamSending(Sending):
    """Of one boot of one machine."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self._senders: dict[str, SnapshotSender] = {}
        """By follower, as `transfers`."""
        self._sent = 0
        self._awaited: dict[str, int] = {}
        """By follower, the number of the chunk whose answer is awaited."""

    def _start(self, transfer: Transfer) -> None:
        plan = self.world.plan
        self._senders[transfer.effect.to] = SnapshotSender(
            transfer.effect.message,
            transfer.sha256,
            now_ms=self.machine.clock.local_ms(),
            chunk_bytes=plan.chunk_bytes,
            bytes_per_s=plan.stream_bytes_per_s or None,
            retry_ms=20,
            attempts_max=max(3, plan.gives_up_us // (60 * MS)),
        )
        self._go_on(transfer, self.machine.clock.local_ms())

    def _go_on(self, transfer: Transfer, now_ms: int) -> None:
        """Send what is to be sent now, or see that it is over."""
        to = transfer.effect.to
        if self.transfers.get(to) is not transfer:
            return
        sender = self._senders[to]
        if self._stops(transfer):
            sender.give_up()
        wanted = sender.next(now_ms)
        if wanted is not None:
            data = transfer.content[wanted.offset : wanted.offset + wanted.length]
            self._await(transfer)
            self.world.send(self.machine.id, to, sender.chunk(wanted, data))
        if sender.ok is not None:
            self._end(transfer, now_ms, ok=sender.ok)
            return
        due_ms = sender.next_timer()
        if due_ms is not None:
            delay_us = max(due_ms - now_ms, 0) * MS * 1000 // self.machine.rate + MS
            self.machine.later(delay_us, lambda now_ms: self._go_on(transfer, now_ms))

    def _await(self, transfer: Transfer) -> None:
        self._sent += 1
        number = self._awaited[transfer.effect.to] = self._sent
        patience_us = 2 * self.world.plan.delay_max_us + self.world.rng.randrange(40 * MS)
        self.machine.later(patience_us, lambda now_ms: self._on_silence(transfer, number, now_ms))

    def _on_silence(self, transfer: Transfer, number: int, now_ms: int) -> None:
        to = transfer.effect.to
        if self.transfers.get(to) is transfer and self._awaited.get(to) == number:
            del self._awaited[to]
            self._senders[to].lost(now_ms)
            self._go_on(transfer, now_ms)

    def on_receipt(self, receipt: Receipt, now_ms: int) -> None:
        transfer = self.transfers.get(receipt.follower)
        if transfer is not None and self._senders[receipt.follower].answered(receipt, now_ms):
            self._awaited.pop(receipt.follower, None)
            self._go_on(transfer, now_ms)


class StreamReceiving(Receiving):
    """Of one boot of one machine."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self._receiver = SnapshotReceiver(machine.id, idle_ms=IDLE_US // MS)
        self._last: Chunk | None = None
        """With which it came in whole."""

    def _take(self, chunk: Chunk, now_ms: int) -> None:
        machine, shelf, coverage = self.machine, self.machine.shelf, self.world.coverage
        known = shelf.unfinished
        received = self._receiver.receive(chunk, now_ms, commit_index=machine.core.commit_index)
        if received.drop:
            coverage["unfinished snapshot dropped for another"] += 1
            shelf.unfinished = None
        if received.begin is not None:
            shelf.unfinished = Unfinished(
                chunk.message, chunk.sha256, machine.boots, self.world.now_us
            )
        elif received.write and known is not None and known.message != chunk.message:
            coverage["snapshot resumed by another transfer"] += 1
            known.message = chunk.message
        unfinished = shelf.unfinished
        if received.write and (unfinished is None or not self._write(unfinished, received.write)):
            if unfinished is None:
                raise Violation(f"{machine.id} is to write and has not begun: {received}")
            shelf.unfinished = None
            self._send(chunk, self._receiver.failed(chunk))
        elif received.commit:
            assert unfinished is not None
            if sha256(unfinished.good).digest() != chunk.sha256:
                raise Violation(f"{machine.id} is to keep what was never sent: {received}")
            assert received.arrived is not None
            unfinished.message, self._last = received.arrived, chunk
            self._keep(unfinished)
        elif received.arrived is not None:
            coverage["snapshot refused as stale"] += 1
            self._hand_over(received.arrived, now_ms)
        else:
            self._send(chunk, received.receipt)

    def _drop(self, unfinished: Unfinished) -> None:
        assert self._last is not None
        self.machine.shelf.unfinished = None
        self._send(self._last, self._receiver.failed(self._last))

    def _send(self, chunk: Chunk, receipt: Receipt) -> None:
        self.world.send(self.machine.id, chunk.message.leader, receipt)
