"""One machine's state machine: it applies what it is handed, in its own time, and remembers some of
it over a crash, or nothing where the seed has it in memory alone."""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING

from raftcore import Apply, Entry, InstallSnapshot
from tests.sim.kv import KeyValues
from tests.sim.violation import Violation

if TYPE_CHECKING:
    from tests.sim.machine import Machine


class StateMachine:
    """Survives crashes up to `saved_index`.  A witness's has no content."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.index = 0
        self.saved_index = 0
        self.kv = KeyValues()
        self.queue: deque[Entry | InstallSnapshot] = deque()
        self._busy = 0
        """How many of those it is at work on."""

    def crash(self, rng: random.Random) -> None:
        """Fall back to what was saved, or not so far."""
        world = self.machine.world
        if not world.plan.state_on_disk and not self.machine.witness:
            remembered = 0
        elif rng.random() < 0.5:
            remembered = rng.randint(self.saved_index, self.index)
            if remembered < self.index:
                world.coverage["state machine fell back"] += 1
        else:
            remembered = self.index
        # Whatever it was, it was what everybody had there: that is checked after every step.
        self.restore(remembered, world.oracle.reference.state(remembered))

    def restore(self, index: int, content: bytes) -> None:
        """Be this from now on, durably."""
        self.index = self.saved_index = index
        if not self.machine.witness:
            self.kv = KeyValues.restored(content)

    @property
    def installing(self) -> bool:
        """Whether a snapshot waits to take its place."""
        return any(isinstance(one, InstallSnapshot) for one in self.queue)

    def boot(self) -> None:
        """Nothing was handed out to this process."""
        self.queue.clear()
        self._busy = 0
        self.check()

    def take(self, effect: Apply | InstallSnapshot) -> None:
        """This is to be done next."""
        if isinstance(effect, Apply):
            self.queue.extend(effect.entries)
        else:
            self.queue.append(effect)
        self.go_on()

    def go_on(self) -> None:
        """Begin with what waits, or the first of it, if it may be begun."""
        if self._busy or not self.queue:
            return
        machine, world = self.machine, self.machine.world
        first = self.queue[0]
        if isinstance(first, InstallSnapshot):
            if first.ticket > machine.writer.durable_ticket:
                return
            self._busy = 1
        else:
            entries = [one for one in self.queue if isinstance(one, Entry)]
            installs = [n for n, one in enumerate(self.queue) if isinstance(one, InstallSnapshot)]
            self._busy = installs[0] if installs else len(entries)
            if world.rng.random() < 0.2:
                self._busy = world.rng.randint(1, self._busy)
        delay_us = world.rng.randrange(world.plan.apply_max_us) if world.plan.apply_max_us else 0
        machine.later(delay_us, self._finish)

    def _finish(self, _now_ms: int) -> None:
        machine = self.machine
        done = [self.queue.popleft() for _ in range(self._busy)]
        self._busy = 0
        self.go_on()
        for one in done:
            if isinstance(one, InstallSnapshot):
                self._install(one)
            else:
                self.index = one.index
                machine.waiting.applied(one, self.kv.apply(one))
        self.check()
        if machine.world.rng.random() < 0.1:
            self.saved_index = self.index
        machine.core.applied(self.index)

    def _install(self, effect: InstallSnapshot) -> None:
        machine = self.machine
        content = b""
        if not machine.witness:
            stored = machine.shelf.find(effect.meta)
            if stored is None:
                if self.installing:
                    # A newer one is there already and will be installed.
                    return
                raise Violation(f"{machine.id}: {effect} is to be installed and is not there")
            content = stored.read()
        self.restore(effect.meta.index, content)
        machine.world.coverage["snapshot installed"] += 1
        machine.come_through("a snapshot was installed")
        machine.waiting.forget(self.index)

    def check(self) -> None:
        """It is what the committed log makes of it, however it came to be (Figure 3, State Machine
        Safety)."""
        machine = self.machine
        if machine.witness:
            return
        known = machine.world.oracle.reference.state(self.index)
        if self.kv.snapshot() != known:
            raise Violation(
                f"State Machine Safety: {machine.id} is at {self.index} "
                f"{self.kv.snapshot().decode()}, which should be {known.decode()}"
            )
