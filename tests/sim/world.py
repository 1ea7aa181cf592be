"""Time, the network and the clients of one simulated cluster."""

from __future__ import annotations

import heapq
import random
import tempfile
import zlib
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raftcore import Message, Role
from raftcore.codec import decode_message, encode_message
from raftcore.messages import (
    AppendEntriesResponse,
    PreVoteResponse,
    RequestVoteResponse,
    TimeoutNow,
)
from raftcore.snapshot_stream import (
    Chunk,
    Receipt,
    decode_chunk,
    decode_receipt,
    encode_chunk,
    encode_receipt,
)
from tests.sim.churn import Churn
from tests.sim.clients import Clients
from tests.sim.disk import FileDisk, MemoryDisk
from tests.sim.machine import Machine
from tests.sim.oracle import Oracle
from tests.sim.plan import ELECTION_TIMEOUT_MS, MS, Plan
from tests.sim.tapes import Tapes
from tests.sim.violation import Violation

TRACE_LENGTH = 400
Link = tuple[str, str]
OnNetwork = Message | Chunk | Receipt


class World:
    """Everything happens in `step`, one event at a time, in an order that only the seed decides."""

    def __init__(
        self,
        seed: int,
        plan: Plan,
        rng: random.Random,
        *,
        trace_length: int,
        recorded: frozenset[str],
    ) -> None:
        self.seed = seed
        self.plan = plan
        self.rng = rng
        self.now_us = 0
        self.events = 0
        self.events_max = 1 << 60
        self.digest = 0
        self.coverage: Counter[str] = Counter()
        self.trace: deque[tuple[int, str, object]] = deque(maxlen=trace_length)
        self.oracle = Oracle(self.coverage, plan.membership)
        self.tapes = Tapes(recorded)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.machines = {
            name: Machine(self, name, rate, self._disk(name))
            for name, rate in zip(plan.voters, plan.rates, strict=True)
        }
        self.oracle.machines = self.machines
        self.membership = plan.membership
        """The last one that was committed and seen to be so, after the faults."""
        self.quiet = False
        """The network neither loses, doubles nor delays out of measure any more."""
        self.clients_active = True
        self.before_sending: Callable[[Machine], None] = lambda _: None
        """Called when a machine is about to open a snapshot to send it."""
        self.cuts: list[frozenset[Link]] = []
        self._blocked: frozenset[Link] = frozenset()
        self._last_arrival: dict[Link, int] = {}
        self._queue: list[tuple[int, int, Callable[[Any], None], Any]] = []
        self._pushed = 0
        for machine in self.machines.values():
            machine.start()
        self.clients = Clients(self)
        self.churn = Churn(self)

    def add_machine(self, *, witness: bool) -> Machine:
        """A new machine with a new name, running; nobody knows it yet."""
        name = f"n{len(self.machines) + 1}"
        rate = self.rng.choice(self.plan.rates)
        machine = Machine(self, name, rate, self._disk(name), witness=witness)
        self.machines[name] = machine
        machine.start()
        return machine

    def _disk(self, name: str) -> MemoryDisk:
        if not self.plan.segment_bytes:
            return MemoryDisk(self.coverage, read_early=self.plan.read_early)
        if self._folder is None:
            memory = Path("/dev/shm")
            self._folder = tempfile.TemporaryDirectory(
                prefix="raft-sim-", dir=memory if memory.is_dir() else None
            )
        return FileDisk(self.coverage, Path(self._folder.name) / name, self.plan.segment_bytes)

    def end(self) -> None:
        """The run is over, and nothing was wrong so far."""
        for machine in self.machines.values():
            if machine.up:
                self.tapes.end(machine)

    def close(self) -> None:
        """Remove what is on disk."""
        for machine in self.machines.values():
            if machine.up:
                machine.disk.close()
        if self._folder is not None:
            self._folder.cleanup()

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

    def send(self, sender: str, to: str, message: OnNetwork) -> None:
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

    def _post(self, sender: str, to: str, message: OnNetwork) -> None:
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
            message = _through_codec(message)
        self.at(arrival_us, self._deliver, (sender, to, message))

    def _deliver(self, item: tuple[str, str, OnNetwork]) -> None:
        sender, to, message = item
        if self.plan.cut_in_flight and (sender, to) in self._blocked:
            return
        self.trace.append((self.now_us, f"{sender} -> {to}", message))
        self.machines[to].receive(message)

    def _count(self, message: OnNetwork) -> None:
        match message:
            case AppendEntriesResponse(success=False):
                self.coverage["entries refused"] += 1
            case PreVoteResponse(granted=False):
                self.coverage["pre-vote refused"] += 1
            case RequestVoteResponse(granted=False):
                self.coverage["vote refused"] += 1
            case TimeoutNow():
                self.coverage["leadership handed over"] += 1

    # ------------------------------------------------------------------ looking

    def leaders(self) -> list[Machine]:
        """Who takes itself for the leader."""
        return [m for m in self.machines.values() if m.up and m.core.role is Role.LEADER]


def _through_codec(message: OnNetwork) -> OnNetwork:
    match message:
        case Chunk():
            return decode_chunk(encode_chunk(message))
        case Receipt():
            return decode_receipt(encode_receipt(message))
        case _:
            return decode_message(encode_message(message))
