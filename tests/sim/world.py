"""Time, the network and the clients of one simulated cluster."""

from __future__ import annotations

import heapq
import random
import zlib
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from raftcore import Message, NotLeader, ProposalRefused, Role
from raftcore.codec import decode_message, encode_message
from raftcore.messages import (
    AppendEntriesResponse,
    PreVoteResponse,
    RequestVoteResponse,
    TimeoutNow,
)
from tests.sim.machine import Machine
from tests.sim.oracle import Oracle, Violation
from tests.sim.plan import ELECTION_TIMEOUT_MS, MS, Plan

TRACE_LENGTH = 400
Link = tuple[str, str]


class World:
    """Everything happens in `step`, one event at a time, in an order that only the seed decides."""

    def __init__(self, seed: int, plan: Plan, rng: random.Random) -> None:
        self.seed = seed
        self.plan = plan
        self.rng = rng
        self.now_us = 0
        self.events = 0
        self.events_max = 1 << 60
        self.digest = 0
        self.coverage: Counter[str] = Counter()
        self.trace: deque[tuple[int, str, object]] = deque(maxlen=TRACE_LENGTH)
        self.oracle = Oracle(plan.majority, self.coverage)
        self.machines = {
            name: Machine(self, name, rate)
            for name, rate in zip(plan.voters, plan.rates, strict=True)
        }
        self.oracle.machines = self.machines
        self.quiet = False
        """The network neither loses, doubles nor delays out of measure any more."""
        self.clients_active = True
        self.clients_know_only: Machine | None = None
        self.cuts: list[frozenset[Link]] = []
        self._blocked: frozenset[Link] = frozenset()
        self._last_arrival: dict[Link, int] = {}
        self._queue: list[tuple[int, int, Callable[[Any], None], Any]] = []
        self._pushed = 0
        self._proposed = 0
        for machine in self.machines.values():
            machine.start()
        self.after(0, self._propose, None)

    # ------------------------------------------------------------------ time

    def at(self, time_us: int, action: Callable[[Any], None], argument: Any) -> None:
        """Have something happen."""
        self._pushed += 1
        heapq.heappush(self._queue, (time_us, self._pushed, action, argument))

    def after(self, delay_us: int, action: Callable[[Any], None], argument: Any) -> None:
        self.at(self.now_us + delay_us, action, argument)

    def step(self) -> None:
        """The next event."""
        time_us, _, action, argument = heapq.heappop(self._queue)
        self.now_us = time_us
        self.events += 1
        if self.events > self.events_max:
            raise Violation("Liveness: the nodes keep each other busy without end")
        action(argument)

    def run_until(self, time_us: int) -> None:
        while self._queue[0][0] <= time_us:
            self.step()
        self.now_us = time_us

    def record(self, machine: Machine) -> None:
        """Fold a node's visible state into the digest of the run."""
        core = machine.core
        state = b"%d %b %d %d %d %d" % (
            self.now_us,
            machine.id.encode(),
            core.role,
            core.current_term,
            core.commit_index,
            len(machine.handed_out),
        )
        self.digest = zlib.crc32(state, self.digest)

    def note(self, what: str, detail: object = "") -> None:
        self.trace.append((self.now_us, what, detail))

    # ------------------------------------------------------------------ network

    def cut(self, links: frozenset[Link]) -> None:
        """Take links away until `heal` is called with the same ones."""
        self.cuts.append(links)
        self._blocked = frozenset().union(*self.cuts)

    def heal(self, links: frozenset[Link]) -> None:
        if links in self.cuts:
            self.cuts.remove(links)
            self._blocked = frozenset().union(*self.cuts)

    def send(self, sender: str, to: str, message: Message) -> None:
        """Put a message on the network."""
        plan, rng = self.plan, self.rng
        self._count(message)
        if (sender, to) in self._blocked:
            self.coverage["message lost in a partition"] += 1
            return
        if not self.quiet:
            if plan.loss and rng.random() < plan.loss:
                self.coverage["message lost"] += 1
                return
            if plan.duplication and rng.random() < plan.duplication:
                self.coverage["message doubled"] += 1
                self._post(sender, to, message)
        self._post(sender, to, message)

    def _post(self, sender: str, to: str, message: Message) -> None:
        plan, rng = self.plan, self.rng
        arrival_us = self.now_us + 1 + rng.randrange(plan.delay_max_us)
        if plan.straggler and not self.quiet and rng.random() < plan.straggler:
            self.coverage["message very late"] += 1
            arrival_us += rng.randrange(2 * ELECTION_TIMEOUT_MS * MS)
        before_us = self._last_arrival.get((sender, to), 0)
        if plan.fifo:
            arrival_us = max(arrival_us, before_us)
        elif arrival_us < before_us:
            self.coverage["message overtook another"] += 1
        self._last_arrival[sender, to] = max(arrival_us, before_us)
        if plan.through_codec:
            message = decode_message(encode_message(message))
        self.at(arrival_us, self._deliver, (sender, to, message))

    def _deliver(self, item: tuple[str, str, Message]) -> None:
        sender, to, message = item
        if self.plan.cut_in_flight and (sender, to) in self._blocked:
            return
        self.trace.append((self.now_us, f"{sender} -> {to}", message))
        self.machines[to].receive(message)

    def _count(self, message: Message) -> None:
        match message:
            case AppendEntriesResponse(success=False):
                self.coverage["entries refused"] += 1
            case PreVoteResponse(granted=False):
                self.coverage["pre-vote refused"] += 1
            case RequestVoteResponse(granted=False):
                self.coverage["vote refused"] += 1
            case TimeoutNow():
                self.coverage["leadership handed over"] += 1

    # ------------------------------------------------------------------ clients

    @property
    def proposals(self) -> int:
        """How many commands some leader has taken so far."""
        return self._proposed

    def _propose(self, _: None) -> None:
        """Some client proposes something to some node."""
        plan, rng = self.plan, self.rng
        self.after(1 + rng.randrange(2 * plan.propose_every_us), self._propose, None)
        up = [m for m in self.machines.values() if m.up and not m.paused]
        if not up or not self.clients_active:
            return
        machine = rng.choice(up)
        leader, choice = machine.core.leader, rng.random()
        if leader is not None and self.machines[leader] in up and choice < 0.7:
            machine = self.machines[leader]
        elif choice < 0.9:
            # One that takes itself for the leader, be it cut off and of a term long past.
            machine = rng.choice([m for m in up if m.core.role is Role.LEADER] or up)
        machine = self.clients_know_only or machine
        for _ in range(rng.randint(1, plan.burst_max)):
            machine.input(lambda now_ms: self._propose_to(machine, now_ms))

    def _propose_to(self, machine: Machine, now_ms: int) -> None:
        data = b"%d " % (self._proposed + 1)
        data += bytes(self.rng.randrange(self.plan.data_bytes_max))
        try:
            place = machine.core.propose(data, now_ms)
        except NotLeader:
            self.coverage["proposal refused: not the leader"] += 1
        except ProposalRefused as refusal:
            self.coverage[f"proposal refused: {refusal.reason}"] += 1
        else:
            self._proposed += 1
            self.oracle.proposed[data] = place
            self.note(f"{machine.id} takes a proposal", place)

    # ------------------------------------------------------------------ looking

    def leaders(self) -> list[Machine]:
        """Who takes itself for the leader."""
        return [m for m in self.machines.values() if m.up and m.core.role is Role.LEADER]
