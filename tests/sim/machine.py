"""One machine of the simulated cluster: a core, its driver, its disk, its state machine, its clock.

The machine does with effects what `raftcore.effects` demands and not a bit more: every freedom that
is left to a driver is drawn at random.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from raftcore import Apply, Entry, Message, Persist, RaftCore, Role, RoleChanged, Send
from raftcore.storage import MemoryLog
from tests.sim.oracle import Violation
from tests.sim.plan import MS, WRITE_STALL_MS

if TYPE_CHECKING:
    from tests.sim.world import World

FOR_EVER_US = 1 << 60
Input = Callable[[int], None]


class ReadLog(MemoryLog):
    """What the core reads of the log; counts that it does."""

    coverage: Counter[str] | None = None

    def __init__(self, durable: MemoryLog) -> None:
        super().__init__()
        self.append(durable.hard_state, _entries(durable))

    def entries(self, first: int, last: int, bytes_max: int) -> tuple[Entry, ...]:
        if self.coverage is not None:
            self.coverage["entries read back from disk"] += 1
        return super().entries(first, last, bytes_max)


class Machine:
    """Survives crashes: `durable` and `applied`, the latter up to `applied_saved`."""

    core: RaftCore

    def __init__(self, world: World, node_id: str, rate: int) -> None:
        self.world = world
        self.id = node_id
        self.rate = rate
        self.durable = MemoryLog()
        self.applied: list[Entry] = []
        self.applied_saved = 0
        self.boots = 0
        self.up = False
        self.paused = False
        self.disk_stalled_until_us = 0
        self.now_us = 0
        self.sending_to = ""

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Boot from what is on disk."""
        world, rng = self.world, self.world.rng
        self.boots += 1
        self.up = True
        self.paused = False
        self.now_us = world.now_us
        self._clock_at_us = world.now_us
        self._clock_offset_ms = rng.randrange(1_000_000)
        self.log = ReadLog(self.durable)
        self.handed_out = _entries(self.durable)
        self.writes: deque[Persist] = deque()
        self.syncing = 0
        self.held: deque[Send | Apply] = deque()
        self.inbox: list[Input] = []
        self.turn_due = False
        self.timer_us: int | None = None
        self.last_ticket = 0
        self.durable_ticket = 0
        self.to_apply: deque[Entry] = deque()
        self.applying = 0
        self.apply_released = len(self.applied)
        self.seen_commit = len(self.applied)
        self.seen_term = self.durable.hard_state.current_term
        self.seen_cluster_time_ms = 0
        self.leads_since = 0
        self.reported_leading = 0
        self.reported_role: tuple[Role, int, str | None] = (Role.FOLLOWER, self.seen_term, None)
        self.core = RaftCore(
            world.plan.config(self.id),
            self.log,
            hard_state=self.durable.hard_state,
            bootstrap=world.plan.membership,
            applied_index=len(self.applied),
            rng=random.Random(f"{world.seed} {self.id} {self.boots}"),
            now_ms=self.local_ms(),
        )
        self.log.coverage = world.coverage
        self._turn()

    def crash(self) -> None:
        """Lose what is not on disk; a write under way may have got there or not."""
        plan, rng, coverage = self.world.plan, self.world.rng, self.world.coverage
        self.up = False
        self.leads_since = 0
        if self.core.role is Role.LEADER:
            coverage["leader crashed"] += 1
        if plan.keeps_unsynced and self.writes:
            kept = rng.randint(0, len(self.writes))
            for persist in [self.writes.popleft() for _ in range(kept)]:
                self.durable.append(persist.hard_state, persist.entries)
            if kept:
                coverage["unsynced write survived a crash"] += 1
            if self.writes and rng.random() < 0.3:
                # A large batch becomes durable from its front.
                persist = self.writes[0]
                some = rng.randint(0, len(persist.entries))
                self.durable.append(persist.hard_state, persist.entries[:some])
        if self.writes:
            coverage["write lost by a crash"] += 1
        if rng.random() < 0.5:
            remembered = rng.randint(self.applied_saved, len(self.applied))
            if remembered < len(self.applied):
                coverage["state machine fell back"] += 1
            del self.applied[remembered:]
        self.applied_saved = len(self.applied)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        """Everything that waited comes at once, timers first or last."""
        self.paused = False
        waiting, self.inbox = self.inbox, []
        if self.world.rng.random() < 0.5:
            waiting.insert(0, self._on_timer)
        for step in waiting:
            self.input(step)
        self.input(self._on_timer)

    # ------------------------------------------------------------------ time

    def local_ms(self) -> int:
        """This boot's monotonic clock."""
        elapsed_us = self.world.now_us - self._clock_at_us
        return self._clock_offset_ms + elapsed_us * self.rate // (1000 * MS)

    def _when_us(self, local_ms: int) -> int:
        """When this clock will show that time, at the earliest."""
        elapsed_ms = local_ms - self._clock_offset_ms
        return self._clock_at_us - (-elapsed_ms * 1000 * MS // self.rate)

    # ------------------------------------------------------------------ inputs

    def input(self, step: Input) -> None:
        """Give the core one input; while paused it waits."""
        if not self.up:
            return
        if self.paused:
            self.inbox.append(step)
            return
        world = self.world
        self.now_us = world.now_us
        step(self.local_ms())
        world.oracle.after_input(self)
        world.record(self)
        if not world.plan.turn_max_us:
            self._turn()
        elif not self.turn_due:
            self.turn_due = True
            world.after(world.rng.randrange(world.plan.turn_max_us), self._on_turn, self.boots)

    def receive(self, message: Message) -> None:
        self.input(lambda now_ms: self.core.receive(message, now_ms))

    def _on_turn(self, boot: int) -> None:
        if not self.up or boot != self.boots:
            return
        if self.paused:
            self.inbox.append(lambda _now_ms: None)
            self.turn_due = False
            return
        self.now_us = self.world.now_us
        self._turn()

    def _on_timer(self, now_ms: int) -> None:
        due_ms = self.core.next_timer()
        if due_ms is not None and due_ms + 60 < now_ms:
            self.world.coverage["timer came late"] += 1
        self.core.handle_timer(now_ms)

    def _on_alarm(self, boot: int) -> None:
        if boot == self.boots and self.timer_us is not None and self.timer_us <= self.world.now_us:
            self.timer_us = None
            self.input(self._on_timer)

    # ------------------------------------------------------------------ effects

    def _turn(self) -> None:
        """Take the effects of all inputs since the last turn and carry them out."""
        world, oracle = self.world, self.world.oracle
        self.turn_due = False
        effects = self.core.take_effects()
        for effect in effects:
            if isinstance(effect, Persist):
                oracle.on_persist(self, effect)
                self._write(effect)
        oracle.after_turn(self, self.local_ms())
        for effect in effects:
            match effect:
                case Send() | Apply():
                    if effect.after > self.last_ticket:
                        raise Violation(f"{self.id}: {effect} waits for a ticket that is not there")
                    self.held.append(effect)
                case RoleChanged():
                    self._note_role(effect)
        now = (self.core.role, self.core.current_term, self.core.leader)
        if now != self.reported_role:
            raise Violation(f"{self.id} is {now} and has told {self.reported_role}")
        self._release()
        self._set_alarm()
        world.record(self)

    def _note_role(self, change: RoleChanged) -> None:
        before, self.reported_role = (
            self.reported_role[0],
            (change.role, change.term, change.leader),
        )
        if before is Role.LEADER and change.role is not Role.LEADER:
            self.world.coverage["leader stepped down"] += 1
            if change.term == self.reported_leading:
                self.world.coverage["leader gave up by itself"] += 1
        self.reported_leading = change.term if change.role is Role.LEADER else 0

    def _set_alarm(self) -> None:
        due_ms = self.core.next_timer()
        if due_ms is None:
            return
        late_us = self.world.rng.randrange(2 * MS)
        due_us = max(self._when_us(due_ms), self.world.now_us) + late_us
        if self.timer_us is None or due_us < self.timer_us - 2 * MS:
            self.timer_us = due_us
            self.world.at(due_us, self._on_alarm, self.boots)

    def _release(self) -> None:
        """Let go of effects whose ticket is durable, in order among those of one kind."""
        waiting: deque[Send | Apply] = deque()
        for effect in self.held:
            if effect.after > self.durable_ticket:
                waiting.append(effect)
            elif isinstance(effect, Send):
                self.sending_to = effect.to
                self.world.oracle.on_send(self, effect.message)
                self.world.send(self.id, effect.to, effect.message)
            else:
                self._apply(effect.entries)
        self.held = waiting

    # ------------------------------------------------------------------ disk

    def has_durable(self, entry: Entry) -> bool:
        """Whether this very entry is on this machine's disk."""
        log = self.durable
        return entry.index <= log.last_index and log.term(entry.index) == entry.term

    def _write(self, persist: Persist) -> None:
        if self.world.plan.read_early:
            self.log.append(persist.hard_state, persist.entries)
        self.writes.append(persist)
        if not self.syncing:
            self._start_sync()

    def _start_sync(self) -> None:
        """Sync what waits, or the first of it."""
        world = self.world
        self.syncing = len(self.writes)
        if world.rng.random() < 0.2:
            self.syncing = world.rng.randint(1, self.syncing)
        due_us = max(world.now_us, self.disk_stalled_until_us)
        if world.plan.write_max_us:
            due_us += world.rng.randrange(world.plan.write_max_us)
        world.at(due_us, self._on_disk, self.boots)

    def stall_disk(self, until_us: int) -> None:
        """Nothing becomes durable until then."""
        self.disk_stalled_until_us = until_us
        if until_us > self.world.now_us + WRITE_STALL_MS * MS and self.core.role is Role.LEADER:
            self.world.coverage["leader's disk stalled"] += 1

    def end_stall(self) -> None:
        """The disk works again."""
        self.disk_stalled_until_us = 0
        if self.up:
            self.world.at(self.world.now_us, self._on_disk, self.boots)

    def _on_disk(self, boot: int) -> None:
        if not self.up or boot != self.boots or not self.syncing:
            return
        if self.world.now_us < self.disk_stalled_until_us:
            if self.disk_stalled_until_us < FOR_EVER_US:
                self.world.at(self.disk_stalled_until_us, self._on_disk, boot)
            return
        ticket = 0
        for persist in [self.writes.popleft() for _ in range(self.syncing)]:
            self.durable.append(persist.hard_state, persist.entries)
            if not self.world.plan.read_early:
                self.log.append(persist.hard_state, persist.entries)
            ticket = persist.ticket
        self.syncing = 0
        if self.writes:
            self._start_sync()
        self.input(lambda now_ms: self._durable(ticket, now_ms))

    def _durable(self, ticket: int, now_ms: int) -> None:
        self.durable_ticket = ticket
        self.core.persisted(ticket, now_ms)
        self._release()

    # ------------------------------------------------------------------ state machine

    def _apply(self, entries: tuple[Entry, ...]) -> None:
        self.world.oracle.on_apply(self, entries)
        self.to_apply.extend(entries)
        if not self.applying:
            self._start_apply()

    def _start_apply(self) -> None:
        """Apply what waits, or the first of it."""
        world = self.world
        self.applying = len(self.to_apply)
        if world.rng.random() < 0.2:
            self.applying = world.rng.randint(1, self.applying)
        due_us = world.now_us
        if world.plan.apply_max_us:
            due_us += world.rng.randrange(world.plan.apply_max_us)
        world.at(due_us, self._on_applied, self.boots)

    def _on_applied(self, boot: int) -> None:
        if boot == self.boots:
            self.input(self._take_applied)

    def _take_applied(self, _now_ms: int) -> None:
        entries = [self.to_apply.popleft() for _ in range(self.applying)]
        self.applying = 0
        if self.to_apply:
            self._start_apply()
        self.applied.extend(entries)
        if self.world.rng.random() < 0.1:
            self.applied_saved = len(self.applied)
        self.core.applied(entries[-1].index)


def _entries(log: MemoryLog) -> list[Entry]:
    return list(log.entries(1, log.last_index, 1 << 40)) if log.last_index else []
