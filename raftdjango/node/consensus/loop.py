"""The consensus loop of one group: feeds the core and carries out its effects.

The core is fed as things arrive; its effects are taken once per turn of the event loop, after
everything that was ready in that turn has been fed.  So batches grow by themselves under load, and
nothing waits for a batch to fill.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import TYPE_CHECKING

from raftcore.effects import Apply, Persist, ReadReady, ReadRefused, RoleChanged, Send

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from raftcore import RaftCore
    from raftcore.effects import Effect
    from raftcore.messages import Message
    from raftcore.types import Entry

logger = logging.getLogger("raftdjango.node")

HELD_SENDS_MAX = 65_536
"""Messages that wait for the disk; the oldest are dropped, as a network might."""


def monotonic_ms() -> int:
    """The core's time."""
    return time.monotonic_ns() // 1_000_000


class Consensus:
    """Owns the core of one group and its timer.  Lives on the loop."""

    def __init__(
        self,
        core: RaftCore,
        loop: asyncio.AbstractEventLoop,
        *,
        persist: Callable[[Persist], None],
        send: Callable[[str, Message], None],
        flush: Callable[[], None],
        apply: Callable[[tuple[Entry, ...]], None],
        on_role: Callable[[RoleChanged], None],
        on_reads: Callable[[Sequence[ReadReady | ReadRefused]], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        """`flush` has what was sent leave: after it the loop may be held up by the disk."""
        self.core = core
        self._loop = loop
        self._persist = persist
        self._send = send
        self._flush = flush
        self._apply = apply
        self._on_role = on_role
        self._on_reads = on_reads
        self._on_failure = on_failure
        self._turn_scheduled = False
        self._stopped = False
        self._persisted = 0
        self._held_sends: deque[Send] = deque()
        self._held_applies: deque[Apply] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0

    def start(self) -> None:
        """Take the core's first effects and arm its timer."""
        self.touch()

    def stop(self) -> None:
        """Feed and carry out nothing more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def touch(self) -> None:
        """The core was fed: take its effects at the end of this turn."""
        if not self._turn_scheduled:
            self._turn_scheduled = True
            self._loop.call_soon(self._turn)

    def receive(self, message: Message) -> None:
        """Feed a peer's message."""
        if self._stopped:
            return
        try:
            self.core.receive(message, monotonic_ms())
        except Exception as error:
            self._fail(error)
        self.touch()

    def persisted(self, ticket: int) -> None:
        """Everything up to `ticket` is durable."""
        if self._stopped:
            return
        self._persisted = ticket
        try:
            self.core.persisted(ticket, monotonic_ms())
            self._release()
        except Exception as error:
            self._fail(error)
        self.touch()

    def applied(self, index: int) -> None:
        """The database has all up to `index`."""
        if self._stopped:
            return
        try:
            self.core.applied(index)
        except Exception as error:
            self._fail(error)
        self.touch()

    def read_index(self) -> int:
        """Begin a read; `on_reads` is told what became of this number."""
        number = self.core.read_index(monotonic_ms())
        self.touch()
        return number

    def _turn(self) -> None:
        self._turn_scheduled = False
        if self._stopped:
            return
        try:
            self._carry_out(self.core.take_effects())
        except Exception as error:
            # An effect that was not carried out is never given again.
            self._fail(error)

    def _carry_out(self, effects: Sequence[Effect]) -> None:
        # What peers are to write leaves before this node begins to write it, too.
        for effect in effects:
            if isinstance(effect, Send):
                if effect.after <= self._persisted:
                    self._send(effect.to, effect.message)
                else:
                    self._hold(effect)
        self._flush()
        reads: list[ReadReady | ReadRefused] = []
        for effect in effects:
            if isinstance(effect, Persist):
                self._persist(effect)
            elif isinstance(effect, Apply):
                self._held_applies.append(effect)
            elif isinstance(effect, RoleChanged):
                self._on_role(effect)
            elif isinstance(effect, ReadReady | ReadRefused):
                reads.append(effect)
        if reads:
            self._on_reads(reads)
        self._release_applies()
        self._arm()

    def _hold(self, send: Send) -> None:
        self._held_sends.append(send)
        if len(self._held_sends) > HELD_SENDS_MAX:
            self._held_sends.popleft()

    def _release(self) -> None:
        if self._held_sends:
            sends, self._held_sends = self._held_sends, deque()
            for send in sends:
                if send.after <= self._persisted:
                    self._send(send.to, send.message)
                else:
                    self._held_sends.append(send)
            self._flush()
        self._release_applies()

    def _release_applies(self) -> None:
        """Entries are applied in order, so the first that waits holds back all behind it."""
        applies = self._held_applies
        while applies and applies[0].after <= self._persisted:
            self._apply(applies.popleft().entries)

    def _arm(self) -> None:
        """Have the timer fire no later than the core wants; earlier is harmless and spares work."""
        due = self.core.next_timer()
        if due is None or (self._timer is not None and self._timer_due <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        delay_s = max(0, due - monotonic_ms()) / 1000
        self._timer = self._loop.call_later(delay_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._stopped:
            return
        try:
            # Early (the due time has moved since) or late (this process did not run) is the core's
            # to tell.
            self.core.handle_timer(monotonic_ms())
        except Exception as error:
            self._fail(error)
            return
        self.touch()

    def _fail(self, error: BaseException) -> None:
        self.stop()
        self._on_failure(error)
