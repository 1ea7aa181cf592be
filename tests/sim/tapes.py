"""Nodes' traces of a run, run again: the core has to do the same (`raftcore.trace`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftcore.trace import TraceWriter, replay
from tests.sim.violation import Violation

if TYPE_CHECKING:
    from tests.sim.machine import Machine


class Tapes:
    """One for each process that runs, of those nodes that are recorded."""

    def __init__(self, recorded: frozenset[str]) -> None:
        self._recorded = recorded
        self._tapes: dict[str, list[str]] = {}

    def begin(self, machine: Machine) -> TraceWriter | None:
        """What a new process is to be traced by."""
        if machine.id not in self._recorded:
            return None
        tape = self._tapes[machine.id] = []
        return TraceWriter(tape.append, machine.id)

    def end(self, machine: Machine) -> None:
        """The process is gone: would it do all that again?"""
        tape = self._tapes.pop(machine.id, None)
        if tape is None:
            return
        now_ms = machine.clock.local_ms()
        machine.world.coverage["trace run again"] += 1
        again, was = replay(tape).status(now_ms), machine.core.status(now_ms)
        if again != was:
            raise Violation(f"{machine.id}'s trace leads to {again} instead of {was}")
