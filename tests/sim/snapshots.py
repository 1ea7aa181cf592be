"""A driver's part in taking snapshots: asked for by the core, or at its own whim."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftcore import SnapshotMeta, TakeSnapshot
from raftcore.storage import SnapshotFailed
from tests.sim.plan import MS
from tests.sim.violation import Violation

if TYPE_CHECKING:
    from tests.sim.machine import Machine


class Snapshots:
    """Of one boot of one machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.world = machine.world
        self.asked: int | None = None
        """The core waits for one at this index, or later."""
        self.writing: tuple[SnapshotMeta, bytes] | None = None
        """On its way to the disk."""
        self._soon = False

    def begin(self) -> None:
        """The machine has started: tell what is there, and mend what is not."""
        machine, core = self.machine, self.machine.core
        known = machine.log.snapshot
        covered = known.index if known is not None else 0
        # A state that has survived in part may be older than the newest.
        kept = [
            each.meta for each in machine.shelf.stored if each.meta.index <= machine.state.index
        ]
        if kept and covered < kept[-1].index:
            self.world.coverage["snapshot told of at a start"] += 1
            core.snapshot_taken(kept[-1], machine.clock.local_ms())
        elif known is not None and machine.shelf.find(known) is None:
            self.take_soon()
        self._at_whim()

    def _at_whim(self) -> None:
        every_us = self.world.plan.snapshot_every_us
        if every_us:
            self.machine.later(1 + self.world.rng.randrange(2 * every_us), self._on_whim)

    def _on_whim(self, now_ms: int) -> None:
        self._at_whim()
        if self.asked is None:
            self._capture(now_ms)

    def take_soon(self) -> None:
        """Take one although nobody asks: the one that should be there is damaged."""
        if not self._soon:
            self._soon = True
            self.machine.later(self.world.rng.randrange(20 * MS), self._mend)

    def _mend(self, now_ms: int) -> None:
        self._soon = False
        if self.machine.shelf.lost:
            self._capture(now_ms)
            self.take_soon()

    def on_take(self, effect: TakeSnapshot) -> None:
        """The core asks for one."""
        if self.asked is not None:
            raise Violation(f"{self.machine.id}: {effect} while one at {self.asked} is owed")
        self.world.coverage["snapshot asked for"] += 1
        self.asked = effect.index
        self.machine.later(self.world.rng.randrange(5 * MS), self._on_asked)

    def _on_asked(self, now_ms: int) -> None:
        if self.asked is None:
            return
        if self.writing is not None:
            self.machine.later(self.world.rng.randrange(1, 5 * MS), self._on_asked)
            return
        if self.machine.state.index < self.asked:
            raise Violation(f"{self.machine.id} is asked for a snapshot of what it has not applied")
        self._capture(now_ms)

    def _capture(self, now_ms: int) -> None:
        """Hold the state as it is now, to be written beside everything else."""
        machine = self.machine
        if machine.witness or self.writing is not None or not machine.state.index:
            return
        content = machine.state.kv.snapshot() + b" " * self.world.plan.snapshot_padding
        meta = machine.core.snapshot_meta(machine.state.index, len(content))
        if meta is None:
            self.world.coverage["snapshot overtaken by an installed one"] += 1
            self._failed(now_ms)
            return
        self.world.oracle.snapshots.check_meta(machine, meta)
        self.writing = (meta, content)
        machine.on_disk(self._written)

    def _written(self, now_ms: int) -> None:
        assert self.writing is not None
        try:
            self.machine.shelf.put(*self.writing)
        except SnapshotFailed:
            self.world.coverage["snapshot could not be taken for want of a disk"] += 1
            self.writing = None
            self._failed(now_ms)
            return
        self.machine.come_through("a snapshot was taken", 0.05)
        self.machine.later(self.world.rng.randrange(2 * MS), self._tell)

    def _tell(self, now_ms: int) -> None:
        assert self.writing is not None
        (meta, _), self.writing, self.asked = self.writing, None, None
        self.world.coverage["snapshot taken"] += 1
        self.machine.core.snapshot_taken(meta, now_ms)

    def _failed(self, now_ms: int) -> None:
        if self.asked is not None:
            self.asked = None
            self.machine.core.snapshot_failed(now_ms)

    def crash(self) -> None:
        """What was being written may have got there all the same."""
        if self.writing is not None:
            self.world.coverage["crash while a snapshot was taken"] += 1
            self.machine.shelf.put_at_crash(self.world.rng, *self.writing)
