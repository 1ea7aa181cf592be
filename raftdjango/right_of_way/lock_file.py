"""Who goes first at the local database's write lock: the applier, always.

SQLite has one writer per file.  A worker's transaction holds the write lock while it speculates, and
the applier of the same machine needs it to go on.  They meet in a small memory-mapped file in the
group's folder:

* The applier stores since when it has waited.  Workers look there before they take the lock.
* A worker notes in a slot of its process that it holds the lock; a watchdog thread of that process
  looks whether the applier has waited longer than `lock_yield_ms`, and then calls back, so that the
  transaction is rolled back and doomed.
* A process that holds the lock and does not answer (stopped, stuck) is named by its slot.
* Workers that find the lock taken stand in line (`line.py`) in another part of the file.

Every owner of a slot, and the applier, holds a record lock on one byte of the file.  The kernel drops
it when the process dies, in whatever way: so a slot whose byte is free is stale, a process id used
again cannot be mistaken for its predecessor, and processes in different containers, which do not see
each other's ids, can still tell who lives.

The data does not depend on any of this: a lost file costs waiting, never a write.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
import weakref
from contextlib import contextmanager
from mmap import mmap
from pathlib import Path
from typing import TYPE_CHECKING

from raftdjango.conf import get_settings
from raftdjango.right_of_way.holders import Holder
from raftdjango.right_of_way.keeping import Keeping
from raftdjango.right_of_way.line import Line, Wait

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows: everybody counts as alive
    fcntl = None  # type: ignore[assignment]
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

logger = logging.getLogger("raftdjango.right_of_way.lock_file")

FILE_NAME = "right-of-way.v1"
SLOT_COUNT = 256
"""Processes that can be named; one more is watched by its own watchdog all the same."""
SLOT_BYTES = 128
LABEL_BYTES, WORD = 112, 8
APPLIER = 0
"""The applier's slot; the others are for processes of workers."""
SINCE, PID = 0, 1
"""Words of a slot: monotonic nanoseconds since when it waits or holds, 0 for no; process id."""

POLL_S = 0.000_3
"""Between two looks of the first in line."""
TRY_S = 0.005
"""So often he tries for the lock although somebody says that he has it, who may have died."""
LIVENESS_CHECK_S = 0.05
WATCHDOG_IDLE_S = 1.0
"""The watchdog polls for as long after the last transaction, so that most wake nobody up."""


class Watch:
    """One write transaction under watch; given by `watch()`, given back to `unwatch()`."""

    __slots__ = ("doom", "doomed", "lock", "open", "reserved_ms", "since_ns")

    def __init__(self, doom: Callable[[], None], since_ns: int, reserved_ms: int) -> None:
        self.doom = doom
        self.since_ns = since_ns
        self.reserved_ms = reserved_ms
        self.open = True
        self.doomed = False
        self.lock = threading.RLock()  # A doom callback may call unwatch() itself.


class RightOfWay:
    """One group's file, as this process sees it.  `open()` gives one object per file and process."""

    _opened: dict[Path, RightOfWay] = {}
    _opening = threading.Lock()

    def __init__(self, group_dir: Path, lock_yield_ms: int | None = None) -> None:
        self.path = group_dir / FILE_NAME
        self.lock_yield_ms = lock_yield_ms
        group_dir.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o660)
        slots_bytes = SLOT_BYTES * (1 + SLOT_COUNT)
        line_bytes = 2 * WORD * (1 + SLOT_COUNT)
        size = slots_bytes + line_bytes + WORD
        if os.fstat(self._file).st_size < size:
            os.ftruncate(self._file, size)
        self._map = mmap(self._file, size)
        # Through a view of words each store is one instruction: no reader sees half a number.
        self._words = memoryview(self._map).cast("Q")
        self._held = self._words[
            SLOT_BYTES // WORD + SINCE : slots_bytes // WORD : SLOT_BYTES // WORD
        ]
        """Of each worker's slot, since when it holds the lock."""
        self._line = Line(self._words[slots_bytes // WORD : (slots_bytes + line_bytes) // WORD])
        self.keeping = Keeping(self._words[(slots_bytes + line_bytes) // WORD :])
        self._forget_process()
        _everybody.add(self)

    @classmethod
    def open(cls, group_dir: Path, *, lock_yield_ms: int | None = None) -> RightOfWay:
        """The group's file, made if missing.

        One per process, never closed: closing any descriptor of a file drops all record locks
        that the process has on it.
        """
        with cls._opening:
            group_dir = Path(group_dir).absolute()
            here = cls._opened.get(group_dir)
            if here is None or not here._is_current():
                here = cls._opened[group_dir] = cls(group_dir, lock_yield_ms)
            elif lock_yield_ms is not None:
                here.lock_yield_ms = lock_yield_ms
            return here

    def _is_current(self) -> bool:
        """Whether the path still names the file that is mapped (the folder may have been wiped)."""
        return self.path.exists() and self.path.stat().st_ino == os.fstat(self._file).st_ino

    def _forget_process(self) -> None:
        """Start anew, as a process just born: a forked child has none of its parent's locks."""
        for watch in getattr(self, "_watches", {}).values():
            watch.open, watch.lock = False, threading.RLock()
        self._lock = threading.Lock()
        self._first_in_line = threading.Lock()
        """Held by the thread that stands in line for this process."""
        self._watches: dict[int, Watch] = {}
        self._slot: int | None = None
        self._is_applier = False
        self._patience_ms = 0
        self._watchdog: threading.Thread | None = None
        self._wake = threading.Condition(self._lock)
        self._asleep = False

    # -- the applier's side ---------------------------------------------------------------------

    @contextmanager
    def wanted(self, since_ns: int | None = None) -> Iterator[None]:
        """Ask workers to stand back while the block waits for the write lock, since then or now."""
        if not self._is_applier:
            self._become_applier()
        self._words[SINCE] = since_ns or time.monotonic_ns()
        try:
            yield
        finally:
            self._words[SINCE] = 0

    def _become_applier(self) -> None:
        for _ in range(50):  # A worker that asks whether an applier lives holds the byte meanwhile.
            if self._claim(APPLIER):
                self._is_applier = True
                self._describe(APPLIER)
                return
            time.sleep(POLL_S)

    def waited_ms(self) -> int:
        """For how long the applier has been waiting for the lock now; 0 if it does not."""
        since = self._words[SINCE]
        return _elapsed_ms(since) if since else 0

    def holders(self) -> list[Holder]:
        """Living processes that say they hold the write lock, longest first.

        There is at most one, or two for the moment of a hand-over.
        """
        found = []
        for slot in range(1, SLOT_COUNT + 1):
            since = self._words[slot * SLOT_BYTES // WORD + SINCE]
            if since and self._is_claimed(slot):
                found.append(Holder(self._pid_of(slot), _elapsed_ms(since), self._label_of(slot)))
        return sorted(found, key=lambda holder: -holder.since_ms)

    # -- the worker's side ----------------------------------------------------------------------

    @property
    def is_free(self) -> bool:
        """Whether nobody is known to wait for the lock; a look at a few words of memory."""
        return not self._words[SINCE] and self._line.is_empty and not self.keeping

    def acquire(self, begin: Callable[[], bool], timeout_s: float, *, first: bool = False) -> bool:
        """Call `begin` until it answers True: behind the applier, and in line with other workers.

        `first`: beside the line, since all other nodes wait for this one (an exclusive turn).

        `begin` tries to take the write lock without waiting (`busy_timeout` 0) and answers whether
        it has it.  Waiting inside SQLite instead would overtake an applier that came later, and
        many who ask SQLite again and again slow down the one who has the lock.
        """
        if self.is_free and begin():
            return True
        since_ns = time.monotonic_ns()
        deadline = time.monotonic() + timeout_s
        if first:
            return self._wait_in_line(None, begin, deadline)
        if not self._first_in_line.acquire(timeout=timeout_s):
            return False
        slot = self._own_slot()
        wait = Wait(self._line, slot, since_ns) if slot is not None else None
        try:
            return self._wait_in_line(wait, begin, deadline)
        finally:
            if wait is not None:
                wait.end()
            self._first_in_line.release()

    def _wait_in_line(self, wait: Wait | None, begin: Callable[[], bool], deadline: float) -> bool:
        now = checked = time.monotonic()
        tried, dead_since = 0.0, 0
        while True:
            pause_s = wait.look() if wait is not None else 0.0
            if not pause_s:
                pause_s = POLL_S
                due = now - tried >= TRY_S or not any(self._held)
                if due and self._words[SINCE] in (0, dead_since) and not self.keeping:
                    if begin():
                        return True
                    tried = now
            now = time.monotonic()
            if now >= deadline:
                return False
            if now - checked >= LIVENESS_CHECK_S:
                checked, since = now, self._words[SINCE]
                if not self._is_claimed(APPLIER):
                    dead_since = since  # It died while it waited; its successor starts anew.
            time.sleep(min(pause_s, deadline - now))

    def watch(self, doom: Callable[[], None], *, reserved_ms: int = 0) -> Watch:
        """Say that this thread's connection has the write lock; call right after taking it.

        When the applier has waited `lock_yield_ms`, but not within the first `reserved_ms`, `doom` is
        called from the watchdog's thread: it must make the transaction's owner raise from now on,
        interrupt a running statement, roll back once that has ended, and not wait for anything that
        the owner holds while in `unwatch()`.  It is called again if it raises, else never.
        """
        # Read here, so that a bad setting raises where somebody sees it.
        self._patience_ms = self.lock_yield_ms or get_settings().lock_yield_ms
        watch = Watch(doom, time.monotonic_ns(), reserved_ms)
        with self._lock:
            self._claim_own()
            if not self._watches:
                self._note(watch.since_ns)
            self._watches[id(watch)] = watch
            if self._watchdog is None or not self._watchdog.is_alive():
                self._watchdog = threading.Thread(
                    target=self._keep_watch, name="raftdjango-right-of-way", daemon=True
                )
                self._watchdog.start()
            elif self._asleep:
                self._asleep = False
                self._wake.notify()
        return watch

    def unwatch(self, watch: Watch) -> bool:
        """Say that the lock was given back; whether the transaction had been doomed.

        Once this returns, `doom` neither runs nor will run: the connection is its owner's again.
        """
        with watch.lock:  # Waits for a doom callback that is under way.
            watch.open = False
        self._remove(watch)
        return watch.doomed

    def _remove(self, watch: Watch) -> None:
        with self._lock:
            if self._watches.pop(id(watch), None) is not None:
                rest = [other.since_ns for other in self._watches.values()]
                self._note(min(rest, default=0))

    # -- the watchdog ---------------------------------------------------------------------------

    def _keep_watch(self) -> None:
        last_busy = time.monotonic()
        while True:
            yield_ms = self._patience_ms
            time.sleep(max(0.001, yield_ms / 8000))
            now = time.monotonic()
            with self._lock:
                watches = list(self._watches.values())
                if watches:
                    last_busy = now
                elif now - last_busy > WATCHDOG_IDLE_S:
                    self._asleep = True
                    while self._asleep:
                        self._wake.wait()
                    last_busy = time.monotonic()
                    continue
            waited_ms = self.waited_ms() if watches else 0
            late = [w for w in watches if _elapsed_ms(w.since_ns) >= w.reserved_ms]
            if late and waited_ms >= yield_ms and self._is_claimed(APPLIER):
                for watch in late:
                    self._doom(watch)

    def _doom(self, watch: Watch) -> None:
        with watch.lock:
            if not watch.open:
                return
            watch.doomed = True
            try:
                watch.doom()
            except Exception:
                # The slot stays: the node names this process as one that keeps the lock.
                logger.exception("A transaction that holds the write lock could not be rolled back")
                return
            watch.open = False
        self._remove(watch)

    # -- the file -------------------------------------------------------------------------------

    def _note(self, since_ns: int) -> None:
        if self._slot is not None:
            self._words[self._slot * SLOT_BYTES // WORD + SINCE] = since_ns

    def _pid_of(self, slot: int) -> int:
        return self._words[slot * SLOT_BYTES // WORD + PID]

    def _label_of(self, slot: int) -> str:
        start = slot * SLOT_BYTES + 2 * WORD
        return self._map[start : start + LABEL_BYTES].rstrip(b"\0").decode("utf-8", "replace")

    def _describe(self, slot: int) -> None:
        start = slot * SLOT_BYTES + 2 * WORD
        label = f"{Path(sys.argv[0] or 'python').name} on {socket.gethostname()}".encode()[
            :LABEL_BYTES
        ]
        self._words[slot * SLOT_BYTES // WORD + SINCE] = 0
        self._words[slot * SLOT_BYTES // WORD + PID] = os.getpid()
        self._map[start : start + LABEL_BYTES] = label.ljust(LABEL_BYTES, b"\0")

    def _own_slot(self) -> int | None:
        with self._lock:
            self._claim_own()
            return self._slot

    def _claim_own(self) -> None:
        if self._slot is None:
            self._slot = self._claim_any()

    def _claim_any(self) -> int | None:
        for slot in range(1, SLOT_COUNT + 1):
            if self._claim(slot):
                self._describe(slot)
                return slot
        return None

    def _claim(self, slot: int) -> bool:
        """Lock the slot's byte for the life of this process."""
        if fcntl is None:  # pragma: no cover
            return not self._pid_of(slot)
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
        except OSError:
            return False
        return True

    def _is_claimed(self, slot: int) -> bool:
        """Whether the slot's owner lives.

        Never asks the kernel of this process' own bytes: a process does not conflict with itself,
        and asking would give the lock away.
        """
        if slot == self._slot or (slot == APPLIER and self._is_applier) or fcntl is None:
            return True
        try:
            fcntl.lockf(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, slot)
        except OSError:
            return True
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, slot)
        return False


_everybody: weakref.WeakSet[RightOfWay] = weakref.WeakSet()


def _after_fork() -> None:
    RightOfWay._opening = threading.Lock()
    for here in list(_everybody):
        here._forget_process()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _elapsed_ms(since_ns: int) -> int:
    # Never negative: a file from before a reboot may name a later moment.
    return max(0, time.monotonic_ns() - since_ns) // 1_000_000
