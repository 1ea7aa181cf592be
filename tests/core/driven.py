"""A core whose driver's part is done by hand.

`pump()` carries out effects: writes go to disk at once unless `slow_disk` is set, what is to be
applied is applied unless `slow_state` is, and what is sent waits for the script to look at it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

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
    SnapshotMeta,
    TakeSnapshot,
)
from raftcore.messages import Snapshot
from raftcore.storage import MemoryLog

BIG = 1 << 40

M = TypeVar("M")


@dataclass
class Member:
    """A core with its disk, its driver's part done by hand."""

    name: str
    disk: MemoryLog
    core: RaftCore
    now_ms: int = 0
    slow_disk: bool = False
    slow_state: bool = False
    """Nothing is applied or installed until it is unset."""
    unwritten: list[Persist | Compact | InstallSnapshot] = field(default_factory=list)
    held: list[Send | SendSnapshot] = field(default_factory=list)
    """Sends waiting for a ticket."""
    durable_ticket: int = 0
    sent: list[Send] = field(default_factory=list)
    """Sends released, in order, for the script to look at or deliver."""
    to_apply: list[Apply | InstallSnapshot] = field(default_factory=list)
    applied: list[Entry] = field(default_factory=list)
    """The state machine: it remembers everything."""
    wanted: list[TakeSnapshot] = field(default_factory=list)
    """Snapshots asked for and not taken yet."""
    to_send: list[SendSnapshot] = field(default_factory=list)
    """Snapshots on their way."""
    snapshots: dict[int, tuple[Entry, ...]] = field(default_factory=dict)
    """States that are kept, by the index they were taken at."""
    compactions: list[Compact] = field(default_factory=list)
    installs: list[InstallSnapshot] = field(default_factory=list)
    persists: list[Persist] = field(default_factory=list)
    roles: list[RoleChanged] = field(default_factory=list)
    reads: dict[int, ReadReady | ReadRefused] = field(default_factory=dict)
    """Outcomes by the read's number."""

    @property
    def role(self) -> Role:
        return self.core.role

    def entries(self) -> list[Entry]:
        """The log as it is on disk."""
        first, last = self.disk.first_index, self.disk.last_index
        return list(self.disk.entries(first, last, BIG)) if first <= last else []

    def terms(self) -> list[int]:
        return [e.term for e in self.entries()]

    def pump(self) -> None:
        """Carry out all effects, and those that follow from writes becoming durable."""
        while effects := self.core.take_effects():
            for effect in effects:
                self._take(effect)
            if not self.slow_disk:
                self.write()
            if not self.slow_state:
                self.apply()
            self._release()

    def write(self, count: int | None = None) -> None:
        """Make the oldest writes durable, all of them unless told how many."""
        for effect in self.unwritten[:count]:
            match effect:
                case Compact():
                    self.disk.compact(effect.meta, effect.through)
                    continue
                case InstallSnapshot():
                    self.disk.reset(effect.meta)
                case Persist():
                    self.disk.append(effect.hard_state, effect.entries)
            self.durable_ticket = effect.ticket
            self.core.persisted(effect.ticket, self.now_ms)
        del self.unwritten[:count]

    def apply(self) -> None:
        """Bring the state machine as far as it may be."""
        while self.to_apply:
            effect = self.to_apply[0]
            if isinstance(effect, InstallSnapshot):
                if effect.ticket > self.durable_ticket:
                    return
                self.applied = list(self.snapshots.get(effect.meta.index, ()))
                self.core.applied(effect.meta.index)
            else:
                self.applied.extend(effect.entries)
                self.core.applied(effect.entries[-1].index)
            del self.to_apply[0]

    def take_snapshot(self) -> SnapshotMeta | None:
        """Take one at once, asked for or not; None if a newer one is being installed."""
        index = self.core.applied_index
        meta = self.core.snapshot_meta(index, size=len(self.applied))
        self.wanted.clear()
        if meta is None:
            self.core.snapshot_failed(self.now_ms)
        else:
            self.snapshots[index] = tuple(self.applied)
            self.core.snapshot_taken(meta, self.now_ms)
        self.pump()
        return meta

    def snapshot_arrives(self, message: Snapshot, state: Sequence[Entry] = ()) -> bool:
        """All of a snapshot is here."""
        self.snapshots[message.meta.index] = tuple(state)
        wanted = self.core.snapshot_arrived(message, self.now_ms)
        self.pump()
        return wanted

    def write_and_pump(self, count: int | None = None) -> None:
        self.write(count)
        self._release()
        self.pump()

    def receive(self, message: Message) -> None:
        self.core.receive(message, self.now_ms)
        self.pump()

    def tick(self, now_ms: int | None = None) -> None:
        """Call the timer when it is due, or at the given time."""
        due = self.core.next_timer()
        assert now_ms is not None or due is not None
        self.now_ms = max(self.now_ms, due if now_ms is None else now_ms)  # type: ignore[type-var]
        self.core.handle_timer(self.now_ms)
        self.pump()

    def propose(self, data: bytes) -> tuple[int, int]:
        placed = self.core.propose(data, self.now_ms)
        self.pump()
        return placed

    def read(self) -> int:
        read_id = self.core.read_index(self.now_ms)
        self.pump()
        return read_id

    def take(self, kind: type[M] | None = None, to: str | None = None) -> list[M]:
        """Take released messages out, of one kind and to one node where asked."""
        taken, left = [], []
        for send in self.sent:
            fits = (kind is None or isinstance(send.message, kind)) and to in (None, send.to)
            (taken if fits else left).append(send)
        self.sent = left
        return [send.message for send in taken]  # type: ignore[misc]

    def take_one(self, kind: type[M], to: str | None = None) -> M:
        messages = self.take(kind, to)
        assert len(messages) == 1, messages
        return messages[0]

    def _take(self, effect: Effect) -> None:
        if isinstance(effect, ReadReady | ReadRefused):
            assert effect.read_id not in self.reads, "a read has one outcome"
            self.reads[effect.read_id] = effect
            return
        assert not isinstance(effect, Apply) or effect.after <= self.durable_ticket
        places: dict[type, list[list[Any]]] = {
            Persist: [self.persists, self.unwritten],
            Compact: [self.compactions, self.unwritten],
            InstallSnapshot: [self.installs, self.unwritten, self.to_apply],
            Apply: [self.to_apply],
            Send: [self.held],
            SendSnapshot: [self.held],
            TakeSnapshot: [self.wanted],
            RoleChanged: [self.roles],
        }
        for place in places[type(effect)]:
            place.append(effect)

    def _release(self) -> None:
        while self.held and self.held[0].after <= self.durable_ticket:
            effect = self.held.pop(0)
            if isinstance(effect, Send):
                self.sent.append(effect)
            else:
                self.to_send.append(effect)
