"""One node: a core with its disk and clock, its driver's part done step by step."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Any

from raftcore import (
    Apply,
    Config,
    Effect,
    Entry,
    HardState,
    InvariantViolation,
    Membership,
    Message,
    Persist,
    RaftCore,
    ReadReady,
    ReadRefused,
    RoleChanged,
    Send,
)
from raftcore.storage import MemoryLog
from tests.scenarios import words

ELECTION_MS = 1000
HEARTBEAT_MS = 150
_ENTRIES_BYTES_MAX = 1 << 40


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
        self.applied: list[Entry] = []
        self.down = True
        self._say = say

    # ------------------------------------------------------------------ life

    def given(self, hard_state: HardState, entries: list[Entry]) -> None:
        """What is on its disk before it starts."""
        self.disk.append(hard_state, entries)

    def start(self) -> None:
        """Begin with what is on disk; the state machine is as durable as the log."""
        number = int(self.name.lstrip("n"))
        self.core = RaftCore(
            Config(
                self.name,
                **{"election_timeout_ms": ELECTION_MS, "heartbeat_ms": HEARTBEAT_MS}
                | self.settings,
            ),
            self.disk,
            hard_state=self.disk.hard_state,
            bootstrap=self.bootstrap,
            applied_index=len(self.applied),
            rng=FixedTimeouts(number),
            now_ms=self.now_ms,
        )
        self.unwritten: deque[Persist] = deque()
        self.held: deque[Send] = deque()
        self.network: list[Send] = []
        self.durable_ticket = 0
        self.down = False
        self._members = self.core.membership
        self._removed = self.core.removed

    def crash(self) -> None:
        """What is not on disk is gone, and so is what waits for it."""
        self.unwritten.clear()
        self.held.clear()
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
            self._do(lambda effect=effect: self._written(effect))

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
                self._release()
        if self.core.removed and not self._removed:
            self._removed = True
            self._say(f"{self.name} knows that it was removed")

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Persist():
                self.unwritten.append(effect)
                verb = "begins to write" if self.slow_disk else "writes"
                self._say(f"{self.name} {verb} {_what(effect)}")
            case Send():
                self.held.append(effect)
            case Apply():
                self.applied.extend(effect.entries)
                self._say(f"{self.name} applies {words.entries(effect.entries)}")
                self.core.applied(effect.entries[-1].index)
            case ReadReady():
                self._say(f"{self.name} may serve read {effect.read_id}, at {effect.index}")
            case ReadRefused():
                self._say(f"{self.name} refuses read {effect.read_id}: {effect.reason}")

    def _role_changed(self, effect: RoleChanged) -> None:
        text = f"{self.name} is {words.ROLES[effect.role]} in term {effect.term}"
        if effect.leader not in (None, self.name):
            text += f", follows {effect.leader}"
        self._say(text)

    def _written(self, effect: Persist) -> None:
        self.disk.append(effect.hard_state, effect.entries)
        self.durable_ticket = effect.ticket
        self.core.persisted(effect.ticket, self.now_ms)
        self._release()

    def _release(self) -> None:
        """Messages go out once what they promise is durable; equal ones are told together."""
        told: list[tuple[str, list[str]]] = []
        while self.held and self.held[0].after <= self.durable_ticket:
            send = self.held.popleft()
            self.network.append(send)
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


def _what(effect: Persist) -> str:
    parts = []
    if effect.hard_state is not None:
        parts.append(words.hard_state(effect.hard_state))
    if effect.entries:
        parts.append(words.entries(effect.entries))
    return ", ".join(parts)
