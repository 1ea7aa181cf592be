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
    Compact,
    Effect,
    Entry,
    InstallSnapshot,
    Message,
    Persist,
    RaftCore,
    ReadReady,
    ReadRefused,
    Role,
    RoleChanged,
    Send,
    SendSnapshot,
    TakeSnapshot,
)
from raftcore.snapshot_stream import Chunk, Receipt
from raftcore.storage import MemoryLog, SnapshotDamaged, SnapshotFailed
from tests.sim.clock import Clock
from tests.sim.disk import FileDisk, LogDamaged, LogFailed, LogWrite, MemoryDisk, entries_of
from tests.sim.file_shelf import FileShelf
from tests.sim.plan import MS
from tests.sim.receiving import Receiving
from tests.sim.sending import Sending
from tests.sim.shelf import Shelf
from tests.sim.snapshots import Snapshots
from tests.sim.statemachine import StateMachine
from tests.sim.streams import StreamReceiving, StreamSending
from tests.sim.violation import Violation
from tests.sim.waiting import Waiting
from tests.sim.writer import Writer

if TYPE_CHECKING:
    from tests.sim.world import World

Input = Callable[[int], None]
Held = Send | Apply | SendSnapshot


class Machine:
    """Survives crashes: `disk`, `shelf`, and `state` as far as it was saved."""

    core: RaftCore

    def __init__(
        self, world: World, node_id: str, rate: int, disk: MemoryDisk, *, witness: bool = False
    ) -> None:
        self.world = world
        self.witness = witness
        self.id = node_id
        self.rate = rate
        self.disk = disk
        self.shelf = (
            FileShelf(world.coverage, disk)
            if isinstance(disk, FileDisk)
            else Shelf(world.coverage, disk)
        )
        self.state = StateMachine(self)
        self.boots = 0
        self.up = False
        self.ruined = False
        """Its disk has given back something else than was written: it refuses to start for ever."""
        self.retired = False
        """It was removed from the cluster and switched off."""
        self.paused = False
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

    @property
    def damaged(self) -> bool:
        """Whether it may be lost for what its disk has done, or is."""
        return self.ruined or self.disk.damaged or self.shelf.damaged

    @property
    def leads(self) -> bool:
        return self.up and self.core.role is Role.LEADER

    def start(self) -> None:
        """Boot from what is on disk, if that can be read."""
        self.boots += 1
        try:
            newest = self.shelf.boot(self.world.rng, resumes=not self.world.plan.streams)
            self.log = self.disk.boot(newest)
        except LogDamaged:
            self.world.coverage["damaged log refused"] += 1
            self.ruined = True
            return
        except (LogFailed, SnapshotFailed):
            self.world.coverage["start failed for want of a disk"] += 1
            return
        if not self._restore():
            self.world.coverage["nothing left to start from"] += 1
            self.ruined = True
            self.disk.close()
            return
        self._boot()

    def _restore(self) -> bool:
        """Bring the state machine to where the log can go on; False if nothing does."""
        world, state, known = self.world, self.state, self.log.snapshot
        first = self.log.first_index - 1
        covered = known.index if known is not None else 0
        if self.witness:
            state.restore(max(state.index, covered), b"")
            return True
        self.shelf.check_start(self.log)
        usable = [one for one in self.shelf.stored if one.meta.index >= max(first, state.index + 1)]
        if usable and (state.index < covered or world.rng.random() < 0.5):
            newest = usable[-1]
            world.coverage["state machine restored from a snapshot"] += 1
            if newest.meta.index < self.log.last_index:
                world.coverage["start from a snapshot and the log behind it"] += 1
            state.restore(newest.meta.index, newest.read())
        return state.index >= first

    def _boot(self) -> None:
        world = self.world
        self.up = True
        self.paused = False
        self.now_us = world.now_us
        self.clock = Clock(self)
        dropped = self.durable.first_index - 1
        self.handed_out = world.oracle.committed[:dropped] + entries_of(self.durable)
        self.held: deque[Held] = deque()
        self.inbox: list[Input] = []
        self.turn_due = False
        self.last_ticket = 0
        self.state.boot()
        self.writer = Writer(self)
        self.snapshots = Snapshots(self)
        self.sending = StreamSending(self) if world.plan.streams else Sending(self)
        self.receiving = StreamReceiving(self) if world.plan.streams else Receiving(self)
        self.waiting = Waiting(self)
        self.apply_released = self.seen_applied = self.state.index
        self.seen_term = self.written_term = self.durable.hard_state.current_term
        self.seen_cluster_time_ms = 0
        self.leads_since = 0
        self.reported_leading = 0
        self.reported_role: tuple[Role, int, str | None] = (Role.FOLLOWER, self.seen_term, None)
        self.core = RaftCore(
            world.plan.config(self.id, witness=self.witness),
            self.log,
            hard_state=self.durable.hard_state,
            bootstrap=world.plan.membership,
            applied_index=self.state.index,
            rng=random.Random(f"{world.seed} {self.id} {self.boots}"),
            now_ms=self.clock.local_ms(),
            trace=world.tapes.begin(self),
        )
        self.seen_commit = self.core.commit_index
        self.seen_membership_index = self.core.membership_index
        world.oracle.snapshots.on_start(self)
        if world.plan.snapshots:
            self.snapshots.begin()
        self._turn()

    def crash(self) -> None:
        """Lose what is not on disk; a write under way may have got there or not."""
        plan, rng, coverage = self.world.plan, self.world.rng, self.world.coverage
        self.world.tapes.end(self)
        if self.leads:
            coverage["leader crashed"] += 1
        self.up = False
        self.leads_since = 0
        if any(isinstance(write, InstallSnapshot) for write in self.disk.writes):
            coverage["crash before an install was durable"] += 1
        elif self.state.installing:
            coverage["crash between log and state machine"] += 1
        if self.receiving.keeping is not None and self.shelf.unfinished is None:
            coverage["crash before an install was asked for"] += 1
        if self.sending.transfers:
            coverage["crash while a snapshot was sent"] += 1
        self.snapshots.crash()
        self.shelf.crash(rng)
        self.disk.crash(rng, keeps_unsynced=plan.keeps_unsynced)
        self.state.crash(rng)

    def stop(self, why: str) -> None:
        """The driver stops; somebody starts it again."""
        self.world.coverage[why] += 1
        self.world.note(f"{self.id} stops", why)
        self.crash()
        self.world.after(self.world.rng.randrange(1, 400 * MS), self._start_again, None)

    def _start_again(self, _: None) -> None:
        if not self.up and not self.lost:
            self.start()

    def come_through(self, step: str, probability: float = 0.3) -> None:
        """This step is done: a good moment for a crash, where the seed has those."""
        world = self.world
        if not world.quiet and world.plan.crash_at_steps and world.rng.random() < probability:
            delay_us = world.rng.choice((0, 0, world.rng.randrange(3 * MS)))
            world.after(delay_us, self._crash_at, (self.boots, step))

    def _crash_at(self, which: tuple[int, str]) -> None:
        boot, step = which
        if self.up and boot == self.boots:
            self.stop(f"crash when {step}")

    def pause(self, *, frozen: bool = False) -> None:
        """Do nothing; `frozen`: its clock stands still meanwhile."""
        self.paused = True
        if frozen:
            self.clock.freeze()

    def resume(self) -> None:
        """Everything that waited comes at once, timers first or last."""
        self.paused = False
        self.clock.resume()
        waiting, self.inbox = self.inbox, []
        if self.world.rng.random() < 0.5:
            waiting.insert(0, self.clock.on_timer)
        for step in waiting:
            self.input(step)
        self.input(self.clock.on_timer)

    # ------------------------------------------------------------------ time

    def later(self, delay_us: int, step: Input) -> None:
        """Do something in a while, if this process still runs then."""
        self.world.after(delay_us, self._on_later, (self.boots, step))

    def _on_later(self, which: tuple[int, Input]) -> None:
        boot, step = which
        if boot == self.boots:
            self.input(step)

    def on_disk(self, step: Input) -> None:
        """Do something once a snapshot is written."""
        plan, rng = self.world.plan, self.world.rng
        self.later(rng.randrange(plan.snapshot_max_us), lambda now_ms: self._on_disk(step, now_ms))

    def _on_disk(self, step: Input, now_ms: int) -> None:
        if self.world.now_us < self.disk_stalled_until_us:
            self.later(20 * MS, lambda now_ms: self._on_disk(step, now_ms))
        else:
            step(now_ms)

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
            step(self.clock.local_ms())
        except (LogDamaged, SnapshotDamaged):
            self.stop("damage met by a read")
            return
        world.oracle.after_input(self)
        world.record(self)
        if not world.plan.turn_max_us:
            self._turn()
        elif not self.turn_due:
            self.turn_due = True
            world.after(world.rng.randrange(world.plan.turn_max_us), self._on_turn, self.boots)

    def receive(self, message: Message | Chunk | Receipt) -> None:
        match message:
            case Chunk():
                self.input(lambda now_ms: self.receiving.on_chunk(message, now_ms))
            case Receipt():
                self.input(lambda now_ms: self.sending.on_receipt(message, now_ms))
            case _:
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

    # ------------------------------------------------------------------ effects

    def _turn(self) -> None:
        """Take the effects of all inputs since the last turn and carry them out."""
        world, oracle = self.world, self.world.oracle
        self.turn_due = False
        try:
            effects = self.core.take_effects()
        except LogDamaged:
            self.stop("damage met by a read")
            return
        for effect in effects:
            if isinstance(effect, LogWrite):
                self._write(effect)
        oracle.after_turn(self, self.clock.local_ms())
        for effect in effects:
            self._carry_out(effect)
        now = (self.core.role, self.core.current_term, self.core.leader)
        if now != self.reported_role:
            raise Violation(f"{self.id} is {now} and has told {self.reported_role}")
        self.release()
        self.clock.set_alarm()
        world.record(self)

    def _write(self, effect: LogWrite) -> None:
        oracle = self.world.oracle
        match effect:
            case Persist():
                oracle.on_persist(self, effect)
            case Compact():
                oracle.snapshots.on_compact(self, effect)
            case InstallSnapshot():
                oracle.snapshots.on_install(self, effect)
                self.come_through("an install was asked for")
                self.state.take(effect)
        self.writer.write(effect)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Send() | Apply() | SendSnapshot():
                if effect.after > self.last_ticket:
                    raise Violation(f"{self.id}: {effect} waits for a ticket that is not there")
                self.held.append(effect)
                if isinstance(effect, SendSnapshot):
                    self.sending.open(effect)
            case RoleChanged():
                self._note_role(effect)
            case ReadReady() | ReadRefused():
                self.waiting.on_read(effect)
            case TakeSnapshot():
                self.snapshots.on_take(effect)

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

    def release(self) -> None:
        """Let go of effects whose ticket is durable, in order among those of one kind."""
        waiting: deque[Held] = deque()
        for effect in self.held:
            if effect.after > self.writer.durable_ticket:
                waiting.append(effect)
                continue
            match effect:
                case Send():
                    self.sending_to = effect.to
                    self.world.oracle.on_send(self, effect.message)
                    self.world.send(self.id, effect.to, effect.message)
                case SendSnapshot():
                    self.sending.begin(effect)
                case Apply():
                    self.world.oracle.on_apply(self, effect.entries)
                    self.state.take(effect)
        self.held = waiting

    def has_durable(self, entry: Entry) -> bool:
        """Whether this very entry is on this machine's disk, or a snapshot in its place."""
        log = self.durable
        if entry.index < log.first_index:
            return self.world.oracle.committed[entry.index - 1].term == entry.term
        return entry.index <= log.last_index and log.term(entry.index) == entry.term
