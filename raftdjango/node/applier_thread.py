"""The thread that applies: takes all committed entries that are pending, posts the verdicts back.

It never skips an entry.  What is not a verdict (a full disk, a damaged file) is the environment's
fault: the thread stops, the node says so, and only a restart goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from raftcore.types import EntryKind
from raftdjango.applier import EnvironmentFault, Locked, LogEntry
from raftdjango.node.limits import APPLY_BATCH_BYTES_MAX, APPLY_BATCH_ENTRIES_MAX

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from raftcore.types import Entry
    from raftdjango.applier import Applied, Applier
    from raftdjango.node.database import MemberRow

logger = logging.getLogger("raftdjango.node")


@dataclass(frozen=True, slots=True)
class AppliedBatch:
    """What one call of the applier came to."""

    applied: list[Applied]
    last_index: int
    last_term: int
    cluster_id: bytes
    """As the database has it now; empty before the cluster has formed."""
    members: tuple[MemberRow, ...]
    """As the database has them; empty once nobody observes them."""


class ApplierThread:
    """Owns the applier of one group and its connection."""

    def __init__(
        self,
        applier: Applier,
        loop: asyncio.AbstractEventLoop,
        *,
        members: Callable[[], tuple[MemberRow, ...]],
        on_applied: Callable[[AppliedBatch], None],
        on_fault: Callable[[BaseException], None],
        name: str,
    ) -> None:
        """`members` is called on this thread, `on_applied` and `on_fault` on the loop."""
        self._applier = applier
        self._loop = loop
        self._members = members
        self._on_applied = on_applied
        self._on_fault = on_fault
        self._queue: SimpleQueue[tuple[Entry, ...] | None] = SimpleQueue()
        self._rest: deque[Entry] = deque()
        """Taken from the queue and not yet applied; the thread's own."""
        self._done: deque[AppliedBatch] = deque()
        """Applied and not yet told; as long as the loop is behind, short of a batch or two."""
        self._posted = False
        self._stopping = False
        self._put_bytes = 0
        self._done_bytes = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.failed = False
        self.locked_since = 0.0
        """Monotonic seconds since when another process keeps the write lock; 0: nobody does."""
        self.observe_members = True
        """Cleared by the loop once nothing new is to be learnt from them."""

    def start(self) -> None:
        """Begin to apply."""
        self._thread.start()

    def put(self, entries: tuple[Entry, ...]) -> None:
        """Queue committed entries; called on the loop, never blocks."""
        self._put_bytes += sum(len(entry.data) for entry in entries)
        self._queue.put(entries)

    @property
    def pending_bytes(self) -> int:
        """Bytes of entries put and not yet applied."""
        return self._put_bytes - self._done_bytes

    def stop(self, timeout_s: float) -> bool:
        """End after the batch under way; what is queued stays in the log and is applied at start."""
        self._stopping = True
        self._queue.put(None)
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._stopping:
                if batch := self._take():
                    self._apply(batch)
        except BaseException as error:
            self.failed = True
            self._post(self._on_fault, error)

    def _take(self) -> list[Entry]:
        """Everything pending up to the bounds of a batch; waits while there is nothing."""
        rest = self._rest
        if not rest:
            rest.extend(self._queue.get() or ())
        try:
            while len(rest) < APPLY_BATCH_ENTRIES_MAX:
                rest.extend(self._queue.get_nowait() or ())
        except Empty:
            pass
        batch: list[Entry] = []
        size = 0
        while rest and len(batch) < APPLY_BATCH_ENTRIES_MAX and size < APPLY_BATCH_BYTES_MAX:
            entry = rest.popleft()
            size += len(entry.data)
            batch.append(entry)
        return batch

    def _apply(self, batch: list[Entry]) -> None:
        while batch:
            try:
                applied = self._applier.apply_batch([_log_entry(entry) for entry in batch])
            except EnvironmentFault as fault:
                count = len(fault.applied)
                if count:
                    self._tell(batch[:count], fault.applied)
                if not isinstance(fault, Locked) or self._stopping:
                    raise
                self.locked_since = self.locked_since or time.monotonic()
                batch = batch[count:]
                continue
            self._tell(batch, applied)
            return

    def _tell(self, batch: list[Entry], applied: list[Applied]) -> None:
        self.locked_since = 0.0
        self._done_bytes += sum(len(entry.data) for entry in batch)
        last = batch[-1]
        cluster_id = self._applier.state.cluster_id or b""
        members = self._members() if self.observe_members and cluster_id else ()
        self._done.append(AppliedBatch(applied, last.index, last.term, cluster_id, members))
        if not self._posted:
            self._posted = True
            self._post(self._deliver)

    def _deliver(self) -> None:
        # Cleared first: a batch done from here on posts anew, and none is lost.
        self._posted = False
        while self._done:
            self._on_applied(self._done.popleft())

    def _post(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:  # the loop is closed: the node has stopped without waiting for us
            return


def _log_entry(entry: Entry) -> LogEntry:
    command = entry.data if entry.kind is EntryKind.COMMAND else None
    return LogEntry(entry.index, entry.term, entry.time_ms, command)
