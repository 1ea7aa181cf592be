"""Writing a log: what was asked for becomes durable in order, some time later, several at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftcore import Compact, InstallSnapshot
from tests.sim.disk import LogFailed, LogWrite
from tests.sim.plan import WRITE_STALL_MS

if TYPE_CHECKING:
    from tests.sim.machine import Machine

FOR_EVER_US = 1 << 60


class Writer:
    """Of one boot of one machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.durable_ticket = 0
        self._syncing = 0

    def write(self, effect: LogWrite) -> None:
        """This is to be written behind all that was before."""
        self.machine.disk.take(effect)
        if not self._syncing:
            self._start_sync()

    def _start_sync(self) -> None:
        """Sync what waits, or the first of it."""
        machine, world = self.machine, self.machine.world
        self._syncing = len(machine.disk.writes)
        if world.rng.random() < 0.2:
            self._syncing = world.rng.randint(1, self._syncing)
        due_us = max(world.now_us, machine.disk_stalled_until_us)
        if world.plan.write_max_us:
            due_us += world.rng.randrange(world.plan.write_max_us)
        world.at(due_us, self.on_disk, machine.boots)

    def on_disk(self, boot: int) -> None:
        """The disk has done it, unless it stalls."""
        machine = self.machine
        if not machine.up or boot != machine.boots or not self._syncing:
            return
        if machine.world.now_us < machine.disk_stalled_until_us:
            if machine.disk_stalled_until_us < FOR_EVER_US:
                machine.world.at(machine.disk_stalled_until_us, self.on_disk, boot)
            return
        try:
            done = machine.disk.sync(self._syncing)
        except LogFailed:
            # "A failed write is final: stop."
            machine.stop("write failed")
            return
        self._syncing = 0
        if machine.disk.writes:
            self._start_sync()
        if any(isinstance(effect, InstallSnapshot) for effect in done):
            machine.come_through("a log was replaced")
        tickets = [effect.ticket for effect in done if not isinstance(effect, Compact)]
        machine.world.oracle.snapshots.after_sync(machine)
        if tickets:
            machine.input(lambda now_ms: self._durable(tickets[-1], now_ms))

    def _durable(self, ticket: int, now_ms: int) -> None:
        self.durable_ticket = ticket
        self.machine.core.persisted(ticket, now_ms)
        self.machine.release()
        self.machine.state.go_on()

    def stall(self, until_us: int) -> None:
        """Nothing becomes durable until then."""
        machine = self.machine
        machine.disk_stalled_until_us = until_us
        if until_us > machine.world.now_us + WRITE_STALL_MS * 1000 and machine.leads:
            machine.world.coverage["leader's disk stalled"] += 1

    def end_stall(self) -> None:
        """The disk works again."""
        self.machine.disk_stalled_until_us = 0
        if self.machine.up:
            self.machine.world.at(self.machine.world.now_us, self.on_disk, self.machine.boots)
