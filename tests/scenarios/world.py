"""The machines of a scenario and the messages between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from raftcore import Entry, EntryKind, Membership, Message, Role
from raftcore.messages import Snapshot
from tests.scenarios import words
from tests.scenarios.machine import Machine, State

_DELIVERIES_MAX = 2000


class ScenarioError(Exception):
    """The script asks for something that cannot be done."""


class Unsafe(Exception):
    """The cluster did what Raft excludes (paper, Figure 3)."""


@dataclass(frozen=True, slots=True)
class Transit:
    """A message on its way."""

    sender: str
    to: str
    message: Message
    state: State | None = None
    """What a snapshot brings, where it brings any."""


@dataclass
class World:
    machines: dict[str, Machine] = field(default_factory=dict)
    network: list[Transit] = field(default_factory=list)
    cut: set[str] = field(default_factory=set)
    lines: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    _depth: int = 0
    _leaders: dict[int, str] = field(default_factory=dict)
    _applied: dict[int, Entry] = field(default_factory=dict)
    _checked: dict[str, int] = field(default_factory=dict)

    def say(self, text: str) -> None:
        self.lines.append("  " * self._depth + text)

    @contextmanager
    def indented(self) -> Iterator[None]:
        """What is told here is because of the line before."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def add(self, name: str, bootstrap: Membership, own: dict[str, Any] | None = None) -> Machine:
        """Start a new machine, with settings of its own beside those of all."""
        if name in self.machines:
            raise ScenarioError(f"{name} is there already")
        settings = self.settings | (own or {})
        machine = self.machines[name] = Machine(name, bootstrap, settings, self.say)
        machine.start()
        return machine

    def __getitem__(self, name: str) -> Machine:
        if name not in self.machines:
            raise ScenarioError(f"no node {name}; there are {' '.join(self.machines) or 'none'}")
        return self.machines[name]

    def up(self, name: str) -> Machine:
        machine = self[name]
        if machine.down:
            raise ScenarioError(f"{name} is down")
        return machine

    # ------------------------------------------------------------------ network

    def collect(self) -> None:
        """Take what the machines have sent into the network, and look whether all is well."""
        for name, machine in self.machines.items():
            self.network += [
                Transit(name, send.to, send.message, state)
                for send, state in machine.network
                if not self.cut & {name, send.to}
            ]
            machine.network = []
        self._check_safety()

    def take(self, fits: Callable[[Transit], bool], count: int | None) -> list[Transit]:
        """Take messages out of the network, the oldest first."""
        taken = [transit for transit in self.network if fits(transit)][:count]
        for transit in taken:
            self.network.remove(transit)
        return taken

    def deliver(self, transit: Transit) -> None:
        """Hand one message over, unless the network or the receiver is not there."""
        target = self.machines.get(transit.to)
        what = f"{words.brief(transit.message)} from {transit.sender}"
        if target is None or target.down or self.cut & {transit.sender, transit.to}:
            self.say(f"{transit.to} does not get {what}")
            return
        self.say(f"{transit.to} gets {what}")
        with self.indented():
            if isinstance(transit.message, Snapshot) and transit.state is not None:
                target.snapshot_arrives(transit.message, transit.state)
            else:
                target.receive(transit.message)
        self.collect()

    def stabilize(self, among: set[str]) -> None:
        """Deliver what these nodes send each other until nothing is on its way."""
        for _ in range(_DELIVERIES_MAX):
            batch = self.take(lambda transit: {transit.sender, transit.to} <= among, 1)
            if not batch:
                return
            self.deliver(batch[0])
        raise ScenarioError("messages without end")

    def run(self, left_ms: int) -> None:
        """Let time pass for everybody alike, with everything delivered as it is sent."""
        everybody = set(self.machines)
        self.collect()
        self.stabilize(everybody)
        while left_ms:
            up = [machine for machine in self.machines.values() if not machine.down]
            dues = [machine.core.next_timer() for machine in up]
            waits = [
                max(due_ms - machine.now_ms, 0)
                for machine, due_ms in zip(up, dues, strict=True)
                if due_ms is not None
            ]
            step_ms = min([*waits, left_ms])
            left_ms -= step_ms
            for machine, due_ms in zip(up, dues, strict=True):
                if due_ms is not None and due_ms - machine.now_ms <= step_ms:
                    machine.sleep(step_ms)
                else:
                    machine.now_ms += step_ms
            self.collect()
            self.stabilize(everybody)

    # ------------------------------------------------------------------ safety

    def _check_safety(self) -> None:
        """Election Safety and State Machine Safety hold in every scenario, whatever is golden."""
        for name, machine in self.machines.items():
            if not machine.down and machine.core.role is Role.LEADER:
                term = machine.core.current_term
                if self._leaders.setdefault(term, name) != name:
                    raise Unsafe(f"{self._leaders[term]} and {name} both lead in term {term}")
            for one in machine.applied[self._checked.get(name, 0) :]:
                if one.kind is EntryKind.WITNESSED:
                    continue
                other = self._applied.setdefault(one.index, one)
                if (other.term, other.kind, other.data) != (one.term, one.kind, one.data):
                    raise Unsafe(f"{name} applies {words.entry(one)}, not {words.entry(other)}")
            self._checked[name] = len(machine.applied)
