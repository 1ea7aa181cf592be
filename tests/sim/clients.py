"""Clients of the replicated map, and what they were told: judged when the run is over.

A client has one operation at a time.  What a node has refused, or what was replaced in the log, it
tries again: it was certainly not done.  What is not answered for a while it tries again elsewhere,
under the same serial number, so that it is done once.  Of what is still under way at the client's
own deadline the outcome is unknown: it may be done now, later, or never.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftcore import NotLeader, ProposalRefused, Role
from tests.linearizability.checker import Undecided, find_counterexample
from tests.linearizability.history import Action, Cas, Get, Operation, Put
from tests.sim.kv import NOBODY, encode
from tests.sim.plan import MS
from tests.sim.violation import Violation
from tests.sim.waiting import Told

if TYPE_CHECKING:
    from tests.sim.machine import Machine
    from tests.sim.world import World


class Client:
    """One of them."""

    def __init__(self, clients: Clients, number: int) -> None:
        self.clients = clients
        self.world = clients.world
        self.name = f"c{number}"
        self.serial = 0
        """Of the operation under way; answers to earlier ones find nobody."""
        self.action: Action | None = None
        self.called_us = 0
        self.attempts = 0
        self.under_way: set[int] = set()
        """Attempts that have come to no end that is known."""
        self.seen: dict[str, int] = {}
        """By key, the index of the newest write it has seen."""
        self.token = 0
        """How far a state machine must be, not to show this client less than it knows."""
        self.world.after(self._pause_us(), self._begin, None)

    def _pause_us(self) -> int:
        return 1 + self.world.rng.randrange(2 * self.world.plan.think_us)

    def _begin(self, _: None) -> None:
        world = self.world
        self.serial += 1
        if not world.clients_active:
            return
        self.action = self.clients.draw_action()
        self.called_us = world.now_us
        self.under_way.clear()
        self._read_own_session()
        deadline_us = world.rng.choice((100, 400, 1500)) * MS
        world.after(deadline_us, self._on_deadline, self.serial)
        self._attempt(self.serial)

    def _attempt(self, serial: int) -> None:
        if serial != self.serial:
            return
        action = self.action
        assert action is not None
        by_read_index = isinstance(action, Get) and self.clients.by_read_index()
        machine = self.clients.pick(anybody=by_read_index and self.world.rng.random() < 0.5)
        if machine is None:
            self._again(serial)
            return
        self.attempts += 1
        attempt = self.attempts
        self.under_way.add(attempt)

        def told(done: bool | None, result: object) -> None:
            self._on_answer(serial, attempt, done, result)

        if by_read_index:
            machine.input(lambda now_ms: machine.waiting.for_read(str(action.key), now_ms, told))
        else:
            command = (self.name, serial, action)
            machine.input(lambda now_ms: self.clients.propose(machine, command, now_ms, told))
        if serial == self.serial and attempt in self.under_way:
            patience_us = self.world.rng.choice((50, 200, 800)) * MS
            self.world.after(patience_us, self._on_patience, (serial, attempt))

    def _again(self, serial: int) -> None:
        self.world.after(1 + self.world.rng.randrange(20 * MS), self._attempt, serial)

    def _on_patience(self, which: tuple[int, int]) -> None:
        serial, attempt = which
        if serial == self.serial and attempt == self.attempts and attempt in self.under_way:
            self.world.coverage["command sent again in doubt"] += 1
            self._attempt(serial)

    def _on_answer(self, serial: int, attempt: int, done: bool | None, result: object) -> None:
        if serial != self.serial:
            return
        if done:
            self._remember(self.world.now_us, result)
            self.world.coverage["client served"] += 1
            self.serial += 1
            self.world.after(self._pause_us(), self._begin, None)
            return
        if done is False:
            self.under_way.discard(attempt)
        if attempt == self.attempts:
            self._again(serial)

    def _on_deadline(self, serial: int) -> None:
        if serial != self.serial:
            return
        if self.under_way:
            self.world.coverage["outcome unknown"] += 1
            self._remember(None, None)
        self.serial += 1
        self.world.after(self._pause_us(), self._begin, None)

    def _remember(self, returned_us: int | None, result: object) -> None:
        assert self.action is not None
        operation = Operation(self.name, self.action, self.called_us, returned_us, result)
        self.clients.history.append(operation)
        if returned_us is not None and isinstance(self.action, Get):
            self.clients.last_seen[str(self.action.key)] = result  # type: ignore[assignment]

    def close(self) -> None:
        """The run is over; what is under way stays unknown."""
        if self.under_way:
            self._remember(None, None)
        self.serial += 1

    def _read_own_session(self) -> None:
        """Read somewhere that is as far as this client has seen: never less than it saw before."""
        world = self.world
        machines = [m for m in world.machines.values() if m.up and not m.paused and not m.witness]
        if not machines:
            return
        machine = world.rng.choice(machines)
        if machine.state.index < self.token:
            return
        self.token = machine.state.index
        key = world.rng.choice(self.clients.keys)
        _, index = machine.state.kv.values.get(key, (None, 0))
        if index < self.seen.get(key, 0):
            raise Violation(f"{self.name} sees {key} as of {index} after {self.seen[key]}")
        self.seen[key] = index
        world.coverage["read of one's own session"] += 1


class Clients:
    """All of them, and those who just make work."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.history: list[Operation] = []
        self.keys = [f"k{number}" for number in range(world.plan.keys)]
        self.last_seen: dict[str, int | None] = {}
        self.know_only: Machine | None = None
        self.proposed = 0
        self.values = 0
        self.acknowledged: list[tuple[int, int]] = []
        """Index and term of every command that somebody was told to be done."""
        self.all = [Client(self, number) for number in range(world.plan.clients)]
        world.after(0, self._make_work, None)

    def draw_action(self) -> Action:
        rng = self.world.rng
        key, kind = rng.choice(self.keys), rng.random()
        if kind < 0.5:
            return Get(key)
        # Values are unique, so that a result says which write it has seen.
        self.values += 1
        if kind < 0.9:
            return Put(key, self.values)
        return Cas(key, self.last_seen.get(key), self.values)

    def by_read_index(self) -> bool:
        plan = self.world.plan
        return plan.reads and self.world.rng.random() < 0.8

    def pick(self, *, anybody: bool = False) -> Machine | None:
        """Somebody who may be the leader, or anybody: clients guess."""
        rng = self.world.rng
        machines = self.world.machines.values()
        up = [m for m in machines if m.up and not m.paused and not m.witness]
        if not up:
            return None
        machine, choice = rng.choice(up), rng.random()
        if anybody:
            return machine
        leader = self.world.machines.get(machine.core.leader or "")
        if leader in up and choice < 0.7:
            machine = leader
        elif choice < 0.9:
            # One that takes itself for the leader, be it cut off and of a term long past.
            machine = rng.choice([m for m in up if m.core.role is Role.LEADER] or up)
        return self.know_only or machine

    def _make_work(self, _: None) -> None:
        plan, rng = self.world.plan, self.world.rng
        self.world.after(1 + rng.randrange(2 * plan.propose_every_us), self._make_work, None)
        machine = self.pick()
        if machine is None or not self.world.clients_active:
            return
        background: tuple[str, int, None] = (NOBODY, 0, None)
        for _ in range(rng.randint(1, plan.burst_max)):
            machine.input(
                lambda now_ms: self.propose(machine, background, now_ms, lambda _d, _r: None)
            )

    def propose(
        self,
        machine: Machine,
        command: tuple[str, int, Action | None],
        now_ms: int,
        told: Told,
    ) -> None:
        world = self.world
        padding = world.rng.randrange(world.plan.data_bytes_max)
        data = encode(self.proposed + 1, *command, padding)
        try:
            place = machine.core.propose(data, now_ms)
        except NotLeader:
            world.coverage["proposal refused: not the leader"] += 1
            told(False, None)
        except ProposalRefused as refusal:
            world.coverage[f"proposal refused: {refusal.reason}"] += 1
            told(False, None)
        else:
            self.proposed += 1
            world.oracle.proposed[data] = place
            world.note(f"{machine.id} takes a proposal", (place, command))
            machine.waiting.for_command(place, told)

    def judge(self) -> None:
        """The run is over: could all that clients were told have happened one by one?"""
        for client in self.all:
            client.close()
        committed = self.world.oracle.committed
        for index, term in self.acknowledged:
            if index > len(committed) or committed[index - 1].term != term:
                raise Violation(f"the acknowledged entry {index} of term {term} is lost")
        try:
            found = find_counterexample(self.history)
        except Undecided:
            self.world.coverage["history undecided"] += 1
            return
        if found is not None:
            raise Violation(f"Linearizability: {found}")
