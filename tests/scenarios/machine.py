"""One node: a core with its disk and clock, its driver's part done step by step."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Any

from raftcore import (
    Apply,
    Compact,
    Config,
    Effect,
    Entry,
    EntryKind,
    HardState,
    InstallSnapshot,
    InvariantViolation,
    Membership,
    Message,
    Persist,
    RaftCore,
    ReadReady,
    ReadRefused,
    RoleChanged,
    Send,
    SendSnapshot,
    SnapshotMeta,
    TakeSnapshot,
)
from raftcore.messages import Snapshot
from raftcore.starting import align
from raftcore.storage import MemoryLog
from tests.scenarios import words

ELECTION_MS = 1000
HEARTBEAT_MS = 150
DEFAULTS: dict[str, Any] = {
    "election_timeout_ms": ELECTION_MS,
    "heartbeat_ms": HEARTBEAT_MS,
    # Taken when told, and nothing kept before them.
    "snapshots": True,
    "snapshot_log_bytes": 0,
    "snapshot_trailing_entries": 0,
}
_ENTRIES_BYTES_MAX = 1 << 40

State = tuple[Entry, ...]
"""A state machine that remembers everything."""


class FixedTimeouts(random.Random):
    """Not random: n1 waits 100 ms longer than the least, n2 200 ms, and so on."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self._number = number

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        low, high = (0, start) if stop is None else (start, stop)
        return min(low + 100 * self._number, high - 1)

    def getrandbits(self, k: int) -> int:
        return 0


class Machine:
    """What it does is told line by line through `say`."""

    def __init__(
        self,
        name: str,
        bootstrap: Membership,
        settings: dict[str, Any],
        say: Callable[[str], None],
    ) -> None:
        self.name = name
        self.disk = MemoryLog()
        self.settings = settings
        self.bootstrap = bootstrap
        self.now_ms = 0
        self.slow_disk = False
        self.slow_state = False
        self.applied: list[Entry] = []
        self.snapshots: dict[SnapshotMeta, State] = {}
        """Durable, and never thrown away; the newest is the last."""
        self.down = True
        self._say = say

    # ------------------------------------------------------------------ life

    def given(self, hard_state: HardState, entries: list[Entry]) -> None:
        """What is on its disk before it starts."""
        self.disk.append(hard_state, entries)

    def start(self) -> None:
        """Begin with what is on disk; the state machine is as durable as the log."""
        number = int(self.name.lstrip("n"))
        newest = max(self.snapshots, key=lambda meta: meta.index, default=None)
        align(self.disk, newest)
        if self.disk.snapshot is not None and self.disk.snapshot.index > len(self.applied):
            self._take_over(self.disk.snapshot)
            self._say(f"{self.name} takes over the state up to {len(self.applied)}")
        self.core = RaftCore(
            Config(self.name, **DEFAULTS | self.settings),
            self.disk,
            hard_state=self.disk.hard_state,
            bootstrap=self.bootstrap,
            applied_index=len(self.applied),
            rng=FixedTimeouts(number),
            now_ms=self.now_ms,
        )
        self.unwritten: deque[Persist | Compact | InstallSnapshot] = deque()
        self.to_apply: deque[Apply | InstallSnapshot] = deque()
        self.held: deque[Send | SendSnapshot] = deque()
        self.network: list[tuple[Send | SendSnapshot, State | None]] = []
        """What was sent, a snapshot together with its state."""
        self.sending: list[SendSnapshot] = []
        """Of which the core has not been told yet how they ended."""
        self.durable_ticket = 0
        self.down = False
        self._members = self.core.membership
        self._removed = self.core.removed
        if newest is not None and newest.index <= len(self.applied):
            # A crash may have come before the log heard of it.
            self.call(lambda core, now_ms: core.snapshot_taken(newest, now_ms))

    def crash(self) -> None:
        """What is not on disk is gone, and so is what waits for it."""
        self.unwritten.clear()
        self.to_apply.clear()
        self.held.clear()
        self.sending.clear()
        self.down = True

    # ------------------------------------------------------------------ inputs

    def receive(self, message: Message) -> None:
        self._do(lambda: self.core.receive(message, self.now_ms))

    def sleep(self, duration_ms: int) -> None:
        """Time passes in one piece: nobody looks at the timer before it is over."""
        self.now_ms += duration_ms
        self._do(lambda: self.core.handle_timer(self.now_ms))

    def tick(self, duration_ms: int) -> None:
        """Time passes, and the timer is served whenever it is due."""
        end_ms = self.now_ms + duration_ms
        while not self.down:
            due_ms = self.core.next_timer()
            if due_ms is None or due_ms > end_ms:
                break
            self.sleep(max(due_ms - self.now_ms, 0))
        self.now_ms = end_ms

    def call(self, action: Callable[[RaftCore, int], object]) -> None:
        """Something that the driver asks of the core."""
        self._do(lambda: action(self.core, self.now_ms))

    def write(self, count: int) -> None:
        """Make the oldest writes durable."""
        for _ in range(count):
            effect = self.unwritten.popleft()
            self._say(f"{self.name} has written {_what(effect)}")
            self._do(lambda effect=effect: (self._written(effect), self._apply()))

    def catch_up(self) -> None:
        """Let the state machine do what waits for it."""
        self._do(self._apply)

    # ------------------------------------------------------------------ snapshots

    def take_snapshot(self) -> None:
        """Of the state machine as it is now."""
        meta = self.core.snapshot_meta(len(self.applied), size=len(self.applied))
        if meta is None:
            self._say(f"{self.name} has nothing new to take a snapshot of")
            self.call(lambda core, now_ms: core.snapshot_failed(now_ms))
            return
        self._say(f"{self.name} takes {words.snapshot(meta)}")
        self.snapshots[meta] = tuple(self.applied)
        self.call(lambda core, now_ms: core.snapshot_taken(meta, now_ms))

    def snapshot_arrives(self, message: Snapshot, state: State) -> None:
        """A snapshot came in whole; it is durable here before the core hears of it."""
        self.snapshots[message.meta] = state

        def action() -> None:
            if not self.core.snapshot_arrived(message, self.now_ms):
                self._say(f"{self.name} has no use for it")
                del self.snapshots[message.meta]

        self._do(action)

    def _take_over(self, meta: SnapshotMeta) -> None:
        """A snapshot takes the place of the state machine."""
        if meta in self.snapshots:
            self.applied = list(self.snapshots[meta])
        else:
            # A witness has no state: only how far it is.
            self.applied += [
                Entry(index, 0, EntryKind.WITNESSED, 0, b"")
                for index in range(len(self.applied) + 1, meta.index + 1)
            ]

    # ------------------------------------------------------------------ effects

    def _do(self, action: Callable[[], object]) -> None:
        try:
            action()
            self._turn()
        except InvariantViolation as violation:
            self._say(f"{self.name} stops: {violation}")
            self.crash()

    def _turn(self) -> None:
        """Carry out all effects, and those that follow from writes becoming durable."""
        while effects := self.core.take_effects():
            # Told in the order of cause and effect; the effects themselves may be reordered only
            # as far as a driver may.
            for effect in effects:
                if isinstance(effect, RoleChanged):
                    self._role_changed(effect)
            if self.core.membership != self._members:
                self._members = self.core.membership
                self._say(f"{self.name} has members {words.membership(self._members)}")
            for effect in effects:
                self._carry_out(effect)
            self._release()
            while self.unwritten and not self.slow_disk:
                self._written(self.unwritten.popleft())
                self._apply()
                self._release()
        if self.core.removed and not self._removed:
            self._removed = True
            self._say(f"{self.name} knows that it was removed")

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Persist() | Compact() | InstallSnapshot():
                self.unwritten.append(effect)
                verb = "begins to write" if self.slow_disk else "writes"
                self._say(f"{self.name} {verb} {_what(effect)}")
                if isinstance(effect, InstallSnapshot):
                    self.to_apply.append(effect)
            case Send() | SendSnapshot():
                self.held.append(effect)
            case Apply():
                self.to_apply.append(effect)
                self._apply()
            case TakeSnapshot():
                self._say(f"{self.name} wants a snapshot at {effect.index} or later")
            case ReadReady():
                self._say(f"{self.name} may serve read {effect.read_id}, at {effect.index}")
            case ReadRefused():
                self._say(f"{self.name} refuses read {effect.read_id}: {effect.reason}")

    def _role_changed(self, effect: RoleChanged) -> None:
        text = f"{self.name} is {words.ROLES[effect.role]} in term {effect.term}"
        if effect.leader not in (None, self.name):
            text += f", follows {effect.leader}"
        self._say(text)

    def _apply(self) -> None:
        while self.to_apply and not self.slow_state:
            effect = self.to_apply[0]
            if isinstance(effect, Apply):
                self.applied.extend(effect.entries)
                self._say(f"{self.name} applies {words.entries(effect.entries)}")
            elif effect.ticket > self.durable_ticket:
                return
            else:
                self._take_over(effect.meta)
                self._say(
                    f"{self.name} takes over the state up to {effect.meta.index}, "
                    f"instead of applying {effect.skipped_from}..{effect.meta.index}"
                )
            self.to_apply.popleft()
            self.core.applied(len(self.applied))

    def _written(self, effect: Persist | Compact | InstallSnapshot) -> None:
        match effect:
            case Compact():
                self.disk.compact(effect.meta, effect.through)
                return
            case InstallSnapshot():
                self.disk.reset(effect.meta)
            case Persist():
                self.disk.append(effect.hard_state, effect.entries)
        self.durable_ticket = effect.ticket
        self.core.persisted(effect.ticket, self.now_ms)
        self._release()

    def _release(self) -> None:
        """Messages go out once what they promise is durable; equal ones are told together."""
        told: list[tuple[str, list[str]]] = []
        while self.held and self.held[0].after <= self.durable_ticket:
            send = self.held.popleft()
            state = None
            if isinstance(send, SendSnapshot):
                self.sending.append(send)
                state = self.snapshots[send.message.meta]
            self.network.append((send, state))
            text = words.full(send.message)
            for same, receivers in told:
                if same == text:
                    receivers.append(send.to)
                    break
            else:
                told.append((text, [send.to]))
        for text, receivers in told:
            self._say(f"{self.name} -> {' '.join(receivers)}  {text}")

    # ------------------------------------------------------------------ looking

    def entries(self) -> list[Entry]:
        """The log as it is on disk."""
        first, last = self.disk.first_index, self.disk.last_index
        return list(self.disk.entries(first, last, _ENTRIES_BYTES_MAX)) if first <= last else []


def _what(effect: Persist | Compact | InstallSnapshot) -> str:
    if isinstance(effect, Compact):
        return f"{words.snapshot(effect.meta)}, and its log from {effect.through + 1} on"
    if isinstance(effect, InstallSnapshot):
        return f"{words.snapshot(effect.meta)} in place of its log"
    parts = []
    if effect.hard_state is not None:
        parts.append(words.hard_state(effect.hard_state))
    if effect.entries:
        parts.append(words.entries(effect.entries))
    return ", ".join(parts)
