"""One machine of the simulated cluster: a core, its driver, its disk, its state machine, its clock.

The machine does with effects what `raftcore.effects` demands and not a bit more: every freedom that
is left to a driver is drawn at random.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from raftcore import (
    Apply,
    Entry,
    Message,
    Persist,
    RaftCore,
    ReadReady,
    ReadRefused,
    Role,
    RoleChanged,
    Send,
)
from raftcore.storage import MemoryLog
from tests.sim.disk import LogDamaged, LogFailed, MemoryDisk, entries_of
from tests.sim.kv import KeyValues
from tests.sim.oracle import Violation
from tests.sim.plan import MS, WRITE_STALL_MS
from tests.sim.waiting import Waiting

if TYPE_CHECKING:
    from tests.sim.world import World

FOR_EVER_US = 1 << 60
Input = Callable[[int], None]


class Machine:
    """Survives crashes: `disk` and `applied`, the latter up to `applied_saved`."""

    core: RaftCore

    def __init__(
        self, world: World, node_id: str, rate: int, disk: MemoryDisk, *, witness: bool = False
    ) -> None:
        self.world = world
        self.witness = witness
        self.id = node_id
        self.rate = rate
        self.disk = disk
        self.applied: list[Entry] = []
        self.applied_saved = 0
        self.boots = 0
        self.up = False
        self.ruined = False
        """Its disk has given back something else than was written: it refuses to start for ever."""
        self.retired = False
        """It was removed from the cluster and switched off."""
        self.paused = False
        self.frozen_since_us: int | None = None
        self.disk_stalled_until_us = 0
        self.now_us = 0
        self.sending_to = ""

    # ------------------------------------------------------------------ life

    @property
    def durable(self) -> MemoryLog:
        """What is on this machine's disk."""
        return self.disk.durable

    @property
    def lost(self) -> bool:
        """Whether it will never run again."""
        return self.ruined or self.retired

    def start(self) -> None:
        """Boot from what is on disk, if that can be read."""
        self.boots += 1
        try:
            self.log = self.disk.boot()
        except LogDamaged:
            self.world.coverage["damaged log refused"] += 1
            self.ruined = True
            return
        except LogFailed:
            self.world.coverage["start failed for want of a disk"] += 1
            return
        self._boot()

    def _boot(self) -> None:
        world, rng = self.world, self.world.rng
        self.up = True
        self.paused = False
        self.now_us = world.now_us
        self._clock_at_us = world.now_us
        self._clock_offset_ms = rng.randrange(1_000_000)
        self.handed_out = entries_of(self.durable)
        self.syncing = 0
        self.held: deque[Send | Apply] = deque()
        self.inbox: list[Input] = []
        self.turn_due = False
        self.timer_us: int | None = None
        self.last_ticket = 0
        self.durable_ticket = 0
        self.to_apply: deque[Entry] = deque()
        self.applying = 0
        self.kv = KeyValues(self.applied)
        self.waiting = Waiting(self)
        self.apply_released = len(self.applied)
        self.seen_commit = len(self.applied)
        self.seen_term = self.durable.hard_state.current_term
        self.seen_cluster_time_ms = 0
        self.leads_since = 0
        self.reported_leading = 0
        self.reported_role: tuple[Role, int, str | None] = (Role.FOLLOWER, self.seen_term, None)
        self.core = RaftCore(
            world.plan.config(self.id, witness=self.witness),
            self.log,
            hard_state=self.durable.hard_state,
            bootstrap=world.plan.membership,
            applied_index=len(self.applied),
            rng=random.Random(f"{world.seed} {self.id} {self.boots}"),
            now_ms=self.local_ms(),
        )
        self._turn()

    def crash(self) -> None:
        """Lose what is not on disk; a write under way may have got there or not."""
        plan, rng, coverage = self.world.plan, self.world.rng, self.world.coverage
        self.up = False
        self.leads_since = 0
        if self.core.role is Role.LEADER:
            coverage["leader crashed"] += 1
        self.disk.crash(rng, keeps_unsynced=plan.keeps_unsynced)
        if rng.random() < 0.5:
            remembered = rng.randint(self.applied_saved, len(self.applied))
            if remembered < len(self.applied):
                coverage["state machine fell back"] += 1
            del self.applied[remembered:]
        self.applied_saved = len(self.applied)

    def pause(self, *, frozen: bool = False) -> None:
        """Do nothing; `frozen`: its clock stands still meanwhile."""
        self.paused = True
        self.frozen_since_us = self.world.now_us if frozen else None

    def resume(self) -> None:
        """Everything that waited comes at once, timers first or last."""
        self.paused = False
        if self.frozen_since_us is not None:
            self._clock_at_us += self.world.now_us - self.frozen_since_us
            self.frozen_since_us = None
            self._set_alarm(anew=True)
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
        try:
            step(self.local_ms())
        except LogDamaged:
            self._stop("damage met by a read")
            return
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
        try:
            effects = self.core.take_effects()
        except LogDamaged:
            self._stop("damage met by a read")
            return
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
                case ReadReady() | ReadRefused():
                    self.waiting.on_read(effect)
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

    def _set_alarm(self, *, anew: bool = False) -> None:
        if anew:
            self.timer_us = None
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
        self.disk.take(persist)
        if not self.syncing:
            self._start_sync()

    def _start_sync(self) -> None:
        """Sync what waits, or the first of it."""
        world = self.world
        self.syncing = len(self.disk.writes)
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
        try:
            ticket = self.disk.sync(self.syncing)
        except LogFailed:
            # "A failed write is final: stop."
            self._stop("write failed")
            return
        self.syncing = 0
        if self.disk.writes:
            self._start_sync()
        self.input(lambda now_ms: self._durable(ticket, now_ms))

    def _stop(self, why: str) -> None:
        """The driver stops; somebody starts it again."""
        self.world.coverage[why] += 1
        self.world.note(f"{self.id} stops", why)
        self.crash()
        self.world.after(self.world.rng.randrange(1, 400 * MS), self._start_again, None)

    def _start_again(self, _: None) -> None:
        if not self.up and not self.lost:
            self.start()

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
        for entry in entries:
            self.waiting.applied(entry, self.kv.apply(entry))
        if self.world.rng.random() < 0.1:
            self.applied_saved = len(self.applied)
        self.core.applied(entries[-1].index)
