"""Applies committed entries, all that are pending at once, and tells the verdicts.

A few light entries are applied on the event loop: waking a thread and being woken by it costs about
as much as they do.  What is more than that, or would have to wait (another process has the
database's write lock), the thread applies.  Only one of the two has entries at a time: so the
connection is used by one thread at a time, and the order of the log is kept.

It never skips an entry.  What is not a verdict (a full disk, a damaged file) is the environment's
fault: applying stops, the node says so, and only a restart goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from raftcore.types import EntryKind
from raftdjango.applier import EnvironmentFault, Locked, LogEntry
from raftdjango.applier.winners import Winners
from raftdjango.node.limits import (
    APPLY_BATCH_BYTES_MAX,
    APPLY_BATCH_ENTRIES_MAX,
    APPLY_HERE_BYTES_MAX,
    APPLY_HERE_ENTRIES_MAX,
    APPLY_HERE_IN_A_ROW,
    APPLY_HERE_S,
)
from raftdjango.node.pace import Pace

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Sequence

    from raftcore.types import Entry
    from raftdjango.applier import Applied, Applier
    from raftdjango.node.database import MemberRow

logger = logging.getLogger("raftdjango.node")

THREAD_IN_A_ROW = 2
"""Batches for the thread in between: with the first the checkpoint, with the second the sync by
which SQLite begins its write-ahead log anew."""


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
    schema_version: int = 0
    """After it: the index of the last entry with statements."""


class ApplierRunner:
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
        now: Callable[[], float] = time.monotonic,
        on_foreseen: Callable[[list[Applied]], None] = lambda foreseen: None,
    ) -> None:
        """`members` is called by whoever applies, the others on the loop.

        `on_foreseen` is told what entries that wait for the write lock will come to (leases of keys,
        see `Applier.foresee`); they are told to `on_applied` all the same, later.
        """
        self._applier = applier
        self._loop = loop
        self._members = members
        self._on_applied = on_applied
        self._on_fault = on_fault
        self._on_foreseen = on_foreseen
        self._now = now
        self._waiting: list[Entry] = []
        """Put, and given to nobody yet; the loop's own."""
        self._scheduled = False
        self._turns = THREAD_IN_A_ROW
        self._pace = Pace(APPLY_HERE_S)
        self._queue: SimpleQueue[Sequence[Entry]] = SimpleQueue()
        self._rest: deque[Entry] = deque()
        """Taken from the queue and not yet applied; the thread's own."""
        self._batch: list[Entry] = []
        """Taken from there, and being applied."""
        self._looked_at: tuple[int, int] = (0, 0)
        """The applied index and the last one behind it, when the thread looked ahead last."""
        self._foreseen = 0
        """The last index foreseen."""
        self._unhurried = False
        applier.unhurried = self._look_ahead
        self._done: deque[AppliedBatch] = deque()
        """Applied by the thread and not yet told; as long as the loop is behind, short of a batch or two."""
        self._posted = False
        self._given = 0
        """The last index that the thread was given."""
        self._heard = 0
        """The last index of which the thread has told the loop."""
        self._ended = False
        """Stopped or failed: nothing more is begun."""
        self.winners = Winners()
        self._put_bytes = 0
        self._done_bytes = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.locked_since = 0.0
        """Monotonic seconds since when another process keeps the write lock; 0: nobody does."""
        self.observe_members = True
        """Cleared by the loop once nothing new is to be learnt from them."""

    def start(self) -> None:
        """Begin to apply."""
        self._thread.start()

    def put(self, entries: Sequence[Entry]) -> None:
        """Queue committed entries; called on the loop, never blocks.

        They are begun no earlier than in the loop's next iteration, when what was sent before has
        left.
        """
        self._put_bytes += _size(entries)
        if self._ended:
            return
        self._waiting.extend(entries)
        if not self._is_thread_idle:
            self._give()
        elif not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._begin)

    @property
    def pending_bytes(self) -> int:
        """Bytes of entries put and not yet applied."""
        return self._put_bytes - self._done_bytes

    def stop(self) -> None:
        """End after the batch under way; the rest stays in the log and is applied at start.

        Called on the loop.
        """
        self._ended = True
        self._queue.put(())

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of a stop; False when the batch did not end in time."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # -- on the loop ---------------------------------------------------------------------------

    @property
    def _is_thread_idle(self) -> bool:
        """Whether the loop has heard of all that the thread was given: the applier is the loop's."""
        return self._heard == self._given

    def _begin(self) -> None:
        self._scheduled = False
        if self._ended or not self._waiting:
            return
        turn, self._turns = self._turns % APPLY_HERE_IN_A_ROW, self._turns + 1
        if (
            turn < THREAD_IN_A_ROW
            or not self._is_thread_idle
            or not self._pace.is_fast
            or len(self._waiting) > APPLY_HERE_ENTRIES_MAX
            or _size(self._waiting) > APPLY_HERE_BYTES_MAX
            or not self._apply_here()
        ):
            self._give()

    def _apply_here(self) -> bool:
        """Apply what waits; False: it cannot be done at once, and nothing of it was."""
        begun = self._now()
        batch = self._waiting
        try:
            applied = self._applier.apply_at_once([_log_entry(entry) for entry in batch])
            if applied is None:
                return False
            done = self._account(batch, applied)
        except BaseException as error:
            self._fail(error)
            return True
        self._waiting = []
        self._pace.took(self._now() - begun)
        self._hand_out(done)
        return True

    def _give(self) -> None:
        """Have the thread apply what waits."""
        if self._waiting:
            self._given = self._waiting[-1].index
            self._queue.put(self._waiting)
            self._waiting = []

    def _deliver(self) -> None:
        # Cleared first: a batch done from here on posts anew, and none is lost.
        self._posted = False
        while self._done:
            done = self._done.popleft()
            self._heard = done.last_index
            self._hand_out(done)

    def _hand_out(self, done: AppliedBatch) -> None:
        try:
            self._on_applied(done)
        except Exception as error:
            # Whoever was not told of it waits for it in vain, and so does the core.
            logger.exception("What was applied could not be told.")
            self._done.clear()
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._ended = True
        self._waiting = []
        self._on_fault(error)

    # -- on the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._ended:
                if batch := self._take():
                    self._apply(batch)
        except BaseException as error:
            self._post(self._fail, error)

    def _take(self) -> list[Entry]:
        """Everything pending up to the bounds of a batch; waits while there is nothing."""
        rest = self._rest
        if not rest:
            rest.extend(self._queue.get())
        self._take_more()
        batch: list[Entry] = []
        size = 0
        while rest and len(batch) < APPLY_BATCH_ENTRIES_MAX and size < APPLY_BATCH_BYTES_MAX:
            entry = rest.popleft()
            size += len(entry.data)
            batch.append(entry)
        return batch

    def _take_more(self) -> None:
        """What is queued already, up to a batch."""
        with suppress(Empty):
            while len(self._rest) < APPLY_BATCH_ENTRIES_MAX:
                self._rest.extend(self._queue.get_nowait())

    def _look_ahead(self) -> bool:
        """While a worker has the write lock: answer leases, for which perhaps that worker waits.

        Whether nothing else waits for the lock: then it would be a pity to take it from him.
        """
        self._take_more()
        applied = self._applier.state.applied_index
        waiting = [entry for entry in chain(self._batch, self._rest) if entry.index > applied]
        if not waiting or self._ended:
            return False
        if self._looked_at != (applied, waiting[-1].index):
            self._looked_at = applied, waiting[-1].index
            foreseen = self._applier.foresee([_log_entry(entry) for entry in waiting])
            self._unhurried = len(foreseen) == len(waiting)
            if news := [each for each in foreseen if each.index > self._foreseen]:
                self._foreseen = news[-1].index
                self._post(self._on_foreseen, news)
        return self._unhurried

    def _apply(self, batch: list[Entry]) -> None:
        begun = self._now()
        while batch:
            self._batch = batch
            try:
                applied = self._applier.apply_batch([_log_entry(entry) for entry in batch])
            except EnvironmentFault as fault:
                count = len(fault.applied)
                if count:
                    self._tell(batch[:count], fault.applied)
                if not isinstance(fault, Locked) or self._ended:
                    raise
                self.locked_since = self.locked_since or time.monotonic()
                batch = batch[count:]
                continue
            # The wait for a lock counts: who had to wait long may have to again.
            self._pace.took(self._now() - begun)
            self._tell(batch, applied)
            return

    def _tell(self, batch: list[Entry], applied: list[Applied]) -> None:
        self.locked_since = 0.0
        self._done.append(self._account(batch, applied))
        if not self._posted:
            self._posted = True
            self._post(self._deliver)

    def _post(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:  # the loop is closed: the node has stopped without waiting for us
            return

    # -- on whichever has entries --------------------------------------------------------------

    def _account(self, batch: list[Entry], applied: list[Applied]) -> AppliedBatch:
        self._done_bytes += _size(batch)
        last = batch[-1]
        for entry, done in zip(batch, applied, strict=True):
            self.winners.note(entry.index, entry.data, done.verdict)
        state = self._applier.state
        cluster_id = state.cluster_id or b""
        members = self._members() if self.observe_members and cluster_id else ()
        version = state.schema_version
        return AppliedBatch(applied, last.index, last.term, cluster_id, members, version)


def _size(entries: Iterable[Entry]) -> int:
    return sum(len(entry.data) for entry in entries)


def _log_entry(entry: Entry) -> LogEntry:
    command = entry.data if entry.kind is EntryKind.COMMAND else None
    return LogEntry(entry.index, entry.term, entry.time_ms, command)
