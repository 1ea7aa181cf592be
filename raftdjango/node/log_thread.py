"""The thread that writes the log: takes all that is pending, one append and one sync for it.

It knows neither Raft nor the database.  A failure is final: what a failed sync left on the disk
cannot be known, so nothing more is written and the node is told to stop.
"""

from __future__ import annotations

import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from raftcore.effects import Persist
    from raftcore.storage.protocol import LogStore


class LogThread:
    """Owns the writing side of one group's `LogStore`."""

    def __init__(
        self,
        store: LogStore,
        loop: asyncio.AbstractEventLoop,
        *,
        on_persisted: Callable[[int], None],
        on_failure: Callable[[BaseException], None],
        name: str,
    ) -> None:
        """`on_persisted(ticket)` and `on_failure(error)` are called on the loop."""
        self._store = store
        self._loop = loop
        self._on_persisted = on_persisted
        self._on_failure = on_failure
        self._queue: SimpleQueue[Persist | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._persisted = 0
        self._posted = False
        self._busy_since = 0.0
        self._put_bytes = 0
        self._done_bytes = 0
        self.syncs = 0

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def put(self, effect: Persist) -> None:
        """Queue one write; called on the loop, never blocks."""
        self._put_bytes += sum(len(entry.data) for entry in effect.entries)
        if not self._busy_since:
            self._busy_since = time.monotonic()
        self._queue.put(effect)

    @property
    def pending_bytes(self) -> int:
        """Bytes of entries put and not yet durable."""
        return self._put_bytes - self._done_bytes

    @property
    def stalled_s(self) -> float:
        """How long the disk has owed an answer."""
        since = self._busy_since
        return time.monotonic() - since if since else 0.0

    def stop(self, timeout_s: float) -> bool:
        """Write what is queued and end; False when the disk did not answer in time."""
        self._queue.put(None)
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while (batch := self._take()) is not None:
                self._write(batch)
        except BaseException as error:
            self._post(self._on_failure, error)

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

    def _write(self, batch: list[Persist]) -> None:
        self._busy_since = time.monotonic()
        size = 0
        for effect in batch:
            self._store.append(effect.hard_state, effect.entries)
            size += sum(len(entry.data) for entry in effect.entries)
        self._store.sync()
        self.syncs += 1
        self._done_bytes += size
        self._busy_since = 0.0 if self._queue.empty() else time.monotonic()
        self._persisted = batch[-1].ticket
        if not self._posted:
            self._posted = True
            self._post(self._deliver)

    def _deliver(self) -> None:
        # Cleared before the ticket is read: a later ticket then posts anew, and none is lost.
        self._posted = False
        self._on_persisted(self._persisted)

    def _post(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:  # the loop is closed: the node has stopped without waiting for us
            return
