"""Who waits at one machine for what comes of a command or a read; gone with the process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from raftcore import Entry, ReadReady, ReadRefused, Role
from tests.sim.violation import Violation

if TYPE_CHECKING:
    from tests.sim.machine import Machine

Told = Callable[[bool | None, object], None]
"""Called with whether it was done, None where nothing is known, and its result."""


class Waiting:
    """Of one boot of one machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._commands: dict[int, list[tuple[int, Told]]] = {}
        """By index: the term, and who wants to be told."""
        self._reads: dict[int, tuple[str, Told]] = {}

    def for_command(self, place: tuple[int, int], told: Told) -> None:
        """Tell what comes of the command at this index and term."""
        index, term = place
        self._commands.setdefault(index, []).append((term, told))

    def applied(self, entry: Entry, result: object) -> None:
        """An entry was applied: those who waited for this very one have their result.

        Those who waited for another one at the same index know that theirs will never be applied.
        """
        for term, told in self._commands.pop(entry.index, ()):
            if term == entry.term:
                self.machine.world.clients.acknowledged.append((entry.index, term))
            told(term == entry.term, result)

    def forget(self, index: int) -> None:
        """Everything up to there came with a snapshot: what became of it nobody knows."""
        for place in sorted(place for place in self._commands if place <= index):
            for _, told in self._commands.pop(place):
                self.machine.world.coverage["waiter swallowed by a snapshot"] += 1
                told(None, None)

    def for_read(self, key: str, now_ms: int, told: Told) -> None:
        """Read the state machine once it shows all that was acknowledged before."""
        self._reads[self.machine.core.read_index(now_ms)] = (key, told)

    def on_read(self, effect: ReadReady | ReadRefused) -> None:
        """A read may be answered now, or never."""
        machine, coverage = self.machine, self.machine.world.coverage
        key, told = self._reads.pop(effect.read_id)
        if isinstance(effect, ReadRefused):
            coverage[f"read refused: {effect.reason}"] += 1
            told(False, None)
            return
        applied = machine.state.index
        if applied < effect.index:
            raise Violation(f"{machine.id}: {effect}, but only {applied} are applied")
        leads = machine.core.role is Role.LEADER
        coverage[f"read served by {'the leader' if leads else 'a follower'}"] += 1
        told(True, machine.state.kv.get(key))
