"""Writes the log: all that is pending with one append and one sync, here or on a thread.

*Here* is the event loop: waking a thread and being woken by it costs about as much as the sync of a
fast disk.  A large batch, one for which the log must begin a new file, a disk that was slow lately,
or a thread that is not done yet: the thread writes.  Only one of the two has work at a time, so the log has one writer and one order.

It knows neither Raft nor the database.  A failure is final: what a failed sync left on the disk
cannot be known, so nothing more is written and the node is told to stop.
"""

from __future__ import annotations

import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from raftdjango.node.limits import LOG_HERE_BYTES_MAX, LOG_HERE_ENTRIES_MAX, LOG_HERE_S
from raftdjango.node.pace import Pace

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from raftcore.effects import Persist
    from raftcore.storage.protocol import LogStore


class LogWriter:
    """Owns the writing side of one group's `LogStore`."""

    def __init__(
        self,
        store: LogStore,
        loop: asyncio.AbstractEventLoop,
        *,
        on_persisted: Callable[[int], None],
        on_failure: Callable[[BaseException], None],
        name: str,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_persisted(ticket)` and `on_failure(error)` are called on the loop."""
        self._store = store
        self._loop = loop
        self._on_persisted = on_persisted
        self._on_failure = on_failure
        self._now = now
        self._waiting: list[Persist] = []
        """Put, and given to nobody yet; the loop's own."""
        self._scheduled = False
        self._queue: SimpleQueue[Persist | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._given = 0
        """The last ticket that the thread was given."""
        self._heard = 0
        """The last ticket that the thread has told the loop of."""
        self._persisted = 0
        """The last ticket that the thread made durable."""
        self._posted = False
        self._ended = False
        self._pace = Pace(LOG_HERE_S)
        self._busy_since = 0.0
        self._put_bytes = 0
        self._done_bytes = 0
        self.syncs = 0

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def put(self, effect: Persist) -> None:
        """Queue one write; called on the loop, never blocks.

        It begins no earlier than in the loop's next iteration, when what was sent before has left.
        """
        if self._ended:
            return
        self._put_bytes += _size((effect,))
        if not self._busy_since:
            self._busy_since = self._now()
        self._waiting.append(effect)
        if not self._is_thread_idle:
            self._give()
        elif not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._begin)

    @property
    def pending_bytes(self) -> int:
        """Bytes of entries put and not yet durable."""
        return self._put_bytes - self._done_bytes

    @property
    def stalled_s(self) -> float:
        """How long the disk has owed an answer."""
        since = self._busy_since
        return self._now() - since if since else 0.0

    def stop(self) -> None:
        """Take nothing more; what was put is written by the thread.  Called on the loop."""
        if not self._ended:
            self._ended = True
            self._give()
        self._queue.put(None)

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of a stop; False when the disk did not answer in time."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # -- on the loop ---------------------------------------------------------------------------

    @property
    def _is_thread_idle(self) -> bool:
        """Whether the loop has heard of all that the thread was given: the store is the loop's."""
        return self._heard == self._given

    def _begin(self) -> None:
        self._scheduled = False
        if not self._waiting or self._ended:
            return
        if not self._may_write_here():
            self._give()
            return
        batch, self._waiting = self._waiting, []
        try:
            self._write(batch)
        except BaseException as error:
            self._ended = True
            self._on_failure(error)
            return
        self._busy_since = 0.0
        self._on_persisted(batch[-1].ticket)

    def _may_write_here(self) -> bool:
        return (
            self._is_thread_idle
            and self._pace.is_fast
            and sum(len(effect.entries) for effect in self._waiting) <= LOG_HERE_ENTRIES_MAX
            and (size := _size(self._waiting)) <= LOG_HERE_BYTES_MAX
            and self._store.has_room(size)
        )

    def _give(self) -> None:
        """Have the thread write what waits."""
        for effect in self._waiting:
            self._given = effect.ticket
            self._queue.put(effect)
        self._waiting.clear()

    def _deliver(self) -> None:
        # Cleared before the ticket is read: a later ticket then posts anew, and none is lost.
        self._posted = False
        self._heard = self._persisted
        self._on_persisted(self._heard)

    def _deliver_failure(self, error: BaseException) -> None:
        self._ended = True
        self._on_failure(error)

    # -- on the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while (batch := self._take()) is not None:
                self._write(batch)
                self._busy_since = 0.0 if self._queue.empty() else self._now()
                self._persisted = batch[-1].ticket
                if not self._posted:
                    self._posted = True
                    self._post(self._deliver)
        except BaseException as error:
            self._post(self._deliver_failure, error)

    def _take(self) -> list[Persist] | None:
        """Everything pending, at least one; None at the end."""
        first = self._queue.get()
        if first is None:
            return None
        batch = [first]
        try:
            while True:
                effect = self._queue.get_nowait()
                if effect is None:
                    self._queue.put(None)
                    break
                batch.append(effect)
        except Empty:
            pass
        return batch

    def _post(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:  # the loop is closed: the node has stopped without waiting for us
            return

    # -- on whichever has work -----------------------------------------------------------------

    def _write(self, batch: Sequence[Persist]) -> None:
        self._busy_since = begun = self._now()
        for effect in batch:
            self._store.append(effect.hard_state, effect.entries)
        self._store.sync()
        self.syncs += 1
        size = _size(batch)
        self._done_bytes += size
        # A large batch takes its time on any disk: it says nothing.
        if size <= LOG_HERE_BYTES_MAX:
            self._pace.took(self._now() - begun)


def _size(batch: Sequence[Persist]) -> int:
    return sum(len(entry.data) for effect in batch for entry in effect.entries)
