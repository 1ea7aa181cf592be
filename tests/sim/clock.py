"""One process's monotonic clock, at its own rate, and the timer that its core asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.plan import MS

if TYPE_CHECKING:
    from tests.sim.machine import Machine


class Clock:
    """Of one boot of one machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.world = machine.world
        self._at_us = self.world.now_us
        self._offset_ms = self.world.rng.randrange(1_000_000)
        self._frozen_since_us: int | None = None
        self._timer_us: int | None = None

    def local_ms(self) -> int:
        """What it shows."""
        elapsed_us = self.world.now_us - self._at_us
        return self._offset_ms + elapsed_us * self.machine.rate // (1000 * MS)

    def _when_us(self, local_ms: int) -> int:
        """When it will show that time, at the earliest."""
        elapsed_ms = local_ms - self._offset_ms
        return self._at_us - (-elapsed_ms * 1000 * MS // self.machine.rate)

    def freeze(self) -> None:
        """Stand still."""
        self._frozen_since_us = self.world.now_us

    def resume(self) -> None:
        """Go on, if it has stood still."""
        if self._frozen_since_us is not None:
            self._at_us += self.world.now_us - self._frozen_since_us
            self._frozen_since_us = None
            self._timer_us = None
            self.set_alarm()

    def set_alarm(self) -> None:
        """Wake the core when it wants to be woken."""
        due_ms = self.machine.core.next_timer()
        if due_ms is None:
            return
        late_us = self.world.rng.randrange(2 * MS)
        due_us = max(self._when_us(due_ms), self.world.now_us) + late_us
        if self._timer_us is None or due_us < self._timer_us - 2 * MS:
            self._timer_us = due_us
            self.world.at(due_us, self._on_alarm, self.machine.boots)

    def _on_alarm(self, boot: int) -> None:
        if boot != self.machine.boots or self._timer_us is None:
            return
        if self._timer_us <= self.world.now_us:
            self._timer_us = None
            self.machine.input(self.on_timer)

    def on_timer(self, now_ms: int) -> None:
        """Time has passed."""
        core = self.machine.core
        due_ms = core.next_timer()
        if due_ms is not None and due_ms + 60 < now_ms:
            self.world.coverage["timer came late"] += 1
        core.handle_timer(now_ms)
